"""A turn: what a shell is asked for, and in which order."""

import random

import attrs
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.actions import Bundle, Changed, Deliver, Dial, Gap, Hangup, Kind, Reason, Write
from twisted_p2p.core.config import LAN
from twisted_p2p.core.turn import Turn


class TurnTests(SynchronousTestCase):
    """The actions between a call into the core and its return."""

    def setUp(self) -> None:
        """A turn with a small burst."""
        self.turn = Turn(attrs.evolve(LAN, burst=100), random.Random(0))

    def test_nothing(self) -> None:
        """A turn in which nothing was to be done asks for nothing."""
        self.assertEqual(list(self.turn.take()), [])

    def test_order(self) -> None:
        """Writes come first, then dials and hang-ups, then what the application is told, each in its order."""
        self.turn.tell(Changed(Kind.LINK_UP, "a"))
        self.turn.connect(Hangup(1, Reason.DONE))
        self.turn.write(2, b"one")
        self.turn.tell(Gap("b", 1, 1, 2))
        self.turn.connect(Dial(5, "h", 1, 4.0))
        self.turn.write(1, b"two")
        self.turn.write_payload(2, b"three")
        delivery = Deliver([Bundle("b", 1, 3, b"[]")])  # type: ignore[arg-type]
        self.turn.tell(delivery)
        self.assertEqual(
            list(self.turn.take()),
            [
                Write(2, [b"one", b"three"]),
                Write(1, [b"two"]),
                Hangup(1, Reason.DONE),
                Dial(5, "h", 1, 4.0),
                Changed(Kind.LINK_UP, "a"),
                Gap("b", 1, 1, 2),
                delivery,
            ],
        )

    def test_taken_once(self) -> None:
        """What was asked for in one turn is not asked for in the next."""
        self.turn.write(1, b"one")
        self.turn.tell(Changed(Kind.READY))
        self.turn.connect(Hangup(1, Reason.DONE))
        self.turn.take()
        self.assertEqual(list(self.turn.take()), [])

    def test_room(self) -> None:
        """Payload counts against what a link takes in a turn; control lines, other links and later turns do not."""
        self.turn.write(1, b"x" * 1000)
        self.turn.write_payload(2, b"x" * 1000)
        self.assertEqual(self.turn.room(1), 100)
        self.turn.write_payload(1, b"x" * 60)
        self.assertEqual(self.turn.room(1), 40)
        self.turn.write_payload(1, b"x" * 60)
        self.assertEqual(self.turn.room(1), -20)
        self.turn.take()
        self.assertEqual((self.turn.room(1), self.turn.room(2)), (100, 100))

    def test_jitter(self) -> None:
        """Delays differ by a fifth at most, either way, and are not all the same."""
        delays = [self.turn.jitter(10.0) for _ in range(1000)]
        self.assertTrue(all(8.0 <= delay <= 12.0 for delay in delays))
        self.assertLess(min(delays), 8.2)
        self.assertGreater(max(delays), 11.8)
