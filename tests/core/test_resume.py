"""A peer goes on where its log ended; what it has of the life before, and what it must find out from the others."""

from __future__ import annotations

import copy

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import BEGINNING, NETWORK, OWN, Line, Puppet, Stage, message
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Kind
from twisted_p2p.core.config import LAN
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.errors import LogError
from twisted_p2p.interfaces import Saved
from twisted_p2p.sim.signing import CheapSigner

ALICE, BOB, CAROL = Puppet(0x10), Puppet(0x20), Puppet(0x30)


def own_line(seq: int, text: str, epoch: int) -> bytes:
    """A bundle of our own that we know nothing of: another process has made it, with our key."""
    body = b"[%b]" % message(text)
    sig = CheapSigner(OWN).sign(wire.bundle_bytes(NETWORK, OWN, epoch, seq, body))
    return wire.bundle_line(OWN, epoch, seq, sig, body)


class ResumeCase(SynchronousTestCase):
    """A peer that was a member, with Alice as its neighbour, and comes back an hour later."""

    def setUp(self) -> None:
        """Its first life: Bob is known and has spoken, Carol has left; it has said two things itself."""
        first = Stage()
        line = first.befriend(ALICE)
        line.send(wire.JoinedInNetwork(BOB.record()), wire.Disconnect(CAROL.record(2, "left")))
        line.send_lines(BOB.bundle(1), BOB.bundle(2))
        first.broadcast("a")
        first.broadcast("b")
        self.first, self.log = first, first.log
        self.epoch = first.core.spread.epoch

    def come_back(self, *, genesis: bool = True) -> Stage:
        """The next life."""
        stage = Stage(joined=False, log=self.log, now=BEGINNING + 3600)
        stage.perform(stage.core.join([ALICE.address], stage.now, genesis))
        return stage

    def link_up(self, stage: Stage, *streams: tuple[str, int, int]) -> Line:
        """Alice becomes a neighbour; her positions are ours but for these. Payload flows."""
        line = stage.meet(ALICE)
        assert line.become_neighbour()
        line.go_live(*streams)
        return line


class AnchorTests(SynchronousTestCase):
    """Whom it had asked to be neighbours in its last life it asks first (case 40)."""

    def neighbours(self, count: int) -> Stage:
        """A peer that has asked so many others, one after another, and knows a hundred more."""
        stage = Stage(attrs.evolve(LAN, refill_interval=1e6, active_max=count, active_target=count))
        for number in range(1, count + 1):
            puppet = Puppet(number)
            stage.core.overlay._request(puppet.record())
            stage.perform(stage.core.wake(stage.now))
            line = stage.connect(puppet, stage.take_dials()[-1])
            line.shake_hands()
            line.send(wire.NodeConnAnswer(True))
        stage.core.membership.merge(Puppet(number).record() for number in range(0x81, 0xE5))
        stage.perform(stage.core.wake(stage.now))
        return stage

    def test_asked_first(self) -> None:
        """The last ones before the others, all of them before anybody else."""
        first = self.neighbours(6)
        again = Stage(joined=False, log=first.log, now=BEGINNING + 60)
        asked: list[str] = []
        for _ in range(40):
            again.pass_time(0.1)
            for dial in again.take_dials():
                asked.append(dial.host)
                again.fail(dial)
        self.assertEqual(set(asked[:6]), {Puppet(number).address[0] for number in range(1, 7)})
        self.assertEqual(asked[0], Puppet(6).address[0])

    def test_bounded(self) -> None:
        """Eight are remembered, the last ones."""
        first = self.neighbours(12)
        kept = [name for name in first.log.saved.values if name.startswith("anchor ")]
        self.assertEqual(sorted(kept), [f"anchor {Puppet(number).peer}" for number in range(5, 13)])

    def test_who_asks_is_none(self) -> None:
        """Whoever comes to us, and so may come often, is not remembered."""
        first = Stage()
        first.befriend(ALICE)
        self.assertEqual([name for name in first.log.saved.values if name.startswith("anchor ")], [])

    def test_after_long(self) -> None:
        """Who was away for so long that it is a newcomer joins through those first that were its neighbours."""
        first = self.neighbours(6)
        again = Stage(joined=False, log=first.log, now=BEGINNING + 10 * 86_400)
        hosts = [host for host, _ in again.core.lives.former]
        self.assertEqual(hosts[:6], [Puppet(number).address[0] for number in range(6, 0, -1)])
        self.assertEqual(len(hosts), 8)


