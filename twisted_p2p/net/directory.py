"""The addresses of all peers, as an application sees them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.logger import Logger

from twisted_p2p.core.actions import Changed, Kind

Entry = dict[str, str | int]
"""{"ip_addr": ..., "port": ..., "peer": ...}"""


class PeerDirectory(Service):
    """Who is in the network, and at which address; it follows what the core tells, and passes it on."""

    log = Logger()
    name = "directory"

    def __init__(self) -> None:
        self._addresses: dict[str, tuple[str, int]] = {}
        self._neighbours: dict[str, None] = {}
        self._subscribers: list[Callable[[Changed], object]] = []

    def subscribe(self, callback: Callable[[Changed], object]) -> None:
        """Call `callback` with every change: of the directory, of the neighbours, of our own standing."""
        self._subscribers.append(callback)

    def set_own(self, peer: str, address: tuple[str, int]) -> None:
        """We ourselves are in it, too."""
        self._addresses[peer] = address

    def update(self, changed: Changed) -> None:
        """Take in a change, then tell it."""
        if changed.kind is Kind.JOINED:
            self._addresses[changed.peer] = (changed.ip_addr, changed.port)
        elif changed.kind in (Kind.LEFT, Kind.FAILED, Kind.FORGOTTEN):
            self._addresses.pop(changed.peer, None)
        elif changed.kind is Kind.LINK_UP:
            self._neighbours[changed.peer] = None
        elif changed.kind is Kind.LINK_DOWN:
            self._neighbours.pop(changed.peer, None)
        for callback in list(self._subscribers):
            try:
                callback(changed)
            except Exception:  # noqa: BLE001  # an application's callback may raise anything, and stops nothing
                self.log.failure("A callback for changes failed")

    def nodes(self) -> list[Entry]:
        """Every peer in the network, ourselves included."""
        return [_entry(peer, address) for peer, address in self._addresses.items()]

    def neighbours(self) -> list[Entry]:
        """The peers that we are linked with."""
        return [_entry(peer, self._addresses.get(peer, ("", 0))) for peer in self._neighbours]


def _entry(peer: str, address: tuple[str, int]) -> Entry:
    return {"ip_addr": address[0], "port": address[1], "peer": peer}
