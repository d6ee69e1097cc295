"""What runs a PeerCore: sockets in `net`, virtual time in `sim`. A Node sits on either."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from twisted_p2p.core.actions import Banned, Changed, Deliver, Fork, Gap

Told = Deliver | Gap | Fork | Changed
"""What an application is told."""


@attrs.define
class SteadyClock:
    """Makes of a clock that may step one that never runs backwards."""

    last: float = 0.0
    offset: float = 0.0

    def read(self, seconds: float) -> float:
        """The steady time where the clock now reads `seconds`."""
        now = seconds + self.offset
        if now < self.last:
            self.offset += self.last - now
            now = self.last
        self.last = now
        return now


class IPeerShell(Interface):
    """Runs a PeerCore: stamps the time, performs its actions, keeps its one timer."""

    core = Attribute("The PeerCore that this shell runs.")
    clock = Attribute("Its IReactorTime.")
    peer = Attribute("The peer's id.")
    port = Attribute("The port that it listens on.")
    sink = Attribute("Called with each Deliver, Gap, Fork and Changed.")
    address = Attribute("(host, port) under which others reach this peer.")

    def start() -> None:
        """Listen, and be a network of one, or what the log says; raises CannotListen, LogError."""

    def broadcast(encoded: Sequence[bytes]) -> None:
        """Broadcast groups of messages, each one JSON object as it travels, in this order; raises LogError."""

    def join(addresses: Sequence[tuple[str, int]], genesis: bool = False) -> None:
        """Join through any of `addresses`, retrying until it works. `genesis`: be ready alone, too."""

    def bans() -> list[Banned]:
        """Who is not let in for a while."""

    def lift(subject: str) -> bool:
        """End the ban of a peer or an IP address; whether there was one; raises DataDirError."""

    def reload() -> None:
        """Read again who may join, and end the links that are not admitted any more; raises AccessError."""

    def leave() -> Deferred[None]:
        """Leave gracefully and close everything, bounded in time."""
