"""python -m twisted_p2p.sim: play what may happen to a network, and say whether the contract holds.

    python -m twisted_p2p.sim list
    python -m twisted_p2p.sim run halves-partitioned --peers 50 --seed 7
    python -m twisted_p2p.sim run attacks --peers 10
    python -m twisted_p2p.sim fuzz --seeds 2000
    python -m twisted_p2p.sim paper --peers 10000 --json figures.json
    python -m twisted_p2p.sim eclipse --peers 50 --keys 1000

`run` plays a scenario, `fuzz` faults by chance, one plan for each seed; where one violates the contract it is made
short, and printed. `paper` repeats the experiments of the papers that this rests on. `eclipse` has an attacker with
many keys behind few address ranges dial everybody. What they write to standard output depends on their arguments alone.
They exit with 1 where the contract is violated, `fuzz` also where one of the faults, or of the outcomes that are
wanted, did not occur, `paper` where its figures are not as good as they are to be, `eclipse` where an honest peer was
cut off.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import attrs

from twisted_p2p.core.config import LAN
from twisted_p2p.sim import fuzz
from twisted_p2p.sim.attacks import ATTACKS
from twisted_p2p.sim.checks import settles
from twisted_p2p.sim.eclipse import eclipse
from twisted_p2p.sim.paper import report as papers
from twisted_p2p.sim.paper.plots import NoMatplotlib, draw
from twisted_p2p.sim.scenarios import SCENARIOS, Violated
from twisted_p2p.sim.world import BEGINNING, GARBAGE_THRESHOLD, World

SHOWN = 10
"""Violations that are printed; of the others only their number is."""


@attrs.frozen
class Outcome:
    """What became of a run."""

    world: World
    violations: list[str]
    happened: float
    rested: float
    limit: float


def play(name: str, peers: int, seed: int) -> Outcome:
    """Run a scenario until its world has come to rest, or should have."""
    world = World(seed)
    try:
        limit = SCENARIOS[name](world, peers)
    except Violated as error:
        return Outcome(world, [str(violation) for violation in error.args], world.now, world.now, 0.0)
    happened = world.now
    found = settles(world, limit)
    return Outcome(world, found, happened, world.now, limit)


def fingerprint(world: World) -> str:
    """A hash of everything that every application was told, and when the world came to rest."""
    whole = sha256()
    for peer in world.peers:
        for bundle in peer.received:
            whole.update(f"{peer.name} {bundle.origin} {bundle.epoch} {bundle.seq}\n".encode())
        for told in (*peer.changes, *peer.gaps):
            whole.update(f"{peer.name} {told!r}\n".encode())
    whole.update(f"{world.now!r} {world.events}".encode())
    return whole.hexdigest()[:16]


def report(name: str, peers: int, seed: int, outcome: Outcome) -> str:
    """What happened, and the verdict."""
    world = outcome.world
    counts: Counter[str] = Counter()
    for peer in world.peers:
        counts.update(peer.core.turn.counts)
    degrees = [len(peer.core.overlay.active) for peer in world.running]
    doc = SCENARIOS[name].__doc__ or ""
    lines = [
        f"{name}, {peers} peers, seed {seed}: {doc.splitlines()[0]}",
        f"  happened: {outcome.happened - BEGINNING:.2f} s, {world.events} events, fingerprint {fingerprint(world)}",
        f"  peers: {len(world.peers)} in all, {len(world.running)} up at the end, degrees {_range(degrees)}",
        f"  said: {sum(len(peer.said) for peer in world.peers)} messages;"
        f" delivered: {sum(len(peer.received) for peer in world.peers)} bundles;"
        f" gaps: {sum(len(peer.gaps) for peer in world.peers)}",
        *(f"  {what}: {counts[what]}" for what in sorted(counts) if counts[what]),
    ]
    lines += [f"  {note}" for note in world.notes]
    lines += [f"  VIOLATED {violation}" for violation in outcome.violations[:SHOWN]]
    if len(outcome.violations) > SHOWN:
        lines.append(f"  VIOLATED and {len(outcome.violations) - SHOWN} more")
    if outcome.violations:
        lines.append(f"  repeat it: python -m twisted_p2p.sim run {name} --peers {peers} --seed {seed}")
    else:
        lines.append(
            f"  the contract holds; quiet {outcome.rested - outcome.happened:.2f} s later (limit {outcome.limit:g} s)"
        )
    return "\n".join(lines)


def _range(numbers: Sequence[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if numbers else "none"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m twisted_p2p.sim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print the names of the scenarios")
    run = commands.add_parser("run", help="play one scenario, all attacks by hostile members, or all others")
    run.add_argument("name", choices=[*SCENARIOS, "all", "attacks"], metavar="NAME", help="as `list` has it")
    run.add_argument("--peers", type=int, default=20, help="how many the network begins with (at least 4)")
    run.add_argument("--seed", type=int, default=0, help="all chance comes from it")
    run.add_argument("--seeds", type=int, default=1, help="play so many seeds, from --seed on")
    fuzzing = commands.add_parser("fuzz", help="play faults by chance")
    fuzzing.add_argument("--seeds", type=int, default=200, help="how many plans")
    fuzzing.add_argument("--first", type=int, default=0, help="the first one's seed")
    fuzzing.add_argument("--peers", type=int, default=fuzz.PEERS, help="how many a network begins with (at least 4)")
    paper = commands.add_parser("paper", help="repeat the experiments of the papers")
    paper.add_argument(
        "--peers", type=int, default=1_000, help=f"how many (at least {papers.LEAST}); the papers: 10000"
    )
    paper.add_argument("--seed", type=int, default=0, help="all chance comes from it")
    paper.add_argument("--cycles", type=int, default=50, help="for the overlay to settle; the papers: 50")
    paper.add_argument("--only", choices=papers.PARTS, action="append", help="one part; may be repeated")
    paper.add_argument("--json", type=Path, metavar="FILE", help="where the tables are written to as JSON, too")
    paper.add_argument("--plots", type=Path, metavar="FOLDER", help="where pictures are drawn (needs matplotlib)")
    attack = commands.add_parser("eclipse", help="have one attacker with many keys dial everybody")
    attack.add_argument("--peers", type=int, default=50, help="honest peers, each in an address range of its own")
    attack.add_argument("--keys", type=int, default=1_000, help="of the attacker")
    attack.add_argument("--ranges", type=int, default=1, help="in how many /24 of one /16 they are")
    attack.add_argument("--seconds", type=int, default=60, help="how long, at least 25")
    attack.add_argument("--max-peers", type=int, default=LAN.max_peers, help="directory entries that a peer keeps")
    attack.add_argument("--seed", type=int, default=0, help="all chance comes from it")
    options = parser.parse_args(argv)
    if options.command == "list":
        print("\n".join(SCENARIOS))
        return 0
    if options.command == "paper":
        if options.peers < papers.LEAST or options.cycles < 1:
            parser.error(f"--peers must be at least {papers.LEAST}, and --cycles at least 1")
        return _paper(options)
    if options.peers < 4:
        parser.error("--peers must be at least 4: with fewer there is nothing to cut in two")
    if options.command == "eclipse":
        return _eclipse(options)
    if options.command == "fuzz":
        return _fuzz(options.first, options.seeds, options.peers)
    kinds = {"all": [name for name in SCENARIOS if name not in ATTACKS], "attacks": ATTACKS}
    names = kinds.get(options.name, [options.name])
    return max(_run(name, options.peers, options.seed, options.seeds) for name in names)


def _run(name: str, peers: int, first: int, seeds: int) -> int:
    code = 0
    for seed in range(first, first + seeds):
        begin = time.perf_counter()
        outcome = play(name, peers, seed)
        took = time.perf_counter() - begin
        print(report(name, peers, seed, outcome), flush=True)
        print(f"  {took:.1f} s of real time, {outcome.world.events / took:,.0f} events a second", file=sys.stderr)
        code = max(code, bool(outcome.violations))
    return code


def _fuzz(first: int, seeds: int, peers: int) -> int:
    occurred: Counter[str] = Counter(dict.fromkeys((*fuzz.FAULTS, *fuzz.OUTCOMES), 0))
    bad, events, begin = 0, 0, time.perf_counter()
    for seed in range(first, first + seeds):
        result = fuzz.play(fuzz.draw(seed, peers))
        occurred.update({what: 1 for what, times in result.happened.items() if times})
        events += result.events
        if result.violations:
            bad += 1
            print(_failed(seed, peers, result), flush=True)
        if (seed - first) % 50 == 49:
            took = time.perf_counter() - begin
            print(f"  {seed - first + 1} of {seeds} seeds, {events / took:,.0f} events a second", file=sys.stderr)
    print(f"{seeds} seeds from {first} on, {peers} peers: {bad} violate the contract. Seeds with each:")
    for what, number in occurred.items():
        print(f"  {number:6} {what}")
    missing = [what for what, number in occurred.items() if not number]
    if missing:
        print(f"  did not occur: {', '.join(missing)}")
    return int(bool(bad or missing))


def _eclipse(options: argparse.Namespace) -> int:
    begin, config = time.perf_counter(), attrs.evolve(LAN, max_peers=options.max_peers)
    result = eclipse(options.peers, options.keys, options.ranges, options.seed, options.seconds, config)
    print(result.text())
    print(f"  {time.perf_counter() - begin:.1f} s of real time", file=sys.stderr)
    return int(not result.is_withstood)


def _paper(options: argparse.Namespace) -> int:
    begin = time.perf_counter()

    def progress(what: str) -> None:
        print(f"  {time.perf_counter() - begin:6.0f} s  {what}", file=sys.stderr, flush=True)

    tables = papers.run(options.peers, options.seed, options.cycles, progress, options.only or papers.PARTS)
    print("\n\n".join(table.text() for table in tables))
    found = papers.verdicts(tables)
    print("\n" + ("\n".join(f"NOT REACHED {what}" for what in found) or "All figures are as good as they are to be."))
    try:
        if options.json is not None:
            options.json.write_text(papers.as_json(tables) + "\n")
        if options.plots is not None:
            for path in draw(tables, options.plots):
                progress(f"drawn: {path}")
    except NoMatplotlib as error:
        print(error.__doc__, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Can't write {error.filename}: {error.strerror}.", file=sys.stderr)
        return 1
    return int(bool(found))


def _failed(seed: int, peers: int, result: fuzz.Result) -> str:
    short = fuzz.play(fuzz.shrink(result.plan))
    lines = [f"seed {seed}", *(f"  VIOLATED {violation}" for violation in result.violations[:SHOWN])]
    lines += ["  what is needed of it:", fuzz.describe(short.plan)]
    lines += [f"  VIOLATED {violation}" for violation in short.violations[:SHOWN]]
    lines += [f"  repeat it: python -m twisted_p2p.sim fuzz --first {seed} --seeds 1 --peers {peers}"]
    return "\n".join(lines)


if __name__ == "__main__":
    gc.set_threshold(GARBAGE_THRESHOLD)
    try:
        sys.exit(main())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
