"""The shell of one simulated peer, and what may happen to its process."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_p2p.core.actions import Actions, Bundle, Changed, Deliver, Dial, Finished, Gap, Hangup, Write
from twisted_p2p.core.config import Config
from twisted_p2p.core.peer import PeerCore
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.interfaces import ISigner, Stream
from twisted_p2p.shell import IPeerShell, SteadyClock, Told

if TYPE_CHECKING:
    from twisted_p2p.sim.world import Call, Connection, World

Address = tuple[str, int]
_ROUNDING = 1e-6
"""Seconds that a clock which runs fast or slow may be misread by: a float of a time since 1970 is no finer."""


@implementer(IPeerShell)
class SimPeer:
    """The shell of one simulated peer. What the application is told is kept: `received`, `gaps`, `changes`."""

    def __init__(self, world: World, name: str, address: Address, config: Config, signer: ISigner) -> None:
        self.world, self.name, self.address = world, name, address
        self.clock, self.port = world, address[1]
        rng = random.Random(f"{world.seed} {name}")
        self.log = MemoryLog(config)
        self.core = PeerCore(
            config=config, network=world.network, signer=signer, verifier=world.verifier, log=self.log, rng=rng
        )
        self.peer = signer.peer
        self.connections: dict[int, Connection] = {}
        self.sink: Callable[[Told], object] = lambda told: None
        self.received: list[Bundle] = []
        self.gaps: list[Gap] = []
        self.changes: list[Changed] = []
        self.running = self.frozen = self.finished = False
        self.clock_error = 0.0
        """Seconds by which its wall clock is wrong; it may step at any time."""
        self._drift, self._drifts_since = 0.0, world.now
        self.read_rate = 0.0
        """Bytes that it reads in a second; 0: all that come."""
        self.said: list[tuple[float, bytes]] = []
        """When it broadcast what."""
        self.places: dict[bytes, tuple[Stream, range]] = {}
        """The stream of each of these, and the bundles in one of which it is."""
        self.member_since: float | None = None
        """When it became a member, in the world's time."""
        self._since: float | None = None
        self._steady = SteadyClock()
        self._unread: deque[tuple[int, Callable[[], object]]] = deque()
        """What has arrived at a slow reader, and how many bytes each is."""
        self.left: Deferred[None] = Deferred()
        self._waiting: list[Callable[[], object]] = []
        self._timer: Call | None = None

    @property
    def stream(self) -> Stream:
        """What it broadcasts."""
        return self.core.spread.own

    def __repr__(self) -> str:
        return f"<{self.name} {self.peer[:6]}>"

    # --- what an application does

    def start(self) -> None:
        """Listen, and be a network of one."""
        self.running = True
        self.world.listening[self.address] = self
        self.do(lambda now: self.core.start(self.address, now))

    def join(self, addresses: Sequence[Address], genesis: bool = False) -> None:
        """Join through these addresses."""
        self.do(lambda now: self.core.join(addresses, now, genesis))

    def broadcast(self, encoded: Sequence[bytes]) -> None:
        """Broadcast encoded messages; a stopped process says nothing."""
        if self.running and not self.frozen:
            self.said += [(self.world.now, message) for message in encoded]
            stream = self.stream
            first = self.core.positions.of(stream)
            self.do(lambda now: self.core.broadcast(list(encoded), now))
            self.places.update(dict.fromkeys(encoded, (stream, range(first, self.core.positions.of(stream)))))

    def leave(self) -> Deferred[None]:
        """Leave gracefully."""
        self.do(lambda now: self.core.leave(now))
        return self.left

    # --- what happens to a process

    def kill(self) -> None:
        """As by kill -9: the kernel closes the sockets."""
        if not self.running:
            return
        self.running = False
        self.world.listening.pop(self.address, None)
        for link, connection in list(self.connections.items()):
            self.world.close(connection, self, link)
        self.connections = {}

    def freeze(self) -> None:
        """As by SIGSTOP: connections stay, nothing is read, no timer fires."""
        self.frozen = True

    def thaw(self) -> None:
        """As by SIGCONT."""
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()
        self._set_timer()

    def drift(self, rate: float) -> None:
        """From now on its clock gains so many seconds in each."""
        self.clock_error = self._wall() - self.world.now
        self._drift, self._drifts_since = rate, self.world.now
        self._set_timer()

    def _wall(self) -> float:
        """What its clock reads."""
        return self.world.now + self.clock_error + self._drift * (self.world.now - self._drifts_since)

    def _when(self, reads: float) -> float:
        """The world's time at which its clock reads this, or just after; a fraction may not be exact."""
        ahead = reads - self.clock_error - self._drifts_since
        return self._drifts_since + (ahead / (1 + self._drift) + _ROUNDING if self._drift else ahead)

    # --- running the core

    def do(self, call: Callable[[float], Actions]) -> None:
        """Call into the core and perform what it asks for; a stopped process does so later."""
        if not self.running:
            return
        if self.frozen:
            self._waiting.append(lambda: self.do(call))
            return
        self._perform(call(self._steady.read(self._wall())))
        if self.core.member_since != self._since:
            self._since = self.core.member_since
            self.member_since = None if self._since is None else self.world.now
        self._set_timer()

    def _set_timer(self) -> None:
        wake = self.core.next_wake
        if wake is not None:
            wake = max(self._when(wake - self._steady.offset), self.world.now)
        if self._timer is not None and self._timer.active():
            if wake == self._timer.when:
                return
            self._timer.cancel()
        self._timer = None
        if wake is not None and self.running and not self.frozen:
            self._timer = self.world.at(wake, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.do(self.core.wake)

    def _perform(self, actions: Actions) -> None:
        self.log.commit()
        for action in actions:
            if isinstance(action, Write):
                self.world.write(self, action)
            elif isinstance(action, Dial):
                self.world.dial(self, action)
            elif isinstance(action, Hangup):
                connection = self.connections.pop(action.link, None)
                if connection is not None:
                    self.world.close(connection, self, action.link)
            elif isinstance(action, Finished):
                self._finish()
            else:
                self._keep(action)
                self.sink(action)

    def _finish(self) -> None:
        self.finished = True
        self.kill()
        if not self.left.called:
            self.left.callback(None)

    def _keep(self, told: Told) -> None:
        if isinstance(told, Deliver):
            self.received.extend(told.bundles)
        elif isinstance(told, Gap):
            self.gaps.append(told)
        else:
            self.changes.append(told)
