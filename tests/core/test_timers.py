"""Deadlines: in order, once, and never against others for time in which we ourselves stood still."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.health import Health
from twisted_p2p.core.timers import Timers

STALL = 1.0


class TimersTests(SynchronousTestCase):
    """The heap of deadlines."""

    def setUp(self) -> None:
        """No deadlines, at time 100."""
        self.timers = Timers(100.0)
        self.fired: list[str] = []

    def after(self, delay: float, name: str, judges: bool = False):  # type: ignore[no-untyped-def]
        """Set a deadline that says its name."""
        return self.timers.after(delay, lambda: self.fired.append(name), judges)

    def wake(self, now: float) -> list[str]:
        """It is `now`; what fired."""
        self.fired = []
        self.timers.advance(now, STALL)
        self.timers.fire()
        return self.fired

    def test_none(self) -> None:
        """Without deadlines there is nothing to wake for."""
        self.assertIsNone(self.timers.next_wake)
        self.assertEqual(self.wake(200.0), [])
        self.assertEqual(len(self.timers), 0)

    def test_order(self) -> None:
        """Deadlines fire in order of time, and those of one time in the order in which they were set."""
        for delay, name in [(0.3, "c"), (0.1, "a"), (0.3, "d"), (0.2, "b")]:
            self.after(delay, name)
        self.assertEqual(self.timers.next_wake, 100.1)
        self.assertEqual(self.wake(100.15), ["a"])
        self.assertEqual(self.wake(100.5), ["b", "c", "d"])
        self.assertIsNone(self.timers.next_wake)

    def test_not_early(self) -> None:
        """Nothing fires before its time."""
        self.after(1.0, "a")
        self.assertEqual(self.wake(100.999), [])
        self.assertEqual(self.wake(101.0), ["a"])
        self.assertEqual(self.wake(101.0), [])

    def test_cancelled(self) -> None:
        """What was cancelled neither fires nor wakes; to cancel twice, or too late, does no harm."""
        first, second = self.after(1.0, "a"), self.after(2.0, "b")
        first.cancel()
        first.cancel()
        self.assertEqual(len(self.timers), 1)
        self.assertEqual(self.timers.next_wake, 102.0)
        self.assertEqual(self.wake(102.0), ["b"])
        second.cancel()
        self.assertEqual(len(self.timers), 0)

    def test_cancelled_by_another(self) -> None:
        """A deadline that another one of the same instant cancels does not fire."""
        self.timers.after(1.0, lambda: second.cancel())
        second = self.after(1.0, "b")
        self.assertEqual(self.wake(101.0), [])

    def test_set_while_firing(self) -> None:
        """What is set for at once while deadlines fire waits for the next wake, so that a wake always ends."""
        self.timers.after(1.0, lambda: self.after(0.0, "again"))
        self.assertEqual(self.wake(101.0), [])
        self.assertEqual(self.timers.next_wake, 101.0)
        self.assertEqual(self.wake(101.0), ["again"])

    def test_time_does_not_go_back(self) -> None:
        """A time before the last one changes nothing."""
        self.timers.advance(110.0, STALL)
        self.timers.advance(105.0, STALL)
        self.assertEqual(self.timers.now, 110.0)
        self.after(1.0, "a")
        self.assertEqual(self.timers.next_wake, 111.0)

    def test_late(self) -> None:
        """A wake that is a little late judges as if it were on time."""
        self.after(1.0, "mine")
        self.after(1.5, "theirs", judges=True)
        self.assertEqual(self.wake(101.9), ["mine", "theirs"])

    def test_stood_still(self) -> None:
        """After a stop all that judges others is put off by as long and a moment more, and the rest fires once."""
        self.after(1.0, "mine")
        self.after(2.0, "theirs", judges=True)
        self.after(50.0, "later", judges=True)
        self.assertEqual(self.wake(131.0), ["mine"])
        self.assertEqual(self.wake(131.9 + STALL), [])
        self.assertEqual(self.wake(132.0 + STALL), ["theirs"])
        self.assertEqual(self.wake(179.9 + STALL), [])
        self.assertEqual(self.wake(180.0 + STALL), ["later"])

    def test_stood_still_at_the_last_moment(self) -> None:
        """Nor is anybody judged at once where that was all that was due: what came meanwhile is read first."""
        self.after(1.0, "theirs", judges=True)
        self.assertEqual(self.wake(131.0), [])
        self.assertEqual(self.wake(131.0 + STALL), ["theirs"])

    def test_unwell(self) -> None:
        """While we are slow ourselves what judges others waits longer, and nothing else does."""
        self.timers.health = Health(most=3, score=2)
        self.after(1.0, "mine")
        self.after(1.0, "theirs", judges=True)
        self.assertEqual(self.wake(101.0), ["mine"])
        self.assertEqual(self.wake(102.9), [])
        self.assertEqual(self.wake(103.0), ["theirs"])

    def test_stops_are_noted(self) -> None:
        """A stop makes our health worse, and what began before it may have failed for it; lateness does neither."""
        self.timers.health = Health(most=3)
        self.after(1.0, "mine")
        self.wake(101.0 + STALL)
        self.assertEqual((self.timers.health.score, self.timers.health.stood_still_since(100.0)), (0, False))
        self.after(1.0, "mine")
        self.wake(110.0)
        self.assertEqual((self.timers.health.score, self.timers.health.stood_still_since(109.9)), (1, True))
        self.assertFalse(self.timers.health.stood_still_since(110.0))

    def test_quiet_is_no_stop(self) -> None:
        """A long time without any deadline is no stop: a judgement set for its end is on time."""
        self.after(60.0, "theirs", judges=True)
        self.assertEqual(self.wake(160.0), ["theirs"])

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["set", "cancel", "wake"]), st.floats(0, 10, allow_nan=False, width=32), st.integers(0)
            ),
            max_size=40,
        )
    )
    def test_model(self, steps: list[tuple[str, float, int]]) -> None:
        """Whatever is set, cancelled and woken for: each fires once, when it is due, unless it was cancelled."""
        timers, fired = Timers(), list[int]()
        made = []
        expected: dict[int, float] = {}
        for number, (what, delay, which) in enumerate(steps):
            if what == "set":
                made.append((number, timers.after(delay, lambda n=number: fired.append(n))))  # type: ignore[misc]
                expected[number] = timers.now + delay
            elif what == "cancel" and made:
                chosen, timer = made[which % len(made)]
                timer.cancel()
                expected.pop(chosen, None)
            else:
                timers.advance(timers.now + delay, STALL)
                fired.clear()
                timers.fire()
                due = sorted((when, n) for n, when in expected.items() if when <= timers.now)
                self.assertEqual(fired, [n for _, n in due])
                for _, n in due:
                    del expected[n]
            self.assertEqual(len(timers), len(expected))
            self.assertEqual(timers.next_wake, min(expected.values(), default=None))
