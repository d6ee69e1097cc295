"""Who may begin a stream: whoever is known, and of the others so many.

Anybody can invent a key and sign with it, and each stream takes a place that is kept for long.
"""

from __future__ import annotations

import attrs

from twisted_p2p.core.buckets import TokenBuckets
from twisted_p2p.core.membership import Membership
from twisted_p2p.core.turn import Turn
from twisted_p2p.interfaces import Stream


@attrs.define(eq=False)
class Speakers:
    """Rations the streams of peers of whom nobody has told us, by the neighbour that brings them.

    Where we know only a sample of all peers most are such, and there is no ration.
    """

    turn: Turn
    membership: Membership
    _ration: TokenBuckets = attrs.field(init=False)
    _expected: dict[Stream, None] = attrs.field(factory=dict)
    """Those that are asked for: each has had its ration, or who tells of ever more would have us ask without end."""

    def __attrs_post_init__(self) -> None:
        config = self.turn.config
        self._ration = TokenBuckets(config.introductions_burst, config.introductions_interval)

    def may_begin(self, stream: Stream, source: str) -> bool:
        """Whether a stream may begin by what this neighbour brings, or tells of."""
        return stream in self._expected or self._is_known(stream[0]) or self._ration.has(source, self.turn.now)

    def expect(self, stream: Stream, source: str) -> None:
        """It is asked for, on the word of this neighbour."""
        if not (stream in self._expected or self._is_known(stream[0])):
            self._ration.take(source, self.turn.now)
            self._expected[stream] = None

    def begins(self, stream: Stream, source: str) -> None:
        """It does, by what this neighbour brings."""
        self.expect(stream, source)
        self.forget(stream)

    def forget(self, stream: Stream) -> None:
        """It is not asked for any more."""
        self._expected.pop(stream, None)

    def _is_known(self, origin: str) -> bool:
        return self.membership.is_sample or origin in self.membership.entries

    def expire(self) -> None:
        """Forget who has not brought any for long."""
        self._ration.expire(self.turn.now)
