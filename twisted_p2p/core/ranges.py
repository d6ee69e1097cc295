"""Peers by address range, so that no range gets more than its share.

Keys cost nothing, and addresses of one range little; addresses in many ranges are dear. Bitcoin Core's addrman puts
addresses into buckets by their group for that, at places that a secret key tells. Differs: nothing has a place that
could be guessed. What one peer decides for itself is drawn by its own chance; what all should decide alike, who of a
full directory stays, follows from the ids.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache

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
class Ranges:
    """A set of peers, by where they are."""

    _peers: dict[str, dict[str, DrawSet]] = attrs.field(factory=dict)
    """By wide and near group; none is empty."""
    _sizes: dict[str, int] = attrs.field(factory=dict)
    """Of the wide groups."""
    _where: dict[str, Range] = attrs.field(factory=dict)

    def add(self, peer: str, host: str) -> None:
        """It is in the set, there."""
        self.discard(peer)
        wide, near = self._where[peer] = range_of(host)
        self._peers.setdefault(wide, {}).setdefault(near, DrawSet()).add(peer)
        self._sizes[wide] = self._sizes.get(wide, 0) + 1

    def discard(self, peer: str) -> None:
        """It is not in the set."""
        if peer not in self._where:
            return
        wide, near = self._where.pop(peer)
        inside = self._peers[wide]
        inside[near].discard(peer)
        if not inside[near]:
            del inside[near]
        self._sizes[wide] -= 1
        if not inside:
            del self._peers[wide], self._sizes[wide]

    @property
    def is_diverse(self) -> bool:
        """Whether they are in more than one range."""
        return len(self._peers) > 1 or any(len(inside) > 1 for inside in self._peers.values())

    def draw(self, rng: random.Random) -> Iterator[str]:
        """One of each wide group, and then one of each near group, the groups in random order; no change meanwhile."""
        wides = list(self._peers.values())
        for inside in rng.sample(wides, len(wides)):
            yield next(rng.choice(list(inside.values())).draw(rng))
        nears = [peers for inside in wides for peers in inside.values()]
        for peers in rng.sample(nears, len(nears)):
            yield next(peers.draw(rng))

    def beside(self, host: str) -> int:
        """How many are in the wide group of this host."""
        return self._sizes.get(range_of(host)[0], 0)

    def fullest(self) -> DrawSet:
        """The near group with the most in the wide one with the most. Of several it is the same one for everybody."""
        inside = self._peers[max(self._sizes, key=lambda wide: (self._sizes[wide], wide))]
        return inside[max(inside, key=lambda near: (len(inside[near]), near))]

    def crowd(self, most: int) -> list[str]:
        """All of a range that has more than `most`: of a near group, or else of a wide one; nobody if there is none."""
        if max(self._sizes.values(), default=0) <= most:
            return []
        fullest = self.fullest()
        if len(fullest) > most:
            return list(fullest)
        wide, _ = self._where[next(iter(fullest))]
        return [peer for peers in self._peers[wide].values() for peer in peers]

    def __contains__(self, peer: str) -> bool:
        return peer in self._where

    def __len__(self) -> int:
        return len(self._where)
