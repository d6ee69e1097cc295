"""How fast a link may talk: token buckets, over which it is read from more slowly, or ended."""

from __future__ import annotations

import attrs

from twisted_p2p.core.buckets import Bucket
from twisted_p2p.core.config import Config
from twisted_p2p.core.wire import (
    AskNodesToConnect,
    AskRandomNode,
    Digest,
    Frame,
    GiveNodesInNetwork,
    Graft,
    NodeConnAddr,
    Ping,
    Prune,
    Roots,
    Shuffle,
)

_LOCAL = frozenset(
    [
        AskNodesToConnect,
        AskRandomNode,
        Digest,
        GiveNodesInNetwork,
        Graft,
        NodeConnAddr,
        Ping,
        Prune,
        Roots,
        Shuffle,
        type(None),  # an unknown title
    ]
)
"""Frames that a peer sends of its own accord, to us alone: for so many of them it is to blame. What it floods or
answers depends on others."""


@attrs.define(eq=False)
class Pace:
    """What one link has sent lately. Who is no neighbour has the share of one."""

    _lines: Bucket
    _bytes: Bucket
    _control: Bucket
    _control_bytes: Bucket
    _local: Bucket

    @classmethod
    def of(cls, config: Config, now: float) -> Pace:
        """A new link."""
        settings = (
            (config.lines_burst, config.lines_rate),
            (config.bytes_burst, config.bytes_rate),
            (config.control_burst, config.control_rate),
            (config.control_bytes_burst, config.control_bytes_rate),
            (config.requests_burst, config.requests_rate),
        )
        return cls(*(Bucket(burst, rate) for burst, rate in settings))

    def read(self, lines: int, size: int, now: float) -> float:
        """So many lines were read, of so many bytes in all; for how many seconds nothing more is to be."""
        return max(self._lines.spend(lines, now), self._bytes.spend(size, now))

    def control(self, lines: int, size: int, now: float) -> float:
        """So many of them were no bundles; for how many seconds nothing more is to be read."""
        return max(self._control.spend(lines, now), self._control_bytes.spend(size, now))

    def is_flooding(self, frame: Frame | None, now: float) -> bool:
        """Whether this frame is one too many."""
        return type(frame) in _LOCAL and self._local.spend(1, now) > 0
