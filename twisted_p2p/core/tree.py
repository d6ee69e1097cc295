"""Which neighbour links carry bundles at once, and which only tell of them.

Plumtree (Leitao, Pereira, Rodrigues, SRDS 2007), sections 3.4 and 3.5. The eager links form a spanning tree; a lazy
one carries, now and then, the positions of the streams that moved. Differs: bundles of many origins travel at the same
time, and each reaches a peer first by a link of its own, so that pruning whatever brings a duplicate cuts a ring in
several places. Here only duplicates of one bundle at a time, the witness, are held against a link: the links by which
one bundle came first are a spanning tree, and those are what is left.
"""

from __future__ import annotations

import attrs

from twisted_p2p.core import wire
from twisted_p2p.core.broadcast import Flow, Spread
from twisted_p2p.core.catchup import CatchUp
from twisted_p2p.core.link import Link
from twisted_p2p.core.links import Links
from twisted_p2p.core.timers import Timer
from twisted_p2p.core.turn import Turn
from twisted_p2p.interfaces import Stream

_SLOW = 2.0
"""For how long a link must take nothing to rest, in initial graft time-outs. Where many share the cores of a machine,
each is not heard of for most of a second, and a tree that is cut for that carries everything twice."""
_LOWEST = 16
"""Origins of which it is known when they last spoke: the reference, and those who may come after it."""


