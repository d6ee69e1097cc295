"""Serving those who ask: bundles from a position on, within bounds for what one may ask for again."""

from __future__ import annotations

import attrs

from twisted_p2p.core.actions import Reason
from twisted_p2p.core.broadcast import Flow, Spread
from twisted_p2p.core.buckets import Bucket, TokenBuckets
from twisted_p2p.core.link import Link
from twisted_p2p.core.links import Links
from twisted_p2p.core.positions import Positions
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Graft
from twisted_p2p.interfaces import Stream


@attrs.define(eq=False)
class Serving:
    """What was asked for by GRAFT, and by whom."""

    turn: Turn
    links: Links
    positions: Positions
    spread: Spread
    _asked: dict[str, Bucket] = attrs.field(factory=dict)
    """How much each peer has asked for."""
    _repeats: TokenBuckets = attrs.field(init=False)
    """By link and stream: what is sent once more."""
    _refusals: TokenBuckets = attrs.field(init=False)
    """By link: requests for what is not."""

    def __attrs_post_init__(self) -> None:
        config = self.turn.config
        self._repeats = TokenBuckets(config.grafts_again, config.grafts_again_interval)
        self._refusals = TokenBuckets(config.grafts_refused, config.grafts_again_interval)

    def grafted(self, link: Link, frame: Graft) -> None:
        """The other end asks for streams from given positions on."""
        flow = self.spread.flows.get(link.id)
        if flow is None:
            self.turn.counts["graft_by_stranger"] += 1
            return
        flow.eager, flow.grafts_heard = True, frame.n
        if not flow.live:
            # Nothing goes out before the first comparison: it may tell that our log is an old copy.
            self.turn.counts["graft_too_early"] += 1
            return
        is_refused = False
        for origin, epoch, position in frame.streams:
            stream = (origin, epoch)
            if not self.positions.knows(stream):
                self.spread.send_floor(link, stream, position)
                continue
            ours = self.positions.of(stream)
            if position == ours:
                flow.cursor.pop(stream, None)
                continue
            if position < flow.served.get(stream, 1) and not self._may_repeat(flow, stream):
                is_refused = True
                continue
            if position < ours and not self._may_serve(link.peer, flow.cursor.get(stream, ours) - position):
                self.turn.counts["grafts_over_rate"] += 1
                continue
            flow.cursor[stream] = position
            if position < ours:
                flow.asked[stream] = None
                self.spread.owe(flow, stream)
            else:
                flow.owed.pop(stream, None)
                self.spread.send_floor(link, stream, position)
        if is_refused:
            self._was_refused(link)

    def _may_serve(self, peer: str, bundles: int) -> bool:
        """Whether so many bundles may be sent to a peer that it may have been sent before."""
        config, now = self.turn.config, self.turn.now
        bucket = self._asked.setdefault(peer, Bucket(config.served_burst, config.served_rate))
        if bucket.missing(now):
            return False
        bucket.spend(max(0, bundles), now)
        return True

    def _may_repeat(self, flow: Flow, stream: Stream) -> bool:
        """Whether what this link was sent already is sent once more."""
        key = (flow.link.id, stream)
        if self._repeats.has(key, self.turn.now):
            self._repeats.take(key, self.turn.now)
            return True
        self.turn.counts["graft_refused"] += 1
        return False

    def _was_refused(self, link: Link) -> None:
        """Some of what it asked for it was sent already. Who asks for that without end is hung up on.

        What was sent may still be under way, of a hundred streams at once. So it is requests that count, and not those
        of long ago.
        """
        if self._refusals.has(link.id, self.turn.now):
            self._refusals.take(link.id, self.turn.now)
        else:
            self.links.hang_up(link, Reason.ASKS_AGAIN)

    def expire(self) -> None:
        """Forget to whom much was sent long ago."""
        now = self.turn.now
        self._repeats.expire(now)
        self._refusals.expire(now)
        self._asked = {peer: bucket for peer, bucket in self._asked.items() if not bucket.is_full(now)}
