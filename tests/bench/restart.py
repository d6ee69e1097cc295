"""Coming back: how long a start takes against the size of the log, and what it costs to catch up.

    python tests/bench/restart.py [--start 10000 100000 1000000] [--behind 100000] [--bundle 1 64] [--rounds 3]
                                  [--synchronous normal] [--folder DIR] [--json]

Start: a peer with so many messages in its log is started as a process, beside one other that is level with it. Seconds
until it listens, and until it is in the network again; "killed" after a kill -9. "dropping": its retention is then so
low that half of its log is too much; the longest turn while that is dropped, and how long it takes.

Catch-up: three peers; one comes back that lacks so many messages, another one holds them, and the third broadcasts 20
messages a second all the time. Delays are those of what the third one sends after the first one was back. Core-seconds
are those of the one that catches up, and of all three. Memory is in MiB: proportional set size before and after, and
the most that was ever resident.

A turn is what the reactor does between two waits for events; the longest one, in wall time and in CPU of its own.
All bundles are signed, as they would be. Linux only. `--bundle`: messages of 100 bytes in a bundle.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import attrs

from tests.bench.meters import machine
from tests.bench.workers import Probe, Worker, obey, say
from twisted_p2p.core.config import LAN
from twisted_p2p.core.wire import bundle_bytes, bundle_line
from twisted_p2p.identity import Ed25519Signer
from twisted_p2p.interfaces import Stream
from twisted_p2p.messages import Encoder
from twisted_p2p.store.datadir import DataDir
from twisted_p2p.store.sqlitelog import SqliteLog

ORIGINS = 4
EPOCH = 1_700_000_000_000
ENDLESS = attrs.evolve(LAN, retention_age=1e12, retention_count=1 << 50, retention_bytes=1 << 60)
RATE = 20.0

Bundle = tuple[Stream, int, bytes]


# --- in the process of a peer


class Ledger:
    """What the application of a peer was handed: every message once, in order? `origin`: whose delays count."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._next: dict[Stream, int] = {}
        self.old = self.live = self.wrong = 0
        self.since, self.delay = 0.0, 0.0
        self.wanted = -1

    def took(self, messages: list[Any]) -> None:
        """Check them."""
        now = self._seconds()
        for message in messages:
            stream, number = (message.origin, message.epoch), int(message.id[48:], 16)
            self.wrong += number != self._next.get(stream, 0)
            self._next[stream] = number + 1
            if message.epoch == EPOCH:
                self.old += 1
            else:
                self.live += 1
                if message.time > self.since > 0:
                    self.delay = max(self.delay, now - message.time)
        if 0 <= self.wanted <= self.old:
            self.wanted = -1
            say(caught_up=time.monotonic(), cpu=time.process_time())


def timed_commits(spent: dict[str, float]) -> None:
    """Note what commits take."""
    commit = SqliteLog.commit

    @functools.wraps(commit)
    def timed(log: SqliteLog) -> None:
        begin = time.monotonic()
        commit(log)
        spent["commit_ms"] = max(spent["commit_ms"], (time.monotonic() - begin) * 1e3)

    SqliteLog.commit = timed  # type: ignore[method-assign]


def work(options: argparse.Namespace) -> None:
    """One peer: commands come on standard input, answers go to standard output."""
    from twisted.internet import reactor as any_reactor
    from twisted.internet.task import LoopingCall

    from twisted_p2p import Node

    reactor: Any = any_reactor
    spent = {"commit_ms": 0.0}
    timed_commits(spent)
    config = ENDLESS if options.keep < 0 else attrs.evolve(ENDLESS, retention_count=options.keep)
    node = Node(
        reactor,
        port=options.port,
        genesis=not options.join,
        join=[("127.0.0.1", port) for port in options.join],
        config=config,
        data_dir=options.data_dir,
        synchronous=options.synchronous.upper(),
    )
    ledger = Ledger(reactor.seconds)
    node.on_messages(ledger.took)
    node.on_gap(lambda gap: say(gap=str(gap)))
    talk = LoopingCall(lambda: node.broadcast("x" * 100))

    def expect(command: dict[str, Any]) -> None:
        ledger.wanted = command["count"]
        ledger.took([])
        say(expect=True)

    def begin(command: dict[str, Any]) -> None:
        probe.reset()
        spent["commit_ms"] = 0.0
        ledger.since = reactor.seconds()
        say(begin=True, cpu=time.process_time())

    def tell(command: dict[str, Any]) -> None:
        found = {"live": ledger.live, "old": ledger.old, "wrong": ledger.wrong, "delay_ms": ledger.delay * 1e3}
        say(tell=True, cpu=time.process_time(), held=len(node.shell.message_log), **found, **spent, **probe.said())

    orders: dict[str, Callable[[dict[str, Any]], object]] = {
        "expect": expect,
        "begin": begin,
        "tell": tell,
        "talk": lambda command: talk.start(1 / RATE),
        "hush": lambda command: (talk.stop(), say(hush=True)),
        "leave": lambda command: node.stopService().addBoth(lambda _: reactor.stop()),
    }
    probe = Probe(reactor)
    obey(orders, lambda: reactor.running and reactor.stop())
    node.startService()
    say(listens=time.monotonic(), port=node.port)
    node.when_ready().addCallback(lambda _: say(ready=time.monotonic(), cpu=time.process_time()))
    reactor.run()


