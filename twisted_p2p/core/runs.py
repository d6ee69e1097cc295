"""Runs of entries that a log has dropped while it keeps elder ones: its readers are told of them as gaps."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import attrs

from twisted_p2p.interfaces import Entry, Stream

NOBODY: Stream = ("", 0)
"""In the place of a stream, where there were several."""


@attrs.frozen
class Run:
    """The entries `first` to `last`: bundles of one stream from `seq` on.

    Where they were of several streams it is a run of NOBODY, whose seqs are the numbers of the entries.
    """

    first: int
    last: int
    stream: Stream
    seq: int

    def joined(self, following: Run) -> Run:
        """One run of this one and the one behind it. So there are never more runs than entries, and one more."""
        is_same = following.stream == self.stream and following.seq - self.seq == following.first - self.first
        stream, seq = (self.stream, self.seq) if is_same else (NOBODY, self.first)
        return Run(self.first, following.last, stream, seq)

    def entry(self, after: int) -> Entry:
        """What a reader is told who has had all entries up to that."""
        seq = self.seq + max(0, after + 1 - self.first)
        return Entry(self.last, self.stream, seq, None, self.seq + self.last - self.first)


@attrs.define(eq=False)
class Runs:
    """All of them, in memory, in the order of their numbers."""

    _runs: list[Run] = attrs.field(factory=list)

    def add(self, number: int, stream: Stream, seq: int) -> None:
        """One more entry was dropped."""
        run, begin = Run(number, number, stream, seq), self._place(number)
        end = begin
        if begin > 0 and self._runs[begin - 1].last == number - 1:
            begin -= 1
            run = self._runs[begin].joined(run)
        if end < len(self._runs) and self._runs[end].first == number + 1:
            run = run.joined(self._runs[end])
            end += 1
        self._runs[begin:end] = [run]

    def after(self, number: int) -> Iterator[Run]:
        """Those that end after this entry."""
        for place in range(self._place(number + 1), len(self._runs)):
            yield self._runs[place]

    def pass_front(self, first: int) -> int:
        """Forget those that begin with the first entry there is, or before it; which one is the first, then."""
        if not self._runs:
            return first
        end = self._place(first)
        while end < len(self._runs) and self._runs[end].first <= first:
            first = self._runs[end].last + 1
            end += 1
        if end:
            del self._runs[:end]
        return first

    def cut(self, last: int) -> None:
        """Entries after `last` have never been."""
        while self._runs and self._runs[-1].last > last:
            run = self._runs.pop()
            if run.first <= last:
                self._runs.append(attrs.evolve(run, last=last))

    def _place(self, number: int) -> int:
        """Of the first run that ends with this entry, or later."""
        return bisect_left(self._runs, number, key=lambda run: run.last)
