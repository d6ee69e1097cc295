"""The overlay: a small, symmetric active view of neighbours, one link a pair.

HyParView (Leitao, Pereira, Rodrigues, DSN 2007), sections 4.1 to 4.3. Differs: the passive view is the directory,
which every peer has whole, or a sample of it (`shuffle`); newcomers find neighbours by the five steps of `join`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from math import ceil, log10

import attrs

from twisted_p2p.core.actions import Changed, Kind, Reason
from twisted_p2p.core.buckets import TokenBuckets
from twisted_p2p.core.link import Link, Purpose
from twisted_p2p.core.links import Links
from twisted_p2p.core.membership import Membership
from twisted_p2p.core.ranges import range_of
from twisted_p2p.core.timers import Timer
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import NodeConnAddr, NodeConnAnswer, Record

_FAULTS = (Reason.BAD_FRAME, Reason.BAD_SIGNATURE, Reason.LINE_TOO_LONG, Reason.BROKEN_PROMISE, Reason.ASKS_AGAIN)
"""Ends of an open link after which the two are better apart for a while, whoever of them has found the fault."""


_IDLE = 60
"""Refill intervals between looks at a full view, which may be too small by now, and at most between requests."""
_ANCHORS = 8
"""Former neighbours that are remembered for a later life."""
_ALL = 10
"""Refusals in a row that count as everybody's, where more are known."""
_LEAST = 3
"""With fewer neighbours a peer does not put up with being refused by everybody."""


@attrs.define(eq=False)
class _Request:
    """We want this peer as a neighbour. `link`: where we have asked, once the dial is through. `drawn`: by range."""

    link: Link | None = None
    urgent: bool = False
    drawn: bool = False


