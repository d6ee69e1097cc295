"""Who keeps its word: who claims to have bundles, and sends none when asked, is asked last, and left in the end.

GossipSub v1.1 counts broken promises, too (its specification, "Spam Protection Measures"). Differs: what is promised
are positions, and whoever answers at all has kept its promise: late, in part, or by a FLOOR, is honest.
"""

from __future__ import annotations

import attrs

from twisted_p2p.core.actions import Reason
from twisted_p2p.core.link import Link
from twisted_p2p.core.links import Links
from twisted_p2p.core.timers import Timer
from twisted_p2p.core.turn import Turn
from twisted_p2p.interfaces import Stream


@attrs.define
class Score:
    """How many promises a peer has broken, those taken off that were kept, or broken long ago; as of a time."""

    broken: float
    at: float


@attrs.define(eq=False)
class Promises:
    """What neighbours were asked for that they claim to have, and how often they sent nothing of it."""

    turn: Turn
    links: Links
    _asked: dict[int, dict[Stream, float]] = attrs.field(factory=dict)
    """By link and stream: since when."""
    _served: dict[int, float] = attrs.field(factory=dict)
    """By link: when it last brought any bundle."""
    _scores: dict[str, Score] = attrs.field(factory=dict)
    """By peer, so that a new link is no new beginning."""
    _over: dict[int, Link] = attrs.field(factory=dict)
    """Links of those that have broken too many."""
    _timer: Timer | None = None

    def asked(self, number: int, stream: Stream) -> None:
        """This link, which is known to be ahead, is asked for a stream."""
        self._asked.setdefault(number, {}).setdefault(stream, self.turn.now)
        if self._timer is None:
            self._timer = self.turn.timers.after(self.turn.config.ping_timeout, self._look)

    @property
    def are_open(self) -> bool:
        """Whether any link is still to send what it was asked for."""
        return bool(self._asked)

    def serves(self, link: Link) -> None:
        """The link has brought a bundle that it was not asked for: what it was asked for may wait behind that."""
        if link.id in self._asked:
            self._served[link.id] = self.turn.now

    def void(self, number: int, stream: Stream) -> None:
        """We need no more what we have asked for, and the other end hears so."""
        asked = self._asked.get(number)
        if asked is not None and asked.pop(stream, None) is not None and not asked:
            del self._asked[number]

    def kept(self, link: Link, stream: Stream) -> None:
        """The link has brought something of a stream, or says why not."""
        asked = self._asked.get(link.id)
        if asked is None or stream not in asked:
            return
        self.void(link.id, stream)
        if link.peer in self._scores:
            self._change(link.peer, -1.0)

    def doubted(self, link: Link, weight: float) -> None:
        """What this link has told was of no use. It is asked later than others, and not left for that alone."""
        score, most = self._scores.get(link.peer), self.turn.config.promises_max / 2
        before = self._left(score) if score is not None else 0.0
        self._change(link.peer, max(0.0, min(weight, most - before)))

    def _broken(self, link: Link) -> None:
        self._change(link.peer, 1.0)
        score = self._scores.get(link.peer)
        if score is not None and score.broken >= self.turn.config.promises_max:
            self._over[link.id] = link

    def _change(self, peer: str, by: float) -> None:
        now, score = self.turn.now, self._scores.get(peer)
        before = self._left(score) if score is not None else 0.0
        if before + by > 0:
            self._scores[peer] = Score(before + by, now)
        else:
            self._scores.pop(peer, None)

    def _left(self, score: Score) -> float:
        return max(0.0, score.broken - (self.turn.now - score.at) / self.turn.config.promises_decay)

    def doubt(self, number: int) -> float:
        """How little is to be expected of a link: who is to be asked first has the least."""
        link = self.links.by_id.get(number)
        score = self._scores.get(link.peer) if link is not None else None
        asked, timeout = self._asked.get(number), self.turn.config.graft_timeout
        is_late = asked is not None and self.turn.now - min(asked.values()) >= timeout
        return is_late + (self._left(score) if score is not None else 0.0)

    def _look(self) -> None:
        """A link that has sent nothing of something that it is asked for has broken its word, once for all of that."""
        self._timer = None
        now, patience = self.turn.now, self.turn.config.ping_timeout
        for number, asked in list(self._asked.items()):
            since = max(min(asked.values()), self._served.get(number, 0.0))
            if now - since < patience:
                continue
            del self._asked[number]
            link = self.links.by_id.get(number)
            if link is not None and not self.turn.health.stood_still_since(since):
                self.turn.counts["broken_promises"] += 1
                self._broken(link)
        self._scores = {peer: score for peer, score in self._scores.items() if self._left(score) > 0}
        if self._asked:
            self._timer = self.turn.timers.after(patience / 2, self._look)

    def lost(self, link: Link) -> None:
        """A link is gone; what was held against its peer stays."""
        self._asked.pop(link.id, None)
        self._served.pop(link.id, None)
        self._over.pop(link.id, None)

    def judge(self) -> None:
        """End the links of those that have broken too many. The half of it is held against them when they come back."""
        while self._over:
            _, link = self._over.popitem()
            self._change(link.peer, -self.turn.config.promises_max / 2)
            self.links.hang_up(link, Reason.BROKEN_PROMISE)
