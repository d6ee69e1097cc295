"""What each origin has in a log, and who has more than its share and pays first when the log is full."""

from __future__ import annotations

import attrs

from twisted_p2p.core.config import Config
from twisted_p2p.interfaces import Stream


@attrs.define(eq=False)
class Part:
    """What a log has of one origin: its streams, the number of its bundles, their bytes."""

    origin: str
    streams: dict[Stream, None] = attrs.field(factory=dict)
    count: int = 0
    size: int = 0
    has_grown: bool = False
    """Whether it may be more than a share: whether it has grown since it was last seen to be no more than that."""

    def is_over(self, config: Config, is_many: bool = True, is_big: bool = True) -> bool:
        """Whether it is more than a share of a log that has too many bundles, or too many bytes, or both."""
        share = config.retention_share
        return (is_many and self.count > share * config.retention_count) or (
            is_big and self.size > share * config.retention_bytes
        )


@attrs.define(eq=False)
class Shares:
    """The parts of all origins."""

    _parts: dict[str, Part] = attrs.field(factory=dict)
    _grown: list[Part] = attrs.field(factory=list)

    def enter(self, stream: Stream) -> Part:
        """From now on a stream belongs to its origin's part; which that is."""
        part = self._parts.get(stream[0])
        if part is None:
            part = self._parts[stream[0]] = Part(stream[0])
        part.streams[stream] = None
        return part

    def leave(self, stream: Stream, part: Part) -> None:
        """It does not any more."""
        del part.streams[stream]
        if not part.streams:
            del self._parts[part.origin]

    def grew(self, part: Part) -> None:
        """To be told of a part that grows while it is not known to."""
        part.has_grown = True
        self._grown.append(part)

    def payers(self, config: Config) -> list[Part]:
        """Those that are more than a share, by number or bytes; the one with most bytes comes first."""
        found = list[Part]()
        for part in self._grown:
            part.has_grown = part.is_over(config)
            if part.has_grown:
                found.append(part)
        self._grown = found
        return sorted(found, key=lambda part: (-part.size, part.origin))

    def clear(self) -> None:
        """The log has nothing."""
        self._parts.clear()
        self._grown.clear()
