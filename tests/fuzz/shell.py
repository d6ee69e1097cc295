"""A shell around one PeerCore that believes nothing: it checks all that the core asks for, and all that it keeps."""

from __future__ import annotations

import math
import random

import attrs

from tests.core.puppet import BEGINNING, NETWORK, OWN
from tests.fuzz.sizes import tables
from twisted_p2p.core import wire
from twisted_p2p.core.actions import (
    Action,
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
    Reason,
    Refused,
    Write,
)
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.link import Purpose
from twisted_p2p.core.peer import PeerCore
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.sim.signing import CheapSigner, CheapVerifier

SMALL = attrs.evolve(
    LAN,
    active_target=2,
    active_max=4,
    max_links=10,
    max_links_host=6,
    max_links_group=8,
    max_streams=40,
    max_epochs=4,
    max_peers=12,
    max_wants=10,
    early_max=8,
    early_bytes=4_000,
    line_max=65_536,
    burst=4_096,
    page=5,
    control_max=100_000,
    control_total=200_000,
    facts_burst=5,
    introductions_burst=10,
    walks_burst=4,
    retention_count=50,
    retention_bytes=20_000,
    retention_age=600.0,
    departed_keep=1_200.0,
    penalties_max=8,
    bans_max=4,
)
"""Bounds that an input of a few hundred lines reaches."""
LENIENT = attrs.evolve(SMALL, penalty_half_life=0.01)
"""The same, where nobody is banned, and so everybody may go on."""
SAMPLE = attrs.evolve(LENIENT, max_known=8)

ROOM = 90
"""Entries that any table may have beside what the settings say; a storm of one kind of frame brings more."""
BINDING = b"what only one connection has"
REPEATS = 20
"""Wakes without any time between them: what is called at once, and again, would never let the reactor go on."""
RATE = 200
"""Wakes a second, and as many beside."""
WAKES = 100
"""Wakes of one step in time; then it is cut short, as by a machine that stands still."""


@attrs.define(eq=False)
class End:
    """A connection, seen from its other end."""

    number: int
    peer: str
    written: list[bytes] = attrs.field(factory=list)
    """The last lines that came."""
    hung_up: bool = False
    nonce: str = ""
    """Of the core's HELLO."""
    is_inbound: bool = True
    """Whether the other end has dialled."""


