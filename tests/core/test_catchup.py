"""Catching up: who is behind asks one link after another, and tells of a gap only when nobody has it."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import OWN, Line, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Gap
from twisted_p2p.core.config import LAN

PATIENCE = 1.5 * LAN.graft_timeout + 0.01
"""Within this time who was asked in vain is passed over."""

CAROL = Puppet(0x30)
STREAM = CAROL.stream


class CatchUpCase(SynchronousTestCase):
    """What these tests have in common."""

    def setUp(self) -> None:
        """A genesis."""
        self.stage = Stage()

    def befriend(self, number: int, position: int = 1) -> Line:
        """A neighbour that is at this position of Carol's stream; what it was asked is forgotten."""
        return self.stage.befriend(Puppet(number), (*STREAM, position))

    def grafts(self, line: Line) -> list[list[wire.Position]]:
        """What a link was asked for since its frames were last taken."""
        return [frame.streams for frame in line.take_all() if isinstance(frame, wire.Graft)]

    @property
    def wants(self) -> int:
        """How many streams it is behind on."""
        return len(self.stage.core.catchup.wants)


class AskingTests(CatchUpCase):
    """Who is behind asks."""

    def ahead(self, number: int, position: int) -> tuple[Line, list[list[wire.Position]]]:
        """A new neighbour that turns out to be ahead, and what it was asked at once."""
        line = self.stage.meet(Puppet(number), baseline=False)
        assert line.become_neighbour()
        buckets = [int(STREAM[0][:2], 16)]
        [digest] = [f for f in line.take_all() if isinstance(f, wire.Digest) and f.of == "streams"]
        line.send(wire.Digest("streams", digest.buckets | {str(buckets[0]): "0" * 16}))
        line.send(wire.Positions([(*STREAM, position)], buckets))
        return line, self.grafts(line)

    def test_new_neighbour_ahead(self) -> None:
        """A new neighbour that has more is asked at once, from where we stand, and brings us level."""
        line, asked = self.ahead(0x10, 4)
        self.assertEqual(asked, [[(*STREAM, 1)]])
        line.send_lines(*(CAROL.bundle(seq) for seq in (1, 2, 3)))
        self.assertEqual((self.stage.seqs(STREAM), self.wants), ([1, 2, 3], 0))
        self.stage.pass_time(PATIENCE)
        self.assertEqual(self.grafts(line), [])

    def test_one_at_a_time(self) -> None:
        """Where several have it, one is asked, not all."""
        one, asked = self.ahead(0x10, 4)
        _, asked_too = self.ahead(0x11, 4)
        self.assertEqual((len(asked), asked_too), (1, []))
        one.send_lines(*(CAROL.bundle(seq) for seq in (1, 2, 3)))
        self.assertEqual(self.wants, 0)

    def test_levelled_with_the_other(self) -> None:
        """Who was ahead and was not asked is told where we stand once we have caught up, and pushes from there."""
        one, _ = self.ahead(0x10, 4)
        two, _ = self.ahead(0x11, 4)
        one.send_lines(*(CAROL.bundle(seq) for seq in (1, 2, 3)))
        self.assertEqual(self.grafts(two), [[(*STREAM, 4)]])

    def test_silent_source(self) -> None:
        """Who does not deliver in time is passed over for another."""
        self.ahead(0x10, 4)
        two, _ = self.ahead(0x11, 4)
        self.stage.pass_time(PATIENCE)
        self.assertEqual(self.grafts(two), [[(*STREAM, 1)]])
        two.send_lines(*(CAROL.bundle(seq) for seq in (1, 2, 3)))
        self.assertEqual((self.stage.seqs(STREAM), self.wants), ([1, 2, 3], 0))

    def test_slow_but_steady_source(self) -> None:
        """Who delivers bit by bit is not passed over."""
        one, _ = self.ahead(0x10, 9)
        two, _ = self.ahead(0x11, 9)
        for seq in range(1, 9):
            one.send_lines(CAROL.bundle(seq))
            self.stage.pass_time(LAN.graft_timeout * 0.6)
        grafts = self.grafts(two)
        self.assertEqual((self.stage.seqs(STREAM), grafts), (list(range(1, 9)), [[(*STREAM, 9)]]))

    def test_source_breaks(self) -> None:
        """If the link that was asked breaks, another is asked at once, from where we have got to."""
        one, _ = self.ahead(0x10, 4)
        two, _ = self.ahead(0x11, 4)
        one.send_lines(CAROL.bundle(1))
        one.close()
        self.assertEqual(self.grafts(two), [[(*STREAM, 2)]])

    def test_only_source_breaks(self) -> None:
        """If nobody is left who is ahead, it is given up, to be raised again by whoever comes."""
        one, _ = self.ahead(0x10, 4)
        one.close()
        self.assertEqual((self.wants, self.stage.gaps), (0, []))
        _, asked = self.ahead(0x11, 4)
        self.assertEqual(asked, [[(*STREAM, 1)]])

    def test_many_streams(self) -> None:
        """Streams are asked for together, within the limit of a frame."""
        self.stage = Stage(attrs.evolve(LAN, page=3))
        line = self.stage.befriend(Puppet(0x10))
        line.send(wire.Frontier([(CAROL.peer, epoch, 2) for epoch in range(7)]))
        self.stage.pass_time(PATIENCE)
        grafts = self.grafts(line)
        self.assertEqual([len(streams) for streams in grafts], [3, 3, 1])
        self.assertEqual({epoch for streams in grafts for _, epoch, _ in streams}, set(range(7)))

    def test_bounded(self) -> None:
        """No more streams are asked for than the bound, whatever a neighbour says that there are."""
        self.stage = Stage(attrs.evolve(LAN, max_wants=3))
        line = self.stage.befriend(Puppet(0x10))
        line.send(wire.Frontier([(CAROL.peer, epoch, 2) for epoch in range(7)]))
        self.assertEqual((self.wants, self.stage.counts["wants_full"]), (3, 4))

    def test_late_floor(self) -> None:
        """A floor for a question from before we moved makes us ask again from where we are, and no gap."""
        line, _ = self.ahead(0x10, 6)
        line.send_lines(CAROL.bundle(1), CAROL.bundle(2))
        line.send(wire.Floor(*STREAM, 1, 5, 6))
        self.assertEqual(self.grafts(line), [[(*STREAM, 3)]])
        self.assertEqual(self.stage.gaps, [])