# --- outside


class Peer:
    """A peer with a data directory, that can be started again and again at the same port."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self.folder, self._synchronous, self._port = folder, synchronous, 0
        self.worker: Worker

    def start(self, *join: Peer, keep: int = -1) -> dict[str, float]:
        """Start it; seconds until it listens, and until it is in the network."""
        words = ["--work", "--data-dir", self.folder, "--synchronous", self._synchronous, "--port", self._port]
        ports = [peer._port for peer in join]
        self.worker = Worker(__file__, *words, "--keep", keep, *(["--join", *ports] if ports else []))
        listens = self.worker.hear("listens")
        self._port = listens["port"]
        ready = self.worker.hear("ready")
        began = self.worker.began
        return {"listens_s": listens["listens"] - began, "ready_s": ready["ready"] - began, "cpu_s": ready["cpu"]}

    def leave(self) -> None:
        """Stop it as a user does."""
        self.worker.tell(do="leave")
        self.worker.process.wait(30)


def bundles(count: int, size: int) -> Iterator[Bundle]:
    """So many messages, by some origins in turn, signed; `size` to a bundle."""
    signers, encoders = [Ed25519Signer() for _ in range(ORIGINS)], [Encoder(1 << 20, 1 << 20) for _ in range(ORIGINS)]
    text, made, seq = "x" * 100, 0, 0
    while made < count:
        seq += 1
        for signer, encoder in zip(signers, encoders, strict=True):
            part = min(size, count - made)
            if part > 0:
                body = b"[%b]" % b",".join(encoder.groups(encoder.prepare(text, 1.0) for _ in range(part)))
                sig = signer.sign(bundle_bytes("p2p", signer.peer, EPOCH, seq, body))
                yield (signer.peer, EPOCH), seq, bundle_line(signer.peer, EPOCH, seq, sig, body)
                made += part


def fill(holder: Path, knows: list[Path], count: int, size: int) -> float:
    """Have them in the log of a peer that does not run, and their positions in those of others; bytes a message."""
    folder = DataDir.open(holder)
    log = folder.log(ENDLESS, "OFF")
    log.load()
    source, positions = bundles(count, size), dict[Stream, int]()
    while turn := list(islice(source, 1000)):
        for stream, seq, line in turn:
            log.append(stream, seq, line, time.time())
            positions[stream] = seq + 1
            log.move(stream, seq + 1)
        log.commit()
    log.close()
    folder.close()
    for path in knows:
        other = DataDir.open(path)
        log = other.log(ENDLESS, "OFF")
        log.load()
        for stream, position in positions.items():
            log.move(stream, position)
        log.commit()
        log.close()
        other.close()
    return (holder / "messages.sqlite").stat().st_size / count


def network(folder: Path, names: str, synchronous: str) -> list[Peer]:
    """Peers that have met, and do not run."""
    peers = [Peer(folder / name, synchronous) for name in names]
    for number, peer in enumerate(peers):
        peer.start(*peers[:1] if number else ())
    time.sleep(1.5)
    for peer in reversed(peers):
        peer.leave()
    return peers


def starting(folder: Path, count: int, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """A start with so much in the log."""
    other, peer = network(folder, "ab", options.synchronous)
    found: dict[str, Any] = {"messages": count, "a_bundle": size}
    found["disk_bytes"] = fill(peer.folder, [other.folder], count, size) if count else 0.0
    other.start()
    peer.start(other)
    for name, stop in (("", peer.leave), ("killed_", lambda: peer.worker.kill())):
        runs = []
        for _ in range(options.rounds):
            stop()
            runs.append(peer.start(other))
        found.update({name + key: statistics.median(run[key] for run in runs) for key in runs[0]})
    found["pss_mib"] = peer.worker.memory()["pss_mib"]
    peer.leave()
    keep = count // size // 2
    begin = time.monotonic()
    peer.start(other, keep=keep)
    while (said := peer.worker.ask(do="tell"))["held"] > keep:
        time.sleep(0.2)
    found["dropping_s"] = time.monotonic() - begin
    found["dropping_turn_ms"], found["dropping_turn_cpu_ms"] = said["turn_ms"], said["turn_cpu_ms"]
    peer.leave()
    other.leave()
    return found


def catching_up(folder: Path, count: int, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """One that comes back, one that serves, one that talks."""
    talker, server, late = network(folder, "abc", options.synchronous)
    fill(server.folder, [talker.folder], count, size)
    talker.start()
    server.start(talker)
    running = {"talker": talker, "server": server}
    talker.worker.tell(do="talk")
    time.sleep(2)
    cpu = {name: peer.worker.ask(do="begin")["cpu"] for name, peer in running.items()}
    memory = {name: peer.worker.memory()["pss_mib"] for name, peer in running.items()}
    running["late"] = late
    begun = late.start(talker)
    cpu["late"] = late.worker.ask(do="begin")["cpu"]
    memory["late"] = late.worker.memory()["pss_mib"]
    late.worker.ask(do="expect", count=count)
    seconds = late.worker.hear("caught_up")["caught_up"] - late.worker.began - begun["listens_s"]
    used = {name: peer.worker.ask(do="tell")["cpu"] - cpu[name] for name, peer in running.items()}
    used["late"] = late.worker.ask(do="tell")["cpu"] - begun["cpu_s"]
    time.sleep(2)
    talker.worker.ask(do="hush")
    time.sleep(2)
    said = {name: peer.worker.ask(do="tell") for name, peer in running.items()}
    found: dict[str, Any] = {"messages": count, "a_bundle": size, "seconds": seconds, "a_second": count / seconds}
    per = 500_000 / count
    found["core_s_per_500000"], found["core_s_all"] = used["late"] * per, sum(used.values()) * per
    found["core_s_server"] = used["server"] * per
    found["lost"] = count - said["late"]["old"] + said["server"]["live"] - said["late"]["live"]
    found["wrong"] = said["late"]["wrong"] + said["server"]["wrong"]
    found["live_at_server"], found["live_at_late"] = said["server"]["live"], said["late"]["live"]
    for name, peer in running.items():
        if name != "talker":
            found[f"{name}_delay_ms"] = said[name]["delay_ms"]
        for key in ("turn_ms", "turn_cpu_ms", "turns_over_50_ms", "commit_ms"):
            found[f"{name}_{key}"] = said[name][key]
        after = peer.worker.memory()
        found[f"{name}_pss_before"], found[f"{name}_pss_after"] = memory[name], after["pss_mib"]
        found[f"{name}_peak"] = after["peak_mib"]
    for peer in (late, server, talker):
        peer.leave()
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """A column for each of them."""
    for key in rows[0]:
        cells = [f"{row[key]:,.4g}" if isinstance(row[key], float) else f"{row[key]:,}" for row in rows]
        print(f"{key:>26}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
    print()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], metavar="MESSAGES")
    parser.add_argument("--behind", type=int, nargs="*", default=[100_000], metavar="MESSAGES")
    parser.add_argument("--bundle", type=int, nargs="+", default=[1, 64], metavar="MESSAGES")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--synchronous", choices=["off", "normal", "full"], default="normal")
    parser.add_argument("--folder", help="for the data directories, on the disk to be measured")
    parser.add_argument("--json", action="store_true")
    for name in ("--work", "--data-dir"):
        parser.add_argument(name, help=argparse.SUPPRESS, **({"action": "store_true"} if name == "--work" else {}))
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--join", type=int, nargs="*", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=int, default=-1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options)
        return
    found: dict[str, Any] = {"machine": machine()}
    for name, counts, measure in (("start", options.start, starting), ("behind", options.behind, catching_up)):
        found[name] = []
        for count in counts:
            for size in options.bundle:
                with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                    found[name].append(measure(Path(folder), count, size, options))
        if found[name] and not options.json:
            show(found[name])
    print(json.dumps(found) if options.json else found["machine"])


if __name__ == "__main__":
    main()
