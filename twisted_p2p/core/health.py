"""Local health: who is slow itself waits longer before it judges others.

Lifeguard (arXiv 1707.00788), section IV: the local health multiplier. Differs: it multiplies every time-out by which
others are judged, and not the pause between probes; that we stood still counts; and an attempt to reach somebody during
which we did is no evidence at all.
"""

from __future__ import annotations

import math

import attrs


@attrs.define(eq=False)
class Health:
    """What says that it is we who are slow.

    Attributes:
        most: the highest score.
        score: 0 where nothing says so.
    """

    most: int = 0
    score: int = 0
    _went_on: float = -math.inf
    """When we last noticed that we had stood still."""

    @property
    def factor(self) -> int:
        """By how much our time-outs are longer than those of one who is well."""
        return 1 + self.score

    def worse(self) -> None:
        """Something else that says so."""
        self.score = min(self.score + 1, self.most)

    def better(self) -> None:
        """We have reached somebody as we should."""
        self.score = max(self.score - 1, 0)

    def stood_still(self, now: float) -> None:
        """We were stopped until `now`."""
        self._went_on = now
        self.worse()

    def stood_still_since(self, when: float) -> bool:
        """Whether what began at `when` failed, or was late, perhaps just because we stood still."""
        return self._went_on > when
