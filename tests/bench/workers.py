"""Processes that a benchmark starts: commands go to them as JSON lines, and answers come back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any


class Worker:
    """A process, seen from outside.

    Args:
        script: its program; it calls `obey`.
        words: the program's arguments.
    """

    def __init__(self, script: str, *words: object) -> None:
        argv = [sys.executable, script, *map(str, words)]
        self.began = time.monotonic()
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, **command: object) -> None:
        """Send a command: `do` says what."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def hear(self, key: str = "") -> dict[str, Any]:
        """The next answer, or the next one with this key."""
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise EOFError(f"{self.process.args!r} has ended")
            answer: dict[str, Any] = json.loads(line)
            if not key or key in answer:
                return answer

    def ask(self, **command: object) -> dict[str, Any]:
        """Send a command, and wait for what answers it by name."""
        self.tell(**command)
        return self.hear(str(command["do"]))

    def memory(self) -> dict[str, float]:
        """MiB: its proportional set size now, and the most that was resident."""
        found = {}
        for file, name, ours in (("smaps_rollup", "Pss:", "pss_mib"), ("status", "VmHWM:", "peak_mib")):
            for line in Path(f"/proc/{self.process.pid}/{file}").read_text().splitlines():
                if line.startswith(name):
                    found[ours] = int(line.split()[1]) / 1024
        return found

    def end(self) -> None:
        """Let it end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait(30)


def say(**answer: object) -> None:
    """In a worker: answer."""
    print(json.dumps(answer), flush=True)


def obey(orders: dict[str, Callable[[dict[str, Any]], object]], end: Callable[[], object]) -> None:
    """In a worker: call what an order is named after with the command, and `end` once there are no more."""
    from twisted.internet.protocol import connectionDone
    from twisted.internet.stdio import StandardIO
    from twisted.protocols.basic import LineOnlyReceiver
    from twisted.python.failure import Failure

    class Commands(LineOnlyReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:
            command = json.loads(line)
            orders[command["do"]](command)

        def connectionLost(self, reason: Failure = connectionDone) -> None:
            end()

    StandardIO(Commands())


async def bursts(clock: Any, count: int, burst: int, rate: float) -> AsyncIterator[range]:
    """The numbers of so many messages, so many at a time, each time when it is due.

    Args:
        clock: the reactor.
        rate: messages a second; 0: whenever it is asked for the next ones.
    """
    from twisted.internet.task import deferLater

    begin = time.monotonic()
    for first in range(0, count, burst):
        if rate:
            await deferLater(clock, max(0.0, begin + first / rate - time.monotonic()), lambda: None)
        yield range(first, min(first + burst, count))


class Probe:
    """The longest turns of an epoll reactor, from one wait for events to the next; what does not count is the wait.

    On a busy machine a turn is interrupted by other processes: `cpu` has what it used itself.
    """

    def __init__(self, reactor: Any) -> None:
        self._poller = reactor._poller
        self._wall, self._cpu = time.monotonic(), time.thread_time()
        self.reset()
        reactor._poller = self

    def reset(self) -> None:
        """Begin anew."""
        self.wall = self.cpu = 0.0
        self.over = 0

    def poll(self, *arguments: Any) -> Any:
        """Wait for events."""
        wall, cpu = time.monotonic() - self._wall, time.thread_time() - self._cpu
        self.wall, self.cpu = max(self.wall, wall), max(self.cpu, cpu)
        self.over += wall > 0.05
        try:
            return self._poller.poll(*arguments)
        finally:
            self._wall, self._cpu = time.monotonic(), time.thread_time()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def said(self) -> dict[str, float]:
        """What it has found: milliseconds, and how many turns were over 50."""
        return {"turn_ms": self.wall * 1e3, "turn_cpu_ms": self.cpu * 1e3, "turns_over_50_ms": self.over}
