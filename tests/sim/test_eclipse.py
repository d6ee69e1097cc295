"""One attacker with many keys behind few address ranges: what it gets of views and directories, and what it can't."""

from __future__ import annotations

from functools import cache
from unittest import mock

import attrs
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.actions import Kind
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.wire import Record, record_bytes
from twisted_p2p.sim.__main__ import fingerprint, main
from twisted_p2p.sim.checks import settles
from twisted_p2p.sim.eclipse import Eclipse, eclipse, own_range
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.scenarios import say
from twisted_p2p.sim.signing import CheapSigner
from twisted_p2p.sim.swarm import Swarm
from twisted_p2p.sim.world import World

PEERS = 12
YEAR = 365 * 86_400.0


@cache
def attacked(ranges: int = 1, max_peers: int = LAN.max_peers, drawn: int = LAN.active_drawn) -> Eclipse:
    """A small network under attack, played once."""
    return eclipse(PEERS, 60, ranges, 1, 25, attrs.evolve(LAN, max_peers=max_peers, active_drawn=drawn))


def network(peers: int, config: Config = LAN, seed: int = 1) -> World:
    """Honest peers, each in a range of its own."""
    world = World(seed, config)
    world.genesis(address=own_range(0))
    for number in range(1, peers):
        world.newcomer(address=own_range(number))
    assert settles(world, 30) == []
    return world


def is_ready(peer: SimPeer) -> bool:
    """Whether it has joined."""
    return any(change.kind is Kind.READY for change in peer.changes)


class EclipseTests(SynchronousTestCase):
    """The attacker dials everybody, invites, and tells of its keys (cases 38, 65 and 66)."""

    def check(self, result: Eclipse) -> None:
        """No honest peer is cut off, and all of them have what they say."""
        self.assertTrue(result.is_withstood, result.text())
        wanted, lacking = result.missing()
        self.assertGreater(wanted, 1000)
        self.assertEqual(lacking, 0)
        for views in (result.new, result.back):
            self.assertLessEqual(views.longest, 2, result.text())
        self.assertLess(sum(result.old.hostile) / len(result.old.hostile), 0.4)
        self.assertGreater(sum(puppet.neighbours for puppet in result.swarm.puppets), 100)

    def test_one_range(self) -> None:
        """All keys in one /24: honest peers stay connected, those that come too, and nobody's message is lost."""
        self.check(attacked())

    def test_many_ranges(self) -> None:
        """All keys in ten /24 of one /16, which are as one."""
        self.check(attacked(ranges=10))

    def test_full_directory(self) -> None:
        """In directories that are full of the attacker all honest peers have their places."""
        result = attacked(max_peers=30)
        self.check(result)
        share, lacking = result.directories()
        self.assertEqual(lacking, 0)
        self.assertAlmostEqual(share, (29 - PEERS) / 29, places=2)

    def test_without(self) -> None:
        """The attack is one: where address ranges do not count honest peers are cut off from one another."""
        result = attacked(drawn=0)
        self.assertGreater(result.pieces, 10)
        self.assertFalse(result.is_withstood)

    def test_command(self) -> None:
        """The figures are printed, the same ones again, and the exit code says whether all was well."""
        printed = []
        for _ in range(2):
            with mock.patch("builtins.print") as out:
                words = ["eclipse", "--peers", "6", "--keys", "10", "--seconds", "25", "--seed", "1"]
                self.assertEqual(main(words), 0)
            printed.append(out.call_args_list[0].args[0])
        self.assertEqual(printed[0], printed[1])
        self.assertIn("6 honest peers; 10 hostile keys", printed[0])


class AimedTests(SynchronousTestCase):
    """The attacker aims at one peer."""

    def test_publisher(self) -> None:
        """One peer is dialled by all keys, ten times as often; whatever it says reaches everybody (case 66)."""
        world = network(PEERS)
        victim = world.peers[-1]
        swarm = Swarm(world, 100, pause=1.0)
        chosen = victim.core.overlay._choices()
        swarm.attack(victim)
        for _ in range(20):
            say([victim])
            world.run(1)
            self.assertLessEqual(set(chosen), {link.id for link in victim.core.overlay.active.values()})
        world.run(5)
        for peer in world.peers[:-1]:
            self.assertEqual(sum(bundle.origin == victim.peer for bundle in peer.received), 20)

    def test_way_in(self) -> None:
        """Somebody who knows only the peer that is being attacked still gets in through it (case 65)."""
        world = network(PEERS)
        victim = world.peers[-1]
        Swarm(world, 100, pause=1.0).attack(victim)
        world.run(10)
        newcomer = world.newcomer(victim, address=own_range(PEERS))
        self.assertTrue(world.run_until(lambda: is_ready(newcomer), 10))
        say([newcomer])
        world.run(5)
        self.assertEqual(sum(bundle.origin == newcomer.peer for bundle in world.peers[0].received), 1)

    def test_in_the_attackers_range(self) -> None:
        """A newcomer that shares the attacker's /24 gets in, and has and is given all that is said."""
        world = network(PEERS)
        members = world.peers[:]
        Swarm(world, 60).attack(*members)
        world.run(5)
        newcomer = world.newcomer(address=("66.6.0.254", 5050))
        self.assertTrue(world.run_until(lambda: is_ready(newcomer), 20))
        for _ in range(20):
            say([newcomer, members[1]])
            world.run(1)
        world.run(30)
        self.assertEqual(sum(bundle.origin == members[1].peer for bundle in newcomer.received), 20)
        for peer in members:
            self.assertEqual(sum(bundle.origin == newcomer.peer for bundle in peer.received), 20)