class PatientTests(CatchUpCase):
    """What may be on its way is not asked for at once."""

    def test_early_is_not_missing(self) -> None:
        """The hole before an early bundle is asked for only after the time-out."""
        line = self.befriend(0x10)
        line.send_lines(CAROL.bundle(2))
        self.stage.pass_time(LAN.graft_timeout * 0.9)
        self.assertEqual(self.grafts(line), [])
        self.stage.pass_time(LAN.graft_timeout * 0.7)
        self.assertEqual(self.grafts(line), [[(*STREAM, 1)]])
        line.send_lines(CAROL.bundle(1))
        self.assertEqual((self.stage.seqs(STREAM), self.wants), ([1, 2], 0))

    def test_came_in_time(self) -> None:
        """What comes by another link in time is never asked for; from then on both are to push what is new."""
        one, two = self.befriend(0x10), self.befriend(0x11)
        one.send_lines(CAROL.bundle(2))
        two.send_lines(CAROL.bundle(1))
        self.stage.pass_time(5)
        self.assertEqual(self.stage.seqs(STREAM), [1, 2])
        self.assertEqual((self.grafts(one), self.grafts(two)), ([[(*STREAM, 3)]], []))

    def test_frontier(self) -> None:
        """A neighbour's word that it is ahead counts the same way."""
        line = self.befriend(0x10)
        line.send(wire.Frontier([(*STREAM, 3)]))
        self.assertEqual(self.grafts(line), [])
        self.stage.pass_time(PATIENCE)
        self.assertEqual(self.grafts(line), [[(*STREAM, 1)]])

    def test_frontier_behind(self) -> None:
        """A neighbour that is not ahead is asked for nothing."""
        line = self.befriend(0x10)
        line.send_lines(CAROL.bundle(1), CAROL.bundle(2))
        line.send(wire.Frontier([(*STREAM, 3)]))
        line.send(wire.Frontier([(*STREAM, 1)]))
        self.stage.pass_time(5)
        self.assertEqual((self.grafts(line), self.wants), ([], 0))

    def test_frontier_of_a_stranger(self) -> None:
        """Only neighbours are believed to be ahead."""
        line = self.stage.meet(Puppet(0x10))
        line.send(wire.Frontier([(*STREAM, 3)]))
        self.assertEqual(self.wants, 0)

    def test_broken_promise(self) -> None:
        """Who says it is ahead and never delivers costs a few questions and no gap."""
        line = self.befriend(0x10)
        line.send(wire.Frontier([(*STREAM, 1000)]))
        self.stage.pass_time(60)
        self.assertLessEqual(len(self.grafts(line)), 2)
        self.assertEqual((self.stage.gaps, self.wants, self.stage.counts["given_up"]), ([], 0, 1))


