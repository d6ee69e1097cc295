"""A network of processes on this machine, seen from outside."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from typing import Any

import attrs

from tests.bench.meters import loopback_bytes, memory
from tests.bench.peer import LATE
from tests.bench.systems import System
from tests.bench.workers import Worker

PATIENCE = 30.0
"""Seconds in which nothing more comes to a peer; then what it lacks counts as lost."""
POLL = 0.02
"""Seconds from one look at a peer to the next."""


@attrs.frozen
class Usage:
    """What all peers together have used, and counted, so far."""

    at: float
    cpu: float
    wire: int
    bundles: int
    frames: int
    duplicates: int


class Network:
    """So many peers of a system, each in a process of its own. A context manager: at the end they are ended.

    Args:
        folder: for their logs, on the disk to be measured.
    """

    def __init__(self, system: System, peers: int, folder: str | None = None) -> None:
        self.system = system
        self._folder = tempfile.TemporaryDirectory(dir=folder)
        self.workers: list[Worker] = []
        self.ports: list[int] = []
        try:
            self.workers = [self._start(number) for number in range(peers)]
            self.ports = [worker.hear("port")["port"] for worker in self.workers]
        except BaseException:
            self.end()
            raise

    def _start(self, number: int) -> Worker:
        tree = [self.system.tree] if self.system.tree else []
        return Worker("tests/bench/peer.py", self.system.name, number, self._folder.name, *tree)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End all processes, and forget their logs."""
        for worker in self.workers:
            worker.kill()
        self._folder.cleanup()

    def join(self) -> float:
        """Seconds from all processes up to all knowing all."""
        begin = time.monotonic()
        for worker in self.workers:
            worker.tell(do="join", ports=self.ports)
        return max(worker.hear("join")["join"] for worker in self.workers) - begin

    def join_late(self) -> Worker:
        """One more process, which is told to join, and what it was handed is counted from its start."""
        worker = self._start(LATE)
        self.workers.append(worker)
        self.ports.append(worker.hear("port")["port"])
        return worker

    def usage(self) -> Usage:
        """Of all of them."""
        for worker in self.workers:
            worker.tell(do="usage")
        said = [worker.hear("usage") for worker in self.workers]
        names = ("cpu", "bundles", "frames", "duplicates")
        return Usage(at=time.monotonic(), wire=loopback_bytes(), **{n: sum(one[n] for one in said) for n in names})

    def memory(self) -> float:
        """MiB a peer."""
        return sum(memory(worker.process.pid) for worker in self.workers) / len(self.workers)

    def publish(self, plan: dict[int, int], size: int, burst: int, rate: float = 0.0) -> dict[str, Any]:
        """Let the peers in `plan` publish so many messages each, and wait until they are everywhere.

        Args:
            rate: messages a second of each; 0: as fast as the network takes them.
        Returns:
            What was measured; `p50_ms`, `p99_ms`, to the last peer, only where one publishes at a rate.
        """
        total = sum(plan.values())
        timed = bool(rate) and len(plan) == 1
        for worker in self.workers:
            worker.ask(do="reset", timed=timed)
        before, begin = self.usage(), time.monotonic()
        for number, count in plan.items():
            self.workers[number].tell(do="publish", count=count, size=size, burst=burst, rate=rate)
        due = [total - plan.get(number, 0) for number in range(len(self.workers))]
        reports = wait(self.workers, due)
        after = self.usage()
        got = sum(one["got"] for one in reports)
        wall = max(one["last"] for one in reports) - begin
        bundles = after.bundles - before.bundles
        found = {
            "messages": total,
            "a_second": got / wall,
            "cpu_us": (after.cpu - before.cpu) / max(1, got) * 1e6,
            "wire": (after.wire - before.wire) / max(1, got),
            "rmr": (after.duplicates - before.duplicates) / max(1, bundles),
            "a_bundle": got / max(1, bundles),
            "lost": sum(due) - got,
            "wrong": sum(one["wrong"] for one in reports),
        }
        if timed:
            found.update(self._latency())
        return found

    def _latency(self) -> dict[str, float]:
        """Of the last run, milliseconds from the publisher to the last peer that had a message."""
        worst: dict[str, float] = {}
        for worker in self.workers:
            for number, delay in worker.ask(do="delays")["delays"].items():
                worst[number] = max(worst.get(number, 0.0), delay)
        delays = sorted(worst.values())
        return {"p50_ms": percentile(delays, 50) * 1e3, "p99_ms": percentile(delays, 99) * 1e3}


def wait(workers: Sequence[Worker], due: Sequence[int]) -> list[dict[str, Any]]:
    """Until each has got so many texts, or nothing more comes; the last that each said of itself."""
    reports = []
    for worker, count in zip(workers, due, strict=True):
        got, end = -1, 0.0
        while (report := worker.ask(do="usage"))["got"] < count:
            if report["got"] > got:
                got, end = report["got"], time.monotonic() + PATIENCE
            elif time.monotonic() > end:
                break
            time.sleep(POLL)
        reports.append(report)
    return reports


def percentile(values: list[float], percent: float) -> float:
    """Of sorted values, the one that so many per cent are not above."""
    return values[min(len(values) - 1, int(len(values) * percent / 100))]