class MemberTests(ResumeCase):
    """It is still a member."""

    def test_knows(self) -> None:
        """It has its directory, the departed too, and its positions; the application is told who is there."""
        stage = self.come_back()
        members, positions = stage.core.membership, stage.core.positions
        self.assertTrue(members.is_alive(ALICE.peer) and members.is_alive(BOB.peer))
        self.assertEqual([record.peer for record in members.departed()], [CAROL.peer])
        self.assertEqual((positions.of(BOB.stream), positions.of((OWN, self.epoch))), (3, 3))
        self.assertEqual({peer for _, peer in stage.told(Kind.JOINED)}, {ALICE.peer, BOB.peer})

    def test_damaged(self) -> None:
        """A log that holds what nobody can have kept is an error that says so, whatever of it that is."""

        @attrs.frozen
        class Damaged:
            """What a log gives out of a damaged file."""

            saved: Saved

            def load(self) -> Saved:
                """It."""
                return self.saved

            def keep(self, name: str, value: int | None) -> None:
                """Nothing of this is kept."""

        good = (b"{}", None, 0.0)
        for saved in (
            Saved({("x", 1): 1}),
            Saved({ALICE.stream: 2**60}),
            Saved({ALICE.stream: 0}),
            Saved(values={"epoch": -1}),
            Saved(values={"member": 2**60}),
            Saved(values={"member": 1, "rests x y": 1}),
            Saved(values={"member": 1}, peers=[good]),
            Saved(values={"member": 1}, peers=[(b"\xff", None, 0.0)]),
        ):
            error = self.assertRaises(LogError, Stage, joined=False, log=Damaged(saved))
            self.assertIn("damaged", str(error))

    def test_incarnation(self) -> None:
        """Its record is above its last one, also when its clock was set back."""
        before = self.first.core.membership.own.incarnation
        stage = Stage(joined=False, log=self.log, now=BEGINNING - 86_400)
        self.assertGreater(stage.core.membership.own.incarnation, before)

    def test_asks_at_once(self) -> None:
        """It asks those whom it knows to be neighbours without waiting, and goes through its genesis, too."""
        stage = self.come_back(genesis=False)
        stage.pass_time(0.01)
        self.assertEqual({dial.host for dial in stage.take_dials()}, {ALICE.address[0], BOB.address[0]})

    def test_no_baseline(self) -> None:
        """It adopts nobody's positions: it would jump over what it has missed. It has joined once payload flows."""
        stage = self.come_back(genesis=False)
        line = self.link_up(stage, (*BOB.stream, 5))
        self.assertTrue(stage.told(Kind.READY))
        self.assertTrue(stage.core.catchup.has_asked(BOB.stream))
        line.send_lines(BOB.bundle(3), BOB.bundle(4))
        self.assertEqual(stage.seqs(BOB.stream), [3, 4])

    def test_nothing_twice(self) -> None:
        """Row 74: what it has delivered before its restart it does not deliver again, whoever sends it."""
        stage = self.come_back()
        line = self.link_up(stage)
        line.send_lines(BOB.bundle(1), BOB.bundle(2), BOB.bundle(3))
        self.assertEqual(stage.seqs(BOB.stream), [3])

    def test_serves(self) -> None:
        """Who lacks what it has of its earlier life gets it."""
        stage = self.come_back()
        line = self.link_up(stage)
        line.take()
        line.send(wire.Graft([(*BOB.stream, 1), (OWN, self.epoch, 2)], 1))
        stage.pass_time(0.01)
        self.assertEqual(sorted(f.seq for f in line.take() if isinstance(f, wire.Broadcast)), [1, 2, 2])

    def test_away_for_too_long(self) -> None:
        """After the time in which others forget what it knows it is a newcomer: what it told they would take for new.

        It may join through those that it knew, and its record is above its last one.
        """
        keep = int(LAN.departed_keep + 2 * LAN.retention_age)
        for seconds, is_member in ((keep - 600, True), (keep + 600, False)):
            log = copy.deepcopy(self.log)
            stage = Stage(joined=False, log=log, now=self.first.now + seconds)
            self.assertEqual(stage.core.antientropy.alone, not is_member)
        core, own = stage.core, stage.core.spread.own
        self.assertGreater(own[1], self.epoch)
        self.assertEqual((core.positions.streams(), [*core.membership.entries]), ([], [OWN]))
        self.assertEqual(stage.told(Kind.JOINED), [])
        self.assertGreater(core.membership.own.incarnation, self.first.core.membership.own.incarnation)
        saved = log.load()
        self.assertEqual((saved.positions, len(saved.peers), saved.values["member"]), ({}, 1, 0))
        stage.perform(core.join([("10.0.9.9", 5050)], stage.now))
        for _ in range(3):
            stage.pass_time(1)
            stage.fail(stage.dials[-1])
        hosts = {dial.host for dial in stage.take_dials()}
        self.assertEqual(hosts, {"10.0.9.9", ALICE.address[0], BOB.address[0]})

    def test_clock_ahead_for_a_while(self) -> None:
        """The latest time at which it was up counts, also if the clock was set back since."""
        Stage(joined=False, log=self.log, now=BEGINNING - 1e9)
        self.assertFalse(self.come_back().core.antientropy.alone)

    def test_sample(self) -> None:
        """Who is to know fewer from now on forgets the others for good, the departed first."""
        config = attrs.evolve(LAN, max_known=1)
        for _ in range(2):
            stage = Stage(config, joined=False, log=self.log, now=BEGINNING + 3600)
            [peer] = [peer for peer in stage.core.membership.entries if peer != OWN]
            self.assertIn(peer, (ALICE.peer, BOB.peer))
            self.assertEqual(stage.told(Kind.JOINED), [(Kind.JOINED, peer)])

    def test_forgotten(self) -> None:
        """Who was forgotten in one life is not remembered in the next."""
        self.first.core.membership.turn.config = attrs.evolve(LAN, departed_keep=30.0)
        self.first.pass_time(100)
        stage = self.come_back()
        self.assertEqual(stage.core.membership.departed(), [])

    def test_rest_goes_on(self) -> None:
        """A stream of somebody forgotten is told to nobody, and forgotten in the end, as if there had been no restart.

        The others do it by then, and would take what we told for something new.
        """
        config = attrs.evolve(LAN, departed_keep=30.0, retention_age=600.0)
        first = Stage(config)
        line = first.befriend(ALICE)
        line.send_lines(ALICE.bundle(1))
        line.send(wire.Disconnect(ALICE.record(2, "left")))
        line.close()
        first.pass_time(400)
        self.assertEqual([*first.core.membership.entries], [OWN])
        for seconds, rests, told in ((1, True, [(*ALICE.stream, 2)]), (400, True, []), (1000, False, [])):
            again = Stage(config, log=first.log, now=first.now + seconds)
            bucket = again.core.positions.in_bucket(int(ALICE.peer[:2], 16))
            self.assertEqual((bucket, again.core.positions.knows(ALICE.stream)), (told, rests))
        self.assertEqual([name for name in first.log.saved.values if name.startswith("rests ")], [])

    def test_never_joined(self) -> None:
        """Who was alone is a newcomer at its next start, and goes on with its own stream."""
        alone = Stage(joined=False)
        alone.broadcast("a")
        stage = Stage(joined=False, log=alone.log, now=BEGINNING + 5)
        stage.perform(stage.core.join([ALICE.address], stage.now))
        self.assertFalse(stage.core.antientropy.has_baseline)
        stage.broadcast("b")
        self.assertEqual(stage.core.positions.of((OWN, alone.core.spread.epoch)), 3)


