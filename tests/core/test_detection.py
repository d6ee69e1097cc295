"""Failure detection: suspected by one, confirmed by another, and only then declared; who leaves is never suspected."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import Line, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Dial, Kind, Reason
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.detection import _KINDLY

CONFIG = attrs.evolve(LAN, active_target=0)
"""Nobody is dialled to fill the view: every dial is a probe."""
PERIOD = LAN.probe_interval * 1.2 + 0.01
TIMEOUT = LAN.suspicion_timeout + 0.01
ALICE, BOB, CAROL, DAVE = Puppet(0x10), Puppet(0x20), Puppet(0x30), Puppet(0x40)


class DetectionCase(SynchronousTestCase):
    """What these tests have in common."""

    def begin(self, *neighbours: Puppet, known: tuple[Puppet, ...] = (), config: Config = CONFIG) -> None:
        """A peer with these neighbours, that knows of others besides."""
        self.stage = Stage(config)
        self.lines = [self.stage.befriend(puppet) for puppet in neighbours]
        source = self.lines[0] if self.lines else self.stage.meet(DAVE, baseline=False)
        source.send(*(wire.JoinedInNetwork(puppet.record()) for puppet in known))
        if not self.lines:
            source.close()
        for line in self.lines:
            line.take_all()

    @property
    def failed(self) -> list[str]:
        """Who was declared failed."""
        return [peer for _, peer in self.stage.told(Kind.FAILED)]

    @property
    def suspected(self) -> list[str]:
        """Whom it suspects."""
        return list(self.stage.core.detection.suspicions)

    def probe(self, puppet: Puppet) -> Dial:
        """Wait until this peer is dialled."""
        for _ in range(200):
            for dial in self.stage.take_dials():
                if (dial.host, dial.port) == puppet.address:
                    return dial
                self.stage.fail(dial)
            self.stage.pass_time(0.1)
        self.fail(f"{puppet.peer[:4]} was not dialled")

    def fail_dials(self, seconds: float) -> int:
        """For so long every dial fails at once; how many there were."""
        count = 0
        for _ in range(round(seconds * 10)):
            for dial in self.stage.take_dials():
                self.stage.fail(dial)
                count += 1
            self.stage.pass_time(0.1)
        return count

    def asked(self, line: Line) -> list[str]:
        """Whom a witness was asked about."""
        return [frame.peer for frame in line.take_all() if isinstance(frame, wire.Suspect)]


class ProbeTests(DetectionCase):
    """Who is dialled to see whether it lives."""

    def test_each_interval(self) -> None:
        """In each interval one peer of the directory that is no neighbour is dialled."""
        self.begin(ALICE, known=(CAROL,))
        for _ in range(5):
            line = self.stage.connect(CAROL, self.probe(CAROL))
            line.shake_hands()
            line.close()

    def test_neighbours_are_not_probed(self) -> None:
        """Neighbours are watched by their links, and are not dialled."""
        self.begin(ALICE)
        self.stage.pass_time(10 * PERIOD)
        self.assertEqual(self.stage.take_dials(), [])

    def test_one_dial_at_a_time(self) -> None:
        """A peer that is being dialled is not dialled again."""
        self.begin(ALICE, known=(CAROL,))
        self.stage.pass_time(10 * PERIOD)
        self.assertEqual(len(self.stage.take_dials()), 1)

    def test_everybody_in_turn(self) -> None:
        """No peer is forgotten: all of the directory are dialled within a few rounds."""
        known = tuple(Puppet(number) for number in range(0x50, 0x58))
        self.begin(ALICE, known=known)
        dialled = set()
        for _ in range(100):
            self.stage.pass_time(PERIOD)
            for dial in self.stage.take_dials():
                dialled.add(dial.host)
                line = self.stage.connect(next(p for p in known if p.address[0] == dial.host), dial)
                line.shake_hands()
                line.close()
        self.assertEqual(dialled, {puppet.address[0] for puppet in known})

    def test_departed(self) -> None:
        """Who has departed is dialled now and then, and is back in the directory if it is there."""
        self.begin(ALICE, BOB, known=(CAROL,))
        self.lines[0].send(wire.FailedInNetwork(BOB.claim(CAROL.peer)))
        self.assertEqual(self.failed, [CAROL.peer])
        line = self.stage.connect(CAROL, self.probe(CAROL))
        line.shake_hands(life=2)
        self.assertEqual(self.stage.told(Kind.JOINED)[-1], (Kind.JOINED, CAROL.peer))

    def test_empty_genesis(self) -> None:
        """A genesis address at which nobody is known is dialled from time to time, so that halves meet again."""
        self.begin(ALICE)
        self.stage.perform(self.stage.core.join([("10.7.7.7", 5050), ALICE.address], self.stage.now))
        first = self.stage.take_dials()
        self.stage.pass_time(LAN.departed_probe_interval * 1.3)
        again = self.stage.take_dials()
        self.assertEqual({(dial.host, dial.port) for dial in (*first, *again)}, {("10.7.7.7", 5050)})
        self.assertTrue(first and again)


class SuspicionTests(DetectionCase):
    """What makes a peer be declared failed, and what does not."""

    def setUp(self) -> None:
        """Alice and Bob are neighbours and can be witnesses; Carol is not, and is dialled in vain."""
        self.begin(ALICE, BOB, known=(CAROL,))

    def suspect(self) -> None:
        """A probe of Carol fails."""
        self.stage.fail(self.probe(CAROL))

    def verdict(self, line: Line, reached: bool, puppet: Puppet = CAROL, life: int = 1) -> None:
        """A witness answers."""
        line.send(wire.Verdict(puppet.peer, puppet.record(life).incarnation, reached))

    def test_witnesses_are_asked(self) -> None:
        """When a dial fails neighbours are asked to try, and nobody is told of anything."""
        self.suspect()
        self.assertEqual([self.asked(line) for line in self.lines], [[CAROL.peer], [CAROL.peer]])
        self.assertEqual((self.suspected, self.failed), ([CAROL.peer], []))

    def test_two_words(self) -> None:
        """If a witness fails, too, the peer is declared failed after the time-out, and everybody hears of it."""
        self.suspect()
        self.verdict(self.lines[0], reached=False)
        self.stage.pass_time(LAN.suspicion_timeout - 0.3)
        self.assertEqual(self.failed, [])
        self.stage.pass_time(0.5)
        self.assertEqual((self.failed, self.suspected), ([CAROL.peer], []))
        for line in self.lines:
            claims = [frame.claim for frame in line.take_all() if isinstance(frame, wire.FailedInNetwork)]
            self.assertEqual(
                [(claim.peer, claim.incarnation) for claim in claims], [(CAROL.peer, CAROL.record().incarnation)]
            )

    def test_copies(self) -> None:
        """However often witnesses, or one of them, say so: that shortens no time-out (row 50)."""
        self.suspect()
        for _ in range(100):
            self.verdict(self.lines[0], reached=False)
        self.verdict(self.lines[1], reached=False)
        self.assertEqual([*self.stage.core.detection.suspicions[CAROL.peer].theirs], [ALICE.peer, BOB.peer])
        self.stage.pass_time(LAN.suspicion_timeout - 0.3)
        self.assertEqual(self.failed, [])

    def test_late_probe(self) -> None:
        """A probe without a result makes others be asked soon, while it goes on; it is then no failed attempt yet."""
        dial = self.probe(CAROL)
        self.stage.pass_time(LAN.probe_timeout)
        self.assertEqual([self.asked(line) for line in self.lines], [[CAROL.peer], [CAROL.peer]])
        self.verdict(self.lines[0], reached=False)
        self.stage.pass_time(TIMEOUT)
        self.assertEqual((self.failed, self.suspected), ([], [CAROL.peer]))
        self.stage.connect(CAROL, dial).shake_hands()
        self.assertEqual(self.suspected, [])

    def test_probe_in_time(self) -> None:
        """A probe that succeeds in time asks nobody."""
        line = self.stage.connect(CAROL, self.probe(CAROL))
        line.shake_hands()
        self.stage.pass_time(LAN.probe_timeout)
        self.assertEqual(self.stage.counts["suspicions"], 0)

    def test_own_word_alone(self) -> None:
        """However often we fail ourselves: while the witnesses say nothing the peer is not declared failed."""
        self.suspect()
        self.assertGreater(self.fail_dials(120), 4)
        self.assertEqual((self.failed, self.suspected), ([], [CAROL.peer]))

    def test_witness_alone(self) -> None:
        """A neighbour whose link broke is not declared failed by witnesses alone, while our own dial has no result."""
        self.begin(ALICE, BOB)
        self.lines[1].close()
        self.assertEqual(self.suspected, [BOB.peer])
        for _ in range(10):
            self.verdict(self.lines[0], reached=False, puppet=BOB)
            self.stage.pass_time(TIMEOUT)
        self.assertEqual(self.failed, [])

    def test_reached_by_a_witness(self) -> None:
        """One witness that reaches it clears it, whatever others say."""
        self.suspect()
        self.verdict(self.lines[0], reached=False)
        self.verdict(self.lines[1], reached=True)
        self.assertEqual(self.suspected, [])
        self.stage.pass_time(TIMEOUT)
        self.assertEqual((self.failed, self.stage.counts["cleared"]), ([], 1))

    def test_shows_up(self) -> None:
        """A suspect that connects to us is cleared."""
        self.suspect()
        self.verdict(self.lines[0], reached=False)
        self.stage.meet(CAROL)
        self.assertEqual(self.suspected, [])
        self.stage.pass_time(TIMEOUT)
        self.assertEqual(self.failed, [])

    def test_comes_again(self) -> None:
        """A suspect that has started anew meanwhile is not declared failed for its earlier life."""
        self.suspect()
        self.verdict(self.lines[0], reached=False)
        self.lines[0].send(wire.JoinedInNetwork(CAROL.record(2)))
        self.stage.pass_time(TIMEOUT)
        self.assertEqual((self.failed, self.suspected), ([], []))

    def test_verdict_on_another_life(self) -> None:
        """A word about another incarnation is no word."""
        self.suspect()
        self.verdict(self.lines[0], reached=False, life=2)
        self.verdict(self.lines[1], reached=True, life=5)
        self.stage.pass_time(TIMEOUT)
        self.assertEqual((self.failed, self.suspected), ([], [CAROL.peer]))

    def test_unasked_verdict(self) -> None:
        """A word about one whom nobody suspects is no word."""
        self.verdict(self.lines[0], reached=False)
        self.verdict(self.lines[1], reached=False)
        self.stage.pass_time(1)
        self.assertEqual((self.failed, self.suspected), ([], []))

    def test_verdict_of_one_who_was_not_asked(self) -> None:
        """Only the word of a witness that was asked counts, whatever it is."""
        self.suspect()
        line = self.stage.meet(DAVE)
        self.verdict(line, reached=True)
        self.assertEqual(self.suspected, [CAROL.peer])
        self.verdict(line, reached=False)
        self.stage.pass_time(TIMEOUT)
        self.assertEqual(self.failed, [])

    def test_another_answers(self) -> None:
        """Somebody else at the address of a peer is not that peer."""
        line = self.stage.connect(DAVE, self.probe(CAROL))
        line.shake_hands()
        self.assertEqual(self.suspected, [CAROL.peer])

    def former_lives(self, *numbers: int) -> list[Puppet]:
        """Peers that were at Carol's address before her, and are still believed in."""
        lives = [Puppet(number) for number in numbers]
        self.lines[0].send(*(wire.JoinedInNetwork(life.record(address=CAROL.address)) for life in lives))
        return lives

    def test_all_at_one_address(self) -> None:
        """Nobody answers there: that speaks against each who is said to be there."""
        lives = self.former_lives(0x50, 0x51)
        self.stage.fail(self.probe(CAROL))
        self.assertEqual({*self.suspected}, {CAROL.peer, *(life.peer for life in lives)})

    def test_last_life_at_an_address(self) -> None:
        """Another one answers: that speaks against all of them, and not against itself."""
        self.begin(ALICE)
        lives = self.former_lives(0x50, 0x51)
        line = self.stage.connect(CAROL, self.probe(CAROL))
        line.shake_hands()
        self.assertEqual({*self.suspected}, {life.peer for life in lives})

    def test_nobody_to_ask(self) -> None:
        """Where there is nobody to ask one failure is not enough, and two are."""
        self.begin(known=(CAROL,))
        self.stage.fail(self.probe(CAROL))
        self.stage.pass_time(TIMEOUT)
        self.assertEqual(self.failed, [])
        self.stage.fail(self.probe(CAROL))
        self.stage.pass_time(TIMEOUT)
        self.assertEqual(self.failed, [CAROL.peer])

    def test_we_stood_still(self) -> None:
        """After a stop of our own nobody is declared failed by a deadline that passed meanwhile."""
        self.suspect()
        self.verdict(self.lines[0], reached=False)
        self.stage.stand_still(60)
        self.stage.perform(self.stage.core.wake(self.stage.now))
        self.assertEqual(self.failed, [])


