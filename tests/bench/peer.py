"""One peer in a process of its own: commands come on standard input, answers go to standard output.

    python tests/bench/peer.py SYSTEM NUMBER FOLDER [TREE]

TREE is the folder whose `twisted_p2p` is used, where that is not the one of this suite.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if sys.argv[4:]:
    sys.path.insert(0, sys.argv[4])
    importlib.import_module("twisted_p2p")
    del sys.path[0]  # `tests` is ours

from twisted.internet.defer import Deferred

from tests.bench.ledger import Ledger, text
from tests.bench.relay import BareRelay
from tests.bench.systems import System
from tests.bench.workers import bursts, obey, say

_origin = attrgetter("origin")


class Ours:
    """A peer of ours, seen as `BareRelay` is."""

    def __init__(self, reactor: Any, number: int, took: Callable[[str, list[str]], object], **options: Any) -> None:
        from twisted_p2p import Node

        self.bundles = self.frames = 0
        self._took, self._known, self._wanted = took, 1, 0
        self._complete: Deferred[None] = Deferred()
        self.node = node = Node(reactor, genesis=number == 0, **options)
        self._count(node)
        node.on_messages(self._messages)
        node.on_change(self._changed)
        node.startService()
        self.port = node.port

    def _count(self, node: Any) -> None:
        """Count what the shell handles, chunk by chunk."""
        shell, received, sink = node.shell, node.shell.lines_received, node.shell.sink

        def lines_received(link: Any, lines: list[bytes]) -> None:
            self.frames += len(lines)
            received(link, lines)

        def told(action: Any) -> None:
            self.bundles += len(getattr(action, "bundles", ()))
            sink(action)

        shell.lines_received, shell.sink = lines_received, told

    @property
    def duplicates(self) -> int:
        """Bundles that came once more."""
        return int(self.node.shell.core.turn.counts["duplicate"])

    def _messages(self, messages: list[Any]) -> None:
        for origin, each in groupby(messages, _origin):
            self._took(origin, [message.message for message in each])

    def _changed(self, changed: Any) -> None:
        self._known += {"JOINED": 1, "LEFT": -1, "FAILED": -1, "FORGOTTEN": -1}.get(changed.kind.name, 0)
        self._check_known()

    def _check_known(self) -> None:
        if self._known == self._wanted and not self._complete.called:
            self._complete.callback(None)

    def join(self, ports: Sequence[int]) -> Deferred[None]:
        """Join through the genesis; fires once it knows all."""
        self._wanted = len(ports)
        if self.port != ports[0]:
            self.node.join_network("127.0.0.1", ports[0])
        self._check_known()
        return self._complete

    def broadcast(self, texts: list[str]) -> Deferred[Any]:
        """Publish them in one turn; fires when the network has taken them."""
        return self.node.broadcast_all(texts)


def make(reactor: Any, system: System, number: int, folder: Path, took: Callable[..., object]) -> Ours | BareRelay:
    """A peer of this system."""
    sync = system.synchronous
    if system.kind == "bare":
        path = folder / f"{number}.sqlite"
        return BareRelay(reactor, number, took, tls=system.tls, signed=system.signed, synchronous=sync, path=path)
    options: dict[str, Any] = {"plaintext": not system.tls}
    if sync is not None:
        options.update(data_dir=folder / f"{number}", synchronous=sync)
    if number >= LATE:
        from twisted_p2p import History

        options["history"] = History()
    return Ours(reactor, number, took, **options)


LATE = 1000
"""Peers from this number on come late, and want all that was said before."""


def work(system: System, number: int, folder: Path) -> None:
    """Live, and obey."""
    from twisted.internet import reactor

    clock: Any = reactor
    ledger = Ledger()
    peer = make(clock, system, number, folder, ledger.take)
    said = 0

    async def publish(command: dict[str, Any]) -> None:
        nonlocal said
        size, plan = command["size"], (command[name] for name in ("count", "burst", "rate"))
        async for numbers in bursts(clock, *plan):
            texts = [text(said + each, size) for each in range(len(numbers))]
            said += len(texts)
            await peer.broadcast(texts)

    def tell_usage(command: dict[str, Any]) -> None:
        say(
            usage=True,
            cpu=time.process_time(),
            bundles=peer.bundles,
            frames=peer.frames,
            duplicates=peer.duplicates,
            got=ledger.got,
            wrong=ledger.wrong,
            last=ledger.last,
        )

    def reset(command: dict[str, Any]) -> None:
        ledger.reset(command["timed"])
        say(reset=True)

    orders: dict[str, Callable[[dict[str, Any]], object]] = {
        "join": lambda command: peer.join(command["ports"]).addCallback(lambda _: say(join=time.monotonic())),
        "reset": reset,
        "publish": lambda command: Deferred.fromCoroutine(publish(command)),
        "usage": tell_usage,
        "delays": lambda command: say(delays=ledger.delays),
    }
    obey(orders, clock.stop)
    say(port=peer.port)
    clock.run()


if __name__ == "__main__":
    work(System(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
