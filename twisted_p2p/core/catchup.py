"""Catching up: who is behind on a stream asks one link at a time, and tells of a gap only when all were asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from twisted_p2p.core.broadcast import Flow, Spread
from twisted_p2p.core.link import Link
from twisted_p2p.core.links import Links
from twisted_p2p.core.positions import Positions
from twisted_p2p.core.promises import Promises
from twisted_p2p.core.timers import Timer
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Floor, Graft, Position
from twisted_p2p.interfaces import Stream

_UNTRUE = 2.0
"""By how much a link is doubted whose FLOOR was of no use. It may well be true: in a network whose logs have forgotten
what some lack, everybody says so."""
_AT_LEAST, _AT_MOST = 0.25, 8.0
"""Bounds of the graft time-out, as multiples of the one that a peer begins with."""
_WHILE_BUSY = 4.0
"""By how much longer a bundle may be late while the link that it should come by brings others; such multiples, too."""


@attrs.define
class Lateness:
    """The graft time-out: how much later than the news of it a bundle may come by itself.

    Smoothed mean and deviation of what was measured, as RFC 6298, section 2, has it for round trips.
    """

    timeout: float
    _bounds: tuple[float, float]
    _mean: float | None = None
    _deviation: float = 0.0

    def measured(self, seconds: float) -> None:
        """A bundle came so much later than the news."""
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
        else:
            self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
            self._mean += (seconds - self._mean) / 8
        least, most = self._bounds
        self.timeout = min(max(self._mean + 4 * self._deviation, least), most)


def _lateness(catchup: CatchUp) -> Lateness:
    first = catchup.turn.config.graft_timeout
    return Lateness(first, (_AT_LEAST * first, _AT_MOST * first))


@attrs.define(eq=False)
class Want:
    """One stream on which we are behind.

    `since`: when we first heard of it, or last moved. `raised_by`: the link on whose word. `ahead`: links by what their
    ends were known to have. `source`: the link that was asked last. `asked`: links that were asked since we last moved,
    with the floor where they answered that they do not hold what we want next.
    `lost_since`: when all had been asked, and none held it. `resume`: the bundle that is to prove that the stream goes
    on after a gap.
    """

    since: float
    raised_by: int = 0
    ahead: dict[int, int] = attrs.field(factory=dict)
    source: int | None = None
    deadline: float = 0.0
    asked: dict[int, int | None] = attrs.field(factory=dict)
    lost_since: float | None = None
    resume: int | None = None


@attrs.define(eq=False)
class CatchUp:
    """The streams on which we are behind, and whom we have asked."""

    turn: Turn
    links: Links
    positions: Positions
    spread: Spread
    promises: Promises
    on_missing: Callable[[str], None]
    """No neighbour holds what we want of this origin: get in touch with others."""
    has_ended: Callable[[Stream, bool], bool]
    """Whether nothing more can come of a stream; the flag: most neighbours say that they hold nothing of it."""
    wants: dict[Stream, Want] = attrs.field(factory=dict)
    _asks: dict[int, list[Position]] = attrs.field(factory=dict)
    """What this turn's GRAFTs ask for, by link; nothing where the link is just to be eager."""
    _level: dict[int, list[Position]] = attrs.field(factory=dict)
    """Where we are level now, for links that wait to hear of it before they push."""
    _bringers: dict[Stream, int] = attrs.field(factory=dict)
    """The link by which each stream last came."""
    _served: dict[int, float] = attrs.field(factory=dict)
    """When each link last brought something that we wanted: it is not late with one stream while it serves others."""
    _grafted: dict[int, float] = attrs.field(factory=dict)
    """When each link was last made eager: what comes by it then is late because nobody had sent it before."""
    _hasty: dict[Stream, tuple[int, float, int]] = attrs.field(factory=dict)
    """The last questions: for which bundle of a stream, since when we had been waiting for it, and on which link."""
    _lost: dict[Stream, tuple[float, float]] = attrs.field(factory=dict)
    """Streams of which nobody was found to hold what we want: since when, and when last."""
    _raised: dict[int, dict[Stream, None]] = attrs.field(factory=dict)
    """What is wanted on the word of each link."""
    _timer: Timer | None = None
    _sought: float = float("-inf")
    """When we last got in touch with others."""
    lateness: Lateness = attrs.field(default=attrs.Factory(_lateness, takes_self=True))

    # --- what makes us want

    def behind(self, link: Link, stream: Stream, position: int, patient: bool = False) -> None:
        """The other end of `link` is at `position`. `patient`: what we lack may be on its way; ask after a time-out."""
        if stream == self.spread.own:
            self.turn.counts["own_stream_elsewhere"] += 1
        if position <= self.positions.of(stream):
            self._tell_level(link.id, stream)
            return
        want = self.wants.get(stream)
        if want is None:
            if not self.spread.may_begin(stream, link) or not self._has_room(link.id):
                self.turn.counts["wants_full"] += 1
                return
            if not self.positions.knows(stream):
                self.spread.speakers.expect(stream, link.peer)
            want = self.wants[stream] = Want(self.turn.now, link.id, deadline=self.turn.now)
            self._raised.setdefault(link.id, {})[stream] = None
            if patient:
                want.deadline += self.lateness.timeout
        want.ahead[link.id] = max(position, want.ahead.get(link.id, 0))
        if want.source is None and self._is_overdue(stream, want):
            self._ask_next(stream, want)
        if self._timer is None:
            self._timer = self.turn.timers.after(self.lateness.timeout / 2, self._look)

    def _has_room(self, number: int) -> bool:
        """Whether one more stream may be wanted on this link's word. Over the bound the link with the most gives way.

        So a neighbour that invents streams keeps nobody else's out, and one that alone has many may take all the room.
        """
        if len(self.wants) < self.turn.config.max_wants:
            return True
        most = max(self._raised.values(), key=len)
        if len(most) <= len(self._raised.get(number, ())) + 1:
            return False
        self._give_up(next(reversed(most)))
        return True

    def progressed(self, link: Link | None, stream: Stream, position: int) -> None:
        """We have moved. Whoever we are level with now is to push this stream from here on."""
        if link is not None:
            self._came(link, stream)
        want = self.wants.get(stream)
        if want is None:
            return
        if link is not None:
            self._served[link.id] = self.turn.now
            by_itself = link.id not in want.asked and link.id != want.source
            if by_itself and self._grafted.get(link.id, want.since) <= want.since:
                self.lateness.measured(self.turn.now - want.since)
        timeout = self.turn.config.graft_timeout
        want.since = self.turn.now
        want.deadline = self.turn.now + (max(timeout, self.lateness.timeout) if want.source is None else timeout)
        want.asked, want.lost_since, want.resume = {}, None, None
        self._lost.pop(stream, None)
        for number in [number for number, there in want.ahead.items() if there <= position]:
            del want.ahead[number]
            if number != want.source:
                self._tell_level(number, stream)
        if not want.ahead:
            self._drop(stream)

    def _came(self, link: Link, stream: Stream) -> None:
        """A link has brought something new."""
        if len(self._bringers) >= self.turn.config.max_wants and stream not in self._bringers:
            del self._bringers[next(iter(self._bringers))]
        self._bringers[stream] = link.id
        if self.promises.are_open:
            self.promises.kept(link, stream)
            self.promises.serves(link)

    def came_again(self, link: Link, stream: Stream, seq: int) -> int | None:
        """A duplicate: if we had asked another link for that bundle, it would have come without that, too, but later.
        Which link that was, if so, and if it became eager by that.

        The question was too early (as RFC 3522 finds retransmissions that were), and so would the next one be: each
        makes one more link eager, and where many bundles wait to be read everything would soon come by all links.
        """
        asked, since, number = self._hasty.get(stream, (0, 0.0, 0))
        if seq != asked or number == link.id or self._grafted.get(link.id, since) > since:
            return None
        del self._hasty[stream]
        self.lateness.measured(self.turn.now - since)
        return number if number in self._grafted and self._grafted[number] >= since else None

    def lost(self, link: Link) -> None:
        """A link is gone: ask another for what it was asked for."""
        self._served.pop(link.id, None)
        self._grafted.pop(link.id, None)
        self.promises.lost(link)
        for stream, want in list(self.wants.items()):
            want.ahead.pop(link.id, None)
            want.asked.pop(link.id, None)
            if not want.ahead:
                self._give_up(stream)
            elif want.source == link.id:
                self._ask_next(stream, want)

    # --- asking

    def _look(self) -> None:
        """Now and then: who did not deliver in time is passed over."""
        self._timer = None
        for stream, want in list(self.wants.items()):
            if self._is_overdue(stream, want):
                self._ask_next(stream, want)
        missing = [stream for stream, want in self.wants.items() if want.lost_since is not None]
        if missing and self.turn.now >= self._sought + self.turn.config.graft_timeout / 2:
            self._sought = self.turn.now
            self.on_missing(self.turn.rng.choice(missing)[0])
        if self.wants:
            self._timer = self.turn.timers.after(self.lateness.timeout / 2, self._look)

    def _is_overdue(self, stream: Stream, want: Want) -> bool:
        """Whether to ask, or to ask another one.

        News is small and comes by links that carry little else; a bundle may be behind many. So a link is not late
        while it brings others of which there was news, be it the one that was asked, or else the one by which the
        stream last came. Whether that one pushes it still is not known: it is waited for only so long.
        """
        now, timeout = self.turn.now, self.turn.config.graft_timeout
        if want.deadline > now:
            return False
        number = want.source
        if number is None:
            number = self._bringers.get(stream, 0)
            flow = self.spread.flows.get(number)
            if flow is None or not flow.eager or number in want.ahead or want.deadline + _WHILE_BUSY * timeout <= now:
                return True
        return self._served.get(number, 0.0) + timeout <= now

    def _ask_next(self, stream: Stream, want: Want) -> None:
        """Ask a link that was not asked yet: one known to be ahead, else any; when all were asked, settle."""
        fresh = [number for number in want.ahead if number not in want.asked]
        if not fresh:
            fresh = [flow.link.id for flow in self._live() if flow.link.id not in want.asked]
        if not fresh:
            self._settle(stream, want)
            return
        if len(fresh) > 1:
            least = min(map(self.promises.doubt, fresh))
            fresh = [number for number in fresh if self.promises.doubt(number) <= least]
        number = self.turn.rng.choice([number for number in fresh if number in self._asks] or fresh)
        if number in want.ahead:
            self.promises.asked(number, stream)
        if not want.asked:
            self._hasty.pop(stream, None)
            if len(self._hasty) >= self.turn.config.page:
                del self._hasty[next(iter(self._hasty))]
            self._hasty[stream] = self.positions.of(stream), want.since, number
        want.source = number
        want.asked[number] = None
        want.deadline = self.turn.now + self.turn.config.graft_timeout
        self._asks.setdefault(number, []).append((*stream, self.positions.of(stream)))

    def _live(self) -> Iterable[Flow]:
        return [flow for flow in self.spread.flows.values() if flow.live]

    def _settle(self, stream: Stream, want: Want) -> None:
        """All neighbours were asked. Where some hold only later bundles, the range before is lost, or soon will be.

        It may still be elsewhere: a neighbour that joined late never had it. So for a while new neighbours are sought,
        the origin first, and all are asked again. Where none has anything, whoever claimed to be ahead does not keep
        its word: the next comparison may raise it again.
        """
        if want.resume is not None and want.source is not None:
            want.asked[want.source] = None
            self._is_untrue(want.source)
        floors = [(floor, number) for number, floor in want.asked.items() if floor is not None]
        want.source, want.resume, want.deadline = None, None, self.turn.now + self.turn.config.graft_timeout
        want.lost_since = self._lost_since(stream)
        if floors and self.turn.now < want.lost_since + self.turn.config.gap_patience:
            want.asked = {}
        elif floors:
            self._resume_after_gap(stream, want, floors)
        else:
            self.turn.counts["given_up"] += 1
            self._give_up(stream)

    def _lost_since(self, stream: Stream) -> float:
        """Since when nobody was found who holds what we want of a stream, also while we had given up in between."""
        now, patience = self.turn.now, self.turn.config.gap_patience
        since, last = self._lost.get(stream, (now, now))
        if now - last > patience:
            since = now
        if len(self._lost) >= self.turn.config.max_wants and stream not in self._lost:
            del self._lost[next(iter(self._lost))]
        self._lost[stream] = (since, now)
        return since

    def _resume_after_gap(self, stream: Stream, want: Want, floors: list[tuple[int, int]]) -> None:
        """Have the first bundle that is left sent: signed by its origin, it proves that the stream went on.

        Where nobody has any, its origin must say so, or be gone, or those that lie could cut off a stream that still
        goes on. A word about our own one is never a proof.
        """
        # Who holds nothing any more proves nothing.
        first, number = min([(floor, link) for floor, link in floors if floor < want.ahead.get(link, 0)] or floors)
        held = self.spread.early.earliest(stream)
        if held is not None and held <= first:
            self._skip(stream, held)
        elif first < want.ahead.get(number, 0):
            want.source, want.resume = number, first
            self._asks.setdefault(number, []).append((*stream, first))
        elif any(
            link.peer == stream[0] for _, asked in floors if (link := self.links.by_id.get(asked))
        ) or self.has_ended(stream, 2 * len(floors) > len(list(self._live()))):
            self._skip(stream, first)
        else:
            for _, asked in floors:
                self._is_untrue(asked)
            if stream == self.spread.own:
                self.spread.doubt_own()
            self._give_up(stream)

    def _is_untrue(self, number: int) -> None:
        """What a link said of its log was of no use for the whole of our patience."""
        link = self.links.by_id.get(number)
        if link is not None:
            self.promises.doubted(link, _UNTRUE)

    def arrived_early(self, link: Link, stream: Stream, seq: int) -> None:
        """A bundle came before its elders; they may be on their way."""
        self.promises.kept(link, stream)
        self.behind(link, stream, seq + 1, patient=True)
        if stream not in self.wants:
            self.spread.early.drop(stream)

    def ends_gap(self, stream: Stream, seq: int) -> bool:
        """Whether this bundle is the one that proves that a stream goes on after a gap; the gap is told, then."""
        want = self.wants.get(stream)
        if want is None or want.resume != seq:
            return False
        self._skip(stream, seq)
        return True

    def _skip(self, stream: Stream, position: int) -> None:
        self.turn.counts["gaps"] += 1
        self.spread.skip_to(stream, position)
        self.progressed(None, stream, self.positions.of(stream))

    def _give_up(self, stream: Stream) -> None:
        """Nobody that we are linked with has more."""
        self._drop(stream)
        self.spread.early.drop(stream)

    def _drop(self, stream: Stream) -> None:
        number = self.wants.pop(stream).raised_by
        self.spread.speakers.forget(stream)
        del self._raised[number][stream]
        if not self._raised[number]:
            del self._raised[number]

    def floor(self, link: Link, frame: Floor) -> None:
        """A GRAFT of ours can't be served."""
        stream = (frame.origin, frame.epoch)
        self.promises.kept(link, stream)
        want, position = self.wants.get(stream), self.positions.of(stream)
        if frame.asked < position:
            self._tell_level(link.id, stream)
            return
        if want is None:
            if frame.next > position:
                self.behind(link, stream, frame.next)
            return
        if frame.next <= position:
            want.ahead.pop(link.id, None)
            want.asked.setdefault(link.id, None)
        elif frame.first > position:
            want.asked[link.id] = frame.first
            want.ahead[link.id] = frame.next
        if not want.ahead:
            self._give_up(stream)
        elif want.source == link.id:
            self._ask_next(stream, want)

    def _tell_level(self, number: int, stream: Stream) -> None:
        self.promises.void(number, stream)
        self._level.setdefault(number, []).append((*stream, self.positions.of(stream)))

    def has_asked(self, stream: Stream) -> bool:
        """Whether a link was asked for what we lack of this stream."""
        want = self.wants.get(stream)
        return want is not None and want.source is not None

    def stay_eager(self, link: Link) -> None:
        """Ask for nothing but to be pushed to."""
        self._asks.setdefault(link.id, [])

    def flush(self) -> None:
        """End of the turn: send the GRAFTs of this turn, as few frames as the limits allow.

        Each makes its link eager; that we are level is of no use on a lazy one.
        """
        self.promises.judge()
        if not self._asks and not self._level:
            return
        asks, self._asks, level, self._level = self._asks, {}, self._level, {}
        for number in (*asks, *(number for number in level if number not in asks)):
            flow = self.spread.flows.get(number)
            if flow is not None and (flow.eager or number in asks):
                self._graft(flow, [*asks.get(number, []), *level.get(number, [])])

    def _graft(self, flow: Flow, positions: list[Position]) -> None:
        size = self.turn.config.page
        if not flow.eager:
            self._grafted[flow.link.id] = self.turn.now
        flow.eager = True
        for begin in range(0, max(1, len(positions)), size):
            flow.grafts_sent += 1
            self.turn.counts["grafts"] += 1
            self.links.send(flow.link, Graft(positions[begin : begin + size], flow.grafts_sent))