@attrs.define(eq=False)
class Shell:
    """One core, its time and its connections."""

    config: Config
    now: float = BEGINNING
    ends: dict[int, End] = attrs.field(factory=dict)
    dials: dict[int, Dial] = attrs.field(factory=dict)
    hashes: list[str] = attrs.field(factory=lambda: ["0" * 16])
    finished: bool = False
    received: int = 0
    sent: int = 0
    """Bytes in and out."""
    log: MemoryLog = attrs.field(init=False)
    core: PeerCore = attrs.field(init=False)
    _numbers: int = 0
    _dialled: int = 0
    _deadlines: dict[int, float] = attrs.field(factory=dict)
    """Of dials."""
    _next: dict[tuple[str, int], int] = attrs.field(factory=dict)
    """Of each stream the lowest seq that may still be delivered."""

    def __attrs_post_init__(self) -> None:
        self.log = MemoryLog(self.config)
        self.begin()

    def begin(self) -> None:
        """A new life on the same log; connections of the old one are gone."""
        self.ends.clear()
        self.dials.clear()
        self._deadlines.clear()
        self._dialled = 0
        self.core = PeerCore(
            config=self.config,
            network=NETWORK,
            signer=CheapSigner(OWN),
            verifier=CheapVerifier(),
            log=self.log,
            rng=random.Random(0),
        )
        self.perform(self.core.start(("10.0.0.1", 5050), self.now))
        self._forget()

    # --- what happens to the core

    def connect(self, peer: str, host: str, dial: int | None = None, secured: bool = True) -> End:
        """Somebody connects, or is found where the core has dialled."""
        if dial is not None:
            del self.dials[dial]
        self._numbers += 1
        end = self.ends[self._numbers] = End(self._numbers, peer, is_inbound=dial is None)
        self.perform(self.core.link_up(end.number, dial, self.now, host, secured))
        if secured and not end.hung_up:
            self.perform(self.core.link_secured(end.number, peer, self.now, BINDING))
        return end

    def fail(self, dial: int, reason: Reason) -> None:
        """Nobody is there."""
        del self.dials[dial]
        self.perform(self.core.dial_failed(dial, self.now, reason))

    def send(self, end: End, lines: list[bytes]) -> None:
        """Lines arrive in one read."""
        before, size = self.sent, sum(map(len, lines))
        self.received += size
        self.perform(self.core.lines_received(end.number, lines, self.now))
        self._check_amplification(len(lines), size, self.sent - before)

    def close(self, end: End, reason: Reason = Reason.CLOSED) -> None:
        """A connection is gone."""
        del self.ends[end.number]
        self.perform(self.core.link_down(end.number, reason, self.now))

    def pass_time(self, seconds: float) -> None:
        """Let time pass; what the core wants to be woken for comes on time."""
        began, end, wakes, same = self.now, self.now + seconds, 0, 0
        while (wake := self.core.next_wake) is not None and wake <= end and wakes < WAKES and not self.finished:
            same = 0 if wake > self.now else same + 1
            wakes += 1
            assert same <= REPEATS, f"woken {same} times at {self.now - BEGINNING:g} s"
            self.now = max(self.now, wake)
            self._end_dials()
            self.perform(self.core.wake(self.now))
            self._forget()
        assert wakes <= RATE * (self.now - began) + RATE, f"{wakes} wakes in {self.now - began:g} s"
        self.now = end
        self._end_dials()

    def _end_dials(self) -> None:
        """A dial that nothing has come of in time has failed."""
        for dial, deadline in [*self._deadlines.items()]:
            if dial not in self.dials:
                del self._deadlines[dial]
            elif deadline <= self.now and not self.finished:
                self.fail(dial, Reason.UNREACHABLE)

    # --- what it asks for

    def perform(self, actions: Actions) -> None:
        """Do as a shell does, and see that it can be done."""
        self.log.commit()
        kinds = [_ORDER[type(action)] for action in actions]
        assert kinds == sorted(kinds), "writes, then connections, then what is told"
        for action in actions:
            assert not self.finished, "there is an end"
            self._perform(action)

    def _perform(self, action: Action) -> None:
        if isinstance(action, Write):
            self._write(action)
        elif isinstance(action, Hangup):
            end = self.ends[action.link]
            assert not end.hung_up, "one end for a link"
            end.hung_up = True
        elif isinstance(action, Pause):
            assert 0 < action.seconds < math.inf
            assert action.link in self.ends
        elif isinstance(action, Banned):
            assert action.until > self.now and action.subject
        elif isinstance(action, Dial):
            assert action.dial > self._dialled and action.timeout > 0
            assert action.host and 0 < action.port < 65536
            self._dialled = action.dial
            self.dials[action.dial] = action
            self._deadlines[action.dial] = self.now + action.timeout
        elif isinstance(action, Deliver):
            for bundle in action.bundles:
                self._deliver(bundle)
        elif isinstance(action, Gap):
            assert 1 <= action.first <= action.last
            self._next[action.origin, action.epoch] = action.last + 1
        elif isinstance(action, Finished):
            self.finished = True

    def _write(self, action: Write) -> None:
        end = self.ends[action.link]
        assert not end.hung_up, "nothing after the end"
        assert action.lines, "something is written"
        for line in action.lines:
            assert b"\n" not in line and len(line) <= self.config.line_max, line
            frame = wire.decode(line)
            assert frame is not None, line
            self.sent += len(line)
            if isinstance(frame, wire.Hello):
                end.nonce = frame.nonce
            elif isinstance(frame, wire.Roots):
                self.hashes += [frame.nodes, frame.streams]
            elif isinstance(frame, wire.Digest):
                self.hashes += [*frame.buckets.values()][:4]
        del self.hashes[: max(0, len(self.hashes) - 16)]
        end.written = [*end.written, *action.lines][-8:]

    def _deliver(self, bundle: Bundle) -> None:
        stream = bundle.origin, bundle.epoch
        assert bundle.seq >= self._next.get(stream, 1), f"{stream} {bundle.seq} comes again"
        self._next[stream] = bundle.seq + 1

    def _forget(self) -> None:
        """What rests for twice the retention, or comes to one who was away for as long, may come again."""
        self._next = {stream: seq for stream, seq in self._next.items() if self.core.positions.knows(stream)}

    # --- what it keeps

    def _check_amplification(self, lines: int, size: int, sent: int) -> None:
        """One line makes at most a page of answers, a burst on each link, and the news for each of them."""
        config = self.config
        each = config.burst + 2 * config.line_max // 10 + 2_000 * (config.page + config.max_peers)
        assert sent <= each * lines + 20 * size * (1 + len(self.ends)), f"{sent} bytes from {size}"

    def check_tables(self) -> None:
        """No table has more entries than the settings, and some room, say."""
        config = self.config
        most = max(config.max_streams, config.max_peers, config.max_links, config.retention_count) + ROOM
        for name, size in tables(self.core, "twisted_p2p.core"):
            assert size <= BOUNDS.get(name, most), f"{name} has {size} entries"
        spread = self.core.spread
        epochs = self.core.positions._epochs
        # Our own streams are begun by nobody but ourselves.
        assert len(self.core.positions) <= config.max_streams + len(epochs.get(OWN, ()))
        conduct = self.core.conduct
        assert len(conduct.banned) <= config.bans_max
        assert max(len(conduct._points), len(conduct._terms)) <= config.penalties_max
        for origin, streams in epochs.items():
            assert origin == OWN or len(streams) <= config.max_epochs
        assert len(self.core.membership.entries) <= (config.max_known + 1 if config.max_known else config.max_peers)
        assert len(self.core.catchup.wants) <= config.max_wants
        held = [*spread.early.streams.values()]
        assert sum(map(len, held)) == spread.early.count <= config.early_max
        assert spread.early.size <= config.early_bytes
        assert sum(link.purpose is Purpose.INBOUND for link in self.core.links.by_id.values()) <= config.max_links
        assert len(self.log) <= config.retention_count + config.max_streams


_ORDER = {
    Write: 0,
    Dial: 1,
    Hangup: 1,
    Pause: 1,
    Deliver: 2,
    Gap: 2,
    Fork: 2,
    Changed: 2,
    Banned: 2,
    Refused: 2,
    Finished: 2,
}
BOUNDS = {
    "Turn.counts": 120,
    "BucketDigest._keys": 256,
    "Timers._heap": 5_000,
}
"""Tables with a bound of their own."""
