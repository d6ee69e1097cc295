"""How well we ourselves keep up: who is slow gives others more time before it speaks against them.

Lifeguard (Dadgar, Phillips, Currey, arXiv 1707.00788), section IV: the local health multiplier.
"""

from __future__ import annotations

import attrs


@attrs.define(eq=False)
class Health:
    """A score: 0 is well, and each point makes time-outs longer by their whole length."""

    most: int
    score: int = 0

    def worse(self) -> None:
        """It looks as if we were the slow one: we stood still, or others reached whom we could not, or accused us."""
        self.score = min(self.score + 1, self.most)

    def better(self) -> None:
        """A peer that we called has answered in time."""
        self.score = max(self.score - 1, 0)

    def stretch(self, timeout: float) -> float:
        """How long to wait for others, where one who is well waits `timeout` seconds."""
        return timeout * (1 + self.score)
