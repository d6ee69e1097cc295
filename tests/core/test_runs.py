"""Runs of entries that were dropped, as readers are told of them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.runs import NOBODY, Run, Runs
from twisted_p2p.interfaces import Entry, Stream

A: Stream = ("a" * 64, 1)
B: Stream = ("b" * 64, 1)


class RunsTests(SynchronousTestCase):
    """Entries are dropped in any order."""

    def found(self, *numbers: tuple[int, Stream, int]) -> list[Run]:
        """What is told of these entries."""
        runs = Runs()
        for number in numbers:
            runs.add(*number)
        return [*runs.after(0)]

    def test_joined(self) -> None:
        """Neighbours of one stream are one run, whichever was dropped first."""
        self.assertEqual(self.found((3, A, 7), (4, A, 8), (2, A, 6)), [Run(2, 4, A, 6)])
        self.assertEqual(self.found((2, A, 6), (4, A, 8), (3, A, 7)), [Run(2, 4, A, 6)])
        self.assertEqual(self.found((2, A, 6), (4, A, 7)), [Run(2, 2, A, 6), Run(4, 4, A, 7)])

    def test_mixed(self) -> None:
        """Neighbours of several streams, or with a hole between, are a run of nobody."""
        self.assertEqual(self.found((2, A, 6), (3, B, 1)), [Run(2, 3, NOBODY, 2)])
        self.assertEqual(self.found((2, A, 6), (3, A, 8)), [Run(2, 3, NOBODY, 2)])
        self.assertEqual(self.found((2, A, 6), (3, B, 1), (4, B, 2), (1, A, 5)), [Run(1, 4, NOBODY, 1)])

    def test_entry(self) -> None:
        """A reader is told of what it has not had."""
        for run, seq in ((Run(3, 5, A, 7), 7), (Run(3, 5, NOBODY, 3), 3)):
            found = [run.entry(after) for after in (0, 2, 3, 4)]
            self.assertEqual(found, [Entry(5, run.stream, seq + n, None, seq + 2) for n in (0, 0, 1, 2)])

    @given(st.sets(st.integers(1, 40), max_size=40).flatmap(lambda s: st.permutations(sorted(s))), st.integers(0, 45))
    def test_any_order(self, numbers: list[int], place: int) -> None:
        """The runs are just the numbers that were dropped, as few as can be, behind any number and up to any."""
        runs = Runs()
        for number in numbers:
            runs.add(number, A, number)
        found = [*runs.after(place)]
        self.assertEqual(
            [n for run in found for n in range(max(run.first, place + 1), run.last + 1)],
            sorted(n for n in numbers if n > place),
        )
        self.assertTrue(all(one.last + 1 < two.first for one, two in pairwise(found)))
        first = runs.pass_front(place)
        self.assertEqual([*runs.after(0)], [run for run in found if run.first > place])
        self.assertTrue(first == place or first - 1 in numbers)
        runs.cut(place + 10)
        self.assertEqual(
            sorted({n for run in runs.after(0) for n in range(run.first, run.last + 1)}),
            [n for n in sorted(numbers) if first <= n <= place + 10],
        )