class BrokenLinkTests(DetectionCase):
    """How a neighbour's link ends says whether it is suspected."""

    def test_without_a_word(self) -> None:
        """A neighbour whose link just ends is suspected, asked about, and dialled at once."""
        self.begin(ALICE, BOB)
        self.lines[1].close()
        self.assertEqual((self.suspected, self.asked(self.lines[0])), ([BOB.peer], [BOB.peer]))
        self.assertEqual([(dial.host, dial.port) for dial in self.stage.take_dials()], [BOB.address])

    def test_silent(self) -> None:
        """A neighbour that falls silent is dropped, suspected, and declared failed within half a minute."""
        self.begin(ALICE, BOB)
        self.lines[1].answers = False
        for _ in range(300):
            for dial in self.stage.take_dials():
                self.stage.fail(dial)
            for peer in self.asked(self.lines[0]):
                self.lines[0].send(wire.Verdict(peer, BOB.record().incarnation, reached=False))
            self.stage.pass_time(0.1)
        self.assertEqual(self.failed, [BOB.peer])

    def test_kindly(self) -> None:
        """Who says why it goes, and has a good reason, is not suspected."""
        for reason in Reason:
            self.begin(ALICE, BOB)
            self.lines[1].send(wire.Bye(reason.value))
            self.assertEqual(self.suspected, [] if reason in _KINDLY else [BOB.peer], reason)

    def test_reasons(self) -> None:
        """Leaving, being displaced or replaced and having served are good reasons; faults and silence are not."""
        self.assertLessEqual({Reason.LEAVING, Reason.DISPLACED, Reason.REPLACED, Reason.DONE}, {*_KINDLY})
        for reason in (Reason.CLOSED, Reason.PING_TIMEOUT, Reason.STUCK, Reason.UNREACHABLE, Reason.BAD_FRAME):
            self.assertNotIn(reason, _KINDLY)

    def test_leaving(self) -> None:
        """A peer that leaves is told of as left; it is not suspected, not asked about, and not declared failed."""
        self.begin(ALICE, BOB)
        self.lines[1].send(wire.Disconnect(BOB.record(2, "left")), wire.Bye("leaving"))
        self.lines[1].close()
        self.fail_dials(60)
        self.assertEqual((self.failed, self.asked(self.lines[0]), self.stage.counts["suspicions"]), ([], [], 0))
        self.assertEqual(self.stage.told(Kind.LEFT), [(Kind.LEFT, BOB.peer)])

    def test_left_and_closed(self) -> None:
        """Nor is it if its connection ends without a last word after it has said that it leaves."""
        self.begin(ALICE, BOB)
        self.lines[1].send(wire.Disconnect(BOB.record(2, "left")))
        self.lines[1].close()
        self.fail_dials(60)
        self.assertEqual((self.failed, self.stage.counts["suspicions"]), ([], 0))

    def test_leaving_while_dialled(self) -> None:
        """Nor is one that says that it leaves before the connection to it is open."""
        self.begin(ALICE, known=(CAROL,))
        line = self.stage.connect(CAROL, self.probe(CAROL))
        line.send(wire.Bye("leaving"))
        line.close()
        self.assertEqual((self.stage.counts["suspicions"], self.asked(self.lines[0])), (0, []))


