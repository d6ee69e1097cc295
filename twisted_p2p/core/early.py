"""Bundles that came before their elders, held back within a bound of which each link can count on its share."""

from __future__ import annotations

import attrs

from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Broadcast
from twisted_p2p.interfaces import Stream


@attrs.frozen(eq=False)
class Held:
    """One of them, and the link that brought it."""

    frame: Broadcast
    line: bytes
    link: int


@attrs.define(eq=False)
class _Brought:
    """What is held back of what one link has brought, in that order."""

    size: int = 0
    bundles: dict[tuple[Stream, int], None] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Early:
    """All that is held back.

    Over the bound the link whose bundles take most gives way with its newest. So a neighbour that withholds elders
    keeps out nobody else's, and one that alone has many may take all the room. What gives way is asked for again later.
    """

    turn: Turn
    streams: dict[Stream, dict[int, Held]] = attrs.field(factory=dict)
    """By stream and seq; a stream of which nothing is held is not there."""
    count: int = 0
    size: int = 0
    _links: dict[int, _Brought] = attrs.field(factory=dict)

    def add(self, link: int, frame: Broadcast, line: bytes) -> None:
        """Hold one back, if there is room, or others give way."""
        if not self._make_room(link, len(line)):
            self.turn.counts["early_dropped"] += 1
            return
        self.streams.setdefault(frame.stream, {})[frame.seq] = Held(frame, line, link)
        brought = self._links.setdefault(link, _Brought())
        brought.bundles[frame.stream, frame.seq] = None
        brought.size += len(line)
        self.count += 1
        self.size += len(line)

    def _make_room(self, link: int, size: int) -> bool:
        config = self.turn.config
        mine = self._links.get(link, _Brought())
        while (is_many := self.count >= config.early_max) or self.size + size > config.early_bytes:
            most = max(self._links.values(), key=lambda brought: _taken(brought, is_many), default=mine)
            if _taken(most, is_many) <= _taken(mine, is_many) + (1 if is_many else size):
                return False
            self.take(*next(reversed(most.bundles)))
            self.turn.counts["early_dropped"] += 1
        return True

    def take(self, stream: Stream, seq: int) -> Held:
        """Hold one back no more."""
        early = self.streams[stream]
        held = early.pop(seq)
        if not early:
            del self.streams[stream]
        brought = self._links[held.link]
        del brought.bundles[stream, seq]
        brought.size -= len(held.line)
        if not brought.bundles:
            del self._links[held.link]
        self.count -= 1
        self.size -= len(held.line)
        return held

    def earliest(self, stream: Stream) -> int | None:
        """The lowest seq that is held back of a stream."""
        return min(self.streams.get(stream, ()), default=None)

    def drop(self, stream: Stream) -> None:
        """Nobody has the elders of what is held back of this stream."""
        for seq in list(self.streams.get(stream, ())):
            self.take(stream, seq)


def _taken(brought: _Brought, is_many: bool) -> int:
    """What it takes of what there is too much of: bundles, or bytes."""
    return len(brought.bundles) if is_many else brought.size
