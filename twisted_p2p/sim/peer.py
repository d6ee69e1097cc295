"""The shell of one simulated peer, and what may happen to its process."""

from __future__ import annotations

import copy
import enum
import random
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_p2p.core.access import Access
from twisted_p2p.core.actions import (
    Actions,
    Banned,
    Bundle,
    Changed,
    Deliver,
    Dial,
    Finished,
    Fork,
    Gap,
    Hangup,
    Pause,
    Refused,
    Write,
)
from twisted_p2p.core.config import Config
from twisted_p2p.core.peer import PeerCore
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.core.wire import History, groups_of, read_bundle
from twisted_p2p.interfaces import Entry, ISigner, Stream
from twisted_p2p.shell import IPeerShell, SteadyClock, Told
from twisted_p2p.sim.signing import CountingVerifier

if TYPE_CHECKING:
    from twisted_p2p.sim.world import Call, Connection, World

Address = tuple[str, int]
RETRY = 1.0
"""Seconds after which a peer whose log has failed starts anew."""
_ROUNDING = 1e-6
"""Seconds that a clock which runs fast or slow may be misread by: a float of a time since 1970 is no finer."""


class Commit(enum.Enum):
    """How a commit ends."""

    WORKS = enum.auto()
    FAILS = enum.auto()
    DIES_BEFORE = enum.auto()  # the process, and nothing is kept
    DIES_AFTER = enum.auto()  # all is kept, and nothing else happens


@attrs.frozen
class Snapshot:
    """A copy of a peer's disk, made at a time. `received`, `gaps`: what its application had had, and stored there."""

    at: float
    log: MemoryLog
    received: list[Bundle]
    gaps: list[Gap]


@attrs.define
class Traffic:
    """What went over a peer's links."""

    lines_in: int = 0
    bytes_in: int = 0
    lines_out: int = 0
    bytes_out: int = 0


class Mask(Protocol):
    """Stands between the core of a hostile peer and the others."""

    def out(self, link: int, lines: list[bytes]) -> list[bytes]:
        """What is sent in place of these."""

    def into(self, link: int, lines: list[bytes]) -> list[bytes]:
        """What the core is given in place of these."""


