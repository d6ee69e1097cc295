"""The log of bundles in memory: who delivered one can serve it, within the retention."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs
from zope.interface import implementer

from twisted_p2p.core.config import Config
from twisted_p2p.interfaces import IMessageLog, Stream

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


@implementer(IMessageLog)
@attrs.define(eq=False)
class MemoryLog:
    """Bundles by stream and seq, in order of arrival for retention by age, number and bytes.

    Age spares the newest bundle of a stream: without it nobody could prove how far the stream went.

    Appending is in seq order, but a stream may begin anywhere, and anew after a gap: then what was held is dropped,
    since a log with a hole can serve neither side of it in order.
    """

    config: Config
    size: int = 0
    """Bytes held."""
    _streams: dict[Stream, _Lines] = attrs.field(factory=dict)
    _arrivals: deque[tuple[float, Stream, int]] = attrs.field(factory=deque)
    _spared: dict[Stream, None] = attrs.field(factory=dict)
    """Streams of which only the newest bundle is left, in the order in which age would have taken that, too."""
    _count: int = 0

    def append(self, stream: Stream, seq: int, line: bytes, now: float) -> None:
        """Keep `line`."""
        held = self._streams.get(stream)
        if held is None:
            held = self._streams[stream] = _Lines(seq)
        elif seq != held.end:
            self.forget(stream)
            held = self._streams[stream] = _Lines(seq)
        held.lines.append(line)
        self.size += len(line)
        self._count += 1
        self._arrivals.append((now, stream, seq))
        if stream in self._spared:
            del self._spared[stream]
            self._drop_first(stream, held)
        if self._count > self.config.retention_count or self.size > self.config.retention_bytes:
            self.expire(now)

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

    def expire(self, now: float) -> None:
        """Drop what retention no longer keeps, oldest arrivals first."""
        oldest = now - self.config.retention_age
        while self._arrivals and (self._arrivals[0][0] < oldest or self._is_full()):
            _, stream, seq = self._arrivals.popleft()
            held = self._streams.get(stream)
            if held is not None and held.first == seq:
                if held.end == seq + 1:
                    self._spared[stream] = None
                else:
                    self._drop_first(stream, held)
        while self._spared and self._is_full():
            self.forget(next(iter(self._spared)))

    def _is_full(self) -> bool:
        return self._count > self.config.retention_count or self.size > self.config.retention_bytes

    def forget(self, stream: Stream) -> None:
        """Drop what is held of a stream."""
        self._spared.pop(stream, None)
        held = self._streams.get(stream)
        while held is not None and held.first < held.end:
            self._drop_first(stream, held)

    def commit(self) -> None:
        """Memory needs none."""

    def _drop_first(self, stream: Stream, held: _Lines) -> None:
        self.size -= held.drop_first()
        self._count -= 1
        if held.first == held.end:
            del self._streams[stream]

    def __len__(self) -> int:
        return self._count
