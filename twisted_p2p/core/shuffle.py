"""Keeping a sample of the network fresh, where it is larger than a peer wants to know.

HyParView (Leitao, Pereira, Rodrigues, DSN 2007), section 4.4: now and then a peer sends some of the peers that it knows
on a random walk along neighbour links, and exchanges them with those of the peer at its end. Differs: the answer goes
back the way that the walk came, which needs no connection of its own.
"""

from __future__ import annotations

from itertools import islice

import attrs

from twisted_p2p.core.buckets import TokenBuckets
from twisted_p2p.core.link import Link
from twisted_p2p.core.links import Links
from twisted_p2p.core.membership import Membership
from twisted_p2p.core.overlay import Overlay
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Record, Shuffle, Shuffled

_WALKS_MAX = 1_000
"""Walks whose answers are still awaited; over it the eldest is forgotten, and its answer dropped."""


@attrs.frozen
class _Walk:
    """A walk that came here.

    Attributes:
        back: by which link; None: it is our own.
        to: by which it went on.
        size: how many peers it has with it.
        enters: its end is to be our neighbour.
    """

    back: Link | None
    to: Link
    size: int
    enters: bool


@attrs.define(eq=False)
class Shuffles:
    """Starts walks, passes on those of others, and answers where one ends."""

    turn: Turn
    membership: Membership
    links: Links
    overlay: Overlay
    _walks: dict[str, _Walk] = attrs.field(factory=dict)
    _ration: TokenBuckets = attrs.field(init=False)
    """By neighbour: walks that it sends here."""

    def __attrs_post_init__(self) -> None:
        config = self.turn.config
        self._ration = TokenBuckets(config.walks_burst, config.walks_interval)

    def start(self) -> None:
        """Shuffle from now on, unless we know everybody."""
        if self.membership.is_sample:
            self.turn.timers.after(self.turn.jitter(self.turn.config.shuffle_interval), self._shuffle)

    def _shuffle(self) -> None:
        self.start()
        self._ration.expire(self.turn.now)
        config, active = self.turn.config, list(self.overlay.active.values())
        if not active:
            return
        to = self.turn.rng.choice(active)
        near = [link.record for link in active if link is not to and link.record is not None]
        near = self.turn.rng.sample(near, min(config.shuffle_active, len(near)))
        nodes = [self.membership.own, *near, *self._passive(config.shuffle_passive)]
        self._go(self._new(), None, to, config.shuffle_hops, nodes)

    def enter(self) -> None:
        """We have joined: find neighbours by walks, and be known where they pass."""
        active = list(self.overlay.active.values())
        if self.membership.is_sample and active:
            for _ in range(self.overlay.target):
                to = self.turn.rng.choice(active)
                self._go(self._new(), None, to, self.turn.config.shuffle_hops, [self.membership.own], enters=True)

    def _new(self) -> str:
        return f"{self.turn.rng.getrandbits(128):032x}"

    def _passive(self, number: int) -> list[Record]:
        """Peers that we know, and that are no neighbours, drawn by chance."""
        passive = (record for record in self.membership.drawn() if record.peer not in self.overlay.active)
        return list(islice(passive, number))

    def _go(self, walk: str, back: Link | None, to: Link, hops: int, nodes: list[Record], enters: bool = False) -> None:
        self._walks[walk] = _Walk(back, to, len(nodes), enters)
        if len(self._walks) > _WALKS_MAX:
            del self._walks[next(iter(self._walks))]
        self.links.send(to, Shuffle(walk, hops, nodes))

    def walked(self, link: Link, frame: Shuffle) -> None:
        """A walk comes by. It ends here after enough hops, where it can't go on, or when it has been here before."""
        now = self.turn.now
        if not (link.is_neighbour and self.membership.is_sample and self._ration.has(link.peer, now)):
            self.turn.counts["walks_refused"] += 1
            return
        self._ration.take(link.peer, now)
        others = [other for other in self.overlay.active.values() if other is not link]
        hops = min(frame.hops, self.turn.config.shuffle_hops)
        if hops > 1 and others and frame.walk not in self._walks:
            self._go(frame.walk, link, self.turn.rng.choice(others), hops - 1, frame.nodes)
            if hops == self.turn.config.shuffle_hops // 2:
                self._take_in(link, frame.nodes[:1])
        else:
            self.links.send(link, Shuffled(frame.walk, [self.membership.own, *self._passive(len(frame.nodes))]))
            self._take_in(link, frame.nodes)

    def answered(self, link: Link, frame: Shuffled) -> None:
        """The answer to a walk comes back."""
        walk = self._walks.get(frame.walk)
        if walk is None or walk.to is not link:
            self.turn.counts["walks_unasked"] += 1
            return
        del self._walks[frame.walk]
        if walk.back is None:
            self._take_in(link, frame.nodes[: walk.size + 1])
            if walk.enters:
                end = self.membership.entries.get(frame.nodes[0].peer) if frame.nodes else None
                if end is not None:
                    self.overlay.invite(end.record)
        else:
            self.links.send(walk.back, frame)

    def _take_in(self, link: Link, nodes: list[Record]) -> None:
        """Whoever brings them has not signed them, nor looked at the signatures: bad ones are not held against it."""
        for record in nodes:
            if not self.membership.merge([record], source=link.peer):
                self.turn.counts["walks_bad"] += 1
