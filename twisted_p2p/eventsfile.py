"""The end of a file of events, from which a later life of the peer goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

BLOCK = 1_048_576
"""Bytes that are read at once."""
LINE_MAX = 16 * BLOCK
"""A longer line is none of ours: a message of the greatest size, with every character escaped, is shorter."""


class _Line(msgspec.Struct):
    """What counts in a line."""

    cursor: int = 0


_decode = msgspec.json.Decoder(_Line).decode


def whole_size(fd: int, block_size: int = BLOCK) -> int:
    """Up to where a file has whole lines: what follows was being written when its process ended."""
    end = os.fstat(fd).st_size
    for start, block in _blocks(fd, end, block_size):
        newline = block.rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
    return 0


def last_cursor(fd: int, end: int) -> int | None:
    """The cursor in the last of the whole lines that has one; None where none has."""
    for line in lines_backwards(fd, end):
        if b'"cursor":' in line:
            try:
                cursor = _decode(line).cursor
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if cursor > 0:
                return cursor
    return None


def lines_backwards(fd: int, end: int, block_size: int = BLOCK, line_max: int = LINE_MAX) -> Iterator[bytes]:
    """The lines before `end`, the last one first, without those that are too long."""
    parts: list[bytes] = []
    size = 0
    for _, block in _blocks(fd, end, block_size):
        first, *others = block.split(b"\n")
        if others:
            parts.append(others.pop())
            size += len(parts[-1])
            if size <= line_max:
                yield b"".join(reversed(parts))
            yield from reversed(others)
            parts, size = [], 0
        size += len(first)
        if size > line_max:
            parts.clear()
        else:
            parts.append(first)
    if size <= line_max:
        yield b"".join(reversed(parts))


def _blocks(fd: int, end: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The blocks before `end`, the last one first, each with its place."""
    while end > 0:
        start = max(0, end - size)
        yield start, os.pread(fd, end - start, start)
        end = start
