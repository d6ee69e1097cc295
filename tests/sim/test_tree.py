"""The tree in a network: one bundle leaves a tree that spans it, whoever talks, and it mends."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.sim.checks import eager_neighbours, settles, tree_whole, violations
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.scenarios import build, say
from twisted_p2p.sim.world import World

PEERS = 40


class TreeTests(SynchronousTestCase):
    """A network of forty."""

    def setUp(self) -> None:
        """It has come to rest, and nobody looks for another neighbour."""
        self.world = World(1)
        self.members = build(self.world, PEERS)
        self.world.run(5)

    def count(self, what: str) -> int:
        """A counter, of all peers together."""
        return sum(peer.core.turn.counts[what] for peer in self.members)

    def links(self) -> float:
        """How many eager links there are."""
        return sum(len(eager_neighbours(peer)) for peer in self.world.running) / 2

    def grafts(self) -> int:
        """How many GRAFTs were sent on the links that there are."""
        return sum(flow.grafts_sent for peer in self.world.running for flow in peer.core.spread.flows.values())

    def talk(self, speakers: list[SimPeer], seconds: float, rate: int = 50) -> None:
        """So many bundles a second, each of somebody drawn by chance."""
        for _ in range(round(seconds * rate)):
            say([self.world.rng.choice([peer for peer in speakers if peer.running])])
            self.world.run(1 / rate)

    def test_one_bundle_is_enough(self) -> None:
        """The first bundle floods, and costs a duplicate on each link that is not in the tree; no other one does."""
        say(self.members[5:6])
        self.world.run(1)
        duplicates = self.count("duplicate")
        self.assertGreater(duplicates, 0)
        self.assertEqual(self.links(), PEERS - 1)
        say(self.members, 3)
        self.world.run(1)
        self.assertEqual((self.count("duplicate"), self.links(), self.grafts()), (duplicates, PEERS - 1, 0))
        self.assertEqual(violations(self.world), [])

    def test_all_at_the_same_instant(self) -> None:
        """Everybody speaks first in the same instant: all prune by the same bundle, and nothing is cut."""
        say(self.members)
        self.world.run(1)
        self.assertEqual((self.links(), self.grafts()), (PEERS - 1, 0))
        self.assertEqual(tree_whole(self.world, self.members), [])
        self.assertEqual(violations(self.world), [])

    def test_all_all_the_time(self) -> None:
        """Everybody talks at the same time, all the time: the tree neither changes nor is cut."""
        self.talk(self.members, 1)
        tree, duplicates = [eager_neighbours(peer) for peer in self.members], self.count("duplicate")
        self.talk(self.members, 3, 200)
        self.assertEqual([eager_neighbours(peer) for peer in self.members], tree)
        self.assertEqual((self.count("duplicate"), self.links(), self.grafts()), (duplicates, PEERS - 1, 0))

    def test_narrow_links(self) -> None:
        """All say more than their links carry: what is late is behind other bundles, and is asked of nobody else.

        The news of it, on the other links, is faster by up to a second.
        """
        self.world = World(1, bandwidth=1e6)
        self.members = build(self.world, 8)
        self.talk(self.members, 1)
        duplicates = self.count("duplicate")
        for _ in range(60):
            for peer in self.members:
                for _ in range(5):
                    if peer.core.unsent() < 8:
                        say([peer], text="x" * 20_000)
            self.world.run(0.05)
        self.assertEqual(settles(self.world, 60), [])
        bundles = sum(peer.core.positions.of(peer.core.spread.own) - 1 for peer in self.members)
        self.assertGreater(bundles, 500)
        self.assertLess(self.count("duplicate") - duplicates, 0.02 * bundles * (len(self.members) - 1))

    def test_mended(self) -> None:
        """A third dies while all talk: a few seconds later there is one tree again, and nobody lacks anything."""
        self.talk(self.members, 1)
        for peer in self.world.rng.sample(self.members[1:], PEERS // 3):
            peer.kill()
        self.talk(self.members, 6)
        self.assertEqual(self.links(), len(self.world.running) - 1)
        self.assertEqual(tree_whole(self.world, self.world.running), [])
        self.assertEqual(settles(self.world, 30), [])

    def test_stopped_in_the_middle(self) -> None:
        """A peer on the way to others takes nothing any more: those get all by other links, and it does later."""
        self.talk(self.members, 1)
        speaker = self.members[0]
        others = [peer for peer in self.members if peer is not speaker]
        stopped = max(others, key=lambda peer: len(eager_neighbours(peer)))
        self.assertGreater(len(eager_neighbours(stopped)), 2)
        stopped.freeze()
        for _ in range(8):
            say([speaker], text="x" * 20_000, at_once=10)
            self.world.run(0.5)
        feeding = [peer for peer in self.members if stopped.peer in eager_neighbours(peer)]
        self.assertGreater(self.count("pruned_slow"), 0)
        self.assertLessEqual(len(feeding), 1)
        say([speaker])
        self.world.run(0.1)
        position = speaker.core.positions.of(speaker.stream)
        late = [peer for peer in others if peer.core.positions.of(speaker.stream) < position]
        self.assertEqual(late, [stopped])
        stopped.thaw()
        self.talk(self.members, 3)
        self.assertEqual(settles(self.world, 20), [])

    def test_newcomers(self) -> None:
        """Newcomers join while all talk: they are in the tree soon, and it stays one."""
        self.talk(self.members, 1)
        for _ in range(10):
            self.world.newcomer()
        self.talk(self.members, 6)
        self.assertEqual(self.links(), PEERS + 10 - 1)
        self.assertEqual(settles(self.world, 10), [])
