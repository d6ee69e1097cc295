"""Joins that are not as they should be."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.actions import Kind
from twisted_p2p.sim.checks import settles, violations
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.scenarios import say
from twisted_p2p.sim.world import World


def ready(peer: SimPeer) -> int:
    """How often its application was told that it has joined."""
    return sum(changed.kind is Kind.READY for changed in peer.changes)


class NobodyToJoinTests(SynchronousTestCase):
    """There is no genesis."""

    def setUp(self) -> None:
        """Two peers, each a network of one."""
        self.world = World(1)
        self.one, self.two = self.world.add(), self.world.add()
        self.one.start()
        self.two.start()

    def test_each_other(self) -> None:
        """Two that join through each other are one network soon, whoever begins, and what they say arrives."""
        self.one.join([self.two.address])
        self.two.join([self.one.address])
        self.assertEqual(settles(self.world, 15), [])
        say([self.one, self.two])
        self.assertEqual(settles(self.world, 2), [])
        self.assertEqual((ready(self.one), ready(self.two)), (1, 1))
        self.assertEqual(sum(len(peer.received) for peer in (self.one, self.two)), 2)

    def test_late_genesis(self) -> None:
        """If they wait for a genesis besides, they are one network with it when it comes."""
        genesis = self.world.add()
        self.one.join([genesis.address, self.two.address])
        self.two.join([genesis.address, self.one.address])
        self.world.run(60)
        self.assertEqual((ready(self.one), ready(self.two)), (1, 1))
        genesis.start()
        genesis.join([], genesis=True)
        self.assertEqual(settles(self.world, 30), [])
        self.assertEqual(len(self.one.core.membership.entries), 3)

    def test_only_one_calls(self) -> None:
        """A newcomer that is called by another one, and has not called it, goes on waiting for its genesis."""
        genesis = self.world.add()
        self.one.join([genesis.address])
        self.two.join([self.one.address])
        self.world.run(60)
        self.assertEqual((ready(self.one), ready(self.two)), (0, 0))
        genesis.start()
        genesis.join([], genesis=True)
        self.assertEqual(settles(self.world, 45), [])

    def test_own_address(self) -> None:
        """Who was told to join through itself can still be joined, and is told that it has; nobody else was there."""
        self.one.join([self.one.address])
        self.world.run(5)
        self.assertEqual(ready(self.one), 0)
        self.assertIn("own-address", [changed.reason for changed in self.one.changes])
        self.two.join([self.one.address])
        self.assertEqual(settles(self.world, 15), [])
        self.assertEqual((ready(self.one), ready(self.two)), (1, 1))
        told = len(self.one.changes)
        self.world.run(60)
        self.assertEqual(len(self.one.changes), told)
        self.assertEqual(violations(self.world), [])
