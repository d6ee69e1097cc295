"""Local health: what makes it worse and better, and what follows."""

from __future__ import annotations

import attrs

from tests.core.puppet import OWN, Line
from tests.core.test_detection import ALICE, BOB, CAROL, CONFIG, DAVE, PERIOD, TIMEOUT, DetectionCase
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Dial, Reason
from twisted_p2p.core.config import LAN, TEST, WAN
from twisted_p2p.core.health import Health


class ScoreTests(DetectionCase):
    """The score of one peer, seen from what happens to it."""

    def setUp(self) -> None:
        """Alice and Bob are neighbours; Carol is known."""
        self.begin(ALICE, BOB, known=(CAROL,))

    @property
    def health(self) -> Health:
        """Its health."""
        return self.stage.core.turn.health

    def well(self) -> None:
        """Let a few probes succeed."""
        for _ in range(LAN.health_max):
            line = self.stage.connect(CAROL, self.probe(CAROL))
            line.shake_hands()
            line.close()

    def test_bounded(self) -> None:
        """It is never below 0, nor above the setting; the factor is one more."""
        health = Health(most=2)
        health.better()
        self.assertEqual((health.score, health.factor), (0, 1))
        for _ in range(5):
            health.worse()
        self.assertEqual((health.score, health.factor), (2, 3))
        health.better()
        self.assertEqual(health.score, 1)

    def test_every_profile(self) -> None:
        """Every profile minds its health."""
        for config in (LAN, WAN, TEST):
            self.assertGreater(config.health_max, 0)
        self.assertEqual(self.health.most, CONFIG.health_max)

    def test_disproved_by_a_witness(self) -> None:
        """Whose suspicion is disproved by a witness is the slow one, once for each suspicion."""
        self.stage.fail(self.probe(CAROL))
        for line in self.lines:
            line.send(wire.Verdict(CAROL.peer, CAROL.record().incarnation, True))
        self.assertEqual(self.health.score, 1)

    def test_shows_up(self) -> None:
        """Whose suspect shows up by itself may have been as fast as could be."""
        self.stage.fail(self.probe(CAROL))
        self.stage.meet(CAROL)
        self.assertEqual((self.stage.counts["cleared"], self.health.score), (1, 0))

    def test_silent_neighbour(self) -> None:
        """A neighbour that falls silent may do so because we are deaf; one that hangs up does not."""
        self.lines[0].close()
        self.assertEqual(self.health.score, 0)
        self.lines[1].answers = False
        score = self.health.score
        while self.lines[1].ended is None:
            self.stage.pass_time(0.1)
        self.assertEqual(self.health.score, score + 1)

    def test_refuted(self) -> None:
        """Who had to refute its own failure was not reached by others."""
        self.well()
        self.lines[0].send(wire.FailedInNetwork(ALICE.claim(OWN, life=0)))
        self.assertEqual((self.stage.counts["refuted"], self.health.score), (1, 0))
        self.stage.dials.clear()
        self.probe(CAROL)
        self.assertEqual(self.health.score, 1)

    def test_stood_still(self) -> None:
        """Who stood still is less well, and better again after each success."""
        self.health.score = 3
        self.stage.stand_still(10)
        self.stage.perform(self.stage.core.link_down(99, Reason.CLOSED, self.stage.now))
        self.assertEqual(self.health.score, 4)
        self.well()
        self.assertEqual(self.health.score, 0)

    def test_among_neighbours_only(self) -> None:
        """Where all are neighbours, and nobody is probed, that these answer is success enough."""
        self.begin(ALICE, BOB)
        self.health.score = 5
        self.stage.pass_time(6 * PERIOD)
        self.assertEqual(self.health.score, 0)
        self.assertEqual(self.stage.take_dials(), [])


