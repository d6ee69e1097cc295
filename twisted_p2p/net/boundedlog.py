"""Lines of the log that others can cause: so many in a while, and then their number. Nobody can fill a disk by them."""

from __future__ import annotations

import attrs
from twisted.logger import Logger

LINES = 10
PERIOD = 60.0
"""So many lines of a kind are logged in so many seconds, and further ones counted."""

_log = Logger(namespace="p2p")


@attrs.define
class BoundedLog:
    """Lines of one kind.

    Args:
        further: what is no longer logged: the beginning of a sentence.
        unlogged: what the further ones were: the end of a sentence that begins with their number.
    """

    _further: str
    _unlogged_were: str
    _since: float = float("-inf")
    _lines: int = 0
    _unlogged: int = 0

    def say(self, now: float, text: str, **values: object) -> None:
        """Log this, or count it."""
        if now >= self._since + PERIOD:
            if self._unlogged:
                _log.info("{n} {were}", n=self._unlogged, were=self._unlogged_were)
            self._since, self._lines, self._unlogged = now, 0, 0
        if self._lines < LINES:
            self._lines += 1
            _log.info(text, **values)
            return
        if not self._unlogged:
            _log.info("{what} are not logged, but counted, for {period:g} s.", what=self._further, period=PERIOD)
        self._unlogged += 1
