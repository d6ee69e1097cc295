"""Decisions read from bytes: a fuzzer that changes the bytes changes a structured input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Reads decisions from bytes; where they end, all further ones are 0."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return max(0, len(self._data) - self._at)

    def byte(self) -> int:
        """The next byte."""
        at, self._at = self._at, self._at + 1
        return self._data[at] if at < len(self._data) else 0

    def below(self, count: int) -> int:
        """A number from 0 to `count` - 1, which is below 65536."""
        value = self.byte()
        if count > 256:
            value = value << 8 | self.byte()
        return value % count

    def pick(self, options: Sequence[T]) -> T:
        """One of these."""
        return options[self.below(len(options))]

    def chance(self, parts: int) -> bool:
        """True in one of so many cases, and never once the bytes have ended."""
        return self.byte() % parts == parts - 1

    def take(self, count: int) -> bytes:
        """The next so many bytes, or those that are left."""
        at, self._at = self._at, self._at + count
        return self._data[at : at + count]

    def rest(self) -> bytes:
        """All that are left."""
        return self.take(self.left)
