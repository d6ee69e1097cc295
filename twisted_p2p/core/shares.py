"""What each origin has in a log, and who has more than its share and pays first when the log is full."""

from __future__ import annotations

import attrs

from twisted_p2p.core.config import Config
from twisted_p2p.interfaces import Stream


@attrs.define(eq=False)
class Part:
    """What a log has of one origin: its streams, the number of its bundles, their bytes."""

    streams: dict[Stream, None] = attrs.field(factory=dict)
    count: int = 0
    size: int = 0


@attrs.define(eq=False)
class Shares:
    """The parts of all origins."""

    _parts: dict[str, Part] = attrs.field(factory=dict)
    _grown: dict[str, None] = attrs.field(factory=dict)
    """Who may have more than its share: whoever got something since it was last seen to have no more than that."""

    def add(self, stream: Stream, count: int, size: int) -> None:
        """The log has so many more bundles of a stream, and bytes."""
        origin = stream[0]
        part = self._parts.get(origin)
        if part is None:
            part = self._parts[origin] = Part()
        part.streams[stream] = None
        part.count += count
        part.size += size
        self._grown[origin] = None

    def take(self, stream: Stream, count: int, size: int) -> None:
        """It has so many fewer."""
        part = self._parts[stream[0]]
        part.count -= count
        part.size -= size
        if not part.count:
            del self._parts[stream[0]]

    def payers(self, config: Config) -> list[tuple[str, Part]]:
        """Who has more than its share, by number or bytes; who has most bytes comes first."""
        found = list[tuple[str, Part]]()
        for origin in list(self._grown):
            part = self._parts.get(origin)
            if part is not None and is_over(part, config, True, True):
                found.append((origin, part))
            else:
                del self._grown[origin]
        return sorted(found, key=lambda payer: (-payer[1].size, payer[0]))

    def clear(self) -> None:
        """The log has nothing."""
        self._parts.clear()
        self._grown.clear()


def is_over(part: Part, config: Config, is_many: bool, is_big: bool) -> bool:
    """Whether it is more than a share of a log that has too many bundles, or too many bytes, or both."""
    share = config.retention_share
    return (is_many and part.count > share * config.retention_count) or (
        is_big and part.size > share * config.retention_bytes
    )
