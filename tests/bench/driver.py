"""Our place among the drivers of other systems, which measure the same for each on one machine.

    PYTHONPATH=DRIVERS python tests/bench/driver.py --n 8 [--per 1] [--scenarios single,many,latency,big,kill]

DRIVERS is the folder with `benchlib.py`, which plays the scenarios and prints one JSON object a line. Peers have the
default settings: TLS, signatures, and a log on disk. `python -m tests.bench.rivals` runs it beside the others.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchlib import Worker, main, now, payload  # type: ignore[import-not-found]  # it comes with the drivers
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from tests.bench.workers import bursts
from twisted_p2p import Node

BURST = 100
"""Messages that are broadcast in one turn where no rate is asked for; the other drivers do so, too."""
FOLDER = "BENCH_FOLDER"
"""The environment's name for where the peers keep their logs."""


class Peers(Worker):  # type: ignore[misc]  # it comes with the drivers
    """The peers of one process, on a reactor in a thread."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        super().__init__(cfg)
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.held: dict[int, Node] = {}
        threading.Thread(target=self.reactor.run, args=(False,), daemon=True).start()

    def start(self) -> dict[int, int]:
        """Let all listen; their ports."""
        return {number: blockingCallFromThread(self.reactor, self._start, number) for number in self.nodes}

    def _start(self, number: int) -> int:
        sink = self.sinks[number]

        def took(messages: list[Any]) -> None:
            for message in messages:
                sink.take(message.message)

        node = Node(self.reactor, genesis=number == 0, data_dir=f"{os.environ[FOLDER]}/{number}")
        node.on_messages(took)
        node.startService()
        self.held[number] = node
        return node.port

    def join(self, number: int, ports: dict[str, int]) -> None:
        """Begin to join through the genesis."""
        if number:
            self.reactor.callFromThread(self.held[number].join_network, "127.0.0.1", ports["0"])

    def peers(self, number: int) -> int:
        """How many others it knows."""
        return len(self.held[number].nodes_in_network) - 1

    def publish(self, number: int, run: str, count: int, size: int, rate: float) -> list[float]:
        """In the reactor's thread, as a program on Twisted does, and as the drivers of other event loops do."""
        plan = self._publish(number, run, count, size, rate)
        said: list[float] = blockingCallFromThread(self.reactor, Deferred.fromCoroutine, plan)
        return said

    async def _publish(self, number: int, run: str, count: int, size: int, rate: float) -> list[float]:
        """Each burst waits until the network has taken the one before it."""
        begin, broadcast = now(), self.held[number].broadcast_all
        async for numbers in bursts(self.reactor, count, 1 if rate else BURST, rate):
            await broadcast([payload(run, number, each, size) for each in numbers])
        return [begin, now()]


def run(folder: str) -> None:
    """Play the scenarios, or be one of their processes, with the logs in `folder`."""
    os.environ.setdefault(FOLDER, folder)
    main("twisted_p2p", lambda: f"on Twisted {version('twisted')}", "Python", Peers)


if __name__ == "__main__":
    if FOLDER in os.environ:
        run(os.environ[FOLDER])
    else:
        with tempfile.TemporaryDirectory() as made:
            run(made)
