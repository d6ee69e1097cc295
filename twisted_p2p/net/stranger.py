"""Strangers: who connects to our port and speaks another protocol, told by the first bytes. A log of them, bounded."""

from __future__ import annotations

import re

import attrs
from twisted.logger import Logger

LINES = 10
PERIOD = 60.0
"""So many strangers are logged in so many seconds, and further ones counted: nobody can flood the log."""

_log = Logger(namespace="p2p")

# None of them matches what may be a frame: that begins with a brace, or with whitespace and then a brace.
_PROTOCOLS = (
    ("HTTP, not p2p", re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE|CONNECT|PRI) ")),
    ("TLS, not p2p", re.compile(rb"\x16\x03")),
    ("SSH, not p2p", re.compile(rb"SSH-")),
    # A length in ten characters, before the JSON.
    ("the first version of p2p, which is not understood any more", re.compile(rb"(?= *\d)[ \d]{10}(?:\{|\Z)")),
)


def what_it_spoke(first: bytes) -> str:
    """What somebody speaks whose first bytes these are, in words; "" where we know no such protocol."""
    return next((words for words, beginning in _PROTOCOLS if beginning.match(first)), "")


@attrs.define
class StrangerLog:
    """Logs strangers, a line each, up to the bound."""

    _since: float = float("-inf")
    _lines: int = 0
    _unlogged: int = 0

    def met(self, host: str, port: int, spoke: str, now: float) -> None:
        """Somebody at this address spoke that, and was hung up on."""
        if now >= self._since + PERIOD:
            if self._unlogged:
                _log.info("{n} more clients that speak no p2p were hung up on.", n=self._unlogged)
            self._since, self._lines, self._unlogged = now, 0, 0
        if self._lines < LINES:
            self._lines += 1
            _log.info("A client at {host} port {port} spoke {spoke}: hung up.", host=host, port=port, spoke=spoke)
            return
        if not self._unlogged:
            _log.info("Further such clients are not logged, but counted, for {period:g} s.", period=PERIOD)
        self._unlogged += 1
