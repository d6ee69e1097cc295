"""What a delivery costs, how fast it is, and what a network costs when nothing happens, with processes and sockets.

    python -m tests.bench [--peers 8] [--rounds 3] [--scenarios one all ...] [--systems bare ours ours:plaintext ...]
    python -m tests.bench --parts                    what TLS, the log and the signatures cost
    python -m tests.bench --compare BEFORE AFTER     two commits in turn, or two files that --json has written

A delivery is one message handed to the application of one peer other than the publisher. CPU is that of all processes,
user and system. `bare` is a relay of the same libraries without a protocol (tests/bench/relay.py): the limit. In
brackets stands how many times as much as that. RMR: bundles that came twice, a bundle that came. p50 and p99 are the
time to the last peer. The join counts from all processes up to all knowing all. `wrong` counts what came out of order
or twice. Each system plays each scenario in each round once, in turn; the figures are medians, and the spread is that
of the CPU, or of p50, from the lowest to the highest. Trust the ratios: they come from one machine in one run. Linux
only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.meters import be_alone, machine
from tests.bench.network import Network
from tests.bench.report import Row, comparison, plot, tables, write
from tests.bench.scenarios import SCENARIOS, Load
from tests.bench.systems import System

BARE = "bare"
PARTS = (BARE, "bare:plaintext", "bare:memory", "bare:unsigned", "bare:plaintext,memory,unsigned")
PARTS += ("ours", "ours:plaintext", "ours:memory", "ours:plaintext,memory")
ROOT = Path(__file__).resolve().parents[2]


def measure(options: argparse.Namespace, systems: list[System]) -> list[Row]:
    """Play everything in turn."""
    load = Load(options.messages, options.size, options.burst, options.idle)
    rows: list[Row] = []
    for number in range(options.rounds):
        for scenario in options.scenarios:
            for system in systems:
                if scenario == "late" and system.kind == BARE:
                    continue
                with Network(system, options.peers, options.folder) as network:
                    join = network.join()
                    found = SCENARIOS[scenario](network, load)
                rows.append({"round": number, "scenario": scenario, "system": system.name, **found, "join_s": join})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def commit(folder: Path) -> str:
    """The commit that is checked out there, with a plus if something was changed."""
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def compare(options: argparse.Namespace) -> list[Row]:
    """Two commits in turn, each in a tree of its own, or two files; prints how the second stands to the first."""
    first, second = options.compare
    if Path(first).is_file() and Path(second).is_file():
        rows = [
            {**row, "system": name}
            for name in (first, second)
            for row in json.loads(Path(name).read_text())["rows"]
            if row["system"] == "ours"
        ]
    else:
        with tempfile.TemporaryDirectory() as folder:
            systems = []
            for number, revision in enumerate((first, second)):
                tree = f"{folder}/{number}"
                subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, revision], cwd=ROOT, check=True)
                systems.append(System(f"ours@{revision}", tree))
            try:
                rows = measure(options, systems)
            finally:
                for system in systems:
                    subprocess.run(["git", "worktree", "remove", "--force", system.tree], cwd=ROOT, check=True)
            first, second = (system.name for system in systems)
    print(comparison(rows, first, second))
    return rows


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """What is to be done."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = Load()
    parser.add_argument("--peers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=[*SCENARIOS])
    parser.add_argument("--systems", nargs="+", type=System, default=[System(BARE), System("ours")])
    parser.add_argument("--parts", action="store_true", help="many systems: with and without each part")
    parser.add_argument("--messages", type=int, default=defaults.messages, help="at full speed, of all together")
    parser.add_argument("--size", type=int, default=defaults.size, help="bytes of a text")
    parser.add_argument("--burst", type=int, default=defaults.burst, help="messages that are broadcast in one turn")
    parser.add_argument("--idle", type=float, default=defaults.idle, help="seconds over which idle cost is measured")
    parser.add_argument("--folder", help="for the logs, on the disk to be measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there, too")
    parser.add_argument("--write", metavar="FILE:MARK", help="put the tables between these marks of a document")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="and a picture there")
    parser.add_argument("--compare", nargs=2, metavar="COMMIT|FILE", help="how the second stands to the first")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print; 1 if something was lost, or out of order."""
    options = parse(arguments)
    if not be_alone():
        print("wire bytes are those of all on loopback: no network of its own could be had", file=sys.stderr)
    if options.compare:
        rows = compare(options)
    else:
        systems = [System(name) for name in PARTS] if options.parts else options.systems
        rows = measure(options, systems)
        text = f"{tables(rows, BARE)}\n\n{options.peers} peers, commit {commit(ROOT)}, {machine()}."
        print(text)
        if options.write:
            write(options.write, text)
    if options.json:
        found: dict[str, Any] = {"machine": machine(), "commit": commit(ROOT), "rows": rows}
        found["options"] = {name: value for name, value in vars(options).items() if isinstance(value, int | float)}
        options.json.write_text(json.dumps(found))
    if options.plot:
        plot(rows, options.plot)
    return 1 if any(row.get("lost") or row.get("wrong") for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
