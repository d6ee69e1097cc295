"""Lines that were frames before something was changed in them."""

from __future__ import annotations

from tests.fuzz.choices import Choices

PIECES = (
    b"",
    b"null",
    b"-1",
    b"1.0",
    b"1e3",
    b"9007199254740992",
    b"9" * 400,
    b"[]",
    b"{}",
    b'""',
    b'"\\ud800"',
    b"\xff",
    b"\x00",
    b"[" * 1100 + b"]" * 1100,
    b'"title":"#PING",',
    b'"peer":"',
    b",",
    b"}",
)


def mutated(line: bytes, choices: Choices) -> bytes:
    """The line with one to four changes; it has no newline."""
    changed = bytearray(line)
    for _ in range(choices.below(4) + 1):
        at = choices.below(len(changed) + 1)
        way = choices.below(5)
        if way == 0 and at < len(changed):
            changed[at] ^= 1 << choices.below(8)
        elif way == 1:
            del changed[at : at + choices.byte()]
        elif way == 2:
            changed[at:at] = choices.pick(PIECES)
        elif way == 3:
            changed[at:at] = changed[at : at + choices.byte()]
        else:
            end = choices.below(len(changed) + 1)
            changed[min(at, end) : max(at, end)] = choices.pick(PIECES)
    return bytes(changed).replace(b"\n", b" ")
