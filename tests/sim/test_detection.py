"""Failure detection in a network: who is gone is found, who is there is not accused. Rows are of the case list."""

from __future__ import annotations

import json
from collections import Counter
from statistics import fmean, quantiles

import attrs
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.actions import Changed, Kind
from twisted_p2p.core.config import LAN, TEST
from twisted_p2p.sim.checks import delivered, directories_equal, settles
from twisted_p2p.sim.paper import detection
from twisted_p2p.sim.paper.detection import Network, Pauses
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.scenarios import build, say
from twisted_p2p.sim.world import World


def told(peers: list[SimPeer], kind: Kind) -> Counter[str]:
    """How often each peer was the subject of such a change, as told to any of these."""
    return Counter(change.peer for peer in peers for change in peer.changes if change.kind is kind)


class FoundTests(SynchronousTestCase):
    """Who is gone is found."""

    def test_each_end(self) -> None:
        """Whether killed, stopped or unplugged, a peer is suspected within two periods, and gone from all directories.

        Row 45, at 64 peers; `first_detection` does it with up to a thousand.
        """
        failures = [failure for seed in range(3) for failure in detection.find(seed, 64, 3)[0]]
        suspected = [failure.suspected or 99.0 for failure in failures]
        self.assertLess(fmean(suspected), 2 * LAN.probe_interval)
        for failure in failures:
            self.assertEqual(len(failure.declared), 64 - 9)
            self.assertLess(max(failure.declared), 30)
            if failure.kind == "killed":
                self.assertLess(failure.suspected or 99.0, 0.1)

    def test_neighbours_die_too(self) -> None:
        """Who dies together with all its neighbours is found by the others' probes, and nobody else is accused."""
        world = World(1)
        members = build(world, 30)
        victims = [members[7].peer, *members[7].core.overlay.active]
        dead = [peer for peer in members if peer.peer in victims]
        alive = [peer for peer in members if peer not in dead]
        for peer in dead:
            peer.freeze()
            world.unplug(peer)
        world.run(30)
        self.assertEqual(told(alive, Kind.FAILED), dict.fromkeys(victims, len(alive)))


class NotAccusedTests(SynchronousTestCase):
    """Who is there is not declared failed."""

    def test_stopped(self) -> None:
        """A fifth is stopped again and again: without local health they accuse the healthy, with it nobody does.

        Row 46, at 40 members; `false_positives` does it with 128.
        """
        pauses = Pauses("stopped", 40, 8, 16.384, 0.001, lasting=60)
        self.assertGreater(detection.pause(1, pauses, health=False).peers, 3)
        self.assertEqual(detection.pause(1, pauses).false, 0)

    def test_loss(self) -> None:
        """Where a tenth of the packets is lost nobody is declared failed.

        Row 47, for two minutes; `losses` does it for ten, and with more loss.
        """
        world = detection.lossy(1, 17, 0.1, 120)
        self.assertEqual(world.news, [])
        self.assertGreater(world.count("suspicions"), 0)

    def test_one_way(self) -> None:
        """Where nothing gets from one to another, but all does the other way, both are in, since others reach them.

        Row 48, for one in twenty ways.
        """
        world = World(1)
        members = build(world, 20)
        for source in members:
            world.cut(source, world.rng.choice([peer for peer in members if peer is not source]), both=False)
        world.run(180)
        self.assertEqual(told(members, Kind.FAILED), {})
        self.assertGreater(sum(peer.core.turn.counts["cleared"] for peer in members), 20)
        world.heal()
        self.assertEqual(settles(world, 30), [])

    def test_deaf(self) -> None:
        """To whom nothing gets, though from it all does, is out, once, and accuses nobody (row 48)."""
        world = World(1)
        members = build(world, 40)
        deaf = members[20:22]
        for peer in deaf:
            for other in members:
                if other is not peer:
                    world.cut(other, peer, both=False)
        world.run(180)
        others = [peer for peer in members if peer not in deaf]
        self.assertEqual(told(others, Kind.FAILED), {peer.peer: 38 for peer in deaf})
        world.heal()
        self.assertEqual(settles(world, 30), [])
        self.assertEqual(set(told(members, Kind.FAILED)), {peer.peer for peer in deaf})

    def test_back_from_a_stop(self) -> None:
        """Who was stopped for minutes is back under its own name, has what it missed, and nobody else was accused."""
        world = World(1)
        members = build(world, 20)
        sleeper = members[5]
        sleeper.freeze()
        for _ in range(120):
            say(members[:3])
            world.run(1)
        self.assertEqual(told(members, Kind.FAILED), {sleeper.peer: 19})
        sleeper.thaw()
        self.assertEqual(settles(world, 30), [])
        self.assertEqual(told(members, Kind.FAILED), {sleeper.peer: 19})
        self.assertEqual(len(delivered(sleeper)[members[0].stream]), 120)

    def test_back_from_being_cut_off(self) -> None:
        """So is one whose cable was drawn for a minute, while it ran on and reached nobody."""
        world = World(1)
        members = build(world, 20)
        world.unplug(members[5])
        world.run(60)
        world.plug(members[5])
        self.assertEqual(settles(world, 30), [])
        self.assertEqual(set(told(members, Kind.FAILED)), {members[5].peer})


