"""Who is slow, and who is slandered."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.actions import Kind
from twisted_p2p.core.config import LAN
from twisted_p2p.sim.checks import settles
from twisted_p2p.sim.scenarios import build
from twisted_p2p.sim.world import World

PEERS = 20


class SlowPeerTests(SynchronousTestCase):
    """One peer is behind a very slow way: it can't make a connection in time, while its links still answer."""

    def suspicions(self, health_max: int) -> tuple[int, int]:
        """How often it suspected others in three minutes, and how often one of those was declared failed."""
        world = World(1, attrs.evolve(LAN, health_max=health_max))
        members = build(world, PEERS)
        world.run(5)
        slow = members[7]
        slow.lag = 2.2
        world.run(180)
        told = [changed for peer in members for changed in peer.changes if changed.kind is Kind.FAILED]
        return slow.core.turn.counts["suspicions"], sum(changed.peer != slow.peer for changed in told)

    def test_more_patient(self) -> None:
        """It finds that it is the slow one, and waits longer: it suspects far fewer, and nobody is slandered."""
        patient, slandered = self.suspicions(LAN.health_max)
        impatient, also_slandered = self.suspicions(0)
        self.assertLess(patient, impatient / 2)
        self.assertEqual((slandered, also_slandered), (0, 0))

    def test_well_again(self) -> None:
        """Once it is fast again so are its judgements."""
        world = World(1)
        members = build(world, PEERS)
        members[7].lag = 2.2
        world.run(120)
        members[7].lag = 0.0
        self.assertEqual(settles(world, 60), [])
        world.run(60)
        self.assertEqual(members[7].core.turn.health.score, 0)
