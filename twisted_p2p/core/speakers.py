"""Who may begin a stream: whoever is known, and of the others so many.

Anybody can invent a key and sign with it, and each stream takes a place that is kept for long.
"""

from __future__ import annotations

import attrs

from twisted_p2p.core.membership import Membership, TokenBuckets
from twisted_p2p.core.turn import Turn


@attrs.define(eq=False)
class Speakers:
    """Rations the streams of peers of whom nobody has told us, by the neighbour that brings them.

    Where we know only a sample of all peers most are such, and there is no ration.
    """

    turn: Turn
    membership: Membership
    _ration: TokenBuckets = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        config = self.turn.config
        self._ration = TokenBuckets(config.introductions_burst, config.introductions_interval)

    def may_begin(self, origin: str, source: str) -> bool:
        """Whether a stream of this origin may begin by what this neighbour brings."""
        return self._is_known(origin) or self._ration.has(source, self.turn.now)

    def begins(self, origin: str, source: str) -> None:
        """It does."""
        if not self._is_known(origin):
            self._ration.take(source, self.turn.now)

    def _is_known(self, origin: str) -> bool:
        return self.membership.is_sample or origin in self.membership.entries

    def expire(self) -> None:
        """Forget who has not brought any for long."""
        self._ration.expire(self.turn.now)
