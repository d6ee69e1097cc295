"""A peer that is slow itself gives others more time."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import OWN, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Dial
from twisted_p2p.core.config import LAN
from twisted_p2p.core.health import Health


class HealthTests(SynchronousTestCase):
    """The score."""

    def test_bounds(self) -> None:
        """It goes up to its bound and down to 0, and no time-out is ever shorter than it says."""
        health = Health(3)
        self.assertEqual(health.stretch(4.0), 4.0)
        health.better()
        self.assertEqual((health.score, health.stretch(4.0)), (0, 4.0))
        for _ in range(5):
            health.worse()
        self.assertEqual((health.score, health.stretch(4.0)), (3, 16.0))
        health.better()
        self.assertEqual(health.stretch(4.0), 12.0)


class EvidenceTests(SynchronousTestCase):
    """What speaks for our being slow, and what against it."""

    def setUp(self) -> None:
        """A peer with a neighbour."""
        self.stage = Stage(attrs.evolve(LAN, active_target=0))
        self.line = self.stage.befriend(Puppet(0x11))
        self.stage.take_dials()

    @property
    def score(self) -> int:
        """How slow it finds itself."""
        return self.stage.core.turn.health.score

    def probe(self, puppet: Puppet) -> Dial:
        """It dials this puppet, which it knows by now."""
        self.line.send(wire.JoinedInNetwork(puppet.record()))
        self.stage.core.detection.seek(puppet.peer)
        self.stage.broadcast()
        [dial] = [dial for dial in self.stage.take_dials() if dial.host == puppet.address[0]]
        return dial

    def verdict(self, suspect: Puppet, reached: bool) -> None:
        """The neighbour answers what it was asked about a suspect."""
        [question] = self.line.take_kind(wire.Suspect)
        assert isinstance(question, wire.Suspect)
        self.line.send(wire.Verdict(suspect.peer, question.incarnation, reached))

    def test_stood_still(self) -> None:
        """A deadline that is kept late."""
        self.stage.stand_still(100.0)
        self.stage.pass_time(0.0)
        self.assertEqual(self.score, 1)

    def test_accused(self) -> None:
        """Somebody could not reach us."""
        life = self.stage.core.membership.own.incarnation
        accuser, ms = self.line.puppet, int(self.stage.now * 1000)
        sig = accuser.signer.sign(wire.claim_bytes(accuser.network, OWN, life, accuser.peer, ms))
        self.line.send(wire.FailedInNetwork(wire.Claim(OWN, life, accuser.peer, ms, sig)))
        self.assertEqual(self.score, 1)

    def test_others_reach_whom_we_do_not(self) -> None:
        """A witness reached our suspect: from then on we wait twice as long, until one that we call answers."""
        suspect, other = Puppet(0x22), Puppet(0x33)
        self.stage.fail(self.probe(suspect))
        self.verdict(suspect, reached=True)
        self.assertEqual(self.score, 1)
        dial = self.probe(other)
        self.assertEqual(dial.timeout, 2 * LAN.dial_timeout)
        self.stage.connect(other, dial).shake_hands()
        self.assertEqual(self.score, 0)

    def test_suspicion_lasts_longer(self) -> None:
        """Who is slow waits longer for witnesses before it accuses."""
        suspect = Puppet(0x22)
        self.stage.core.turn.health.worse()
        self.stage.fail(self.probe(suspect))
        self.verdict(suspect, reached=False)
        self.stage.pass_time(LAN.suspicion_timeout + 0.1)
        self.assertTrue(self.stage.core.membership.is_alive(suspect.peer))
        self.stage.pass_time(LAN.suspicion_timeout)
        self.assertFalse(self.stage.core.membership.is_alive(suspect.peer))

    def test_ping_waits_longer(self) -> None:
        """A neighbour has more time to answer, too."""
        self.stage.core.turn.health.worse()
        self.line.answers = False
        self.stage.pass_time(LAN.ping_timeout + 1.3 * LAN.ping_interval)
        self.assertIsNone(self.line.ended)
        self.stage.pass_time(LAN.ping_timeout)
        self.assertIsNotNone(self.line.ended)
