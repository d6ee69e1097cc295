"""What a durable log holds, as it is kept in memory: of each stream, and in all, now and before this turn."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import attrs

from twisted_p2p.core.shares import Part, Shares
from twisted_p2p.interfaces import Stream

StreamRow = tuple[str, int, int, int | None, int, int, int, int, int]
"""Origin and epoch of a stream, and `Held` from `id` on."""


@attrs.define(eq=False)
class Held:
    """What is held of one stream: from `floor`, 0 where nothing is, up to before `next`."""

    part: Part
    id: int
    position: int | None = None
    floor: int = 0
    next: int = 0
    newest: int = 0
    """The number of the newest bundle."""
    count: int = 0
    size: int = 0
    """Bundles and bytes in the file, with what is before a hole."""

    def copy(self) -> Held:
        """As it is now."""
        return Held(self.part, self.id, self.position, self.floor, self.next, self.newest, self.count, self.size)


@attrs.define
class Totals:
    """Of the whole log; `last` and `first` as IMessageLog has them."""

    last: int = 0
    first: int = 1
    count: int = 0
    size: int = 0

    def copy(self) -> Totals:
        """As they are now."""
        return Totals(self.last, self.first, self.count, self.size)


@attrs.define(eq=False)
class Holdings:
    """Of all streams. What a turn changes can be undone until it has ended."""

    totals: Totals = attrs.field(factory=Totals)
    streams: dict[Stream, Held] = attrs.field(factory=dict)
    shares: Shares = attrs.field(factory=Shares)
    _names: dict[int, Stream] = attrs.field(factory=dict)
    _next_id: int = 1
    _committed: Totals = attrs.field(factory=Totals)
    _before: dict[Stream, Held | None] = attrs.field(factory=dict)
    """The streams that this turn has touched, as they were."""

    def restore(self, totals: Totals, streams: Iterable[StreamRow]) -> None:
        """Begin with what is in the file."""
        self.totals, self._committed = totals, totals.copy()
        for origin, epoch, *held in streams:
            stream = (origin, epoch)
            self._put(stream, Held(self.shares.enter(stream), *held))  # type: ignore[arg-type]  # position alone may be None
        self._next_id = max(self._names, default=0) + 1

    def clear(self) -> None:
        """Forget all, but for the totals of the turns that have ended."""
        self.totals = self._committed.copy()
        self.streams.clear()
        self.shares.clear()
        self._names.clear()
        self._before.clear()

    def name(self, id: int) -> Stream:
        """The stream that has this id in the file."""
        found = self._names.get(id)
        if found is None:
            raise sqlite3.DatabaseError("malformed: an entry is of no stream")
        return found

    # --- turns

    @property
    def is_changed(self) -> bool:
        """Whether this turn has changed anything."""
        return bool(self._before) or self.totals != self._committed

    def touched(self) -> list[tuple[Stream, Held]]:
        """The streams that this turn has touched and left."""
        return [(stream, self.streams[stream]) for stream in self._before if stream in self.streams]

    def end_turn(self) -> None:
        """What it has changed is lasting."""
        self._committed = self.totals.copy()
        self._before.clear()

    def undo_turn(self) -> None:
        """All is as it was before this turn."""
        for stream, before in self._before.items():
            if stream in self.streams:
                self.remove(stream)
            if before is not None:
                before.part = self.shares.enter(stream)
                self._put(stream, before)
        self.totals = self._committed.copy()
        self._before.clear()

    # --- what a turn changes

    def touch(self, stream: Stream) -> Held:
        """What is held of a stream, to be changed in this turn."""
        held = self.streams.get(stream)
        if stream not in self._before:
            self._before[stream] = None if held is None else held.copy()
        if held is None:
            held = Held(self.shares.enter(stream), self._next_id)
            self._put(stream, held)
            self._next_id += 1
        return held

    def take(self, held: Held, size: int) -> None:
        """One bundle more of a stream, of so many bytes."""
        part, totals = held.part, self.totals
        held.count += 1
        held.size += size
        part.count += 1
        part.size += size
        totals.count += 1
        totals.size += size
        if not part.has_grown:
            self.shares.grew(part)

    def lose(self, held: Held, count: int, size: int) -> None:
        """So many bundles of a stream fewer, and bytes."""
        held.count -= count
        held.size -= size
        held.part.count -= count
        held.part.size -= size
        self.totals.count -= count
        self.totals.size -= size

    def remove(self, stream: Stream) -> None:
        """Nothing is known of a stream."""
        held = self.streams.pop(stream)
        del self._names[held.id]
        held.part.count -= held.count
        held.part.size -= held.size
        self.shares.leave(stream, held.part)

    def _put(self, stream: Stream, held: Held) -> None:
        """This is what is held of a stream."""
        self.streams[stream] = held
        self._names[held.id] = stream
        held.part.count += held.count
        held.part.size += held.size
        if not held.part.has_grown:
            self.shares.grew(held.part)