class WitnessTests(DetectionCase):
    """A neighbour asks us to try."""

    def setUp(self) -> None:
        """Alice is a neighbour, and Carol is known."""
        self.begin(ALICE, known=(CAROL,))
        self.alice = self.lines[0]
        self.stage.take_dials()

    def ask(self, puppet: Puppet = CAROL) -> list[Dial]:
        """Alice asks about a peer; whom that makes us dial."""
        self.alice.send(wire.Suspect(puppet.peer, puppet.record().incarnation))
        return self.stage.take_dials()

    def test_neighbour_without_end(self) -> None:
        """However often it asks, a neighbour of ours is not made to look as if we flooded it, nor flooded by it."""
        carol = self.stage.befriend(CAROL)
        carol.take_all()
        for _ in range(3 * LAN.requests_burst):
            self.ask()
            self.stage.pass_time(0.01)
        self.assertLess(sum(isinstance(frame, wire.Ping) for frame in carol.take_all()), LAN.requests_burst / 10)
        self.assertIsNone(carol.ended)

    def verdicts(self, line: Line) -> list[bool]:
        """What we have told about Carol."""
        frames = [frame for frame in line.take_all() if isinstance(frame, wire.Verdict)]
        self.assertTrue(all((f.peer, f.incarnation) == (CAROL.peer, CAROL.record().incarnation) for f in frames))
        return [frame.reached for frame in frames]

    def test_in_vain(self) -> None:
        """We dial at once, and tell that it was in vain."""
        [dial] = self.ask()
        self.assertEqual((dial.host, dial.port), CAROL.address)
        self.assertEqual(self.verdicts(self.alice), [])
        self.stage.fail(dial)
        self.assertEqual(self.verdicts(self.alice), [False])

    def test_reached(self) -> None:
        """We tell that it is there as soon as it has proven who it is, and not before."""
        line = self.stage.connect(CAROL, self.ask()[0])
        self.assertEqual(self.verdicts(self.alice), [])
        line.shake_hands()
        self.assertEqual(self.verdicts(self.alice), [True])

    def test_another_is_there(self) -> None:
        """Somebody else at its address is not it."""
        self.stage.connect(DAVE, self.ask()[0]).shake_hands()
        self.assertEqual(self.verdicts(self.alice), [False])

    def test_connects_but_does_not_speak(self) -> None:
        """Who accepts the connection and says nothing, like a stopped process, is not reached."""
        self.stage.connect(CAROL, self.ask()[0])
        self.stage.pass_time(LAN.handshake_timeout + 0.01)
        self.assertEqual(self.verdicts(self.alice), [False])

    def test_asked_by_two(self) -> None:
        """Two who ask are both told, for one dial."""
        bob = self.stage.befriend(BOB)
        [dial] = self.ask()
        bob.send(wire.Suspect(CAROL.peer, CAROL.record().incarnation))
        self.assertEqual(self.ask(), [])
        self.stage.fail(dial)
        self.assertEqual((self.verdicts(self.alice), self.verdicts(bob)), ([False], [False]))

    def test_unknown(self) -> None:
        """Nobody can make us dial an address that we do not know as a peer's."""
        self.assertEqual(self.ask(DAVE), [])
        self.assertEqual(self.stage.counts["suspect_unknown"], 1)

    def test_about_ourselves(self) -> None:
        """Who is asked about itself does nothing: whether it is there is for the other end to find out (row 49)."""
        own = self.stage.core.membership.own
        self.alice.send(wire.Suspect(own.peer, own.incarnation))
        self.assertEqual((self.stage.take_dials(), self.alice.take()), ([], []))
        self.assertEqual(self.stage.counts["suspect_unknown"], 1)

    def test_about_another_life(self) -> None:
        """Who is asked about an earlier life answers about that: it is no word about the present one (row 49)."""
        self.alice.send(wire.JoinedInNetwork(CAROL.record(3)), wire.Suspect(CAROL.peer, CAROL.record(1).incarnation))
        [dial] = self.stage.take_dials()
        self.stage.fail(dial)
        [verdict] = self.alice.take_kind(wire.Verdict)
        self.assertEqual(verdict.incarnation, CAROL.record(1).incarnation)

    def test_stranger(self) -> None:
        """Only neighbours may ask."""
        line = self.stage.meet(DAVE)
        line.send(wire.Suspect(CAROL.peer, CAROL.record().incarnation))
        self.assertEqual(self.stage.take_dials(), [])

    def spam(self, seconds: float, *puppets: Puppet, answer: Puppet | None = None) -> int:
        """For so long Alice asks about these ten times a second, and hears that they are not reached.

        How often that made us dial the first one's address. `answer`: who is there, if anybody.
        """
        count = 0
        for _ in range(round(seconds * 10)):
            self.alice.send(*(wire.Suspect(puppet.peer, puppet.record().incarnation) for puppet in puppets))
            self.assertLessEqual({f.reached for f in self.alice.take() if isinstance(f, wire.Verdict)}, {False})
            for dial in self.stage.take_dials():
                count += (dial.host, dial.port) == puppets[0].address
                if answer is None:
                    self.stage.fail(dial)
                else:
                    self.stage.connect(answer, dial).shake_hands()
            self.stage.pass_time(0.1)
        return count

    def test_asked_again_and_again(self) -> None:
        """A neighbour can't make us dial an address in vain but with growing pauses; it is told what we know."""
        self.assertEqual(self.spam(LAN.redial_first - 0.1, CAROL), 1)
        self.assertEqual(self.ask(), [])
        self.assertEqual(self.verdicts(self.alice), [False])
        self.assertLessEqual(self.spam(600, CAROL), 6 + 600 / LAN.redial_max)

    def test_by_many_names(self) -> None:
        """Nor by inventing peers that are all at that address."""
        there = [Puppet(number) for number in range(0x50, 0x60)]
        for puppet in there:
            puppet.address = CAROL.address
            self.alice.send(wire.JoinedInNetwork(puppet.record()))
        self.assertLessEqual(self.spam(600, *there), 6 + 600 / LAN.redial_max)

    def test_somebody_else_there(self) -> None:
        """Nor if somebody answers there who is not the one that was named."""
        self.assertLessEqual(self.spam(600, CAROL, answer=DAVE), 6 + 600 / LAN.redial_max)

    def test_found_again(self) -> None:
        """Once it is found there the pauses begin anew."""
        self.spam(100, CAROL)
        line = self.stage.connect(CAROL, self.probe_again())
        line.shake_hands()
        line.close()
        [dial] = self.ask()
        self.stage.fail(dial)
        self.stage.pass_time(LAN.redial_first + 0.1)
        self.assertEqual(len(self.ask()), 1)

    def probe_again(self) -> Dial:
        """Wait until Carol is dialled again, however long that takes."""
        for _ in range(600):
            dials = self.stage.take_dials()
            if dials:
                return dials[0]
            self.stage.pass_time(0.1)
        self.fail("Carol was not dialled")

    def test_too_busy(self) -> None:
        """Who has too many links is there: its address is not left alone, and nobody is told that it is not reached."""
        for _ in range(3):
            [dial] = self.ask()
            self.stage.connect(CAROL, dial).send(wire.Bye("too-many-links"))
        self.assertEqual(self.verdicts(self.alice), [])

    def test_two_at_one_address(self) -> None:
        """While an address is dialled for one peer it is not dialled for another, about whom we then say nothing."""
        dave = Puppet(0x41)
        dave.address = CAROL.address
        self.alice.send(wire.JoinedInNetwork(dave.record()))
        [dial] = self.ask()
        self.assertEqual(self.ask(dave), [])
        self.assertEqual(list(self.stage.core.detection._askers), [CAROL.peer])
        self.stage.fail(dial)
        self.assertEqual(self.verdicts(self.alice), [False])

    def test_could_not_try(self) -> None:
        """A witness that has no descriptor left says nothing, suspects nobody, and may try again at once."""
        [dial] = self.ask()
        self.stage.fail(dial, Reason.NO_RESOURCES)
        self.assertEqual(self.verdicts(self.alice), [])
        self.assertEqual(self.stage.core.detection.suspicions, {})
        self.assertEqual(len(self.ask()), 1)

    def silent_neighbour(self) -> Line:
        """Carol has become a neighbour, and answers no ping by herself."""
        line = self.stage.connect(CAROL, self.ask()[0])
        line.shake_hands()
        self.assertTrue(line.become_neighbour())
        self.alice.take()
        line.answers = False
        line.take_all()
        return line

    def test_own_neighbour(self) -> None:
        """Who is asked about a neighbour of its own pings it, and vouches for it when that is answered, not before."""
        line = self.silent_neighbour()
        self.assertEqual(self.ask(), [])
        self.assertEqual(self.verdicts(self.alice), [])
        [ping] = line.take_kind(wire.Ping)
        assert isinstance(ping, wire.Ping)
        line.send(wire.Pong(ping.n))
        self.assertEqual(self.verdicts(self.alice), [True])

    def test_own_neighbour_asked_often(self) -> None:
        """However often it is asked, there is one ping, and one verdict."""
        line = self.silent_neighbour()
        for _ in range(50):
            self.ask()
        [ping] = line.take_kind(wire.Ping)
        assert isinstance(ping, wire.Ping)
        line.send(wire.Pong(ping.n))
        self.assertEqual(self.verdicts(self.alice), [True])

    def test_own_neighbour_is_gone(self) -> None:
        """If that one does not answer nothing is said for it."""
        line = self.silent_neighbour()
        self.ask()
        self.stage.pass_time(LAN.ping_timeout + 0.1)
        self.assertIsNotNone(line.ended)
        self.assertNotIn(True, self.verdicts(self.alice))

    def test_being_probed(self) -> None:
        """Who is asked about a peer that it has just reached says so, and does not dial it once more."""
        line = self.stage.connect(CAROL, self.ask()[0])
        line.shake_hands()
        for _ in range(20):
            self.assertEqual(self.ask(), [])
        self.assertEqual(self.verdicts(self.alice), [True] * 21)
        line.close()
        self.assertEqual(len(self.ask()), 1)
        self.assertEqual(self.stage.core.detection._probed, {})