class OwnStreamTests(ResumeCase):
    """No number is ever given twice."""

    def test_goes_on(self) -> None:
        """The next bundle has the next number of the same stream."""
        stage = self.come_back()
        line = self.link_up(stage)
        line.take()
        stage.broadcast("c")
        [bundle] = [frame for frame in line.take() if isinstance(frame, wire.Broadcast)]
        self.assertEqual((bundle.epoch, bundle.seq), (self.epoch, 3))

    def test_log_not_whole(self) -> None:
        """A log that may lack its end is followed by a new stream."""
        self.log.saved.is_whole = False
        stage = self.come_back()
        self.assertGreater(stage.core.spread.epoch, self.epoch)
        stage.broadcast("c")
        self.assertEqual(stage.core.positions.of((OWN, self.epoch)), 3)

    def test_behind_itself(self) -> None:
        """The first neighbour has more of it: a new stream begins, and the rest of the old one is asked for."""
        stage = self.come_back()
        line = self.link_up(stage, (OWN, self.epoch, 5))
        self.assertGreater(stage.core.spread.epoch, self.epoch)
        self.assertTrue(stage.core.catchup.has_asked((OWN, self.epoch)))
        line.send_lines(own_line(3, "lost", self.epoch), own_line(4, "lost, too", self.epoch))
        self.assertEqual(stage.core.positions.of((OWN, self.epoch)), 5)
        self.assertEqual((stage.received, stage.forks), ([], []))

    def test_published_again(self) -> None:
        """What was said before anybody could tell was sent to nobody, and is said again in the new stream."""
        stage = self.come_back()
        stage.broadcast("c")
        stage.broadcast("d")
        line = self.link_up(stage, (OWN, self.epoch, 4))
        stage.pass_time(0.01)
        sent = [frame for frame in line.peek() if isinstance(frame, wire.Broadcast)]
        self.assertEqual([(frame.epoch > self.epoch, frame.seq) for frame in sent], [(True, 1)])
        self.assertEqual(bytes(sent[0].messages), b"[%b,%b]" % (message("c"), message("d")))
        line.send_lines(own_line(3, "lost", self.epoch))
        self.assertEqual(stage.core.positions.of((OWN, self.epoch)), 4)
        self.assertEqual(self.log.read((OWN, self.epoch), 3, 1), [own_line(3, "lost", self.epoch)])

    def test_asked_too_early(self) -> None:
        """Who asks before it has told its positions gets nothing: what it got would be said twice, if we are behind."""
        stage = self.come_back()
        stage.broadcast("c")
        line = stage.meet(ALICE)
        assert line.become_neighbour()
        line.send(wire.Graft([(OWN, self.epoch, 1)], 1))
        stage.pass_time(0.1)
        self.assertEqual([frame for frame in line.peek() if isinstance(frame, wire.Broadcast)], [])
        self.assertEqual(stage.counts["graft_too_early"], 1)

    def test_unproven_for_long(self) -> None:
        """As long as nobody could tell, it stays in doubt, over any number of lives."""
        self.come_back().broadcast("c")
        self.come_back().broadcast("d")
        stage = self.come_back()
        self.link_up(stage, (OWN, self.epoch, 4))
        self.assertEqual(stage.core.positions.of((OWN, self.epoch)), 3)
        self.assertEqual(stage.core.turn.counts["fell_behind_itself"], 1)

    def test_equal_by_chance(self) -> None:
        """It is not enough that the other one is as far as we: what it has may be something else."""
        stage = self.come_back()
        stage.broadcast("c")
        self.link_up(stage)
        self.assertGreater(stage.core.spread.epoch, self.epoch)

    def test_proven(self) -> None:
        """Who lacks some of it, or has just as much as was kept, proves it."""
        for there in (1, 3):
            stage = self.come_back()
            self.link_up(stage, (OWN, self.epoch, there))
            self.assertEqual((stage.core.spread.epoch, stage.core.spread.unproven), (self.epoch, 0))

    def test_fork_of_ours(self) -> None:
        """A bundle of our own stream that we have not made is told, once, and a new stream begins."""
        stage = self.come_back()
        line = self.link_up(stage)
        line.send_lines(own_line(3, "not ours", self.epoch), own_line(4, "nor this", self.epoch))
        [fork] = stage.forks
        self.assertEqual((fork.origin, fork.epoch, fork.seq, fork.kept), (OWN, self.epoch, 3, b""))
        self.assertGreater(stage.core.spread.epoch, self.epoch)

    def test_fork_of_others(self) -> None:
        """Row 92c: two bundles for one number: the first stays, and both are told, once."""
        stage = self.come_back()
        line = self.link_up(stage)
        line.send_lines(BOB.bundle(2, "other"), BOB.bundle(1, "other"), BOB.bundle(2, "other"))
        [fork] = stage.forks
        self.assertEqual((fork.origin, fork.seq), (BOB.peer, 2))
        self.assertEqual((fork.kept, fork.other), (BOB.bundle(2), BOB.bundle(2, "other")))
        self.assertEqual(stage.received, [])