class PatienceTests(DetectionCase):
    """What a peer that is not well does not do."""

    def setUp(self) -> None:
        """Alice and Bob are neighbours; Carol is known, and a probe of her has failed."""
        self.begin(ALICE, BOB, known=(CAROL,))
        self.health = self.stage.core.turn.health

    def suspect(self, dial: Dial | None = None) -> None:
        """A probe of Carol fails, and Alice, asked about her, does not reach her either."""
        self.stage.fail(dial or self.probe(CAROL))
        self.lines[0].send(wire.Verdict(CAROL.peer, CAROL.record().incarnation, False))

    def test_longer(self) -> None:
        """Its suspicions last as many times longer."""
        dial = self.probe(CAROL)
        self.health.score = 2
        self.suspect(dial)
        self.stage.pass_time(3 * LAN.suspicion_timeout - 0.2)
        self.assertEqual(self.failed, [])
        self.stage.pass_time(0.3)
        self.assertEqual(self.failed, [CAROL.peer])

    def test_worse_meanwhile(self) -> None:
        """They last longer, too, if its health gets worse after they began."""
        self.suspect()
        self.health.score = LAN.health_max
        self.stage.pass_time(TIMEOUT)
        self.assertEqual((self.failed, self.suspected), ([], [CAROL.peer]))

    def test_handshake_and_ping(self) -> None:
        """It waits longer for the proof of a key, and for the answer to a ping."""
        self.begin(ALICE, BOB, config=attrs.evolve(CONFIG, probe_interval=1000.0))
        self.stage.core.turn.health.score = 1
        line = self.stage.connect(CAROL)
        self.lines[0].answers = False
        begun, ends = self.stage.now, dict[Line, float]()
        while len(ends) < 2:
            self.stage.pass_time(0.1)
            ends |= {each: self.stage.now - begun for each in (line, self.lines[0]) if each.ended and each not in ends}
        self.assertTrue(0 < ends[line] - 2 * LAN.handshake_timeout < 0.2)
        late = ends[self.lines[0]] - 2 * LAN.ping_timeout
        self.assertTrue(0 < late < 1.3 * LAN.ping_interval, late)

    def test_late_probe(self) -> None:
        """It waits longer before a probe without a result makes it ask others."""
        while not self.stage.dials:
            self.health.score = 1
            self.stage.pass_time(0.01)
        self.stage.pass_time(LAN.probe_timeout * 2 - 0.1)
        self.assertEqual(self.suspected, [])
        self.stage.pass_time(0.1)
        self.assertEqual(self.suspected, [CAROL.peer])

    def test_attempt_during_a_stop(self) -> None:
        """A dial that was under way while it stood still speaks against nobody, and is no answer to others."""
        dial = self.probe(CAROL)
        self.lines[0].send(wire.Suspect(CAROL.peer, CAROL.record().incarnation))
        self.stage.stand_still(30)
        self.stage.pass_time(0)
        self.lines[0].take_all()
        self.stage.fail(dial)
        self.assertEqual(self.suspected, [])
        self.assertEqual(self.lines[0].take_kind(wire.Verdict), [])
        self.lines[0].send(wire.Suspect(CAROL.peer, CAROL.record().incarnation))
        [again] = [dial for dial in self.stage.take_dials() if (dial.host, dial.port) == CAROL.address]
        self.stage.fail(again)
        self.assertEqual([frame.reached for frame in self.lines[0].take_kind(wire.Verdict)], [False])

    def test_handshake_during_a_stop(self) -> None:
        """Nor does a handshake that the other end gave up meanwhile."""
        line = self.stage.connect(CAROL, self.probe(CAROL))
        self.stage.stand_still(30)
        line.send(wire.Bye("handshake-timeout"))
        self.assertEqual(self.suspected, [])

    def test_nobody_to_ask(self) -> None:
        """On its own word alone it declares somebody failed only after much longer, since it may be cut off."""
        self.begin(known=(CAROL,))
        self.stage.core.turn.health.score = 1
        self.stage.fail(self.probe(CAROL))
        self.stage.fail(self.probe(CAROL))
        self.assertEqual((self.fail_dials(3 * LAN.suspicion_timeout - 5) > 0, self.failed), (True, []))
        self.fail_dials(2 * LAN.suspicion_timeout)
        self.assertEqual(self.failed, [CAROL.peer])

    def test_alone_before(self) -> None:
        """Whom it failed to reach while it reached nobody it does not suspect any more once somebody is there."""
        self.begin(known=(CAROL,))
        self.stage.fail(self.probe(CAROL))
        self.assertEqual(self.suspected, [CAROL.peer])
        self.stage.meet(DAVE)
        self.assertEqual(self.suspected, [])

    def test_another_there(self) -> None:
        """That somebody else answers at its address counts also for one who reached nobody before."""
        self.begin(known=(CAROL,))
        self.stage.connect(DAVE, self.probe(CAROL)).shake_hands()
        self.assertEqual(self.suspected, [CAROL.peer])
