"""The messages of a bundle, all the way to an application, a terminal and the file of events."""

from __future__ import annotations

import json
import re
import unicodedata

import msgspec

from tests.fuzz.sizes import memory
from twisted_p2p.console import Style
from twisted_p2p.core.actions import Bundle
from twisted_p2p.events import encode_lines, events_of
from twisted_p2p.messages import decode

FACTOR, CONSTANT = 64, 4096
"""Decoded messages take at most so many bytes for a byte of their bundle, and so many beside."""
_ORIGIN = "ab" * 32
_ORDER = ("LRO", "RLO", "LRE", "RLE", "PDF", "LRI", "RLI", "FSI", "PDI")
_CONTROLS = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]")
_STYLE = Style()


def fuzz_bodies(data: bytes) -> None:
    """The body of a bundle that its origin has signed: what can be read of it is shown, and takes control of nothing.

    Only what is JSON for the frame's decoder gets so far.
    """
    try:
        body = msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    messages = decode(Bundle(_ORIGIN, 1, 1, body, number=1))
    assert memory([m.message for m in messages]) <= FACTOR * len(data) + CONSTANT
    shown = _STYLE.render(0.0, messages)
    check_shown(shown, len(messages))
    lines = encode_lines(events_of(0.0, messages))
    check_shown(lines, len(messages))
    for line, message in zip(lines.splitlines(), messages, strict=True):
        assert json.loads(line)["id"] == message.id


def check_shown(shown: bytes, lines: int) -> None:
    """So many lines, without a character that controls a terminal, ends a line or reorders it."""
    assert shown.count(b"\n") == lines
    assert not _CONTROLS.search(shown)
    if not shown.isascii():
        for character in shown.decode():
            assert character == "\n" or unicodedata.category(character) not in ("Cc", "Zl", "Zp"), ascii(character)
            assert unicodedata.bidirectional(character) not in _ORDER, ascii(character)