class TableTests(SynchronousTestCase):
    """The papers' experiments, at a small size."""

    def test_tables(self) -> None:
        """Each has as many figures in a row as it names, and says what is being done; they are as good as they should.

        A tenth of 32 members are cut off again and again (row 46): with local health, too, they accuse nobody.
        """
        said: list[str] = []
        found = {table.name: table for table in detection.tables(1, True, said.append)}
        self.assertEqual(list(found), ["first_detection", "false_positives", "losses"])
        self.assertGreater(len(said), 5)
        for table in found.values():
            self.assertEqual({len(row) for row in table.rows}, {len(table.columns)})
            self.assertIn(table.title, table.text())
        for row in found["first_detection"].rows:
            self.assertLess(dict(zip(found["first_detection"].columns, row, strict=True))["mean, periods"], 2)
        for row in found["false_positives"].rows[:-2]:
            accused = dict(zip(found["false_positives"].columns, row, strict=True))["healthy peers accused"]
            self.assertEqual(bool(accused), row[3] == "without", row)


class DirectoryTests(SynchronousTestCase):
    """What becomes of the directory."""

    def test_replayed(self) -> None:
        """Who has failed is not revived by what it said before; only its own newer word does that (row 51)."""
        world = World(1)
        members = build(world, 12)
        victim = members[4]
        old = victim.core.membership.own
        victim.kill()
        world.run(20)
        for peer in world.running:
            peer.changes.clear()
            peer.core.membership.merge([old])
        world.run(5)
        self.assertEqual(directories_equal(world, world.running), [])
        self.assertEqual(told(world.running, Kind.JOINED)[victim.peer], 0)

    def test_all_restart(self) -> None:
        """All restart at once, without keys: a minute later all know all, and nobody of before (row 52, 40 peers)."""
        world = World(1)
        members = build(world, 40)
        for peer in members:
            peer.kill()
        genesis = world.genesis(name="again 0", address=members[0].address)
        for peer in members[1:]:
            world.newcomer(genesis, name=f"again {peer.name}", address=peer.address)
        self.assertEqual(settles(world, 60), [])

    def test_restart_one_by_one(self) -> None:
        """Of peers that restart one after another, at their old addresses, no former life stays in any directory."""
        world = World(1)
        members = build(world, 12)
        for peer in members[1:]:
            peer.kill()
            world.run(1)
            world.newcomer(name=f"again {peer.name}", address=peer.address)
            world.run(1)
        self.assertEqual(settles(world, 60), [])

    def test_many_come_and_go(self) -> None:
        """However many come and leave: directories hold those that are there, and those that left lately (row 53)."""
        world = World(1, config=attrs.evolve(LAN, departed_keep=120.0, retention_age=60.0))
        members = build(world, 8)
        for number in range(150):
            guest = world.newcomer(name=f"guest {number}")
            world.run(3)
            guest.leave()
            world.run(1)
        world.run(1)
        bound = len(members) + (120 + 60) / 4 + 2
        for peer in members:
            self.assertLess(len(peer.core.membership.entries), bound)
            self.assertLess(len(list(peer.core.positions.streams())), 2 * bound)
        self.assertEqual(told(members, Kind.FAILED), {})
        self.assertEqual(sum(told(members, Kind.LEFT).values()), 150 * len(members))
        self.assertEqual(sum(peer.core.turn.counts["suspicions"] for peer in members), 0)

    def test_left(self) -> None:
        """Who leaves is told of as left, is not suspected, and is sent nothing more (row 56)."""
        world = World(1)
        members = build(world, 12)
        leaver = members[5]
        leaver.leave()
        world.run(1)
        self.assertEqual(told(world.running, Kind.LEFT), {leaver.peer: 11})
        say(world.running)
        world.run(30)
        self.assertEqual(told(world.running, Kind.FAILED), {})
        self.assertEqual(sum(peer.core.turn.counts["suspicions"] for peer in world.running), 0)
        self.assertEqual(settles(world, 5), [])

    def test_left_at_once(self) -> None:
        """Nor if it leaves in the very moment in which all know each other, when many links are still being made."""
        for seed in range(40):
            world = World(seed, config=TEST)
            genesis = world.genesis()
            members = [genesis, *[world.newcomer(genesis) for _ in range(9)]]
            self.assertTrue(world.run_until(lambda: all(p.core.membership.living == 9 for p in members), 10))  # noqa: B023
            leaver = members.pop()
            leaver.leave()
            world.run(TEST.leave_timeout)
            self.assertEqual(told(members, Kind.LEFT), {leaver.peer: 9}, seed)
            self.assertEqual(sum(peer.core.turn.counts["suspicions"] for peer in members), 0, seed)

    def test_halves_for_long(self) -> None:
        """Two halves that were apart for ten minutes are one again within half a minute, if silent (row 57)."""
        world = World(1)
        members = build(world, 12)
        world.partition(members[:6], members[6:])
        world.run(600)
        self.assertEqual(told(members[:6], Kind.FAILED), {peer.peer: 6 for peer in members[6:]})
        world.heal()
        self.assertEqual(settles(world, 30), [])
        say(members)
        self.assertEqual(settles(world, 5), [])

    def test_clocks(self) -> None:
        """Clocks that are half a day off, or jump by an hour, make nobody suspect anybody (row 58).

        A peer whose clock is a year off is not let in: see test_eclipse.
        """
        world = World(1)
        members = build(world, 12)
        early, late = world.add(), world.add()
        for peer, error in ((early, -43_000.0), (late, 43_000.0)):
            peer.clock_error = error
            peer.start()
            peer.join([members[0].address])
        world.run(10)
        for peer in members[2:4]:
            peer.clock_error += 3600.0
        for peer in members[4:6]:
            peer.clock_error -= 3600.0
        world.run(30)
        say(world.peers)
        self.assertEqual(settles(world, 30), [])
        self.assertEqual(told(world.peers, Kind.FAILED), {})
        early.kill()
        late.kill()
        self.assertEqual(settles(world, 30), [])


