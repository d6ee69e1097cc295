"""What an application reads from a peer's log, wherever it begins, and whenever it crashes."""

from __future__ import annotations

import gc
from typing import Any

import attrs
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p import LAN, Config, Fork, Gap, Message, MessageReader, Node
from twisted_p2p.core.wire import bundle_line
from twisted_p2p.errors import LogError
from twisted_p2p.interfaces import Entry
from twisted_p2p.shell import SteadyClock
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.world import World


def values(items: list[Any]) -> list[Any]:
    """Items in short: what messages say, the range of a gap."""
    return [(item.first, item.last) if isinstance(item, Gap) else item.message for item in items]


class Taking:
    """Takes all that a reader has."""

    def __init__(self, reader: MessageReader) -> None:
        self.reader = reader
        self.items: list[Message | Gap] = []
        self.done = Deferred.fromCoroutine(self._take())

    async def _take(self) -> None:
        async for item in self.reader:
            self.items.append(item)


class ReaderCase(SynchronousTestCase):
    """Two nodes in a simulated network: `one` talks, `two` reads."""

    def setUp(self) -> None:
        self.begin()

    def begin(self, config: Config = LAN) -> None:
        """A network of its own."""
        self.world = World(1, config)
        self.peer_one, self.peer_two = self.world.add(), self.world.add()
        self.one = Node(self.world, genesis=True, config=config, shell=lambda reactor, settings: self.peer_one)
        self.one.startService()
        self.two = self.make_two(config)
        self.two.startService()
        self.world.run(3)
        self.successResultOf(self.two.when_ready())

    def make_two(self, config: Config = LAN) -> Node:
        """A node on the reading peer, not started."""
        join = [self.peer_one.address]
        return Node(self.world, join=join, config=config, shell=lambda reactor, settings: self.peer_two)

    def restart_two(self) -> None:
        """As by kill -9 and a new process with the same log; the node is started later."""
        peer: SimPeer = self.peer_two
        peer.kill()
        peer.core, peer._steady, peer.sink = peer._make_core(), SteadyClock(), lambda told: None
        self.two = self.make_two()

    def say(self, *messages: Any) -> None:
        """Broadcast each of these in a bundle of its own."""
        for message in messages:
            self.one.broadcast(message)
            self.world.run(0.01)
        self.world.run(1)

    def take(self, *arguments: Any, **options: Any) -> Taking:
        """All that a new reader has for now, and what comes later."""
        taking = Taking(self.two.messages(*arguments, **options))
        self.world.run(1)
        return taking