@attrs.define(eq=False)
class Overlay:
    """The active view and how it is kept full."""

    turn: Turn
    own: str
    membership: Membership
    links: Links
    on_up: Callable[[Link], None]
    on_down: Callable[[Link, Reason], None]
    active: dict[str, Link] = attrs.field(factory=dict)
    leaving: bool = False
    _insisting: bool = False
    """We have too few, and all that we know have refused, or many: the next request is urgent."""
    _requests: dict[str, _Request] = attrs.field(factory=dict)
    _refused: dict[str, float] = attrs.field(factory=dict)
    _refusals: int = 0
    """In a row: with each we wait twice as long before we ask somebody else."""
    _faulty: dict[str, float] = attrs.field(factory=dict)
    """Peers whose link ended by a fault, and until when we do not ask them to be neighbours."""
    _offered: list[Record] = attrs.field(factory=list)
    _former: list[Record] = attrs.field(factory=list)
    """Those that were neighbours in the life before: they are asked first, until the view is full."""
    anchors: dict[str, None] = attrs.field(factory=dict)
    """Whom we have had as neighbours that we had asked ourselves; the last ones, the newest at the end. Another dict
    whenever they change."""
    _moving: dict[str, Timer] = attrs.field(factory=dict)
    """Peers that replaced their link with us; the new one is not ours yet."""
    _displacements: TokenBuckets = attrs.field(init=False)
    """By wide address group: urgent requests for which another one of the same group has to go."""
    _timer: Timer | None = None
    _bridges: TokenBuckets = attrs.field(init=False)
    """Of our own requests to be the neighbour of one from whom we are split."""

    def __attrs_post_init__(self) -> None:
        config = self.turn.config
        self._displacements = TokenBuckets(config.displacements_burst, config.displacements_interval)
        self._bridges = TokenBuckets(config.bridges_burst, config.bridges_interval)

    def start(self, at_once: bool = False, former: Iterable[Record] = ()) -> None:
        """Keep the active view full from now on.

        Args:
            at_once: the others know us.
            former: whom to ask before all others.
        """
        self._former = list(former)
        self._refill_in(0.0 if at_once else self.turn.jitter(self.turn.config.refill_interval))

    # --- asking

    def offer(self, records: Iterable[Record]) -> None:
        """Peers to ask before any others: what a join was told to connect to."""
        self._offered = list(records)
        self.refill()

    def invite(self, record: Record) -> None:
        """Ask this peer urgently, if neighbours are missing, whoever else is being asked."""
        if not self.leaving and len(self.active) < self.target and self._may_ask(record):
            self._request(record, urgent=True)

    def refill(self) -> None:
        """Ask as many peers as are missing from the active view."""
        undrawn = self._undrawn()
        self._displacements.expire(self.turn.now)
        missing = max(self.target - len(self.active) - len(self._requests), undrawn)
        interval = self.turn.config.refill_interval
        self._refill_in(self.turn.jitter(max(interval, self._patience()) if missing > 0 else _IDLE * interval))
        if self.leaving:
            return
        self._insisting = len(self.active) < min(_LEAST, self.target) and self._refusals >= max(1, self._others())
        if len(self.active) > self.room:
            # The network was ten times as large, or seemed to be.
            self.links.hang_up(self.turn.rng.choice(list(self.active.values())), Reason.DISPLACED)
        if missing <= 0:
            self._offered, self._former = [], []
            return
        if not self.links.dials.may_any():
            undrawn = min(undrawn, len(self._former))
        for record in islice(filter(self._may_ask, chain(self._former, self.membership.spread())), undrawn):
            self._request(record, drawn=True)
            missing -= 1
        for record in islice(self._candidates(), missing):
            self._request(record)

    def look_soon(self) -> None:
        """There is more choice than before."""
        if self._timer is not None:
            self._refill_in(self.turn.jitter(self.turn.config.refill_interval / 5))

    @property
    def _is_diverse(self) -> bool:
        """Whether it matters in which address ranges our neighbours are."""
        return bool(self.turn.config.active_drawn) and self.membership.ranges.is_diverse

    def _undrawn(self) -> int:
        """How many neighbours we are still to draw by their address range; 0 where we know of one range only."""
        if not self._is_diverse:
            return 0
        wanted = min(self.turn.config.active_drawn + self._tenfolds, self.target - 1)
        return max(0, wanted - len(self._choices()) - sum(request.drawn for request in self._requests.values()))

    def _others(self) -> int:
        """How many may be asked that are no neighbours; of very many some."""
        if not self.links.access.is_listed:
            return min(self.membership.living - len(self.active), _ALL)
        others = (record for record in self.membership.drawn() if record.peer not in self.active)
        return sum(1 for _ in islice(filter(self.links.may_meet, others), _ALL))

    def search(self) -> bool:
        """Look for a neighbour at once, unless we do so already; whether there is hope of one."""
        if not self._requests:
            self.refill()
        return bool(self._requests) or self.links.is_dialling_any

    def _request(self, record: Record, urgent: bool = False, drawn: bool = False) -> None:
        self._requests[record.peer] = _Request(urgent=urgent, drawn=drawn)
        self.links.dial(Purpose.NEIGHBOUR, (record.ip_addr, record.port), record.peer)

    @property
    def _tenfolds(self) -> int:
        """How many times the network is ten times as large as 1,000 peers, begun ones included."""
        return max(0, ceil(log10(self.membership.living + 1)) - 3)

    @property
    def target(self) -> int:
        """How many neighbours we look for."""
        return self.turn.config.active_target + self._tenfolds

    @property
    def room(self) -> int:
        """How many neighbours we accept."""
        return self.turn.config.active_max + 2 * self._tenfolds

    def _refill_in(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.turn.timers.after(delay, self.refill)

    def _candidates(self) -> Iterator[Record]:
        """Whom to ask: those that were offered, then all others in random order."""
        offered, self._offered = self._offered, []
        now = self.turn.now
        self._refused = {peer: until for peer, until in self._refused.items() if until > now}
        return filter(self._may_ask, chain(self._former, offered, self.membership.drawn()))

    def _may_ask(self, record: Record) -> bool:
        peer = record.peer
        is_out = peer == self.own or peer in self.active or peer in self._requests or peer in self._refused
        return not (is_out or self._is_faulty(peer)) and self.links.may_dial(record)

    def ask(self, link: Link, urgent: bool = False) -> None:
        """Ask to be neighbours on an open link that we dialled. An isolated peer is always urgent.

        Differs from HyParView in that one with few neighbours is, too, once all that it knows have refused: in a small
        network the others' views may be full of one another for ever.
        """
        if link.peer in self.active or self.leaving:
            return
        wanted = self._requests.get(link.peer)
        urgent |= self._insisting or not self.active or (wanted is not None and wanted.urgent)
        self._requests[link.peer] = _Request(link, urgent, wanted is not None and wanted.drawn)
        link.is_asked = True
        self.links.send(link, NodeConnAddr(urgent))

    def bridge(self, link: Link) -> None:
        """The network is split between us and the other end of an open link: be neighbours.

        Somebody has to give way to us, so it is rationed: who tells each peer another thing of its stream makes it look
        as if everybody were split from everybody.
        """
        if self._is_faulty(link.peer):
            return
        if not self._bridges.has("", self.turn.now):
            self.turn.counts["bridges_over_rate"] += 1
            return
        self._bridges.take("", self.turn.now)
        self.ask(link, urgent=True)

    def _is_faulty(self, peer: str) -> bool:
        return self._faulty.get(peer, 0.0) > self.turn.now or self.links.conduct.is_banned(peer)

    def opened(self, link: Link) -> None:
        """A dial of ours for a neighbour went through."""
        if link.peer != link.attempt.peer:
            self._give_up(link.attempt.peer)
        wanted = self._requests.get(link.peer)
        if link.peer in self.active or self.leaving or (wanted is not None and wanted.link is not None):
            self.links.hang_up(link, Reason.DONE)
        else:
            self.ask(link)

    def answered(self, link: Link, frame: NodeConnAnswer) -> None:
        """The answer to a request of ours, be it one that we had given up since another crossed it.

        Two links may overtake one another, so the other end can have seen our request last. Then it has moved to
        this link, and so do we.
        """
        if link.is_neighbour:
            return
        request = self._requests.get(link.peer)
        if request is not None and request.link is link:
            del self._requests[link.peer]
            if not frame.accepted:
                self._refusals += 1
                self._refused[link.peer] = self.turn.now + self.turn.config.refused_pause
        if frame.accepted and not self.leaving:
            link.is_drawn = request is not None and request.link is link and request.drawn
            self._add(link)
            before = [peer for peer in self.anchors if peer != link.peer]
            self.anchors = dict.fromkeys([*before[1 - _ANCHORS :], link.peer])
            return
        if link.purpose is Purpose.NEIGHBOUR:
            self.links.hang_up(link, Reason.DONE)
        self._refill_in(self.turn.jitter(self._patience()))

    def _patience(self) -> float:
        """Seconds before somebody else is asked. Who has enough to get by need not hurry where all views are full."""
        interval = self.turn.config.refill_interval
        most = interval if len(self.active) < _LEAST else _IDLE * interval
        return min(interval / 5 * 2.0 ** min(max(0, self._refusals - _ALL), 30), most)

    def _give_up(self, peer: str) -> None:
        if self._requests.pop(peer, None) is not None:
            self._refused[peer] = self.turn.now + self.turn.config.refused_pause
            self._refill_in(self.turn.jitter(self.turn.config.refill_interval / 5))

    def dial_failed(self, peer: str) -> None:
        """A peer could not be reached."""
        request = self._requests.get(peer)
        if request is not None and request.link is None:
            self._give_up(peer)

    # --- being asked

    def asked(self, link: Link, frame: NodeConnAddr) -> None:
        """The other end asks to be neighbours on this link."""
        if link.is_neighbour:
            self.links.send(link, NodeConnAnswer(True))
            return
        accepted = self._accepts(link, frame.urgent)
        self.links.send(link, NodeConnAnswer(accepted))
        if accepted:
            self._add(link)

    def _accepts(self, link: Link, urgent: bool) -> bool:
        """Two requests that cross end as the one of the lower id, at both ends."""
        peer = link.peer
        if self.leaving:
            return False
        mine = self._requests.get(peer)
        if mine is not None:
            if mine.link is not None and self.own < peer:
                return False
            del self._requests[peer]
        if peer in self.active or len(self.active) < self.room:
            return True
        return self._is_crowded(link) or (urgent and self._may_displace(link))

    # --- address ranges

    def _choices(self) -> dict[int, None]:
        """The neighbours that nobody else could choose for us, by link: drawn by range, or asked and alone in theirs.

        One in a range that has a good part of all peers counts only if it was drawn: it comes up whatever we do.
        """
        found = {link.id: range_of(link.host)[0] for link in self.active.values() if link.is_drawn}
        ranges = self.membership.ranges
        for link in self.active.values():
            is_rare = ranges.beside(link.host) * self.target <= len(ranges)
            if link.is_asked and is_rare and range_of(link.host)[0] not in found.values():
                found[link.id] = range_of(link.host)[0]
        return dict.fromkeys(found)

    def _counted(self, newcomer: Link) -> Counter[str]:
        """How many neighbours there are in each wide and each near address group, with this one."""
        return Counter(chain.from_iterable(set(range_of(link.host)) for link in (*self.active.values(), newcomer)))

    def _crowd(self, newcomer: Link) -> list[Link]:
        """The neighbours of which one makes room for this one: those in the fullest address range.

        Those that we have chosen ourselves stay, if there is more than one range.
        """
        links = list(self.active.values())
        if not self._is_diverse:
            return links
        counts, choices = self._counted(newcomer), self._choices()
        links = [link for link in links if link.id not in choices] or links
        sizes = {link.id: [counts[group] for group in range_of(link.host)] for link in links}
        fullest = max(sizes.values())
        return [link for link in links if sizes[link.id] == fullest]

    def _is_crowded(self, newcomer: Link) -> bool:
        """Whether a range has more neighbours than the newcomer's would have, so that one of them is to make room."""
        if not self._is_diverse:
            return False
        counts, own = self._counted(newcomer), range_of(newcomer.host)
        fullest = range_of(self._crowd(newcomer)[0].host)
        level = int(fullest[0] == own[0])
        return counts[fullest[level]] > counts[own[level]]

    def _may_displace(self, newcomer: Link) -> bool:
        """Whether one more may come in for another one; where both are of one foreign range that is rationed.

        Or many keys of one range would do nothing but take one another's places, and cost us a comparison each.
        """
        own, now = range_of(newcomer.host), self.turn.now
        is_among_them = any(range_of(link.host)[0] == own[0] for link in self._crowd(newcomer))
        if not (self._is_diverse and is_among_them) or own == range_of(self.membership.own.ip_addr):
            return True
        may = self._displacements.has(own[0], now)
        if may:
            self._displacements.take(own[0], now)
        else:
            self.turn.counts["displacements_over_rate"] += 1
        return may

    # --- the view itself

    def _add(self, link: Link) -> None:
        """A new link from a peer takes the place of an older one: it would not ask if the old one worked.

        In a full view it takes the place of one of the address range with the most neighbours, drawn by chance.
        """
        old = self.active.get(link.peer)
        if old is None and len(self.active) >= self.room:
            self.links.hang_up(self.turn.rng.choice(self._crowd(link)), Reason.DISPLACED)
        self.active[link.peer] = link
        self._refusals = 0
        link.is_neighbour = True
        if old is not None:
            old.is_neighbour = False
            self.on_down(old, Reason.REPLACED)
            self.links.hang_up(old, Reason.REPLACED)
        elif (moving := self._moving.pop(link.peer, None)) is not None:
            moving.cancel()
        else:
            self.turn.tell(Changed(Kind.LINK_UP, link.peer))
        self.on_up(link)

    def lost(self, link: Link, reason: Reason) -> None:
        """A link has ended."""
        if link.is_open and reason in _FAULTS:
            now = self.turn.now
            self._faulty = {peer: until for peer, until in self._faulty.items() if until > now}
            self._faulty[link.peer] = now + self.turn.config.fault_pause
        if link.purpose is Purpose.NEIGHBOUR:
            self.dial_failed(link.attempt.peer)
        request = self._requests.get(link.peer)
        if request is not None and request.link is link:
            self._give_up(link.peer)
        if not link.is_neighbour:
            return
        link.is_neighbour = False
        self._refusals = 0
        del self.active[link.peer]
        self.on_down(link, reason)
        if reason is Reason.REPLACED:
            self._move(link.peer)
        else:
            self.turn.tell(Changed(Kind.LINK_DOWN, link.peer, reason=reason.value))
        self._refill_in(self.turn.jitter(self.turn.config.refill_interval / 5))

    def _move(self, peer: str) -> None:
        """The other end has moved to another link of ours: the neighbour is lost only if that one does not come up."""

        def judge() -> None:
            del self._moving[peer]
            self.turn.tell(Changed(Kind.LINK_DOWN, peer, reason=Reason.REPLACED.value))

        before = self._moving.pop(peer, None)
        if before is not None:
            before.cancel()
        self._moving[peer] = self.turn.timers.after(self.turn.config.handshake_timeout, judge, judges=True)