@attrs.define(eq=False)
class Tree:
    """Keeps the eager links of one peer."""

    turn: Turn
    links: Links
    spread: Spread
    catchup: CatchUp
    _heard: dict[str, float] = attrs.field(factory=dict)
    """When a bundle came of which origin, of the lowest ids that were heard lately."""
    _witness: tuple[Stream, int] = (("", 0), 0)
    _witnessed: float = float("-inf")
    """When there was last none, and a bundle became one."""
    _parent: int = 0
    """The link that brought the witness."""
    _duplicates: dict[int, Flow] = attrs.field(factory=dict)
    """Links that brought it once more."""
    _telling: Timer | None = None

    # --- eager links become lazy

    def accepted(self, source: Link | None, stream: Stream, seq: int) -> None:
        """A bundle came first on `source`; None where we made it, or had held it back."""
        origin, now, config = stream[0], self.turn.now, self.turn.config
        if not self._is_reference(origin):
            return
        age = now - self._witnessed
        if age < config.prune_interval:
            if age >= config.prune_delay or origin >= self._witness[0][0]:
                return
        elif not self._is_due(stream, seq):
            return
        if self.catchup.has_asked(stream) or (source is None and stream != self.spread.own):
            return
        if age >= config.prune_interval:
            self._witnessed = now
            self.turn.timers.after(config.prune_delay, self._prune)
        self._witness, self._duplicates = (stream, seq), {}
        self._parent = source.id if source is not None else 0

    def _is_reference(self, origin: str) -> bool:
        """Whether the bundles of this origin are witnesses: it has the lowest id of those that spoke lately.

        So all agree, and do so again at once when it speaks no more.
        """
        now, keep, heard = self.turn.now, self.turn.config.reference_keep, self._heard
        heard[origin] = now
        if len(heard) > _LOWEST:
            del heard[max(heard)]
        for other in [other for other in heard if other < origin]:
            if now - heard[other] < keep:
                return False
            del heard[other]
        return True

    def _is_due(self, stream: Stream, seq: int) -> bool:
        """Whether others, for whom the last witness was not quite as long ago, will take the same bundle as we do."""
        last_stream, last = self._witness
        return stream != last_stream or seq <= last or seq % (1 << (seq - last).bit_length() - 1) == 0

    def duplicate(self, flow: Flow, stream: Stream, seq: int) -> None:
        """A bundle came once more. A duplicate of the witness may be late, too: by then all have the same one."""
        if (stream, seq) != self._witness:
            return
        if self.turn.now - self._witnessed > self.turn.config.prune_delay:
            self._prune_one(flow)
        else:
            self._duplicates[flow.link.id] = flow

    def _prune(self) -> None:
        """By now everybody has the same witness."""
        duplicates, self._duplicates = self._duplicates, {}
        for flow in duplicates.values():
            self._prune_one(flow)

    def _prune_one(self, flow: Flow) -> None:
        if flow.eager and flow.link.id != self._parent and self._others(flow):
            self._rest(flow)
            self.turn.counts["pruned"] += 1
            self.links.send(flow.link, wire.Prune(flow.grafts_heard))

    def give_back(self, number: int) -> None:
        """This link was made eager without need: the bundle for which it was has come by the tree as it was before."""
        flow = self.spread.flows.get(number)
        if flow is not None:
            self._prune_one(flow)

    def pruned(self, link: Link, frame: wire.Prune) -> None:
        """The other end asks to be told only: refused on the link that brought our witness, or on our last one."""
        flow = self.spread.flows.get(link.id)
        if flow is None or not flow.eager:
            return
        if frame.n != flow.grafts_sent:
            self.turn.counts["prune_stale"] += 1
        elif link.id == self._parent or not self._others(flow):
            self.turn.counts["prune_refused"] += 1
            self.catchup.stay_eager(link)
        else:
            self._rest(flow)

    def congested(self, link: Link) -> None:
        """The other end reads too slowly: if it takes nothing for long, let it depend on others.

        Differs from the paper, where a link is lazy for its duplicates alone.
        """
        flow = self.spread.flows.get(link.id)
        if flow is not None and flow.paused is None:
            patience = max(_SLOW * self.turn.config.graft_timeout, self.catchup.lateness.timeout)
            flow.paused = self.turn.timers.after(patience, lambda: self._relieve(flow))

    def _relieve(self, flow: Flow) -> None:
        """Push nothing more on a link that takes nothing; what we owe, the other end is told of and may ask for.

        What it has asked for is still sent: it has nobody else to count on, and would take us for one that lies.
        """
        flow.paused = None
        if flow.link.end is not None or not flow.link.congested:
            return
        if flow.eager and flow.live and self._others(flow):
            owed, flow.owed = flow.owed, {stream: None for stream in flow.owed if stream in flow.asked}
            self._rest(flow)
            for stream in owed:
                if stream not in flow.owed:
                    self.moved(flow, stream)
            self.turn.counts["pruned_slow"] += 1
            self.links.send(flow.link, wire.Prune(flow.grafts_heard))
        self.congested(flow.link)

    def _rest(self, flow: Flow) -> None:
        """The link is lazy; what was asked for on it is still sent."""
        flow.eager = False
        flow.cursor = {stream: cursor for stream, cursor in flow.cursor.items() if stream in flow.owed}

    def _others(self, flow: Flow) -> bool:
        return any(other.eager and other.live and other is not flow for other in self.spread.flows.values())

    # --- lazy links become eager

    def lost(self, link: Link) -> None:
        """A neighbour link is gone: the tree may be cut there, and a lazy link may bridge it."""
        flow = self.spread.flows.get(link.id)
        if flow is None or not flow.eager:
            return
        lazy = [other.link for other in self.spread.flows.values() if not other.eager]
        if lazy:
            self.turn.counts["bridged"] += 1
            self.catchup.stay_eager(self.turn.rng.choice(lazy))

    # --- telling on lazy links

    def moved(self, flow: Flow, stream: Stream) -> None:
        """A stream has moved, and the bundle is not pushed on this link."""
        flow.moved[stream] = None
        self._tell_soon()

    def drained(self, link: Link) -> None:
        """The link takes more again: what moved meanwhile is told now."""
        flow = self.spread.flows.get(link.id)
        if flow is None:
            return
        if flow.paused is not None:
            flow.paused.cancel()
            flow.paused = None
        if flow.moved:
            self._tell_soon()

    def _tell_soon(self) -> None:
        if self._telling is None:
            self._telling = self.turn.timers.after(self.turn.jitter(self.turn.config.frontier_interval), self._tell)

    def _tell(self) -> None:
        self._telling = None
        size = self.turn.config.page
        for flow in self.spread.flows.values():
            if flow.link.congested:
                continue
            positions = [(*stream, self.spread.positions.of(stream)) for stream in flow.moved]
            flow.moved.clear()
            for begin in range(0, len(positions), size):
                self.links.send(flow.link, wire.Frontier(positions[begin : begin + size]))
