"""The log in memory: who delivered a bundle can serve it, within the retention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
from zope.interface import implementer

from twisted_p2p.core.config import Config
from twisted_p2p.core.runs import NOBODY, Runs
from twisted_p2p.core.shares import Part, Shares
from twisted_p2p.interfaces import Entry, IMessageLog, Saved, Stream

ROOM = 1024
"""A full log makes room for its so many-th part at once, which is cheaper than for each bundle that comes."""
_COMPACT = 1024


@attrs.define(eq=False)
class _Lines:
    """The lines held of one stream; the first has seq `first` and lies at `start`, after slots already given up."""

    first: int
    part: Part
    lines: list[bytes] = attrs.field(factory=list)
    numbers: list[int] = attrs.field(factory=list)
    """Of the entries that they are."""
    start: int = 0

    @property
    def end(self) -> int:
        """The seq after the last one held."""
        return self.first + len(self.lines) - self.start

    def at(self, seq: int) -> bytes | None:
        """The line of a seq, if it is held."""
        return self.lines[seq - self.first + self.start] if self.first <= seq < self.end else None

    @property
    def eldest(self) -> int:
        """The number of the first line."""
        return self.numbers[self.start]

    def drop_first(self) -> int:
        """Give up the first line; its size."""
        size = len(self.lines[self.start])
        self.lines[self.start] = b""
        self.first += 1
        self.start += 1
        if self.start >= _COMPACT and 2 * self.start >= len(self.lines):
            del self.lines[: self.start], self.numbers[: self.start]
            self.start = 0
        return size


_Arrival = tuple[float, Stream, int, int, bool]
"""When, which stream, which seq, up to which seq it is a gap or 0, and whether it is replayed."""


@implementer(IMessageLog)
@attrs.define(eq=False)
class MemoryLog:
    """Bundles by stream and seq, in order of arrival for retention by age, number and bytes.

    When it is full an origin that has more than its share pays first. Age and shares spare the newest bundle of a
    stream: without it nobody could prove how far the stream went. After a hole what was held before it is dropped,
    since a log with a hole can serve neither side of it in order.
    """

    config: Config
    size: int = 0
    """Bytes held."""
    saved: Saved = attrs.field(factory=Saved)
    _streams: dict[Stream, _Lines] = attrs.field(factory=dict)
    _arrivals: dict[int, _Arrival] = attrs.field(factory=dict)
    """By number, in order. Those that are missing among them are in `_runs`."""
    _runs: Runs = attrs.field(factory=Runs)
    _shares: Shares = attrs.field(factory=Shares)
    _spared: dict[Stream, None] = attrs.field(factory=dict)
    """Streams of which only the newest bundle is left, in the order in which age would have taken that, too."""
    _count: int = 0
    first: int = 1
    last: int = 0
    _peers: dict[str, tuple[bytes, bytes | None, float]] = attrs.field(factory=dict)
    _new: list[tuple[Stream, int, bool]] = attrs.field(factory=list)
    """Entries of this turn: which stream, which seq, and whether it is a bundle."""
    _before: dict[tuple[str, object], object] = attrs.field(factory=dict)
    """What this turn has replaced; None where there was nothing."""

    def load(self) -> Saved:
        """What it holds: it outlives a core, though not a process."""
        self.rollback()
        saved = self.saved
        return Saved(dict(saved.positions), [*self._peers.values()], dict(saved.values), saved.is_whole)

    # --- bundles

    def append(self, stream: Stream, seq: int, line: bytes, now: float, replayed: bool = False) -> int:
        """Keep `line`."""
        held = self._streams.get(stream)
        if held is None:
            held = self._begin(stream, seq)
        elif seq != held.end:
            self._drop(stream)
            held = self._begin(stream, seq)
        size, part = len(line), held.part
        number = self._add(stream, seq, 0, now, replayed)
        held.lines.append(line)
        held.numbers.append(number)
        self.size += size
        self._count += 1
        part.count += 1
        part.size += size
        if not part.has_grown:
            self._shares.grew(part)
        if stream in self._spared:
            del self._spared[stream]
            self._drop_first(stream, held)
        if self._count > self.config.retention_count or self.size > self.config.retention_bytes:
            self.expire(now)
        return number

    def _begin(self, stream: Stream, seq: int) -> _Lines:
        held = self._streams[stream] = _Lines(seq, self._shares.enter(stream))
        return held

    def skip(self, stream: Stream, first: int, last: int, now: float) -> int:
        """Keep that these were told as a gap."""
        return self._add(stream, first, last, now, False)

    def _add(self, stream: Stream, seq: int, last: int, now: float, replayed: bool) -> int:
        self.last += 1
        self._arrivals[self.last] = (now, stream, seq, last, replayed)
        self._new.append((stream, seq, not last))
        return self.last

    def withdraw(self, stream: Stream, seq: int) -> None:
        """Drop what was never sent."""
        held = self._streams.get(stream)
        while held is not None and held.first < held.end and held.end > seq:
            self._drop_last(stream, held)
        self._arrivals = {
            number: (arrival[0], NOBODY, 0, 0, False) if arrival[1] == stream and arrival[2] >= seq else arrival
            for number, arrival in self._arrivals.items()
        }

    def read(self, stream: Stream, seq: int, max_bytes: int) -> Sequence[bytes]:
        """Lines from `seq` on; none where `seq` is not held."""
        held = self._streams.get(stream)
        if held is None or not held.first <= seq < held.end:
            return []
        begin = end = seq - held.first + held.start
        size = 0
        while end < len(held.lines):
            size += len(held.lines[end])
            if end > begin and size > max_bytes:
                break
            end += 1
        return held.lines[begin:end]

    def floor(self, stream: Stream) -> int:
        """The oldest seq held; 0 where none is."""
        held = self._streams.get(stream)
        return held.first if held else 0

    def entries(self, after: int, max_bytes: int) -> Sequence[Entry]:
        """What arrived after that."""
        found: list[Entry] = []
        size = 0
        for entry in self._after(max(after, self.first - 1)):
            size += len(entry.line or b"")
            if found and size > max_bytes:
                break
            found.append(entry)
        return found

    def _after(self, number: int) -> Iterator[Entry]:
        for run in self._runs.after(number):
            yield from self._between(number, run.first)
            yield run.entry(number)
            number = run.last
        yield from self._between(number, self.last + 1)

    def _between(self, after: int, before: int) -> Iterator[Entry]:
        """Entries of which none was dropped."""
        for number in range(after + 1, before):
            _, stream, seq, last, replayed = self._arrivals[number]
            if last:
                yield Entry(number, stream, seq, None, last)
            elif stream != NOBODY:
                yield Entry(number, stream, seq, self._streams[stream].at(seq), 0, replayed)

    def history(self, now: float, age: float | None, count: int | None) -> dict[Stream, int]:
        """The lowest seq of each stream among the newest."""
        if age is None and count is None:
            return {stream: held.first for stream, held in self._streams.items()}
        found = dict[Stream, int]()
        oldest = now - age if age is not None else 0.0
        for at, stream, seq, last, _ in reversed(self._arrivals.values()):
            if stream == NOBODY:
                continue
            if at < oldest or count == 0:
                break
            held = self._streams.get(stream)
            if not last and held is not None and held.first <= seq:
                found[stream] = seq
                count = count - 1 if count is not None else None
        return found

    def expire(self, now: float) -> bool:
        """Drop what retention no longer keeps, all of it at once.

        First what is too old, then of those who have more than their share, then the oldest arrivals of all.
        """
        oldest = now - self.config.retention_age
        while self._arrivals and self._arrivals[self.first][0] < oldest:
            self._pass()
        count, size = self.config.retention_count, self.config.retention_bytes
        if self._count > count or self.size > size:
            self._make_room(count - count // ROOM, size - size // ROOM)
        return False

    def _make_room(self, count: int, size: int) -> None:
        """Drop until no more than so many bundles and bytes are held."""
        for part in self._shares.payers(self.config):
            while part.is_over(self.config, self._count > count, self.size > size) and self._drop_eldest(part):
                pass
        while self._arrivals and (self._count > count or self.size > size):
            self._pass()
        while self._spared and (self._count > count or self.size > size):
            self._drop(next(iter(self._spared)))

    def _pass(self) -> None:
        """Drop the oldest entry, but spare the newest bundle of a stream."""
        _, stream, seq, last, _ = self._arrivals.pop(self.first)
        self.first = self._runs.pass_front(self.first + 1)
        held = self._streams.get(stream)
        if held is not None and held.first == seq and not last:
            if held.end == seq + 1:
                self._spared[stream] = None
            else:
                self._drop_first(stream, held)

    def _drop_eldest(self, part: Part) -> bool:
        """Drop the eldest bundle of an origin, but for the newest of each stream; whether there was any other."""
        found = [
            (held.eldest, stream)
            for stream in part.streams
            if len((held := self._streams[stream]).lines) - held.start > 1
        ]
        if found:
            _, stream = min(found)
            self._drop_first(stream, self._streams[stream])
        return bool(found)

    def _drop(self, stream: Stream) -> None:
        """Drop what is held of a stream."""
        self._spared.pop(stream, None)
        held = self._streams.get(stream)
        while held is not None and held.first < held.end:
            self._drop_first(stream, held)

    def _drop_first(self, stream: Stream, held: _Lines) -> None:
        number, seq = held.eldest, held.first
        self._dropped(stream, held, held.drop_first())
        if number >= self.first:
            del self._arrivals[number]
            if number == self.first:
                self.first = self._runs.pass_front(number + 1)
            else:
                self._runs.add(number, stream, seq)

    def _drop_last(self, stream: Stream, held: _Lines) -> None:
        held.numbers.pop()
        self._dropped(stream, held, len(held.lines.pop()))
        if stream not in self._streams:
            self._spared.pop(stream, None)

    def _dropped(self, stream: Stream, held: _Lines, size: int) -> None:
        self.size -= size
        self._count -= 1
        held.part.count -= 1
        held.part.size -= size
        if held.first == held.end:
            del self._streams[stream]
            self._shares.leave(stream, held.part)

    def __len__(self) -> int:
        return self._count

    # --- all else

    def move(self, stream: Stream, position: int) -> None:
        """Keep a position."""
        self._keep("position", self.saved.positions, stream, position)

    def forget(self, stream: Stream) -> None:
        """Drop a stream with its position."""
        self._drop(stream)
        self._keep("position", self.saved.positions, stream, None)

    def keep_peer(self, peer: str, record: bytes, claim: bytes | None, since: float) -> None:
        """Keep what is known of a peer."""
        self._keep("peer", self._peers, peer, (record, claim, since))

    def forget_peer(self, peer: str) -> None:
        """Drop what is known of a peer."""
        self._keep("peer", self._peers, peer, None)

    def keep(self, name: str, value: int | None) -> None:
        """Keep a number under a name."""
        self._keep("value", self.saved.values, name, value)

    def _keep(self, kind: str, kept: dict[Any, Any], key: object, value: object) -> None:
        self._before.setdefault((kind, key), kept.get(key))
        _put(kept, key, value)

    # --- turns

    @property
    def is_changed(self) -> bool:
        """Whether this turn has said anything."""
        return bool(self._new or self._before)

    def commit(self) -> None:
        """Memory fails nobody."""
        self.saved.is_whole |= self.is_changed
        self._new.clear()
        self._before.clear()

    def rollback(self) -> None:
        """Undo this turn."""
        last = max(self.last - len(self._new), self.first - 1)
        for number in range(last + 1, self.last + 1):
            self._arrivals.pop(number, None)
        self._runs.cut(last)
        self.last = last
        for stream, seq, is_bundle in reversed(self._new):
            held = self._streams.get(stream)
            if is_bundle and held is not None and held.end == seq + 1:
                self._drop_last(stream, held)
        saved = self.saved
        kept: dict[str, dict[Any, Any]] = {"position": saved.positions, "peer": self._peers, "value": saved.values}
        for (kind, key), value in self._before.items():
            _put(kept[kind], key, value)
        self.commit()

    def close(self) -> None:
        """There is nothing to let go of."""


def _put(kept: dict[Any, Any], key: object, value: object) -> None:
    """Set a value, or delete it if it is None."""
    if value is None:
        kept.pop(key, None)
    else:
        kept[key] = value
