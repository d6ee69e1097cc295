"""What is forgotten is not told anew: neither by one that was restarted, nor by one that was away for long."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.config import LAN
from twisted_p2p.sim.checks import integrity, settles
from twisted_p2p.sim.scenarios import build, say
from twisted_p2p.sim.world import World

CONFIG = attrs.evolve(LAN, departed_keep=60.0, retention_age=240.0, gap_patience=5.0)
ALL = CONFIG.departed_keep + 2 * CONFIG.retention_age
"""Seconds after which everybody has forgotten the streams of one that has departed."""


class ForgettingTests(SynchronousTestCase):
    """Four peers, of whom one has spoken, and goes for good or for long."""

    def setUp(self) -> None:
        """They are a network."""
        self.world = World(1, CONFIG)
        _, _, self.speaker, self.other = build(self.world, 4)
        say([self.speaker], 5)
        self.world.run(5)

    def assert_once(self) -> None:
        """Nothing is handed to anybody twice, no gap is told, and all hear of one another."""
        self.world.run(ALL)
        say(self.world.running)
        self.assertEqual(settles(self.world, 60), [])
        self.assertEqual(integrity(self.world, self.world.running), [])
        self.assertEqual([peer.gaps for peer in self.world.running if peer.gaps], [])

    def test_restarted(self) -> None:
        """One is restarted shortly before the others forget the stream of one that has left."""
        self.speaker.leave()
        self.world.run(ALL - 120)
        self.other.kill()
        self.world.run(2)
        self.other.restart()
        self.assert_once()

    def test_away(self) -> None:
        """One is away, for any time, and somebody leaves meanwhile, of whom it knows nothing else."""
        self.other.kill()
        self.world.run(30)
        self.speaker.leave()
        self.world.run(ALL + 120)
        self.other.restart()
        self.assert_once()

    def test_away_for_less(self) -> None:
        """The same for a time after which the others know the stream still, but tell nobody."""
        self.other.kill()
        self.world.run(30)
        self.speaker.leave()
        self.world.run(ALL - 60)
        self.other.restart()
        self.assert_once()

    def test_away_itself(self) -> None:
        """The speaker comes back when the others have forgotten its stream."""
        self.speaker.kill()
        self.world.run(ALL + 120)
        self.speaker.restart()
        self.assert_once()

    def test_stopped(self) -> None:
        """The speaker's process stood still for so long: a laptop that was suspended."""
        self.speaker.freeze()
        self.world.run(ALL + 120)
        self.speaker.thaw()
        self.assert_once()

    def test_all_away(self) -> None:
        """Nobody was up for long."""
        peers = self.world.running
        for peer in peers:
            peer.kill()
        self.world.run(ALL + 120)
        for peer in peers:
            peer.restart()
        self.world.run(10)
        self.assert_once()
