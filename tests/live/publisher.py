"""A peer that broadcasts numbers, and notes of each that it is about to, and that it was accepted.

    python -m tests.live.publisher NAME PORT NETWORK RATE [HOST:PORT]

Its data directory is NAME.data, its events are appended to NAME.events. It broadcasts 0, 1, 2, ... RATE times a second,
one after the other, and appends to NAME.said "begun N" before each call and "accepted N" when its Deferred has fired;
killed and started again it goes on behind the last number that it had begun, so it calls for each one once. Where the
log takes nothing it appends "refused N", and tries the same number again. In its first life it waits for SIGUSR2, after
SIGUSR1 it says no more; Ctrl-C ends it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.log import startLogging

from twisted_p2p import LogError, Node
from twisted_p2p.events import EventsWriter

RETRY = 0.1


class Said:
    """The file of what was said. What was written outlives kill -9, so nothing waits for the disk."""

    def __init__(self, path: Path) -> None:
        self.is_new = not path.exists()
        words = path.read_text(encoding="ascii").split() if path.exists() else []
        self.next = max((int(number) + 1 for number in words[1::2]), default=0)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, word: str, number: int) -> None:
        """Append a line, in one write, so that it is there as a whole."""
        os.write(self._fd, b"%s %d\n" % (word.encode(), number))


async def talk(clock: Any, node: Node, said: Said, rate: float, told: Deferred[None]) -> None:
    """Broadcast numbers, for ever."""
    await node.when_ready()
    if said.is_new:
        await told
    number = said.next
    while True:
        said.note("begun", number)
        try:
            await node.broadcast(number)
        except LogError:
            said.note("refused", number)
            await deferLater(clock, RETRY)
            continue
        said.note("accepted", number)
        number += 1
        await deferLater(clock, 1 / rate)


def main(name: str, port: str, network: str, rate: str, join: str = "") -> None:
    """Run until Ctrl-C."""
    from twisted.internet import reactor

    clock: Any = reactor
    startLogging(sys.stdout, setStdout=False)
    host, _, host_port = join.rpartition(":")
    node = Node(
        clock,
        port=int(port),
        network=network,
        genesis=not join,
        join=[(host, int(host_port))] if join else [],
        data_dir=f"{name}.data",
    )
    events = EventsWriter(node, clock, f"{name}.events", resume=True)
    events.open()
    node.startService()
    node.when_ready().addCallback(lambda _: events.ready())
    told: Deferred[None] = Deferred()
    talking = Deferred.fromCoroutine(talk(clock, node, Said(Path(f"{name}.said")), float(rate), told))
    talking.addErrback(lambda failure: None)
    signal.signal(signal.SIGUSR2, lambda *_: clock.callFromThread(told.callback, None))
    signal.signal(signal.SIGUSR1, lambda *_: clock.callFromThread(talking.cancel))

    async def stop() -> None:
        talking.cancel()
        await node.stopService()
        events.close()

    clock.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    clock.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