class NewcomerCase(SynchronousTestCase):
    """A peer that joins through Alice."""

    def newcomer(self, history: wire.History | None = None, log: MemoryLog | None = None) -> tuple[Stage, Line]:
        """One that is at the fifth step with Alice; with the log of another try, an hour later."""
        stage = Stage(joined=False, history=history, log=log, now=BEGINNING if log is None else BEGINNING + 3600)
        stage.perform(stage.core.join([ALICE.address], stage.now))
        [dial] = stage.take_dials()
        line = stage.connect(ALICE, dial)
        line.shake_hands()
        line.send(wire.ResponseRandomNode(None), wire.NodeConnAnswer(True))
        if history is not None:
            stage.pass_time(LAN.refill_interval + 0.01)
        return stage, line


class UnfinishedJoinTests(NewcomerCase):
    """It dies before it is a member."""

    def test_half_baseline(self) -> None:
        """The pages that it had count for nothing: it would get what was broadcast before it has joined."""
        stage, line = self.newcomer()
        stage.broadcast("a")
        line.send(wire.NodesInNetwork([ALICE.record()], [], [(*BOB.stream, 5)], BOB.peer))
        own = stage.core.spread.own
        stage, line = self.newcomer(log=stage.log)
        self.assertEqual(stage.core.positions.streams(), [own])
        line.send(wire.NodesInNetwork([ALICE.record()], [], [(*BOB.stream, 50)], None))
        line.go_live((*BOB.stream, 50))
        self.assertFalse(stage.core.catchup.has_asked(BOB.stream))
        line.send_lines(BOB.bundle(50))
        self.assertEqual((stage.seqs(BOB.stream), stage.gaps), ([50], []))

    def test_half_met(self) -> None:
        """A genesis that was alone, and takes a part of a baseline only, is a member since then: it may have jumped."""
        stage = Stage()
        line = stage.meet(ALICE)
        assert line.become_neighbour()
        stage.pass_time(1)
        page = wire.NodesInNetwork([ALICE.record()], [], [(*BOB.stream, 5)], BOB.peer)
        line.send(page)
        line.close()
        self.assertEqual((stage.core.positions.of(BOB.stream), stage.core.member_since), (5, BEGINNING + 1))