@implementer(IPeerShell)
class SimPeer:
    """The shell of one simulated peer. What the application is told is kept: `received`, `gaps`, `changes`."""

    def __init__(self, world: World, name: str, address: Address, config: Config, signer: ISigner) -> None:
        self.world, self.name, self.address = world, name, address
        self.clock, self.port, self.config, self.signer = world, address[1], config, signer
        self._rng = random.Random(f"{world.seed} {name}")
        self.log = MemoryLog(config)
        """Its disk: it outlives the process."""
        self._history: History | None = None
        self._access = world.access
        self.verifier = CountingVerifier(world.verifier)
        self.traffic = Traffic()
        self.mask: Mask | None = None
        """It is hostile, in this way."""
        self.core = self._make_core()
        self.peer = signer.peer
        self.connections: dict[int, Connection] = {}
        self.sink: Callable[[Told], object] = lambda told: None
        self.received: list[Bundle] = []
        self.gaps: list[Gap] = []
        self.forks: list[Fork] = []
        self.banned: list[Banned] = []
        self.changes: list[Changed] = []
        self.refused: list[Refused] = []
        self.on_commit: Callable[[], Commit] = lambda: Commit.WORKS
        """Says how the next commit ends."""
        self._joins: tuple[Sequence[Address], bool] | None = None
        self._epoch = 0
        self._retry: Call | None = None
        self.lives = 1
        """How many there have been."""
        self._returns = False
        """It was a member before this life."""
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
        self.doubtful: dict[bytes, None] = {}
        """Those of which its disk may know nothing any more."""
        self.is_old_copy = False
        """Its disk was replaced by an old copy of itself."""
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

    def _make_core(self) -> PeerCore:
        return PeerCore(
            config=self.config,
            network=self.world.network,
            signer=self.signer,
            verifier=self.verifier,
            log=self.log,
            rng=self._rng,
            history=self._history,
            access=self._access,
        )

    @property
    def history(self) -> History | None:
        """How much of what was before it asks for when it joins; to be set before it is started."""
        return self._history

    @history.setter
    def history(self, history: History) -> None:
        self._history = self.core.antientropy.wanted = history

    def admit(self, access: Access) -> None:
        """From now on these are the rules who may join."""
        self._access = access
        if self.running:
            self.do(lambda now: self.core.admit(access, now))
        else:
            self.core = self._make_core()

    # --- what an application does

    def start(self) -> None:
        """Listen, and be a network of one."""
        self.running = True
        self.world.listening[self.address] = self
        self.do(lambda now: self.core.start(self.address, now))

    def join(self, addresses: Sequence[Address], genesis: bool = False) -> None:
        """Join through these addresses."""
        self._joins = addresses, genesis
        self.do(lambda now: self.core.join(addresses, now, genesis))

    def broadcast(self, encoded: Sequence[bytes]) -> None:
        """Broadcast encoded messages; a stopped process says nothing."""
        if self.running and not self.frozen:
            stream = self.stream
            first = self.core.positions.of(stream)
            if self.do(lambda now: self.core.broadcast(list(encoded), now)):
                self.said += [(self.world.now, message) for message in encoded]
                places = range(first, self.log.saved.positions[stream])
                self.places.update(dict.fromkeys(encoded, (stream, places)))

    def reload(self) -> None:
        """There are no files here to read again: `admit` sets the rules."""

    def leave(self) -> Deferred[None]:
        """Leave gracefully."""
        self.do(lambda now: self.core.leave(now))
        return self.left

    def bans(self) -> list[Banned]:
        """Who is banned."""
        return [ban for ban in self.banned if self.core.conduct.is_banned(ban.subject)]

    def lift(self, subject: str) -> bool:
        """End a ban; whether there was one."""
        bans = {ban.subject: ban.until for ban in self.bans()}
        is_banned = bans.pop(subject, None) is not None
        self.do(lambda now: self.core.set_bans(bans, now))
        return is_banned

    # --- what happens to a process

    def kill(self) -> None:
        """As by kill -9: the kernel closes the sockets."""
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        if not self.running:
            return
        self.running = False
        self.world.listening.pop(self.address, None)
        for link, connection in list(self.connections.items()):
            self.world.close(connection, self, link)
        self.connections = {}

    def restart(self) -> None:
        """Start again after a kill, with what was committed; the application reads on where it was."""
        if self.running or self.address in self.world.listening:
            return
        self.core = self._make_core()
        self.frozen, self.lives, self._since = False, self.lives + 1, None
        self._returns = bool(self.log.saved.values.get("member"))
        if not self._returns:
            self.member_since = None
        self._steady = SteadyClock()
        self._unread.clear()
        self._waiting.clear()
        for entry in self.log.entries(self._number(), sys.maxsize):
            self._read(entry)
        self.start()
        if self._joins is not None:
            self.join(*self._joins)

    def snapshot(self) -> Snapshot:
        """A copy of its disk, with what its application has stored there."""
        return Snapshot(self.world.now, copy.deepcopy(self.log), [*self.received], [*self.gaps])

    def restore(self, snapshot: Snapshot) -> None:
        """Put an old copy in the place of its disk; it must be down."""
        self.log, self.received, self.gaps = snapshot.log, snapshot.received, snapshot.gaps
        self.is_old_copy = True
        self.doubtful.update(dict.fromkeys(message for at, message in self.said if at >= snapshot.at))

    def _number(self) -> int:
        """Of the last entry that its application has had."""
        return max([each[-1].number for each in (self.received, self.gaps) if each], default=0)

    def _read(self, entry: Entry) -> None:
        """What an application finds in the log."""
        origin, epoch = entry.stream
        if origin == self.peer:
            return
        if entry.line is None:
            self.gaps.append(Gap(origin, epoch, entry.seq, entry.last, entry.number))
        else:
            messages = read_bundle(entry.line).messages
            self.received.append(Bundle(origin, epoch, entry.seq, messages, entry.number, entry.replayed))

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

    def do(self, call: Callable[[float], Actions]) -> bool:
        """Call into the core and perform what it asks for; a stopped process does so later. Whether it is kept."""
        if not self.running:
            return False
        if self.frozen:
            self._waiting.append(lambda: self.do(call))
            return False
        now = self._steady.read(self._wall())
        if self.core.is_forgotten(now):
            # A real shell starts a new core without losing its process.
            self.kill()
            self.restart()
            return False
        actions = call(now)
        is_kept = not (actions or self.log.is_changed) or self._commit()
        if not self.running:
            return is_kept
        self._note_republished()
        self._perform(actions)
        if self.core.member_since != self._since:
            self._since = self.core.member_since
            if not self._returns or self.member_since is None:
                self.member_since = None if self._since is None else self.world.now
        self._set_timer()
        return is_kept

    def _commit(self) -> bool:
        """Whether what the turn has said is kept; the process may not live to do the rest of it."""
        ends = self.on_commit()
        if ends in (Commit.FAILS, Commit.DIES_BEFORE):
            self.log.rollback()
        else:
            self.log.commit()
        if ends is not Commit.WORKS:
            self.kill()
        if ends is Commit.FAILS:
            # A real shell starts the core anew, too, once the disk takes something again.
            self._retry = self.world.callLater(RETRY, self.restart)
        return ends in (Commit.WORKS, Commit.DIES_AFTER)

    def _note_republished(self) -> None:
        """Where our own messages are now, if they were published again in a stream of their own."""
        stream = self.peer, self.log.saved.values.get("epoch", 0)
        if stream[1] != self._epoch:
            self._epoch = stream[1]
            for seq, line in enumerate(self.log.read(stream, 1, sys.maxsize), 1):
                self.places.update(dict.fromkeys(groups_of(line), (stream, range(seq, seq + 1))))

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
        for action in actions:
            if isinstance(action, Write):
                self.world.write(self, action if self.mask is None else self._masked(self.mask, action))
            elif isinstance(action, Dial):
                self.world.dial(self, action)
            elif isinstance(action, Hangup):
                connection = self.connections.pop(action.link, None)
                if connection is not None:
                    self.world.close(connection, self, action.link)
            elif isinstance(action, Pause):
                self.world.pause(self, action)
            elif isinstance(action, Banned):
                self.banned.append(action)
            elif isinstance(action, Finished):
                self._finish()
            elif isinstance(action, Refused):
                self.refused.append(action)
            else:
                self._keep(action)
                self.sink(action)

    def _masked(self, mask: Mask, action: Write) -> Write:
        return Write(action.link, mask.out(action.link, action.lines))

    def receive(self, link: int, lines: list[bytes]) -> None:
        """Lines have come on a link."""
        if self.mask is not None:
            lines = self.mask.into(link, lines)
        self.do(lambda now: self.core.lines_received(link, lines, now))

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
        elif isinstance(told, Fork):
            self.forks.append(told)
        else:
            self.changes.append(told)