class GapTests(CatchUpCase):
    """What nobody has any more."""

    def setUp(self) -> None:
        """Two neighbours that hold the end of Carol's stream only."""
        super().setUp()
        self.one, self.two = self.befriend(0x10), self.befriend(0x11)

    def answer(self, line: Line, first: int = 3, following: int = 5, serves: bool = True) -> None:
        """Answer every question: bundles from `first` on are held, and sent if `serves`; the elder ones are not."""
        for streams in self.grafts(line):
            for origin, epoch, position in streams:
                if position < first:
                    line.send(wire.Floor(origin, epoch, position, first, following))
                elif serves:
                    line.send_lines(*(CAROL.bundle(seq) for seq in range(position, following)))

    def answer_for(self, seconds: float, *lines: tuple[Line, int], following: int = 5, serves: bool = True) -> None:
        """For so long, or until a gap is told, these links answer that they hold no more than from a seq on."""
        for _ in range(round(seconds / 0.25)):
            if self.stage.gaps:
                return
            for line, first in lines:
                self.answer(line, first, following, serves)
            self.stage.pass_time(0.25)

    def test_told_at_last(self) -> None:
        """If nobody holds the range for the whole of our patience the application is told, and all goes on."""
        self.one.send_lines(CAROL.bundle(4))
        self.answer_for(LAN.gap_patience - 1, (self.one, 3), (self.two, 3))
        self.assertEqual(self.stage.gaps, [])
        self.answer_for(10, (self.one, 3), (self.two, 3))
        self.assertEqual(self.stage.gaps, [Gap(*STREAM, 1, 2)])
        self.assertEqual(self.stage.seqs(STREAM), [3, 4])
        self.assertEqual((self.wants, self.stage.core.spread.early.count), (0, 0))

    def test_lowest_floor(self) -> None:
        """The gap is no longer than it must be: the lowest floor of all counts."""
        self.one.send(wire.Frontier([(*STREAM, 5)]))
        self.answer_for(LAN.gap_patience + 10, (self.one, 4), (self.two, 3))
        self.assertEqual((self.stage.gaps, self.stage.seqs(STREAM)), ([Gap(*STREAM, 1, 2)], [3, 4]))

    def test_lowest_that_proves(self) -> None:
        """Who holds nothing any more is asked for nothing, though it says so of the lowest seq: another one proves."""
        self.one.send(wire.JoinedInNetwork(CAROL.record()))
        self.one.send(wire.Frontier([(*STREAM, 3)]))
        self.two.send(wire.Frontier([(*STREAM, 5)]))
        for _ in range(round((LAN.gap_patience + 10) / 0.25)):
            self.answer(self.one, 3, 3)
            self.answer(self.two, 4, 5)
            self.stage.pass_time(0.25)
        self.assertEqual((self.stage.gaps, self.stage.seqs(STREAM)), ([Gap(*STREAM, 1, 3)], [4]))

    def test_without_proof(self) -> None:
        """Who claims to hold only later bundles, and never shows one, can make nobody skip anything."""
        self.one.send(wire.Frontier([(*STREAM, 5)]))
        self.answer_for(LAN.gap_patience + 20, (self.one, 3), serves=False)
        self.assertEqual(self.stage.gaps, [])
        self.two.send_lines(*(CAROL.bundle(seq) for seq in (1, 2)))
        self.assertEqual(self.stage.seqs(STREAM), [1, 2])

    def test_nothing_left(self) -> None:
        """That nobody holds any bundle more of a stream that goes on is not believed, whoever says so."""
        self.one.send(wire.JoinedInNetwork(CAROL.record()))
        for liars in ([self.one], [self.one, self.two]):
            for liar in liars:
                liar.send(wire.Frontier([(*STREAM, 5)]))
            self.answer_for(LAN.gap_patience + 20, *((liar, 5) for liar in liars))
            self.assertEqual((self.stage.gaps, self.wants), ([], 0))

    def test_nothing_left_by_its_origin(self) -> None:
        """But if its origin does."""
        carol = self.stage.befriend(CAROL)
        carol.send(wire.Frontier([(*STREAM, 5)]))
        self.answer_for(LAN.gap_patience + 20, (carol, 5))
        self.assertEqual(self.stage.gaps, [Gap(*STREAM, 1, 4)])

    def test_nothing_left_and_ended(self) -> None:
        """Of a stream whose origin is gone nothing more can come: then one neighbour is enough."""
        self.one.send(wire.Frontier([(*STREAM, 5)]))
        self.answer_for(LAN.gap_patience + 20, (self.one, 5))
        self.assertEqual(self.stage.gaps, [Gap(*STREAM, 1, 4)])

    def test_nothing_left_of_a_former_life(self) -> None:
        """So it is where the origin has begun another stream."""
        self.one.send(wire.JoinedInNetwork(CAROL.record()))
        self.one.send_lines(CAROL.bundle(1, epoch=CAROL.epoch + 1))
        self.one.send(wire.Frontier([(*STREAM, 5)]))
        self.answer_for(LAN.gap_patience + 20, (self.one, 5))
        self.assertEqual(self.stage.gaps, [Gap(*STREAM, 1, 4)])

    def test_nothing_left_of_our_former_life(self) -> None:
        """Or is ourselves."""
        self.one.send(wire.Frontier([(OWN, 3, 5)]))
        self.answer_for(LAN.gap_patience + 20, (self.one, 5))
        self.assertEqual(self.stage.gaps, [Gap(OWN, 3, 1, 4)])

    def test_patience_outlasts_the_want(self) -> None:
        """Given up in between since nobody that we are linked with has more, the time still counts."""
        for _ in range(3):
            ahead = self.stage.befriend(Puppet(0x40))
            ahead.send(wire.Frontier([(*STREAM, 5)]))
            self.answer_for(LAN.gap_patience / 2, (ahead, 5))
            ahead.close()
        self.assertEqual(self.stage.gaps, [Gap(*STREAM, 1, 4)])

    def test_held_back_already(self) -> None:
        """The bundle that is left may be held back already: it proves the gap at once, and is not asked for again."""
        self.one.send_lines(CAROL.bundle(4))
        self.answer_for(LAN.gap_patience + 10, (self.one, 4))
        self.assertEqual((self.stage.gaps, self.stage.seqs(STREAM)), ([Gap(*STREAM, 1, 3)], [4]))

    def test_no_room_for_what_is_left(self) -> None:
        """The bundle that ends a gap needs no room among those that are held back."""
        self.stage = Stage(attrs.evolve(LAN, early_max=0))
        self.one, self.two = self.befriend(0x10), self.befriend(0x11)
        self.one.send(wire.Frontier([(*STREAM, 5)]))
        self.answer_for(LAN.gap_patience + 10, (self.one, 4))
        self.assertEqual((self.stage.gaps, self.stage.seqs(STREAM)), ([Gap(*STREAM, 1, 3)], [4]))

    def test_another_has_it(self) -> None:
        """One neighbour's floor is not the network's: another one that has the range is asked, and nothing is lost."""
        self.one.send(wire.Frontier([(*STREAM, 5)]))
        self.stage.pass_time(PATIENCE)
        self.answer(self.one)
        self.assertEqual(self.grafts(self.two), [[(*STREAM, 1)]])
        self.two.send_lines(*(CAROL.bundle(seq) for seq in (1, 2, 3, 4)))
        self.stage.pass_time(LAN.gap_patience + 5)
        self.assertEqual((self.stage.seqs(STREAM), self.stage.gaps), ([1, 2, 3, 4], []))

    def test_origin_is_sought(self) -> None:
        """While no neighbour holds the range, the origin is dialled: it may have it still."""
        self.stage = Stage(attrs.evolve(LAN, probe_interval=1000.0, active_target=0))
        self.one, self.two = self.befriend(0x10), self.befriend(0x11)
        self.one.send(wire.JoinedInNetwork(CAROL.record()))
        self.stage.take_dials()
        self.one.send(wire.Frontier([(*STREAM, 5)]))
        self.answer_for(4, (self.one, 3), (self.two, 3))
        dialled = {(dial.host, dial.port) for dial in self.stage.take_dials()}
        self.assertIn(CAROL.address, dialled)
        self.assertEqual(self.stage.gaps, [])

    def test_other_streams_go_on(self) -> None:
        """A hole in one stream holds up no other."""
        self.one.send(wire.Frontier([(*STREAM, 5)]))
        self.stage.pass_time(PATIENCE)
        self.answer(self.one)
        other = Puppet(0x44)
        self.one.send_lines(other.bundle(1), other.bundle(2))
        self.assertEqual(self.stage.seqs(other.stream), [1, 2])

    def test_floor_below(self) -> None:
        """A floor at or below what we want is no reason for a gap."""
        self.one.send(wire.Frontier([(*STREAM, 5)]))
        self.stage.pass_time(PATIENCE)
        self.one.send(wire.Floor(*STREAM, 1, 1, 5))
        self.stage.pass_time(LAN.gap_patience + 10)
        self.assertEqual(self.stage.gaps, [])

    def test_floor_unasked(self) -> None:
        """A floor that nobody asked for, about what we have, changes nothing."""
        self.one.send_lines(CAROL.bundle(1))
        self.one.send(wire.Floor(*STREAM, 2, 1, 2))
        self.stage.pass_time(LAN.gap_patience + 10)
        self.assertEqual((self.stage.gaps, self.wants, self.grafts(self.one)), ([], 0, []))


