"""What the application of a peer was handed: is it all there, each once, in order, and how late?"""

from __future__ import annotations

import time
from collections.abc import Sequence

DIGITS = 8
_CLOCK = 20


def text(number: int, size: int) -> str:
    """The next text of a publisher, of so many bytes: its number, the time, and what fills it up."""
    return f"{number:0{DIGITS}d}{time.monotonic():{_CLOCK}.9f}".ljust(size, "x")


class Ledger:
    """Takes texts, whose numbers go up by one for each publisher as long as the network lives."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self.reset(timed=False)

    def reset(self, timed: bool) -> None:
        """Begin to count anew."""
        self.got = self.wrong = 0
        """Texts, and how often what came was not the next of its publisher."""
        self.last = 0.0
        """When the last ones came, on the clock of all processes."""
        self.delays: dict[int, float] = {}
        """Seconds, by number, if `timed`."""
        self._timed = timed

    def take(self, publisher: str, texts: Sequence[str]) -> None:
        """These have come, of one publisher."""
        numbers = [int(each[:DIGITS]) for each in texts]
        due = self._next.get(publisher, 0)
        end = due + len(texts)
        if numbers != [*range(due, end)]:
            self.wrong += 1
            end = numbers[-1] + 1
        self._next[publisher] = end
        self.got += len(texts)
        self.last = time.monotonic()
        if self._timed:
            for number, each in zip(numbers, texts, strict=True):
                self.delays[number] = self.last - float(each[DIGITS : DIGITS + _CLOCK])
