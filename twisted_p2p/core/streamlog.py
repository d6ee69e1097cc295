"""The log in memory: who delivered a bundle can serve it, within the retention."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import attrs
from zope.interface import implementer

from twisted_p2p.core.config import Config
from twisted_p2p.interfaces import Entry, IMessageLog, Saved, Stream

_COMPACT = 1024


@attrs.define(eq=False)
class _Lines:
    """The lines held of one stream; the first has seq `first` and lies at `start`, after slots already given up."""

    first: int
    lines: list[bytes] = attrs.field(factory=list)
    start: int = 0

    @property
    def end(self) -> int:
        """The seq after the last one held."""
        return self.first + len(self.lines) - self.start

    def at(self, seq: int) -> bytes | None:
        """The line of a seq, if it is held."""
        return self.lines[seq - self.first + self.start] if self.first <= seq < self.end else None

    def drop_first(self) -> int:
        """Give up the first line; its size."""
        size = len(self.lines[self.start])
        self.lines[self.start] = b""
        self.first += 1
        self.start += 1
        if self.start >= _COMPACT and 2 * self.start >= len(self.lines):
            del self.lines[: self.start]
            self.start = 0
        return size


_Arrival = tuple[float, Stream, int, int, bool]
"""When, which stream, which seq, up to which seq it is a gap or 0, and whether it is replayed."""
_NOTHING: Stream = ("", 0)
"""In the place of the stream of what was withdrawn."""


@implementer(IMessageLog)
@attrs.define(eq=False)
class MemoryLog:
    """Bundles by stream and seq, in order of arrival for retention by age, number and bytes.

    Age spares the newest bundle of a stream: without it nobody could prove how far the stream went. After a hole what
    was held before it is dropped, since a log with a hole can serve neither side of it in order.
    """

    config: Config
    size: int = 0
    """Bytes held."""
    saved: Saved = attrs.field(factory=Saved)
    _streams: dict[Stream, _Lines] = attrs.field(factory=dict)
    _arrivals: deque[_Arrival] = attrs.field(factory=deque)
    _spared: dict[Stream, None] = attrs.field(factory=dict)
    """Streams of which only the newest bundle is left, in the order in which age would have taken that, too."""
    _count: int = 0
    first: int = 1
    _peers: dict[str, tuple[bytes, bytes | None, float]] = attrs.field(factory=dict)
    _new: list[tuple[Stream, int, bool]] = attrs.field(factory=list)
    """Entries of this turn: which stream, which seq, and whether it is a bundle."""
    _before: dict[tuple[str, object], object] = attrs.field(factory=dict)
    """What this turn has replaced; None where there was nothing."""

    @property
    def last(self) -> int:
        """The number of the newest entry."""
        return self.first + len(self._arrivals) - 1

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
            held = self._streams[stream] = _Lines(seq)
        elif seq != held.end:
            self._drop(stream)
            held = self._streams[stream] = _Lines(seq)
        held.lines.append(line)
        self.size += len(line)
        self._count += 1
        self._arrivals.append((now, stream, seq, 0, replayed))
        self._new.append((stream, seq, True))
        number = self.first + len(self._arrivals) - 1
        if stream in self._spared:
            del self._spared[stream]
            self._drop_first(stream, held)
        if self._count > self.config.retention_count or self.size > self.config.retention_bytes:
            self.expire(now)
        return number

    def skip(self, stream: Stream, first: int, last: int, now: float) -> int:
        """Keep that these were told as a gap."""
        self._arrivals.append((now, stream, first, last, False))
        self._new.append((stream, first, False))
        return self.last

    def withdraw(self, stream: Stream, seq: int) -> None:
        """Drop what was never sent."""
        held = self._streams.get(stream)
        while held is not None and held.first < held.end and held.end > seq:
            self._drop_last(stream, held)
        self._arrivals = deque(
            (a[0], _NOTHING, 0, 0, False) if a[1] == stream and a[2] >= seq else a for a in self._arrivals
        )

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
        for number in range(max(after + 1, self.first), self.last + 1):
            _, stream, seq, last, replayed = self._arrivals[number - self.first]
            held = self._streams.get(stream)
            line = held.at(seq) if held is not None and not last else None
            size += len(line or b"")
            if found and size > max_bytes:
                break
            if stream[0]:
                found.append(Entry(number, stream, seq, line, 0 if line is not None else last or seq, replayed))
        return found

    def history(self, now: float, age: float | None, count: int | None) -> dict[Stream, int]:
        """The lowest seq of each stream among the newest."""
        if age is None and count is None:
            return {stream: held.first for stream, held in self._streams.items()}
        found = dict[Stream, int]()
        oldest = now - age if age is not None else 0.0
        for at, stream, seq, last, _ in reversed(self._arrivals):
            if not stream[0]:
                continue
            if at < oldest or count == 0:
                break
            held = self._streams.get(stream)
            if not last and held is not None and held.first <= seq:
                found[stream] = seq
                count = count - 1 if count is not None else None
        return found

    def expire(self, now: float) -> bool:
        """Drop what retention no longer keeps, oldest arrivals first; all of it at once."""
        oldest = now - self.config.retention_age
        while self._arrivals and (self._arrivals[0][0] < oldest or self._is_full()):
            _, stream, seq, last, _ = self._arrivals.popleft()
            self.first += 1
            held = self._streams.get(stream)
            if held is not None and held.first == seq and not last:
                if held.end == seq + 1:
                    self._spared[stream] = None
                else:
                    self._drop_first(stream, held)
        while self._spared and self._is_full():
            self._drop(next(iter(self._spared)))
        return False

    def _is_full(self) -> bool:
        return self._count > self.config.retention_count or self.size > self.config.retention_bytes

    def _drop(self, stream: Stream) -> None:
        """Drop what is held of a stream."""
        self._spared.pop(stream, None)
        held = self._streams.get(stream)
        while held is not None and held.first < held.end:
            self._drop_first(stream, held)

    def _drop_first(self, stream: Stream, held: _Lines) -> None:
        self.size -= held.drop_first()
        self._count -= 1
        if held.first == held.end:
            del self._streams[stream]

    def _drop_last(self, stream: Stream, held: _Lines) -> None:
        self.size -= len(held.lines.pop())
        self._count -= 1
        if held.first == held.end:
            del self._streams[stream]
            self._spared.pop(stream, None)

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
        for stream, seq, is_bundle in reversed(self._new):
            if self._arrivals:
                self._arrivals.pop()
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
