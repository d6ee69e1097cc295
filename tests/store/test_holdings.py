"""What a durable log holds, as it is kept in memory."""

import sqlite3
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.store.holdings import Holdings, Totals

A, B = ("a" * 64, 1), ("b" * 64, 2)
A_AGAIN = ("a" * 64, 3)


class HoldingsTests(SynchronousTestCase):
    """Two bundles of one stream, of a turn that has ended."""

    def setUp(self) -> None:
        self.holdings = Holdings()
        self.take(A, 10, 20)
        self.holdings.end_turn()

    def take(self, stream: tuple[str, int], *sizes: int) -> None:
        """Bundles of these sizes come."""
        for size in sizes:
            held = self.holdings.touch(stream)
            held.next += 1
            self.holdings.take(held, size)
            self.holdings.totals.last += 1

    def state(self) -> tuple[Any, ...]:
        """All of it."""
        streams = {
            stream: (held.id, held.position, held.floor, held.next, held.newest, held.count, held.size)
            for stream, held in self.holdings.streams.items()
        }
        parts = {held.part.origin: (held.part.count, held.part.size) for held in self.holdings.streams.values()}
        return streams, parts, self.holdings.totals.copy()

    def test_taken(self) -> None:
        """Each bundle counts for its stream, its origin and the log."""
        self.take(A_AGAIN, 5)
        streams, parts, totals = self.state()
        self.assertEqual({stream: held[-2:] for stream, held in streams.items()}, {A: (2, 30), A_AGAIN: (1, 5)})
        self.assertEqual(parts, {A[0]: (3, 35)})
        self.assertEqual(totals, Totals(last=3, count=3, size=35))

    def test_lost(self) -> None:
        """So does what is dropped."""
        self.holdings.lose(self.holdings.touch(A), 1, 10)
        self.assertEqual(self.state()[1:], ({A[0]: (1, 20)}, Totals(last=2, count=1, size=20)))

    def test_undone(self) -> None:
        """A turn is undone as a whole: what grew, what shrank, what is new, and what was removed."""
        self.take(B, 7)
        self.holdings.end_turn()
        before = self.state()
        self.take(A, 1, 2, 3)
        self.holdings.touch(A).position = 9
        self.take(A_AGAIN, 5)
        self.holdings.lose(self.holdings.touch(B), 1, 7)
        self.holdings.remove(B)
        self.assertTrue(self.holdings.is_changed)
        self.holdings.undo_turn()
        self.assertEqual(self.state(), before)
        self.assertFalse(self.holdings.is_changed)
        self.assertEqual(self.holdings.name(self.holdings.streams[B].id), B)

    def test_touched(self) -> None:
        """A turn writes what it has touched, but for what it has removed."""
        self.take(A, 1)
        self.take(B, 1)
        self.holdings.remove(B)
        self.assertEqual([stream for stream, _ in self.holdings.touched()], [A])
        self.holdings.end_turn()
        self.assertEqual(self.holdings.touched(), [])

    def test_cleared(self) -> None:
        """After a failure the streams are unknown, and the totals those of the turns that have ended."""
        self.take(A, 1)
        self.holdings.clear()
        self.assertEqual(self.state(), ({}, {}, Totals(last=2, count=2, size=30)))
        self.assertFalse(self.holdings.is_changed)

    def test_restored(self) -> None:
        """What the file says is held, and a new stream gets an id that none has."""
        streams, _, totals = self.state()
        self.holdings.clear()
        self.holdings.restore(totals, [(*stream, *held) for stream, held in streams.items()])
        self.assertEqual(self.state(), (streams, {A[0]: (2, 30)}, totals))
        self.assertFalse(self.holdings.is_changed)
        self.assertNotIn(self.holdings.touch(B).id, [held[0] for held in streams.values()])

    def test_unknown_name(self) -> None:
        """An entry in the file that is of no stream is damage."""
        self.assertRaises(sqlite3.DatabaseError, self.holdings.name, 99)
