"""Cutting a byte stream into lines, against a model that has all of it."""

from __future__ import annotations

from tests.fuzz.choices import Choices
from twisted_p2p.net.link import LineSplitter

_REPEAT = 7


def lines_of(stream: bytes, limit: int) -> tuple[list[bytes], bool]:
    """The lines of a whole stream up to the first that is too long, and whether there is one."""
    *lines, rest = stream.split(b"\n")
    for number, line in enumerate(lines):
        if len(line.removesuffix(b"\r")) > limit:
            return lines[:number], True
    return lines, len(rest.removesuffix(b"\r")) > limit


def fuzz_framing(data: bytes) -> None:
    """Limit, then reads, each with its length: however they are cut, their lines are those of the whole stream."""
    choices = Choices(data)
    limit = choices.byte()
    splitter = LineSplitter(limit)
    stream, lines = bytearray(), list[bytes]()
    while choices.left:
        size = choices.byte()
        read = choices.take(size >> 3) * (1 if size & _REPEAT else _REPEAT)
        stream += read
        lines += splitter.feed(read)
        assert len(splitter._tail) <= limit + 1, "more than one line is kept"
    assert (lines, splitter.overflowed) == lines_of(bytes(stream), limit)
