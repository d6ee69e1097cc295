"""The simulated network: TCP as a peer sees it, and a run that its seed alone decides."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_p2p.core.actions import Dial, Hangup, Reason, Write
from twisted_p2p.shell import IPeerShell
from twisted_p2p.sim.checks import settles
from twisted_p2p.sim.peer import Commit, SimPeer
from twisted_p2p.sim.scenarios import SCENARIOS, say
from twisted_p2p.sim.world import BEGINNING, WINDOW, World


class FakeCore:
    """Stands for a PeerCore: it notes what it is told and when, and asks for nothing."""

    next_wake: float | None = None
    member_since: float | None = None

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: list[tuple[float, str, object]] = []
        self.links: list[int] = []

    def is_forgotten(self, now: float) -> bool:
        """As PeerCore has it."""
        return False

    def note(self, what: str, detail: object = None) -> list[object]:
        """Something happened."""
        self.seen.append((self.world.now, what, detail))
        return []

    def link_up(self, number: int, dial: int | None, now: float, host: str) -> list[object]:
        """As PeerCore has it."""
        self.links.append(number)
        return self.note("up", dial)

    def link_down(self, number: int, reason: Reason, now: float) -> list[object]:
        """As PeerCore has it."""
        return self.note("down", reason)

    def dial_failed(self, dial: int, now: float) -> list[object]:
        """As PeerCore has it."""
        return self.note("failed", dial)

    def lines_received(self, number: int, lines: list[bytes], now: float) -> list[object]:
        """As PeerCore has it."""
        return self.note("lines", list(lines))

    def congested(self, number: int, now: float) -> list[object]:
        """As PeerCore has it."""
        return self.note("congested")

    def drained(self, number: int, now: float) -> list[object]:
        """As PeerCore has it."""
        return self.note("drained")

    def wake(self, now: float) -> list[object]:
        """As PeerCore has it."""
        self.next_wake = None
        return self.note("wake", now)


class NetworkCase(SynchronousTestCase):
    """Two peers whose cores only take notes."""

    def setUp(self) -> None:
        """Both listen."""
        self.world = World(1, latency=(0.1, 0.1))
        self.one, self.two = self.peer(), self.peer()
        self.there, self.back = 0, 0

    def peer(self) -> SimPeer:
        """A peer that listens."""
        peer = self.world.add()
        peer.core = FakeCore(self.world)  # type: ignore[assignment]
        peer.running = True
        self.world.listening[peer.address] = peer
        return peer

    def dial(self, peer: SimPeer, target: SimPeer, timeout: float = 4.0) -> None:
        """Connect."""
        self.world.dial(peer, Dial(7, *target.address, timeout))

    def connect(self) -> None:
        """A connection from the first peer to the second."""
        self.dial(self.one, self.two)
        self.world.run(1)
        [self.there] = self.fake(self.one).links
        [self.back] = self.fake(self.two).links
        self.clear()

    def fake(self, peer: SimPeer) -> FakeCore:
        """A peer's core."""
        core = peer.core
        assert isinstance(core, FakeCore)
        return core

    def clear(self) -> None:
        """Forget what was noted."""
        for peer in (self.one, self.two):
            self.fake(peer).seen = []

    def write(self, *lines: bytes) -> None:
        """The first peer writes."""
        self.world.write(self.one, Write(self.there, list(lines)))

    def seen(self, peer: SimPeer) -> list[tuple[str, object]]:
        """What a peer noted."""
        return [(what, detail) for _, what, detail in self.fake(peer).seen]

    def lines(self, peer: SimPeer) -> list[object]:
        """The lines that a peer has read, in order."""
        return [line for what, detail in self.seen(peer) if what == "lines" for line in detail]  # type: ignore[attr-defined]


