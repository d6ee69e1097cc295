"""Faults that once were there, and must not come back."""

from __future__ import annotations

import attrs
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.core.pair import Pair, every_order
from tests.core.puppet import Puppet, Stage
from tests.net.memory import Net
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Kind
from twisted_p2p.core.config import LAN
from twisted_p2p.core.health import Health
from twisted_p2p.core.lives import HOUSEKEEPING
from twisted_p2p.core.membership import claim_order
from twisted_p2p.core.timers import Timers
from twisted_p2p.errors import BadNetworkName, P2PError
from twisted_p2p.messages import Encoder
from twisted_p2p.node import Node
from twisted_p2p.sim.checks import settles
from twisted_p2p.sim.scenarios import build, say
from twisted_p2p.sim.world import World


class LinkUpOnceTests(SynchronousTestCase):
    """A neighbour that changes its link is told of once."""

    def test_moved(self) -> None:
        """A neighbour that moves to a new link, its BYE arriving first, is told as up once."""
        stage, puppet = Stage(), Puppet(0x10)
        stage.befriend(puppet).send(wire.Bye("replaced"))
        stage.meet(puppet).become_neighbour()
        self.assertEqual(stage.told(Kind.LINK_UP, Kind.LINK_DOWN), [(Kind.LINK_UP, puppet.peer)])

    def test_crossing(self) -> None:
        """Two dials that cross are told as one link-up at each end, in every order of arrival."""

        def make() -> Pair:
            pair = Pair()
            pair.dial_each_other()
            return pair

        def check(pair: Pair, order: tuple[int, ...]) -> None:
            for end in pair.ends:
                self.assertEqual(end.told(Kind.LINK_UP, Kind.LINK_DOWN), [Kind.LINK_UP], order)

        every_order(make, check)


class RequestTests(SynchronousTestCase):
    """No request for a neighbour is kept for good."""

    def test_somebody_else_and_gone(self) -> None:
        """Whoever was found in place of another, and broke before it answered, is asked again some time."""
        stage = Stage()
        expected, found = Puppet(0x10), Puppet(0x20)
        stage.befriend(Puppet(0x7F)).send(wire.JoinedInNetwork(expected.record()))
        stage.pass_time(LAN.refill_interval * 1.2)
        [dial] = stage.take_dials()
        line = stage.connect(found, dial)
        line.shake_hands()
        line.close()
        stage.pass_time(60)
        left = [peer for peer, request in stage.core.overlay._requests.items() if request.link is not None]
        self.assertEqual(left, [], "a request whose link is gone; it lowers `missing` for good, and is never repeated")


class StallTests(SynchronousTestCase):
    """Having stood still puts off each judgement once."""

    def test_ten_reads_after_a_stop(self) -> None:
        """After a stop of 30 s, and ten reads before the wake, a judgement is 30 s and a moment later, not 300."""
        timers = Timers(health=Health(most=8))
        timers.after(1, lambda: None)
        timers.after(10, lambda: None, judges=True)
        for _ in range(10):
            timers.advance(31, 1.0)
        timers.fire()
        self.assertEqual((timers.next_wake, timers.health.score), (41, 1))

    def test_dead_neighbour_after_a_stop(self) -> None:
        """A neighbour that died while we stood still is dropped soon, however much others sent us meanwhile."""
        stage = Stage()
        dead, busy = stage.befriend(Puppet(0x10)), stage.befriend(Puppet(0x20))
        dead.answers = False
        stage.pass_time(3)
        stage.stand_still(60)
        for seq in range(1, 101):
            busy.send_lines(busy.puppet.bundle(seq))
        stage.pass_time(60)
        self.assertIsNotNone(dead.ended)


class ForgottenStreamTests(SynchronousTestCase):
    """What all have forgotten stays forgotten."""

    def test_forgotten_everywhere(self) -> None:
        """Streams of a peer that left long ago are forgotten, and nobody is told of a gap in what it was delivered."""
        config = attrs.evolve(LAN, retention_age=5 * HOUSEKEEPING, departed_keep=10 * HOUSEKEEPING)
        world = World(1, config)
        world.genesis()
        for _ in range(4):
            world.run(13)
            world.newcomer()
        self.assertEqual(settles(world, 30), [])
        say([world.peers[-1]], 5)
        world.run(1)
        world.peers[-1].leave()
        world.run(30 * HOUSEKEEPING)
        self.assertEqual([gap for peer in world.running for gap in peer.gaps], [])
        self.assertEqual({len(peer.core.positions) for peer in world.running}, {0})


class CallsLeftTests(SynchronousTestCase):
    """A peer that has left leaves no delayed call behind."""

    def test_nothing_left(self) -> None:
        """After `leave` nothing of ours is left in the reactor: a user's trial tests are clean."""
        net = Net()
        one, two = net.service(5050), net.service(5051)
        one.start()
        one.join([], genesis=True)
        two.start()
        two.join([("127.0.0.1", 5050)])
        net.run(5)
        left = [one.leave(), two.leave()]
        for _ in range(100):
            if not all(deferred.called for deferred in left):
                net.run(0.01)
        self.assertTrue(all(deferred.called for deferred in left))
        self.assertEqual([call.func for call in net.reactor.getDelayedCalls()], [])


