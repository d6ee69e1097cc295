"""Positions: where each stream stands, for longer than its bundles are kept."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import peer_id
from twisted_p2p.core.positions import Positions

A, B = (peer_id(1), 10), (peer_id(2), 10)
AGE = 100.0
EPOCHS = 3


class PositionsTests(SynchronousTestCase):
    """What keeps a bundle from being delivered twice."""

    def setUp(self) -> None:
        """Two streams."""
        self.positions = Positions()
        self.positions.move(A, 5)
        self.positions.move(B, 2)

    def test_unheard_of(self) -> None:
        """A stream that was never heard of is wanted from its beginning."""
        other = (A[0], 11)
        self.assertEqual(self.positions.of(other), 1)
        self.assertFalse(self.positions.knows(other))
        self.assertEqual(len(self.positions), 2)

    def test_moved(self) -> None:
        """A stream stands where it was moved."""
        self.positions.move(A, 6)
        self.assertEqual((self.positions.of(A), self.positions.of(B)), (6, 2))
        self.assertTrue(self.positions.knows(A))
        self.assertEqual(self.positions.streams(), [A, B])

    def test_in_bucket(self) -> None:
        """The positions of a bucket are those of the origins in it."""
        self.positions.move((A[0], 11), 7)
        self.assertEqual(self.positions.in_bucket(1), [(*A, 5), (A[0], 11, 7)])
        self.assertEqual(self.positions.in_bucket(3), [])

    def test_epochs(self) -> None:
        """Of each origin it is known how many streams it has, other origins of its bucket left out."""
        self.positions.move((A[0], 11), 7)
        self.positions.move((A[0], 11), 8)
        self.positions.move((A[0][:2] + "f" * 62, 11), 7)
        self.assertEqual([self.positions.epochs(origin) for origin in (A[0], B[0], peer_id(3))], [2, 1, 0])

    def test_epochs_cost(self) -> None:
        """Many streams in the same bucket do not make it dearer to look whether an origin may have one more."""
        compared = 0

        class Origin(str):
            """An id that counts how often it is compared."""

            __slots__ = ()

            def __eq__(self, other: object) -> bool:
                nonlocal compared
                compared += 1
                return str.__eq__(self, other)

            __hash__ = str.__hash__

        for number in range(1000):
            self.positions.move((Origin(f"01{number:062x}"), 1), 2)
        compared = 0
        self.assertEqual(self.positions.epochs(Origin(peer_id(1))), 1)
        self.assertLess(compared, 10)

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2), st.integers(1, 9)), max_size=20))
    def test_digest(self, moves: list[tuple[int, int, int]]) -> None:
        """Two peers have equal digests if and only if they stand at the same positions."""
        one, two = Positions(), Positions()
        for origin, epoch, position in moves:
            one.move((peer_id(origin), epoch), position)
        last = {(peer_id(origin), epoch): position for origin, epoch, position in moves}
        for stream in sorted(last):
            two.move(stream, last[stream])
        self.assertEqual(one.digest.root(), two.digest.root())
        if last:
            two.move(sorted(last)[0], 10)
            self.assertNotEqual(one.digest.root(), two.digest.root())

    def expire(self, *times: float, known: tuple[str, ...] = ()) -> None:
        """Keep house at these times."""
        for now in times:
            self.positions.expire(known, now, AGE, {}, EPOCHS)

    def test_kept_while_the_origin_is_known(self) -> None:
        """While a peer is in the directory, departed or not, its streams are remembered for ever."""
        self.expire(0, 1000, 1e9, known=(A[0], B[0]))
        self.assertEqual((self.positions.of(A), self.positions.of(B)), (5, 2))

    def test_told_to_nobody_then_forgotten(self) -> None:
        """A stream of an unknown origin is told to nobody after so long without movement, and forgotten after twice.

        In between nobody who has not come as far yet can teach it anew.
        """
        alone = Positions()
        alone.move(B, 2)
        self.expire(0, 100, known=(B[0],))
        self.assertNotEqual(self.positions.digest.root(), alone.digest.root())
        self.expire(101, 200, known=(B[0],))
        self.assertEqual(self.positions.digest.root(), alone.digest.root())
        self.assertEqual((self.positions.in_bucket(1), self.positions.of(A)), ([], 5))
        self.assertEqual(self.positions.epochs(A[0]), 1)
        self.expire(201, known=(B[0],))
        self.assertEqual(self.positions.epochs(A[0]), 0)
        self.assertEqual((self.positions.knows(A), self.positions.of(A)), (False, 1))
        self.assertEqual(self.positions.digest.root(), alone.digest.root())

    def test_moving_is_not_forgotten(self) -> None:
        """A stream of an unknown origin that moves is remembered, and told of again, from its last movement."""
        self.expire(0, 150)
        self.positions.move(A, 6)
        self.assertEqual(self.positions.in_bucket(1), [(*A, 6)])
        self.expire(160, 350)
        self.assertTrue(self.positions.knows(A))
        self.assertFalse(self.positions.knows(B))
        self.expire(361)
        self.assertFalse(self.positions.knows(A))

    def test_rest_goes_on(self) -> None:
        """In the next life the time of rest goes on, and a stream that others have forgotten is forgotten at once."""
        self.expire(0, 50)
        self.positions.move(B, 3)
        self.assertEqual([self.positions.rests_since(stream) for stream in (A, B)], [0, None])
        self.assertEqual([*self.positions.rested], [A, B])
        positions, self.positions = self.positions, Positions()
        self.positions.restore({stream: positions.of(stream) for stream in (A, B)}, {A: 0.0})
        self.assertEqual((self.positions.moved, self.positions.rested), ({}, {}))
        self.expire(120)
        self.assertEqual([self.positions.in_bucket(1), self.positions.in_bucket(2)], [[], [(*B, 3)]])
        self.expire(201)
        self.assertEqual((self.positions.knows(A), self.positions.knows(B)), (False, True))

    def test_forgotten_late(self) -> None:
        """Where an origin was due to be forgotten while we were not there, its streams rest since then."""
        self.assertEqual(self.positions.expire((B[0],), 1000, AGE, {A[0]: 950}, EPOCHS), [])
        self.assertEqual(self.positions.rests_since(A), 950)
        self.assertEqual(self.positions.expire((), 1100, AGE, {B[0]: 850}, EPOCHS), [B])

    def test_older_epochs(self) -> None:
        """Of an origin that is there only the newest streams are remembered for ever: it may begin any number."""
        for epoch in (11, 9, 12):
            self.positions.move((A[0], epoch), 2)
        self.expire(0, 201, known=(A[0], B[0]))
        self.assertEqual(self.positions.streams(), [A, B, (A[0], 11), (A[0], 12)])
        self.expire(1000, known=(A[0], B[0]))
        self.assertEqual(self.positions.epochs(A[0]), 3)

    def test_known_again(self) -> None:
        """A stream is told of again, and the time begins anew, when its origin is in the directory again."""
        self.expire(0, 150)
        self.assertEqual(self.positions.in_bucket(1), [])
        self.expire(160, known=(A[0],))
        self.assertEqual(self.positions.in_bucket(1), [(*A, 5)])
        self.expire(170, 370)
        self.assertTrue(self.positions.knows(A))
        self.expire(371)
        self.assertFalse(self.positions.knows(A))