class DialTests(NetworkCase):
    """Connections come about as they do on a network."""

    def test_connected(self) -> None:
        """Who dials is connected after a round trip, and the other end at the same time."""
        self.dial(self.one, self.two)
        self.world.run(0.19)
        self.assertEqual(self.seen(self.one), [])
        self.world.run(0.02)
        self.assertEqual((self.seen(self.one), self.seen(self.two)), ([("up", 7)], [("up", None)]))

    def test_nobody_there(self) -> None:
        """Where nobody listens a dial fails at once."""
        self.two.kill()
        self.dial(self.one, self.two)
        self.world.run(0.3)
        self.assertEqual(self.seen(self.one), [("failed", 7)])
        self.world.run(10)
        self.assertEqual(self.seen(self.one), [("failed", 7)])

    def test_cut(self) -> None:
        """Where nothing gets through a dial fails after the time-out, for good."""
        self.world.cut(self.one, self.two)
        self.dial(self.one, self.two)
        self.world.run(3.9)
        self.assertEqual(self.seen(self.one), [])
        self.world.run(0.2)
        self.assertEqual(self.seen(self.one), [("failed", 7)])
        self.world.heal()
        self.world.run(5)
        self.assertEqual((self.seen(self.one), self.seen(self.two)), ([("failed", 7)], []))

    def test_one_way(self) -> None:
        """A dial needs both ways."""
        for number in (0, 1):
            self.setUp()
            ends = [self.one, self.two]
            self.world.cut(ends[number], ends[1 - number], both=False)
            self.dial(self.one, self.two)
            self.world.run(5)
            self.assertEqual(self.seen(self.one), [("failed", 7)])

    def test_unplugged(self) -> None:
        """Nor does a dial get to or from one whose cable is drawn, before it is plugged in again."""
        for number in (0, 1):
            self.setUp()
            self.world.unplug(self.one if number == 0 else self.two)
            self.dial(self.one, self.two)
            self.world.run(5)
            self.assertEqual(self.seen(self.one), [("failed", 7)])
        self.world.plug(self.one)
        self.world.plug(self.two)
        self.dial(self.one, self.two)
        self.world.run(1)
        self.assertEqual(self.seen(self.one)[-1], ("up", 7))

    def test_lost(self) -> None:
        """Where the first packet of a connection is lost it is sent again after a second, and then after two more."""
        found = set()
        for seed in range(100):
            self.setUp()
            self.world.rng.seed(seed)
            self.world.loss = 0.5
            self.dial(self.one, self.two)
            while not self.seen(self.one):
                self.world.run(0.05)
            found.add((self.seen(self.one)[0][0], round(self.world.now - BEGINNING - 0.2)))
        self.assertEqual(found, {("up", 0), ("up", 1), ("up", 2), ("up", 3), ("failed", 4)})

    def test_frozen(self) -> None:
        """The system of a stopped process still accepts connections."""
        self.two.freeze()
        self.dial(self.one, self.two)
        self.world.run(1)
        self.assertEqual((self.seen(self.one), self.seen(self.two)), ([("up", 7)], []))
        self.two.thaw()
        self.assertEqual(self.seen(self.two), [("up", None)])