class GenesisJoinsTests(SynchronousTestCase):
    """A genesis may join another network."""

    def test_join_network_of_a_genesis(self) -> None:
        """`join_network` of a node that was started as a genesis fires."""
        world = World(1)
        one, two = (Node(world, genesis=True, shell=lambda reactor, settings: world.add()) for _ in range(2))
        for node in (one, two):
            node.startService()
        world.run(1)
        joined = two.join_network(*one.address)
        world.run(60)
        self.assertEqual(len(two.nodes_in_network), 2)
        self.assertTrue(joined.called)


class SlowJoinTests(SynchronousTestCase):
    """A join may take its time."""

    def test_many_pages(self) -> None:
        """Who needs longer for the pages of the baseline than it waits for one neighbour joins all the same."""
        world = World(5, config=attrs.evolve(LAN, page=2), latency=(0.2, 0.21))
        peers = build(world, 20)
        say(peers)
        world.run(30)
        newcomer = world.newcomer()
        world.run(30)
        self.assertIn(Kind.READY, [changed.kind for changed in newcomer.changes])


class GroupingTests(SynchronousTestCase):
    """Facts count the same whatever frames they come in."""

    def test_two_claims_in_one_frame(self) -> None:
        """Of two claims the same stands, in one frame or in two."""
        a, b, c = Puppet(1), Puppet(2), Puppet(3)
        low, high = sorted([a.claim(c.peer), b.claim(c.peer)], key=claim_order)
        members = Stage().core.membership
        members.merge([a.record(), b.record(), c.record()])
        members.merge([], [high, low])
        self.assertEqual(members.entries[c.peer].claim, high)

    def test_two_records_and_a_claim(self) -> None:
        """A claim about the newer of two records in a frame counts."""
        a, c = Puppet(1), Puppet(3)
        members = Stage().core.membership
        members.merge([a.record()])
        members.merge([c.record(1), c.record(2)], [a.claim(c.peer, 2)])
        self.assertEqual(members.entries[c.peer].status, "failed")

    def test_accuser_in_the_same_frame(self) -> None:
        """A claim counts whose accuser's record comes later in the same frame, and nobody is told of the dead one."""
        a, c = Puppet(9), Puppet(3)
        stage = Stage()
        stage.core.membership.merge([c.record(), a.record()], [a.claim(c.peer)])
        self.assertEqual(stage.core.membership.entries[c.peer].status, "failed")

    def test_newcomer(self) -> None:
        """A newcomer is told nothing of those who had failed before it came."""
        for seed in range(6):
            world = World(seed)
            victims = build(world, 10)[3:5]
            for victim in victims:
                victim.kill()
            world.run(40)
            newcomer = world.newcomer()
            world.run(20)
            for victim in victims:
                self.assertEqual([c.kind for c in newcomer.changes if c.peer == victim.peer], [], seed)


class AnswersTests(SynchronousTestCase):
    """Who asks and does not read fills no memory."""

    def test_directory_asked_a_thousand_times(self) -> None:
        """A peer that asks and does not read makes us buffer a few pages, not gigabytes."""
        stage = Stage()
        for number in range(1, 0x7F):
            stage.core.membership.merge([Puppet(number).record()])
        line = stage.meet(Puppet(0xF0), baseline=False)
        line.congest()
        line.send(*[wire.GiveNodesInNetwork()] * 1000)
        self.assertLess(sum(map(len, line.written)), LAN.control_max + LAN.line_max)

    def test_digest_asked_a_thousand_times(self) -> None:
        """The same with digests."""
        stage = Stage()
        for number in range(1, 0x7F):
            stage.core.membership.merge([Puppet(number).record()])
        line = stage.meet(Puppet(0xF0), baseline=False)
        line.congest()
        line.send(*[wire.Digest("nodes", {})] * 1000)
        self.assertLess(sum(map(len, line.written)), LAN.control_max + LAN.line_max)


class HugeNumberTests(SynchronousTestCase):
    """Numbers have a bound, told in words."""

    def test_huge(self) -> None:
        """A number that can't travel is refused with one of our errors, which says why."""
        with self.assertRaises(P2PError):
            Encoder(LAN.message_max, LAN.bundle_bytes).prepare(10**5000, 1.0)


class NetworkNameTests(SynchronousTestCase):
    """A name that the wire refuses is refused at once."""

    def test_name(self) -> None:
        """A network's name with a space in it, say, is refused before anything is opened."""
        for name in ("my net", "", "x" * 65, "réseau"):
            with self.assertRaises(BadNetworkName):
                Node(MemoryReactorClock(), network=name)
