"""A set that can be drawn from by chance, without a look at all that is in it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import attrs


@attrs.define(eq=False)
class DrawSet:
    """A set of strings."""

    _items: list[str] = attrs.field(factory=list)
    _places: dict[str, int] = attrs.field(factory=dict)

    def add(self, item: str) -> None:
        """It is in the set."""
        if item not in self._places:
            self._places[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: str) -> None:
        """It is not in the set: the last one takes its place."""
        place = self._places.pop(item, None)
        if place is not None:
            last = self._items.pop()
            if last != item:
                self._items[place] = last
                self._places[last] = place

    def draw(self, rng: random.Random) -> Iterator[str]:
        """All of them in random order (Fisher and Yates), made as far as it is asked for; no change meanwhile."""
        moved = dict[int, int]()
        for last in reversed(range(len(self._items))):
            place = rng.randrange(last + 1)
            yield self._items[moved.get(place, place)]
            moved[place] = moved.get(last, last)

    def __contains__(self, item: str) -> bool:
        return item in self._places

    def __len__(self) -> int:
        return len(self._items)