class OwnStreamTests(CatchUpCase):
    """A neighbour is further in our own stream than we are: another process has our key, or the neighbour lies."""

    def setUp(self) -> None:
        """It says so."""
        super().setUp()
        self.stream = self.stage.core.spread.own
        self.line = self.befriend(0x10)
        self.line.send(wire.Frontier([(*self.stream, 3)]))
        self.stage.pass_time(PATIENCE)

    def test_asked(self) -> None:
        """It is asked; a bundle with our signature is the proof, and we begin a stream of our own."""
        self.assertEqual(self.grafts(self.line)[0], [(*self.stream, 1)])
        twin = Puppet(0x10)
        twin.signer, twin.peer = self.stage.core.spread.signer, OWN  # type: ignore[assignment]  # the same key
        self.line.send_lines(*(twin.bundle(seq, epoch=self.stream[1]) for seq in (1, 2)))
        self.assertEqual((self.wants, self.stage.received), (0, []))
        self.assertGreater(self.stage.core.spread.own, self.stream)

    def test_no_proof(self) -> None:
        """Its word alone changes nothing."""
        self.line.send(wire.Floor(*self.stream, 1, 3, 3))
        self.befriend(0x11)
        self.stage.pass_time(2 * LAN.gap_patience)
        self.assertEqual((self.wants, self.stage.core.spread.own, self.stage.gaps), (0, self.stream, []))

    def test_most_say_so(self) -> None:
        """Nor do those of all neighbours, again and again: what this life has begun nobody else has."""
        self.insist()
        self.assertEqual((self.stage.core.spread.own, self.stage.gaps), (self.stream, []))

    def test_in_a_later_life(self) -> None:
        """A stream that an earlier life has begun they are believed to have more of: we begin a new one, just once."""
        self.stage.broadcast("a")
        self.stage = Stage(log=self.stage.log, now=self.stage.now + 60)
        self.line = self.befriend(0x10)
        self.stream = self.stage.core.spread.own
        self.insist()
        renewed = self.stage.core.spread.own
        self.assertGreater(renewed, self.stream)
        self.stream = renewed
        self.insist()
        self.assertEqual(self.stage.core.spread.own, renewed)

    def insist(self) -> None:
        """The neighbour claims to be ahead in our stream for a minute, and to hold nothing of it."""
        asked = self.stage.core.positions.of(self.stream)
        for _ in range(60):
            self.line.send(wire.Frontier([(*self.stream, asked + 2)]))
            self.stage.pass_time(1)
            if self.grafts(self.line):
                self.line.send(wire.Floor(*self.stream, asked, asked + 2, asked + 2))