class StreamTests(NetworkCase):
    """What is written on a connection arrives in order, late, or not at all."""

    def setUp(self) -> None:
        """There is a connection."""
        super().setUp()
        self.connect()

    def test_latency(self) -> None:
        """What is written arrives after the latency, in one piece."""
        self.write(b"a", b"b")
        self.world.run(0.09)
        self.assertEqual(self.seen(self.two), [])
        self.world.run(0.02)
        self.assertEqual(self.seen(self.two), [("lines", [b"a", b"b"])])

    def test_order(self) -> None:
        """Nothing overtakes on a connection, whatever the latencies."""
        self.world.latency = (0.0, 1.0)
        lines = [b"%d" % number for number in range(50)]
        for line in lines:
            self.write(line)
            self.world.run(0.01)
        self.world.run(2)
        self.assertEqual(self.lines(self.two), lines)

    def test_cut_and_healed(self) -> None:
        """What is written while the way is cut arrives once it is healed, in order; the other way is open."""
        self.world.cut(self.one, self.two, both=False)
        self.write(b"a")
        self.write(b"b")
        self.world.write(self.two, Write(self.back, [b"c"]))
        self.world.run(10)
        self.assertEqual((self.lines(self.two), self.lines(self.one)), ([], [b"c"]))
        self.world.heal()
        self.world.run(1)
        self.assertEqual(self.lines(self.two), [b"a", b"b"])

    def test_healed_in_part(self) -> None:
        """What is healed between two groups concerns nobody else."""
        third = self.world.add("three")
        self.world.cut(self.one, self.two)
        self.world.cut(self.one, third)
        self.write(b"a")
        self.world.heal([third], [self.one])
        self.world.run(1)
        self.assertEqual(self.lines(self.two), [])
        self.world.heal([self.two], [self.one])
        self.world.run(1)
        self.assertEqual(self.lines(self.two), [b"a"])

    def test_unplugged(self) -> None:
        """What is written to or from one whose cable is drawn arrives, in order, once nothing is in the way."""
        self.world.unplug(self.two)
        self.write(b"a")
        self.world.cut(self.one, self.two)
        self.write(b"b")
        self.world.write(self.two, Write(self.back, [b"c"]))
        self.world.plug(self.two)
        self.world.run(10)
        self.assertEqual((self.lines(self.two), self.lines(self.one)), ([], []))
        self.world.unplug(self.one)
        self.world.heal()
        self.write(b"d")
        self.world.run(10)
        self.assertEqual((self.lines(self.two), self.lines(self.one)), ([], []))
        self.world.plug(self.one)
        self.world.run(1)
        self.assertEqual((self.lines(self.two), self.lines(self.one)), ([b"a", b"b", b"d"], [b"c"]))

    def test_lost(self) -> None:
        """What is lost arrives later, by a fifth of a second or more, all in order; some of it is on time."""
        self.world.loss = 0.3
        lines = [b"%d" % number for number in range(300)]
        took = []
        for line in lines:
            self.write(line)
            began = self.world.now
            while self.lines(self.two)[-1:] != [line]:
                self.world.run(0.01)
            took.append(self.world.now - began)
        self.assertEqual(self.lines(self.two), lines)
        on_time = sum(time < 0.15 for time in took)
        once = sum(0.25 < time < 0.35 for time in took)
        twice = sum(0.65 < time < 0.75 for time in took)
        self.assertTrue(190 < on_time < 230 and 40 < once < 85 and 8 < twice < 40, (on_time, once, twice))

    def test_frozen(self) -> None:
        """A stopped process reads nothing, is woken for nothing, and has it all when it goes on."""
        self.two.freeze()
        self.write(b"a")
        self.world.run(1)
        self.write(b"b")
        self.world.run(1)
        self.assertEqual(self.seen(self.two), [])
        self.two.thaw()
        self.assertEqual(self.lines(self.two), [b"a", b"b"])

    def test_congestion(self) -> None:
        """Who writes more than a window is told so, and told again when half of it has been read; nothing is lost."""
        self.two.freeze()
        line = b"x" * (WINDOW // 2)
        self.write(line)
        self.world.run(1)
        self.assertEqual(self.seen(self.one), [])
        self.write(line)
        self.world.run(1)
        self.assertEqual(self.seen(self.one), [("congested", None)])
        self.two.thaw()
        self.assertEqual(self.seen(self.one), [("congested", None), ("drained", None)])
        self.assertEqual(self.lines(self.two), [line, line])

    def test_slow_reader(self) -> None:
        """Who reads slowly has everything in the end, at that rate, and the writer is told to wait."""
        self.two.read_rate = WINDOW / 10
        for _ in range(4):
            self.write(b"x" * (WINDOW // 2))
        self.world.run(9)
        self.assertEqual(len(self.lines(self.two)), 1)
        self.world.run(20)
        self.assertEqual(len(self.lines(self.two)), 4)
        self.assertEqual(self.seen(self.one), [("congested", None), ("drained", None)])

    def test_no_longer_slow(self) -> None:
        """What it has not read yet when it reads fast again is not overtaken by what comes then, nor by the end."""
        self.two.read_rate = 1000.0
        self.write(b"x" * 1000)
        self.world.run(0.5)
        self.two.read_rate = 0.0
        self.write(b"y")
        self.one._perform([Hangup(self.there, Reason.DONE)])
        self.world.run(3)
        self.assertEqual(self.lines(self.two), [b"x" * 1000, b"y"])
        self.assertEqual(self.seen(self.two)[-1], ("down", Reason.CLOSED))

    def test_closed(self) -> None:
        """The other end reads what was written before the end, then the end, once; the closer hears no more."""
        self.write(b"last words")
        self.world.write(self.two, Write(self.back, [b"in vain"]))
        self.one._perform([Hangup(self.there, Reason.DONE)])
        self.write(b"never")
        self.world.run(1)
        self.assertEqual(self.seen(self.two), [("lines", [b"last words"]), ("down", Reason.CLOSED)])
        self.assertEqual(self.seen(self.one), [])

    def test_killed(self) -> None:
        """Whose other end was killed sees the connection end."""
        self.two.kill()
        self.world.run(1)
        self.assertEqual(self.seen(self.one), [("down", Reason.CLOSED)])
        self.write(b"in vain")
        self.world.run(1)
        self.assertEqual(self.seen(self.two), [])

    def test_killed_behind_a_cut(self) -> None:
        """Whose other end was killed behind a cut sees nothing until it is healed."""
        self.world.cut(self.one, self.two)
        self.two.kill()
        self.world.run(60)
        self.assertEqual(self.seen(self.one), [])
        self.world.heal()
        self.world.run(1)
        self.assertEqual(self.seen(self.one), [("down", Reason.CLOSED)])


class TimeTests(NetworkCase):
    """Virtual time."""

    def test_interfaces(self) -> None:
        """A peer is a shell, and the world a clock, as a Node and Twisted know them."""
        self.assertTrue(verifyObject(IPeerShell, self.one))
        for name in ("seconds", "callLater"):
            self.assertIn(name, IReactorTime)
            self.assertTrue(callable(getattr(self.world, name)))
        for name in ("cancel", "active"):
            self.assertIn(name, IDelayedCall)

    def test_calls(self) -> None:
        """Calls are made in order of time, then of setting; cancelled ones are not."""
        called: list[str] = []
        self.world.callLater(2, called.append, "c")
        self.world.callLater(1, called.append, "a")
        gone = self.world.callLater(1, called.append, "gone")
        self.world.callLater(1, called.append, "b")
        gone.cancel()
        self.assertFalse(gone.active())
        self.world.run(1.5)
        self.assertEqual((called, self.world.seconds()), (["a", "b"], BEGINNING + 1.5))
        self.world.run(1)
        self.assertEqual(called, ["a", "b", "c"])

    def test_cancelled_twice(self) -> None:
        """To cancel a call that was cancelled, or made, is an error, as in Twisted."""
        call = self.world.callLater(1, lambda: None)
        call.cancel()
        self.assertRaises(AlreadyCancelled, call.cancel)
        made = self.world.callLater(1, lambda: None)
        self.world.run(2)
        self.assertFalse(made.active())
        self.assertRaises(AlreadyCalled, made.cancel)

    def test_run_until(self) -> None:
        """It stops as soon as the condition holds, or at the limit, and says which."""
        called: list[int] = []
        for number in range(5):
            self.world.callLater(number, called.append, number)
        self.assertTrue(self.world.run_until(lambda: len(called) == 3, 100))
        self.assertEqual(self.world.now, BEGINNING + 2)
        self.assertFalse(self.world.run_until(lambda: len(called) == 9, 100))
        self.assertEqual(self.world.now, BEGINNING + 102)

    def test_wakes(self) -> None:
        """A core is woken when it asked for it, by its own clock; a stopped process when it goes on."""
        core = self.fake(self.one)
        core.next_wake = BEGINNING + 5
        self.one.do(lambda now: [])
        self.world.run(10)
        self.assertEqual(core.seen, [(BEGINNING + 5, "wake", BEGINNING + 5)])
        core.seen, core.next_wake = [], BEGINNING + 12
        self.one.do(lambda now: [])
        self.one.freeze()
        self.world.run(20)
        self.assertEqual(core.seen, [])
        self.one.thaw()
        self.world.run(0)
        self.assertEqual(core.seen, [(BEGINNING + 30, "wake", BEGINNING + 30)])

    def test_clock_that_drifts(self) -> None:
        """A clock that runs fast or slow goes on from where it was; when it will read something is known."""
        for drift, passed in ((0.25, 10), (0.0, 8), (-0.2, 8)):
            before = self.one._wall()
            self.one.drift(drift)
            self.assertAlmostEqual(self.one._wall(), before, 5)
            self.world.run(passed / (1 + drift))
            self.assertAlmostEqual(self.one._wall(), before + passed, 5)
            self.assertAlmostEqual(self.one._when(self.one._wall()), self.world.now, 5)
            self.assertGreaterEqual(self.one._when(self.one._wall()), self.world.now)

    def test_wrong_clock(self) -> None:
        """A peer whose clock is wrong is told its own time; if it is set back time stands still for it, no more."""
        times: list[float] = []

        def note(now: float) -> list[object]:
            times.append(now - BEGINNING)
            return []

        for error in (0, 3600, 0, 0):
            self.one.clock_error = error
            self.one.do(note)  # type: ignore[arg-type]
            self.world.run(1)
        self.assertEqual(times, [0, 3601, 3601, 3602])


def digest(seed: int) -> str:
    """A hash of every line that is written in a run with some faults, and of who wrote it when."""
    whole = sha256()
    world = World(seed)
    carry = world.write

    def write(peer: SimPeer, action: Write) -> None:
        whole.update(f"{world.now!r} {peer.name} {action.link}\n".encode() + b"\n".join(action.lines))
        carry(peer, action)

    world.write = write  # type: ignore[method-assign]
    SCENARIOS["third-dies"](world, 8)
    world.run(10)
    return whole.hexdigest()


class RepeatTests(SynchronousTestCase):
    """A run is a function of its seed."""

    def test_same_seed(self) -> None:
        """The same seed writes the same bytes at the same times, whatever the order of Python's hashes."""
        found = set()
        for hash_seed in ("0", "1"):
            command = "from tests.sim.test_world import digest; print(digest(3))"
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
            done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            found.add(done.stdout.strip())
        self.assertEqual(found, {digest(3)})

    def test_other_seed(self) -> None:
        """Another seed is another run."""
        self.assertNotEqual(digest(3), digest(4))


class DiskTests(SynchronousTestCase):
    """What is not committed is not kept."""

    def test_nothing_to_do(self) -> None:
        """A turn that has changed the log is committed, also if it asks for nothing: alone, one has nobody to tell."""
        peer = World(0).add()
        peer.start()
        self.assertFalse(peer.log.is_changed)
        peer.on_commit = lambda: Commit.DIES_BEFORE
        say([peer])
        self.assertEqual((peer.said, len(peer.log), peer.running), ([], 0, False))


class NarrowLinkTests(SynchronousTestCase):
    """Connections that carry little, and a burst that fills them for seconds."""

    def test_slow_is_not_dead(self) -> None:
        """No neighbour is cut off, suspected or declared failed, though its answers to pings wait behind bundles."""
        world = World(0)
        SCENARIOS["narrow-links"](world, 12)
        self.assertEqual(settles(world, 60), [])
        for peer in world.peers:
            self.assertEqual(peer.core.turn.counts["link_end_ping-timeout"], 0)
            self.assertEqual(peer.core.turn.counts["suspicions"], 0)
