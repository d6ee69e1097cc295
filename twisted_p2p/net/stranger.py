"""Strangers: who connects to our port and speaks another protocol, told by the first bytes. A log of them, bounded."""

from __future__ import annotations

import re

from twisted_p2p.net.boundedlog import BoundedLog

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


class StrangerLog:
    """Logs strangers, a line each, up to a bound."""

    def __init__(self) -> None:
        self._lines = BoundedLog("Further such clients", "more clients that speak no p2p were hung up on.")

    def met(self, host: str, port: int, spoke: str, now: float) -> None:
        """Somebody at this address spoke that, and was hung up on."""
        said = "A client at {host} port {port} spoke {spoke}: hung up."
        self._lines.say(now, said, host=host, port=port, spoke=spoke)
