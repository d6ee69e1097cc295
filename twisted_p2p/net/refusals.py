"""Who was not admitted, or did not admit us, for our own log: each once in a while, all together within a bound."""

from __future__ import annotations

import attrs
from twisted.logger import Logger

from twisted_p2p.core.actions import Refused

LINES = 10
PERIOD = 60.0
"""So many refusals are logged in so many seconds: nobody can flood the log."""
AGAIN = 600.0
"""Seconds until the same peer, or the same address, is logged once more for the same reason."""
REMEMBERED = 1_000
"""Refusals that are remembered so long, at most."""

_log = Logger(namespace="p2p")


@attrs.define
class RefusalLog:
    """Logs refusals, a line each, up to the bounds."""

    _since: float = float("-inf")
    _lines: int = 0
    _unlogged: int = 0
    _told: dict[tuple[str, str], float] = attrs.field(factory=dict)
    """Of each peer, or else address, and reason: when it was logged last, the longest ago first."""

    def refused(self, refused: Refused, now: float) -> None:
        """Somebody was refused."""
        if now >= self._since + PERIOD:
            if self._unlogged:
                _log.info("With {n} more there was no link, for such reasons.", n=self._unlogged)
            self._since, self._lines, self._unlogged = now, 0, 0
        who = (refused.peer or refused.host, refused.why.value)
        if now < self._told.get(who, float("-inf")) + AGAIN:
            return
        if self._lines >= LINES:
            self._unlogged += 1
            return
        self._lines += 1
        self._told.pop(who, None)
        self._told[who] = now
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        peer, host = refused.peer or "somebody", refused.host or "an unknown address"
        _log.warn("No link with {peer} at {host}: {why}.", peer=peer, host=host, why=refused.why.value)