class OneRangeTests(SynchronousTestCase):
    """A network all of which is in one range, as on one LAN or one machine."""

    def test_as_before(self) -> None:
        """Nothing at all is different from a network in which ranges do not count."""
        prints = []
        for drawn in (0, LAN.active_drawn):
            world = World(3, attrs.evolve(LAN, active_drawn=drawn))
            world.genesis()
            for _ in range(30):
                world.newcomer()
            self.assertEqual(settles(world, 30), [])
            world.peers[5].kill()
            say(world.running)
            world.run(30)
            prints.append(fingerprint(world))
        self.assertEqual(prints[0], prints[1])


class ComingBackTests(SynchronousTestCase):
    """A peer comes back after a while, and few are left of those that it knew (case 40)."""

    def test_dead_book(self) -> None:
        """99 of 100 whom it remembers are gone without a trace, the genesis too: it has a link within 10 s."""
        world = network(PEERS)
        peer, hole = world.peers[-1], world.add()
        world.run(30)
        peer.kill()
        world.peers[0].kill()
        hole.running = True
        world.unplug(hole)
        world.listening[world.peers[0].address] = hole
        for number in range(99 * PEERS):
            address = f"{100 + number // 250}.{number % 250}.1.1", 5050
            signer = CheapSigner(f"{number:08x}" * 8)
            incarnation = int(world.now * 1000)
            sig = signer.sign(record_bytes(world.network, signer.peer, incarnation, "alive", *address, ""))
            world.listening[address] = hole
            record = Record(signer.peer, incarnation, "alive", *address, sig)
            peer.log.keep_peer(signer.peer, msgspec.json.encode(record), None, 0.0)
        peer.log.commit()
        begin = world.now
        peer.restart()
        self.assertGreater(peer.core.membership.living, 99 * PEERS)
        self.assertTrue(world.run_until(lambda: peer.core.overlay.active, 10))
        self.assertLess(world.now - begin, 1)


class ClockTests(SynchronousTestCase):
    """A peer's clock is wrong by a year (case 58)."""

    def joined(self, error: float) -> tuple[World, SimPeer]:
        """A newcomer with such a clock, after a while."""
        world = network(4)
        newcomer = world.add(address=own_range(4))
        newcomer.clock_error = error
        newcomer.start()
        newcomer.join([world.peers[0].address])
        world.run(20)
        return world, newcomer

    def test_wrong(self) -> None:
        """It is told so, is not let in, and nobody else's directory has it; once it is right it joins."""
        for error in (YEAR, -YEAR):
            world, newcomer = self.joined(error)
            self.assertFalse(is_ready(newcomer))
            reasons = {change.reason for change in newcomer.changes if change.kind is Kind.RETRY}
            self.assertEqual(reasons, {"wrong-clock"})
            self.assertNotIn(newcomer.peer, world.peers[0].core.membership.entries)
            newcomer.kill()
            newcomer.clock_error = 0.0
            newcomer.restart()
            self.assertEqual(settles(world, 30), [], error)

    def test_an_hour(self) -> None:
        """An hour does not matter."""
        for error in (3600.0, -3600.0):
            _, newcomer = self.joined(error)
            self.assertTrue(is_ready(newcomer))

    def test_member(self) -> None:
        """A member that comes back with a clock that is behind declares nobody failed, and is well once it is right."""
        world = network(4)
        peer = world.peers[-1]
        peer.kill()
        peer.clock_error = -YEAR
        peer.restart()
        world.run(120)
        peer.kill()
        self.assertEqual([told.kind for told in peer.changes if told.kind is Kind.FAILED], [])
        peer.clock_error = 0.0
        peer.restart()
        self.assertEqual(settles(world, 60), [])