class ReadingTests(ReaderCase):
    """Where it begins, how it goes on, when it ends."""

    def test_from_now(self) -> None:
        """Without a cursor it has what comes from now on, as callbacks have it."""
        self.say("before")
        heard: list[Message] = []
        self.two.on_message(heard.append)
        taking = self.take()
        self.say("a", "b")
        self.assertEqual(values(taking.items), ["a", "b"])
        messages = [item for item in taking.items if isinstance(item, Message)]
        self.assertEqual(list(map(msgspec.structs.astuple, messages)), list(map(msgspec.structs.astuple, heard)))
        self.assertNoResult(taking.done)

    def test_from_the_oldest(self) -> None:
        """From 0 on it has all that is held."""
        self.say("a", "b")
        self.assertEqual(values(self.take(0).items), ["a", "b"])

    def test_from_any_cursor(self) -> None:
        """Behind each cursor comes just what followed, in the middle of a bundle too; cursors go up."""
        self.one.broadcast_all(range(3))
        self.world.run(0.1)
        self.one.broadcast_all(range(3, 7))
        self.say(7)
        items = self.take(0).items
        self.assertEqual(values(items), list(range(8)))
        cursors = [item.cursor for item in items]
        self.assertEqual(cursors, sorted(set(cursors)))
        self.assertLess(cursors[-1], 2**53)
        for number, cursor in enumerate(cursors):
            self.assertEqual(values(self.take(cursor).items), list(range(number + 1, 8)))

    def test_own(self) -> None:
        """Our own broadcasts are there if they are asked for, in the order in which they were kept."""
        without, with_own = self.take(), self.take(own=True)
        self.say("a")
        self.two.broadcast("ours")
        self.world.run(1)
        self.say("b")
        self.assertEqual(values(without.items), ["a", "b"])
        self.assertEqual(values(with_own.items), ["a", "ours", "b"])

    def test_own_alone(self) -> None:
        """What is broadcast to nobody is read, too."""
        reading = Taking(self.one.messages(own=True))
        self.two.stopService()
        self.world.run(5)
        self.say("ours")
        self.assertEqual(values(reading.items), ["ours"])

    def test_batches(self) -> None:
        """Batches have the same items, many at a time, and may be mixed with single ones."""
        self.one.broadcast_all(range(100))
        self.world.run(1)
        reader = self.two.messages(0)
        first = Deferred.fromCoroutine(reader.__anext__())
        self.world.run(0.1)
        self.assertEqual(values([self.successResultOf(first)]), [0])
        rest = self.successResultOf(Deferred.fromCoroutine(reader.next_batch()))
        self.assertEqual(values(rest), list(range(1, 100)))
        more = Deferred.fromCoroutine(reader.next_batch())
        self.world.run(1)
        self.assertNoResult(more)
        self.say("more")
        self.assertEqual(values(self.successResultOf(more)), ["more"])

    def test_leaves_turns(self) -> None:
        """Who reads much does not keep the event loop from all else."""
        for number in range(20):
            self.say(f"{number}".rjust(100_000))
        turns: list[int] = []
        taking = Taking(self.two.messages(0))

        def turn() -> None:
            turns.append(len(taking.items))
            if len(taking.items) < 20:
                self.world.callLater(0, turn)

        turn()
        self.world.run(1)
        self.assertEqual([int(text) for text in values(taking.items)], list(range(20)))
        self.assertGreater(len(set(turns)), 5)

    def test_before_the_start(self) -> None:
        """A reader may be made before the node is started: it then begins with this life, or at its cursor."""
        self.say("a", "b")
        cursor = self.take(0).items[0].cursor
        self.restart_two()
        now, oldest, behind = self.take(), self.take(0), self.take(cursor)
        self.assertEqual(oldest.items, [])
        self.two.startService()
        self.world.run(3)
        self.say("c")
        self.assertEqual(values(now.items), ["c"])
        self.assertEqual(values(oldest.items), ["a", "b", "c"])
        self.assertEqual(values(behind.items), ["b", "c"])

    def test_beyond_the_log(self) -> None:
        """A cursor that the log has never given is told in the log, and all goes on from the end."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.say("a")
        cursor = self.take(0).items[-1].cursor
        taking = self.take(cursor + 1)
        self.assertEqual([str(e["log_format"])[:11] for e in events if e.get("after") == cursor + 1], ["The cursor "])
        self.say("b")
        self.assertEqual(values(taking.items), ["b"])
        [again] = taking.items
        self.assertEqual(taking.reader.cursor, again.cursor)

    def test_no_cursor(self) -> None:
        """No cursor is negative."""
        self.assertRaises(ValueError, self.two.messages, -1)

    def test_stop(self) -> None:
        """When the node stops, what is there comes, and then the end; a node that has stopped may still be read."""
        self.say("a")
        taking = self.take()
        for number in range(10):
            self.one.broadcast(f"{number}".rjust(100_000))
        self.two.stopService()
        self.world.run(10)
        self.successResultOf(taking.done)
        after = self.take(0)
        self.successResultOf(after.done)
        self.assertEqual(values(after.items)[1:], values(taking.items))

    def test_close(self) -> None:
        """A reader that is closed ends, whether it waits, has items, or is about to read."""
        self.one.broadcast_all(range(10))
        self.world.run(1)
        waiting = self.take()
        waiting.reader.close()
        self.successResultOf(waiting.done)
        reader = self.two.messages(0)
        first = Deferred.fromCoroutine(reader.__anext__())
        self.world.run(1)
        self.successResultOf(first)
        reader.close()
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(reader.next_batch())), [])
        reading = Taking(self.two.messages(0))
        reading.reader.close()
        self.world.run(1)
        self.successResultOf(reading.done)
        self.assertEqual(reading.items, [])

    def test_cancelled(self) -> None:
        """Who no longer waits may cancel that; nothing is lost for the next call, and others are not disturbed."""
        other = self.take()
        reader = self.two.messages()
        for has_something in (False, True):
            waiting = Deferred.fromCoroutine(reader.next_batch())
            if not has_something:
                self.world.run(1)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            self.say("a")
        batch = Deferred.fromCoroutine(reader.next_batch())
        self.world.run(1)
        self.assertEqual(values(self.successResultOf(batch)), ["a", "a"])
        self.assertEqual(values(other.items), ["a", "a"])

    def test_nobody_holds_it(self) -> None:
        """A loop goes on although the program keeps no reference to it."""
        items: list[Any] = []

        async def run() -> None:
            async for item in self.two.messages():
                items.append(item)  # what is tested is the loop

        Deferred.fromCoroutine(run())
        gc.collect()
        self.say("a")
        self.assertEqual(values(items), ["a"])

    def test_replayed(self) -> None:
        """What is from before we joined says so."""
        self.say("a")
        log = self.peer_two.log
        [entry] = log.entries(0, 10_000)
        log.append(entry.stream, 2, entry.line, self.world.now, replayed=True)  # type: ignore[arg-type]  # a bundle has a line
        items = self.take(0).items
        self.assertEqual([item.replayed for item in items if isinstance(item, Message)], [False, True])


class MissingTests(ReaderCase):
    """What can't be read is told."""

    def test_gap(self) -> None:
        """A gap that was told is read in its place, and one may go on behind it."""
        self.begin(attrs.evolve(LAN, retention_count=5))
        taking = self.take()
        self.world.cut(self.peer_one, self.peer_two)
        self.say(*range(20))
        self.world.run(30)
        self.world.heal()
        self.world.run(120)
        gap = next(item for item in taking.items if isinstance(item, Gap))
        self.assertEqual((gap.origin, gap.last), (self.one.peer, 15))
        self.assertEqual(values(taking.items), [*range(gap.first - 1), (gap.first, 15), *range(15, 20)])
        self.assertEqual(values(self.take(gap.cursor).items), list(range(15, 20)))

    def test_too_slow(self) -> None:
        """What retention takes before it is read is a gap of unknown stream; who is done with an entry misses none."""
        self.begin(attrs.evolve(LAN, retention_count=5))
        self.say(*range(3))
        items = self.take(0).items
        slow, fast = self.two.messages(items[0].cursor), self.two.messages(items[-1].cursor)
        self.say(*range(3, 7))
        self.assertEqual(values(self.drain(slow)), [(2, 2), *range(2, 7)])
        self.assertEqual(values(self.drain(fast)), list(range(3, 7)))
        self.say(*range(7, 20))
        [gap, *rest] = self.drain(slow)
        self.assertEqual(gap, Gap("", 0, 8, 15))
        self.assertEqual(values(rest), list(range(15, 20)))
        self.assertEqual(values(self.take(gap.cursor).items), list(range(15, 20)))
        self.assertEqual(values(self.take(0).items), list(range(15, 20)))

    def drain(self, reader: MessageReader) -> list[Any]:
        """What there is now."""
        batch = Deferred.fromCoroutine(reader.next_batch())
        self.world.run(1)
        return self.successResultOf(batch)

    def test_all_gone(self) -> None:
        """A gap is told at once, although nothing follows it yet."""
        self.begin(attrs.evolve(LAN, retention_age=100))
        reader = self.two.messages()
        self.say(*range(3))
        self.world.run(1000)
        self.assertEqual(values(self.drain(reader)), [(1, 3)])

    def test_own_are_passed(self) -> None:
        """Our own broadcasts leave no gaps for a reader that is up to date, and its cursor passes them."""
        self.begin(attrs.evolve(LAN, retention_count=5, retention_share=1.0))
        taking = self.take()
        for number in range(20):
            self.two.broadcast(number)
            self.world.run(1)
        self.say("a")
        self.assertEqual(values(taking.items), ["a"])
        for number in range(20):
            self.two.broadcast(number)
            self.world.run(1)
        self.assertEqual(values(self.take(taking.items[0].cursor).items), [(22, 37)])
        self.assertEqual(self.take(taking.reader.cursor).items, [])

    def test_flood(self) -> None:
        """A flood takes only from itself, and a reader that lags is told what of it: of our own nothing."""
        self.begin(attrs.evolve(LAN, retention_count=8))
        self.say(*"ab")
        [a, b] = self.take(0).items
        self.two.broadcast("c")
        self.world.run(1)
        self.say(*range(3))
        cursor = self.take(b.cursor).items[0].cursor
        self.say(*range(3, 20))
        stream = a.origin, a.epoch
        self.assertEqual(self.take(cursor).items[0], Gap(*stream, 4, 15))
        self.assertEqual(values(self.take(0).items), [(3, 15), *range(13, 20)])
        self.assertEqual(self.take(self.take(cursor).items[0].cursor).items[0].message, 13)
        taking = self.take(cursor)
        for number in range(20):
            self.two.broadcast(number)
            self.world.run(1)
        self.assertEqual(values(taking.items), [(4, 15), *range(13, 20)])
        self.assertEqual(self.take(taking.reader.cursor).items, [])

    def test_not_held(self) -> None:
        """A bundle of which only the place is left is a gap of its stream, unless it was our own."""
        log = self.peer_two.log
        for number, origin in enumerate((self.one.peer, self.two.peer), 1):
            log.skip((origin, 7), number, number + 1, self.world.now)
        self.assertEqual(self.take(0).items, [Gap(self.one.peer, 7, 1, 2)])
        self.assertEqual(self.take(0, own=True).items, [Gap(self.one.peer, 7, 1, 2), Gap(self.two.peer, 7, 2, 3)])

    def test_unreadable(self) -> None:
        """A bundle of which nothing can be read stops nobody; it is warned of."""
        self.say("a")
        stream = (self.one.peer, 7)
        line = bundle_line(*stream, 1, "0" * 128, b"[5]")
        self.peer_two.log.append(stream, 1, line, self.world.now)
        self.say("b")
        self.assertEqual(values(self.take(0).items), ["a", "b"])

    def test_withdrawn(self) -> None:
        """What was withdrawn from the log is not there, and is no gap."""
        self.say("a")
        log, stream = self.peer_two.log, (self.two.peer, 7)
        log.append(stream, 1, bundle_line(*stream, 1, "0" * 128, b"[]"), self.world.now)
        log.withdraw(stream, 1)
        taking = self.take(0, own=True)
        self.say("b")
        self.assertEqual(values(taking.items), ["a", "b"])

    def test_disk(self) -> None:
        """While the log can't be read it waits, and goes on when something comes; the log may be another one then."""
        taking = self.take()
        log = self.peer_two.log
        self.peer_two.core.log = Broken(log)
        self.say("a")
        self.assertEqual(taking.items, [])
        self.peer_two.core.log = log
        self.say("b")
        self.assertEqual(values(taking.items), ["a", "b"])


