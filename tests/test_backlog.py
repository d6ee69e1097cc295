"""The queue between a node and whoever is slower than it."""

import threading
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.backlog import Backlog
from twisted_p2p.core.actions import Changed, Gap, Kind
from twisted_p2p.messages import Message

A, B = "a" * 64, "b" * 64
PATIENCE = 20.0  # seconds for a thread to end: what hangs must fail


def message(seq: int, origin: str = A, value: Any = "text") -> Message:
    return Message(value, 1.5, origin, 7, seq, "0" * 64)


def seqs(items: list[Any]) -> list[Any]:
    """Items in short: the seqs of a list of messages, (first, last) of a gap."""
    return [(i.first, i.last) if isinstance(i, Gap) else [m.seq for m in i] for i in items]


def logged(test: SynchronousTestCase) -> list[Any]:
    """What is logged from now on, until the test ends."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    test.addCleanup(globalLogPublisher.removeObserver, events.append)
    return events


def texts(events: list[Any]) -> list[str]:
    """Log events as a user reads them."""
    return [event["log_format"].format(**event) for event in events if event.get("log_format")]


class BacklogTests(SynchronousTestCase):
    """The queue between a node and whoever listens to it."""

    def setUp(self) -> None:
        self.items: list[Any] = []
        self.times: list[float] = []
        self.events = logged(self)
        self.clock = Clock()
        self.clock.advance(100.0)

    def take(self, entries: list[Any]) -> None:
        self.times += [at for at, _ in entries]
        self.items += [item for _, item in entries]

    def backlog(self, **settings: int) -> Backlog:
        return Backlog(self.take, self.clock.seconds, "test", **settings)

    def run_to_end(self, backlog: Backlog) -> int:
        backlog.start()
        return backlog.close(PATIENCE)

    def test_order(self) -> None:
        """Everything is handed on in order, with the time at which it happened."""
        backlog = self.backlog()
        changed = Changed(Kind.LEFT, A)
        backlog.messages([message(1), message(2)])
        self.clock.advance(1.0)
        backlog.put(changed)
        backlog.messages([message(3)])
        self.assertEqual(self.run_to_end(backlog), 0)
        self.assertEqual(self.items, [[message(1), message(2)], changed, [message(3)]])
        self.assertEqual(self.times, [100.0, 101.0, 101.0])

    def test_thread(self) -> None:
        """The listener is called in a thread of its own, again and again, until the end."""
        called = threading.Semaphore(0)
        threads: set[threading.Thread] = set()

        def consume(entries: list[Any]) -> None:
            threads.add(threading.current_thread())
            called.release()

        backlog = Backlog(consume, self.clock.seconds, "test")
        backlog.start()
        for seq in range(3):
            backlog.messages([message(seq)])
            self.assertTrue(called.acquire(timeout=PATIENCE))
        self.assertEqual(backlog.close(PATIENCE), 0)
        self.assertEqual(len(threads), 1)
        self.assertNotIn(threading.current_thread(), threads)

    def test_full(self) -> None:
        """What does not fit is replaced by a gap for each stream, behind all that came before."""
        backlog = self.backlog(limit=3)
        backlog.messages([message(1), message(1)])
        backlog.messages([message(2), message(1, B)])
        backlog.messages([message(3), message(2, B)])
        backlog.messages([message(4)])
        self.assertEqual(backlog.dropped, 3)
        self.run_to_end(backlog)
        self.assertEqual(seqs(self.items), [[1, 1], [2, 1], (3, 4), (2, 2)])
        self.assertEqual([item.origin for item in self.items[2:]], [A, B])
        self.assertEqual(self.items[2].epoch, 7)
        (text,) = texts(self.events)
        self.assertIn("messages are being dropped", text)

    def test_full_by_bytes(self) -> None:
        """Big messages fill it sooner."""
        backlog = self.backlog(limit_bytes=1000)
        for seq in range(1, 5):
            backlog.messages([message(seq, value={"text": "x" * 600})])
        self.run_to_end(backlog)
        self.assertEqual(seqs(self.items), [[1], [2], (3, 4)])

    def test_room_again(self) -> None:
        """A listener that has caught up gets everything again."""
        seen = threading.Event()

        def consume(entries: list[Any]) -> None:
            self.take(entries)
            if any(isinstance(item, Gap) for _, item in entries):
                seen.set()

        backlog = Backlog(consume, self.clock.seconds, "test", limit=1)
        backlog.messages([message(1)])
        backlog.messages([message(2)])
        backlog.start()
        self.assertTrue(seen.wait(PATIENCE))
        backlog.messages([message(3)])
        backlog.close(PATIENCE)
        self.assertEqual(seqs(self.items), [[1], (2, 2), [3]])

    def test_close_by_the_listener(self) -> None:
        """A listener may close the queue itself: it gets nothing further, and nobody waits for anybody."""
        closed = threading.Event()
        left: list[int] = []

        def consume(entries: list[Any]) -> None:
            self.take(entries)
            left.append(backlog.close(PATIENCE))
            closed.set()

        backlog = Backlog(consume, self.clock.seconds, "test", batch=1)
        for seq in range(3):
            backlog.messages([message(seq)])
        backlog.start()
        self.assertTrue(closed.wait(PATIENCE))
        self.assertEqual(left, [2])
        self.assertEqual(seqs(self.items), [[0]])

    def test_close_while_busy(self) -> None:
        """A listener that does not come back is not waited for longer than was said; it can see that."""
        go, busy = threading.Event(), threading.Event()

        def consume(entries: list[Any]) -> None:
            busy.set()
            go.wait(PATIENCE)

        backlog = Backlog(consume, self.clock.seconds, "test", batch=1)
        backlog.messages([message(1)])
        backlog.messages([message(2), message(3)])
        backlog.start()
        self.assertTrue(busy.wait(PATIENCE))
        self.assertEqual(backlog.close(0.0), 2)
        self.assertTrue(backlog.abandoned)
        self.assertEqual(backlog.dropped, 2)
        go.set()

    def test_never_started(self) -> None:
        """Closing what was never started only counts."""
        backlog = self.backlog()
        backlog.messages([message(1)])
        self.assertEqual(backlog.close(PATIENCE), 1)

    @settings(deadline=None, max_examples=50)
    @given(
        turns=st.lists(st.lists(st.sampled_from([A, B]), min_size=1, max_size=4), max_size=20),
        limit=st.integers(1, 10),
        batch=st.integers(1, 5),
    )
    def test_nothing_is_lost_silently(self, turns: list[list[str]], limit: int, batch: int) -> None:
        """In each stream, messages and gaps together are every seq, once and in order."""
        self.items = []
        backlog = self.backlog(limit=limit, batch=batch)
        counts = {A: 0, B: 0}
        for turn in turns:
            messages = []
            for origin in turn:
                counts[origin] += 1
                messages.append(message(counts[origin], origin))
            backlog.messages(messages)
        self.run_to_end(backlog)
        seen: dict[str, list[int]] = {A: [], B: []}
        for item in self.items:
            if isinstance(item, Gap):
                seen[item.origin] += range(item.first, item.last + 1)
            else:
                for each in item:
                    seen[each.origin].append(each.seq)
        self.assertEqual(seen, {origin: list(range(1, count + 1)) for origin, count in counts.items()})