class HistoryTests(NewcomerCase):
    """A newcomer asks for what was before, and gets it from whoever has it."""

    def test_asked_for(self) -> None:
        """It says what it wants, on each page, begins there, and marks what is from before."""
        history = wire.History(age=60.0)
        stage, line = self.newcomer(history)
        self.assertIn(wire.GiveNodesInNetwork("", history), line.take())
        positions = [(*BOB.stream, 5), (*CAROL.stream, 7)]
        page = wire.NodesInNetwork([ALICE.record()], [], positions, None, history=[(*BOB.stream, 3)])
        line.send(page)
        line.go_live(*positions)
        line.send_lines(*(BOB.bundle(seq) for seq in (3, 4, 5)), CAROL.bundle(7))
        self.assertEqual([(b.seq, b.replayed) for b in stage.received], [(3, True), (4, True), (5, False), (7, False)])
        self.assertEqual([entry.replayed for entry in stage.log.entries(0, 1 << 20)], [True, True, False, False])

    def test_next_life(self) -> None:
        """What comes in a later life of what is from before is marked, too, and nothing else is."""
        stage, line = self.newcomer(wire.History())
        positions = [(*BOB.stream, 5), (*CAROL.stream, 3)]
        history = [(*BOB.stream, 2), (*CAROL.stream, 1)]
        line.send(wire.NodesInNetwork([ALICE.record()], [], positions, None, history=history))
        line.go_live(*positions)
        line.send_lines(BOB.bundle(2), CAROL.bundle(1), CAROL.bundle(2))
        again = Stage(joined=False, log=stage.log, now=BEGINNING + 3600)
        self.assertEqual([*again.core.spread.replay], [BOB.stream])
        line = again.meet(ALICE)
        line.become_neighbour()
        line.go_live(*positions)
        line.send_lines(*(BOB.bundle(seq) for seq in (3, 4, 5)), CAROL.bundle(3))
        self.assertEqual([(b.seq, b.replayed) for b in again.received], [(3, True), (4, True), (5, False), (3, False)])

    def test_several_are_asked(self) -> None:
        """The first neighbour may have joined a moment ago: others are asked, too; the earliest beginning counts."""
        stage, line = self.newcomer(wire.History())
        other = stage.meet(BOB)
        assert other.become_neighbour()
        line.send(wire.NodesInNetwork([], [], [(*BOB.stream, 5), (*CAROL.stream, 7)], None, history=[(*BOB.stream, 4)]))
        self.assertIn(wire.GiveNodesInNetwork("", wire.History()), other.take())
        history = [(*BOB.stream, 2), (*CAROL.stream, 6)]
        other.send(wire.NodesInNetwork([], [], [(*BOB.stream, 6), (*CAROL.stream, 7)], None, history=history))
        positions = stage.core.positions
        self.assertEqual((positions.of(BOB.stream), positions.of(CAROL.stream)), (2, 6))
        self.assertEqual(stage.core.spread.replay, {BOB.stream: 5, CAROL.stream: 7})
        self.assertTrue(stage.core.antientropy.has_baseline)

    def test_others_do_not_answer(self) -> None:
        """One that gives none, or is lost, keeps nobody from joining with what the first one gave."""
        for is_lost in (True, False):
            stage, line = self.newcomer(wire.History())
            other = stage.meet(BOB)
            assert other.become_neighbour()
            line.send(wire.NodesInNetwork([], [], [(*CAROL.stream, 5)], None, history=[(*CAROL.stream, 4)]))
            self.assertFalse(stage.core.antientropy.has_baseline)
            if is_lost:
                other.close()
            else:
                stage.pass_time(LAN.handshake_timeout + 0.1)
            self.assertTrue(stage.core.antientropy.has_baseline)
            self.assertEqual(stage.core.positions.of(CAROL.stream), 4)

    def test_not_asked_for(self) -> None:
        """Who wants none is given none, whatever the other end says."""
        stage, line = self.newcomer(None)
        line.send(wire.NodesInNetwork([], [], [(*BOB.stream, 5)], None, history=[(*BOB.stream, 1)]))
        self.assertEqual(stage.core.positions.of(BOB.stream), 5)

    def test_never_above(self) -> None:
        """A history that begins beyond the position does not move it."""
        stage, line = self.newcomer(wire.History())
        line.send(wire.NodesInNetwork([], [], [(*BOB.stream, 5)], None, history=[(*BOB.stream, 9)]))
        self.assertEqual(stage.core.positions.of(BOB.stream), 5)

    def test_given(self) -> None:
        """Whoever is asked says where each stream begins: within the age, the count, or all that it has."""
        stage = Stage()
        line = stage.befriend(ALICE, (*BOB.stream, 1))
        line.send_lines(*(BOB.bundle(seq) for seq in (1, 2)))
        stage.pass_time(100)
        line = stage.meet(ALICE)
        line.become_neighbour()
        line.go_live()
        line.send_lines(*(BOB.bundle(seq) for seq in (3, 4)))
        wanted = [(None, 5), (wire.History(), 1), (wire.History(age=50.0), 3), (wire.History(count=1), 4)]
        for history, first in wanted:
            line.take()
            line.send(wire.GiveNodesInNetwork("", history))
            [page] = [frame for frame in line.take() if isinstance(frame, wire.NodesInNetwork)]
            self.assertEqual(page.streams, [(*BOB.stream, 5)])
            self.assertEqual(page.history, [(*BOB.stream, first)] if history else [])

    def test_given_at_a_rate(self) -> None:
        """To look it up takes long, so it is done for so many only; the others get no answer, and ask again."""
        stage = Stage(attrs.evolve(LAN, histories_burst=2, histories_interval=10.0))
        line = stage.befriend(ALICE, (*BOB.stream, 1))
        line.send_lines(BOB.bundle(1))
        for seconds, answers in ((0, 2), (10, 1), (5, 0), (5, 1)):
            stage.pass_time(seconds)
            line.take()
            line.send(*[wire.GiveNodesInNetwork("", wire.History())] * 3)
            self.assertEqual(len(line.take_kind(wire.NodesInNetwork)), answers)
            line.send(wire.GiveNodesInNetwork(""))
            self.assertEqual(len(line.take_kind(wire.NodesInNetwork)), 1)

    def test_given_by_pages(self) -> None:
        """It is looked up once for all pages, and forgotten with the last one, or with the link."""
        stage = Stage(attrs.evolve(LAN, page=1))
        line = stage.befriend(ALICE, (*BOB.stream, 1), (*CAROL.stream, 1))
        line.send_lines(BOB.bundle(1), CAROL.bundle(1))
        histories = stage.core.antientropy._histories
        line.take()
        after: str | None = ""
        found = []
        while after is not None:
            line.send(wire.GiveNodesInNetwork(after, wire.History()))
            [page] = [frame for frame in line.take() if isinstance(frame, wire.NodesInNetwork)]
            found += page.history
            after = page.next
            self.assertEqual(len(histories), after is not None)
        self.assertEqual(found, [(*BOB.stream, 1), (*CAROL.stream, 1)])
        line.send(wire.GiveNodesInNetwork("", wire.History()))
        line.close()
        self.assertEqual(histories, {})


class RetentionTests(SynchronousTestCase):
    """What is over is dropped in slices."""

    def test_slices(self) -> None:
        """While there is more to drop, it goes on soon, and others have their turns between."""
        calls = []

        class Slow(MemoryLog):
            def expire(self, now: float) -> bool:
                calls.append(now)
                return len(calls) % 4 != 0

        stage = Stage(log=Slow(LAN))
        stage.pass_time(30)
        self.assertEqual(len(calls), 4)
        self.assertLess(calls[-1] - calls[0], 1)
        self.assertEqual(len({*calls}), 4)