class Broken:
    """A log on a disk that can't be read."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def entries(self, after: int, max_bytes: int) -> list[Entry]:
        raise LogError()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class ForkTests(ReaderCase):
    """Two processes with one key."""

    def test_fork(self) -> None:
        """Whoever asked is told; the log has a line."""
        forks: list[Fork] = []
        self.two.on_fork(forks.append)
        self.two.on_fork(lambda fork: 1 / 0)
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        fork = Fork(self.one.peer, 7, 3, b"kept", b"other")
        self.peer_two.sink(fork)
        self.assertEqual(forks, [fork])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        [text] = [e["log_format"].format(**e) for e in events if "two processes" in str(e.get("log_format"))]
        self.assertIn(self.one.peer, text)


@attrs.define
class Store:
    """What an application keeps: its state and its cursor change together, or not at all."""

    state: list[Any] = attrs.field(factory=list)
    cursor: int = 0


class CrashTests(ReaderCase):
    """An application that stores its cursor with its state acts on each message exactly once."""

    async def run_application(self, reader: MessageReader, store: Store, lives_for: int, in_batches: bool) -> None:
        """Act on so many items, then crash."""
        while lives_for:
            items = await reader.next_batch() if in_batches else [await reader.__anext__()]
            for item in items[:lives_for]:
                store.state.append(item.message if isinstance(item, Message) else item)
                store.cursor = item.cursor
                lives_for -= 1

    @settings(deadline=None, max_examples=30)
    @given(
        bundles=st.lists(st.integers(1, 4), min_size=1, max_size=6),
        lives=st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), min_size=1, max_size=25),
    )
    def test_exactly_once(self, bundles: list[int], lives: list[tuple[int, bool, bool]]) -> None:
        """Wherever it crashes, alone or with its peer, while others talk: each message once, in order."""
        self.begin()
        store, said = Store(), 0
        running: Deferred[None] | None = None
        for lives_for, in_batches, peer_crashes in lives:
            if bundles:
                count = bundles.pop()
                self.one.broadcast_all(range(said, said + count))
                said += count
            if peer_crashes:
                if running is not None:
                    running.cancel()
                    running.addErrback(lambda failure: None)
                self.world.run(0.003)
                self.restart_two()
                self.two.startService()
            reader = self.two.messages(after=store.cursor)
            running = Deferred.fromCoroutine(self.run_application(reader, store, lives_for, in_batches))
            self.world.run(0.02)
            running.cancel()
            running.addErrback(lambda failure: None)
        self.world.run(30)
        self.assertEqual(store.state, list(range(len(store.state))))
        rest = Deferred.fromCoroutine(self.run_application(self.two.messages(store.cursor), store, 1000, False))
        self.world.run(1)
        self.assertNoResult(rest)
        rest.cancel()
        self.failureResultOf(rest, CancelledError)
        self.assertEqual(store.state, list(range(said)))

    def test_every_cut(self) -> None:
        """Read anew behind every item in turn, the rest is the same each time, and nothing is told twice."""
        self.begin(attrs.evolve(LAN, retention_count=8))
        self.one.broadcast_all(range(5))
        self.say(*range(5, 9))
        whole = self.take(0).items
        for number, item in enumerate(whole):
            self.assertEqual(self.take(item.cursor).items, whole[number + 1 :])

    def test_delivered_cursors(self) -> None:
        """The messages of callbacks have the same cursors: one may change from the one way to the other."""
        delivered: list[Message] = []
        self.two.on_messages(delivered.extend)
        self.one.broadcast_all(range(5))
        self.say(5)
        for number, message in enumerate(delivered):
            self.assertEqual(values(self.take(message.cursor).items), list(range(number + 1, 6)))
        self.assertEqual(len(delivered), 6)
