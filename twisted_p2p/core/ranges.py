"""Peers by address range, so that no range gets more than its share.

Keys cost nothing, and addresses of one range little; addresses in many ranges are dear. Bitcoin Core's addrman puts
addresses into buckets by their group for that, at places that a secret key tells. Differs: nothing has a place that
could be guessed. What one peer decides for itself is drawn by its own chance; what all should decide alike, who of a
full directory stays, follows from the ids.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain

import attrs

from twisted_p2p.core.draw import DrawSet
from twisted_p2p.core.groups import NEAR, WIDE, group_of, is_address

Range = tuple[str, str]
"""The wide and the near address group of a host."""


@lru_cache(maxsize=4096)
def range_of(host: str) -> Range:
    """Where a host is. All names are in one range, since anybody has as many as they like."""
    return (group_of(host, WIDE), group_of(host, NEAR)) if is_address(host) else ("", "")


@attrs.define(eq=False)
class Ladder:
    """Names by their sizes: what is the largest is told without a look at the others."""

    _rungs: list[tuple[int, str]] = attrs.field(factory=list)

    def move(self, name: str, before: int, after: int) -> None:
        """The size of this one changes; 0: it is not there."""
        if before:
            del self._rungs[bisect_left(self._rungs, (before, name))]
        if after:
            insort(self._rungs, (after, name))

    @property
    def top(self) -> tuple[int, str]:
        """The largest size, and who has it; of several the one with the highest name."""
        return self._rungs[-1]


@attrs.define(eq=False)
class _Wide:
    """What is in one wide group: by near group the peers, in the order of their ids."""

    size: int = 0
    near: dict[str, list[str]] = attrs.field(factory=dict)
    ladder: Ladder = attrs.field(factory=Ladder)


@attrs.define(eq=False)
class Ranges:
    """A set of peers, by where they are. No change of it, and no answer but a list, takes a look at all of them."""

    _wides: dict[str, _Wide] = attrs.field(factory=dict)
    """None is empty, and no near group in one is."""
    _names: DrawSet = attrs.field(factory=DrawSet)
    """Theirs."""
    _ladder: Ladder = attrs.field(factory=Ladder)
    _where: dict[str, Range] = attrs.field(factory=dict)

    def add(self, peer: str, host: str) -> None:
        """It is in the set, there."""
        self.discard(peer)
        name, near = self._where[peer] = range_of(host)
        wide = self._wides.setdefault(name, _Wide())
        self._names.add(name)
        inside = wide.near.setdefault(near, [])
        insort(inside, peer)
        self._resize(name, near, 1)

    def discard(self, peer: str) -> None:
        """It is not in the set."""
        if peer not in self._where:
            return
        name, near = self._where.pop(peer)
        wide = self._wides[name]
        inside = wide.near[near]
        del inside[bisect_left(inside, peer)]
        self._resize(name, near, -1)
        if not inside:
            del wide.near[near]
        if not wide.size:
            del self._wides[name]
            self._names.discard(name)

    def _resize(self, name: str, near: str, by: int) -> None:
        wide = self._wides[name]
        size = len(wide.near[near])
        wide.ladder.move(near, size - by, size)
        wide.size += by
        self._ladder.move(name, wide.size - by, wide.size)

    @property
    def is_diverse(self) -> bool:
        """Whether they are in more than one range."""
        return len(self._wides) > 1 or any(len(wide.near) > 1 for wide in self._wides.values())

    def draw(self, rng: random.Random) -> Iterator[str]:
        """One of each wide group, and then one of each near group, the groups in random order; no change meanwhile."""
        for name in self._names.draw(rng):
            yield rng.choice(rng.choice(list(self._wides[name].near.values())))
        nears = [inside for wide in self._wides.values() for inside in wide.near.values()]
        for inside in rng.sample(nears, len(nears)):
            yield rng.choice(inside)

    def beside(self, host: str) -> int:
        """How many are in the wide group of this host."""
        wide = self._wides.get(range_of(host)[0])
        return 0 if wide is None else wide.size

    def fullest(self) -> Sequence[str]:
        """By id the near group with the most in the wide one with the most. Of several it is the same for everybody."""
        wide = self._wides[self._ladder.top[1]]
        return wide.near[wide.ladder.top[1]]

    def crowd(self, most: int) -> list[str]:
        """All of a range that has more than `most`: of a near group, or else of a wide one; nobody if there is none."""
        if not self._wides or self._ladder.top[0] <= most:
            return []
        wide, fullest = self._wides[self._ladder.top[1]], self.fullest()
        return list(fullest if len(fullest) > most else chain.from_iterable(wide.near.values()))

    def __contains__(self, peer: str) -> bool:
        return peer in self._where

    def __len__(self) -> int:
        return len(self._where)
