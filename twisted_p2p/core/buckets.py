"""Token buckets: what may be done so often at once, and then at a rate."""

from __future__ import annotations

from collections.abc import Hashable

import attrs


@attrs.define(eq=False)
class TokenBuckets:
    """A token bucket for each key: `burst` tokens at first, and one more each `interval` seconds, up to `burst`."""

    burst: int
    interval: float
    _full_at: dict[Hashable, float] = attrs.field(factory=dict)
    """When a bucket will be full again; one that is full is not kept."""

    def has(self, key: Hashable, now: float) -> bool:
        """Whether a token is left."""
        return self._full_at.get(key, now) - now <= (self.burst - 1) * self.interval

    def take(self, key: Hashable, now: float) -> None:
        """Take a token."""
        self._full_at[key] = max(self._full_at.get(key, now), now) + self.interval

    def give_back(self, key: Hashable) -> None:
        """Put a token back that was taken for nothing."""
        if key in self._full_at:
            self._full_at[key] -= self.interval

    def expire(self, now: float) -> None:
        """Forget the buckets that are full."""
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}


@attrs.define(eq=False)
class Bucket:
    """A token bucket that may be overdrawn: `burst` tokens at first, and `rate` more a second, up to `burst`."""

    burst: float
    rate: float
    tokens: float = attrs.field(init=False)
    _at: float = attrs.field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        self.tokens = self.burst

    def spend(self, tokens: float, now: float) -> float:
        """Take tokens; the seconds until what is missing is there again, 0.0 if nothing is."""
        self.tokens, self._at = self._now(now) - tokens, now
        return self.missing(now)

    def missing(self, now: float) -> float:
        """The seconds until nothing is missing."""
        return max(0.0, -self._now(now) / self.rate)

    def is_full(self, now: float) -> bool:
        """Whether it is as a new one."""
        return self._now(now) >= self.burst

    def _now(self, now: float) -> float:
        return min(self.burst, self.tokens + max(0.0, now - self._at) * self.rate)