class LatencyTests(SynchronousTestCase):
    """News of members and broadcasts share the links."""

    def latency(self, churn: bool) -> float:
        """Seconds within which 99 of 100 deliveries happened, while peers may come and go."""
        world = Network(1, 40)
        members = list(world.peers)
        took: list[float] = []
        for peer in members:
            peer.sink = lambda what: None if isinstance(what, Changed) else took.extend(_ages(world, what))
        for number in range(6):
            for _ in range(10):
                say(world.rng.sample(members, 10))
                world.run(0.1)
            if churn:
                for guest in range(5):
                    world.newcomer(name=f"guest {number} {guest}")
                for peer in world.running[40:50]:
                    peer.kill() if number % 2 else peer.leave()
        self.assertGreater(len(took), 20_000)
        return quantiles(took, n=100)[-1]

    def test_churn(self) -> None:
        """Messages take as long while half as many peers again come, leave and die (row 60, at 40 peers)."""
        self.assertLess(self.latency(churn=True), 1.2 * self.latency(churn=False) + 0.005)


def _ages(world: World, what: object) -> list[float]:
    """How long ago each message that is being delivered was broadcast."""
    bundles = getattr(what, "bundles", [])
    return [world.now - json.loads(bytes(bundle.messages))[0]["time"] for bundle in bundles]
