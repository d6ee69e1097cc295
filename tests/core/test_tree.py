"""Eager and lazy links: which duplicate makes a link lazy, and what makes it eager again."""

from __future__ import annotations

import attrs

from tests.core.puppet import Line, Puppet
from tests.core.test_broadcast import SpreadCase
from twisted_p2p.core import wire
from twisted_p2p.core.catchup import _WHILE_BUSY
from twisted_p2p.core.config import LAN
from twisted_p2p.core.tree import _LOWEST, _SLOW

DELAY = LAN.prune_delay + 0.01
INTERVAL = LAN.prune_interval + 0.01


class TreeCase(SpreadCase):
    """A peer with three neighbours, all of whose links are eager."""

    def twice(self, bundle: bytes, first: Line | None = None, again: Line | None = None) -> None:
        """A bundle comes on one link, and then on another one."""
        (first or self.to_alice).send_lines(bundle)
        (again or self.to_bob).send_lines(bundle)

    def prunes(self, line: Line) -> list[int]:
        """The numbers of the PRUNEs that came on a link; all else is forgotten."""
        return [frame.n for frame in line.take_all() if isinstance(frame, wire.Prune)]

    def grafts(self, line: Line) -> list[wire.Graft]:
        """The GRAFTs that came on a link; all else is forgotten."""
        return [frame for frame in line.take_all() if isinstance(frame, wire.Graft)]

    def pruned(self) -> list[list[int]]:
        """Those on each link, after the time that it takes."""
        self.stage.pass_time(DELAY)
        return [self.prunes(line) for line in self.lines]

    def make_lazy(self, line: Line) -> None:
        """The other end prunes a link."""
        line.send(wire.Prune(0))
        line.take()

    def eager(self) -> list[bool]:
        """Whether bundles of our own are pushed, by link."""
        self.stage.broadcast("are you eager?")
        return [bool(line.take_seqs()) for line in self.lines]


class PruningTests(TreeCase):
    """What makes a link lazy."""

    def test_duplicate(self) -> None:
        """The link that brings the witness once more is pruned, and no other; nothing is pushed on it from then on."""
        self.twice(self.alice.bundle(1))
        self.assertEqual(self.pruned(), [[], [0], []])
        self.assertEqual(self.eager(), [True, False, True])

    def test_all_duplicates(self) -> None:
        """All links but the first that brought it are."""
        self.twice(self.alice.bundle(1))
        self.to_carol.send_lines(self.alice.bundle(1))
        self.assertEqual(self.pruned(), [[], [0], [0]])

    def test_not_before_all_may_know(self) -> None:
        """A bundle of a lower origin takes the place of the witness as long as nobody has pruned by it."""
        self.twice(self.bob.bundle(1), self.to_bob, self.to_carol)
        self.stage.pass_time(0.5 * LAN.prune_delay)
        self.assertEqual(self.prunes(self.to_carol), [])
        self.twice(self.alice.bundle(1), self.to_carol, self.to_alice)
        self.assertEqual(self.pruned(), [[0], [], []])

    def test_higher_origin(self) -> None:
        """A bundle of a higher origin does not, and says nothing about the tree."""
        self.twice(self.alice.bundle(1))
        self.twice(self.carol.bundle(1), self.to_carol, self.to_alice)
        self.assertEqual(self.pruned(), [[], [0], []])
        self.stage.pass_time(INTERVAL)
        self.twice(self.carol.bundle(2), self.to_carol, self.to_alice)
        self.assertEqual(self.pruned(), [[], [], []])

    def test_silent_reference(self) -> None:
        """It does once the lower ones have been silent for long."""
        self.twice(self.alice.bundle(1))
        self.pruned()
        self.stage.pass_time(LAN.reference_keep)
        self.twice(self.carol.bundle(1), self.to_carol, self.to_alice)
        self.assertEqual(self.pruned(), [[0], [], []])

    def test_next_reference(self) -> None:
        """When it is silent the next lowest of those that still speak takes its place, for all at the same time."""
        self.twice(self.alice.bundle(1))
        self.pruned()
        self.stage.pass_time(LAN.reference_keep / 2)
        self.to_bob.send_lines(self.bob.bundle(1))
        self.to_carol.send_lines(self.carol.bundle(1))
        self.stage.pass_time(LAN.reference_keep / 2)
        self.to_carol.send_lines(self.carol.bundle(2))
        self.twice(self.carol.bundle(3), self.to_carol, self.to_alice)
        self.assertEqual(self.pruned(), [[], [], []])
        self.twice(self.bob.bundle(2), self.to_bob, self.to_carol)
        self.assertEqual(self.pruned(), [[], [], [0]])

    def test_few_are_remembered(self) -> None:
        """However many speak, only of the lowest it is known when they did."""
        for number in range(0xF0, 0x40, -1):
            self.to_alice.send_lines(Puppet(number).bundle(1))
        heard = self.stage.core.tree._heard
        self.assertEqual(sorted(heard), [Puppet(number).peer for number in range(0x41, 0x41 + _LOWEST)])

    def test_one_witness_at_a_time(self) -> None:
        """Until the interval is over no other bundle is one."""
        self.to_alice.send_lines(self.alice.bundle(1))
        self.twice(self.alice.bundle(2))
        self.assertEqual(self.pruned(), [[], [], []])
        self.twice(self.alice.bundle(3))
        self.assertEqual(self.pruned(), [[], [], []])
        self.stage.pass_time(INTERVAL)
        self.twice(self.alice.bundle(4))
        self.assertEqual(self.pruned(), [[], [0], []])

    def test_same_witness_for_all(self) -> None:
        """The next one is a round number of bundles later, so that peers agree on it."""
        self.to_alice.send_lines(*(self.alice.bundle(seq) for seq in range(1, 11)))
        self.stage.pass_time(INTERVAL)
        self.twice(self.alice.bundle(11))
        self.assertEqual(self.pruned(), [[], [], []])
        self.to_alice.send_lines(*(self.alice.bundle(seq) for seq in range(12, 16)))
        self.twice(self.alice.bundle(16))
        self.assertEqual(self.pruned(), [[], [0], []])

    def test_last_eager_link(self) -> None:
        """It is never pruned."""
        for line in (self.to_alice, self.to_carol):
            self.make_lazy(line)
        self.twice(self.alice.bundle(1))
        self.assertEqual(self.pruned(), [[], [], []])
        self.assertEqual(self.eager(), [False, True, False])

    def test_lazy_already(self) -> None:
        """A link that both ends prune at the same time gets no second PRUNE, and no answer."""
        self.twice(self.alice.bundle(1))
        self.make_lazy(self.to_bob)
        self.assertEqual(self.pruned(), [[], [], []])
        self.assertEqual(self.eager(), [True, False, True])

    def test_caught_up(self) -> None:
        """A bundle that was asked for is no witness: it says how it was asked for, not how it travels."""
        self.to_alice.send(wire.Frontier([(*self.alice.stream, 2)]))
        self.stage.pass_time(1.2 * LAN.graft_timeout)
        self.assertEqual(len(self.grafts(self.to_alice)), 1)
        self.twice(self.alice.bundle(1))
        self.assertEqual(self.pruned(), [[], [], []])

    def test_held_back(self) -> None:
        """Nor is one that had come too early: the link that brought it is not known any more."""
        self.to_carol.send_lines(self.alice.bundle(2))
        self.to_bob.send_lines(self.bob.bundle(1))
        self.stage.pass_time(INTERVAL)
        self.to_alice.send_lines(self.alice.bundle(1))
        self.to_bob.send_lines(self.alice.bundle(2))
        self.assertEqual(self.pruned(), [[], [], []])


class PrunedTests(TreeCase):
    """The other end prunes."""

    def test_accepted(self) -> None:
        """Nothing is pushed on the link; the position is told instead, once for many bundles."""
        self.make_lazy(self.to_bob)
        self.to_alice.send_lines(self.alice.bundle(1), self.alice.bundle(2))
        self.to_carol.send_lines(self.carol.bundle(1))
        self.assertEqual(self.to_bob.take(), [])
        self.stage.pass_time(2 * LAN.frontier_interval)
        told = wire.Frontier([(*self.alice.stream, 3), (*self.carol.stream, 2)])
        self.assertEqual(self.to_bob.take(), [told])
        self.stage.pass_time(2 * LAN.frontier_interval)
        self.assertEqual(self.to_bob.take(), [])

    def test_not_told_what_it_has(self) -> None:
        """Streams in which the other end has said that it is as far are not told."""
        self.make_lazy(self.to_bob)
        self.to_alice.send_lines(self.alice.bundle(1), self.alice.bundle(2))
        self.to_carol.send_lines(self.carol.bundle(1))
        self.to_bob.send(wire.Frontier([(*self.alice.stream, 3), (*self.carol.stream, 1)]))
        self.stage.pass_time(2 * LAN.frontier_interval)
        self.assertEqual(self.to_bob.take_kind(wire.Frontier), [wire.Frontier([(*self.carol.stream, 2)])])

    def test_last_eager_link(self) -> None:
        """Refused on the last eager link: it stays eager at both ends."""
        for line in self.lines:
            line.send(wire.Prune(0))
        self.assertEqual([self.grafts(line) for line in self.lines], [[], [], [wire.Graft([], 1)]])
        self.assertEqual(self.eager(), [False, False, True])

    def test_witness(self) -> None:
        """Refused on the link that brought our witness: without it we might be cut off."""
        self.to_alice.send_lines(self.alice.bundle(1))
        self.to_alice.send(wire.Prune(0))
        self.assertEqual(self.grafts(self.to_alice), [wire.Graft([], 1)])
        self.assertEqual(self.eager(), [True, True, True])

    def test_stale(self) -> None:
        """Void if a GRAFT of ours was under way to its sender."""
        self.make_lazy(self.to_alice)
        self.to_alice.send(wire.Frontier([(*self.alice.stream, 2)]))
        self.stage.pass_time(2 * LAN.graft_timeout)
        self.to_alice.send(wire.Prune(0))
        self.assertEqual((self.eager(), self.stage.counts["prune_stale"]), ([True, True, True], 1))
        self.to_alice.send(wire.Prune(self.stage.core.spread.flows[self.to_alice.number].grafts_sent))
        self.assertEqual(self.eager(), [False, True, True])

    def test_served_all_the_same(self) -> None:
        """What the other end has asked for before, it gets."""
        stream = self.stage.core.spread.own
        self.to_bob.congest()
        self.stage.broadcast("a")
        self.make_lazy(self.to_bob)
        self.to_bob.drain()
        self.stage.pass_time(0.01)
        self.assertEqual(self.to_bob.take_seqs(), [1])
        self.assertEqual(self.stage.core.spread.flows[self.to_bob.number].cursor.get(stream), None)

    def test_stranger(self) -> None:
        """Ignored on a link that is no neighbour's."""
        line = self.stage.meet(Puppet(0x40))
        line.send(wire.Prune(0))
        self.assertIsNone(line.ended)


class CongestedTests(TreeCase):
    """A neighbour that reads too slowly."""

    def look(self, times: float = 1.0) -> None:
        """Let so many times pass after which it is slow."""
        self.stage.pass_time(times * _SLOW * LAN.graft_timeout + 0.01)

    def test_still_congested(self) -> None:
        """After a while its link is lazy: others are to pass on what it would have passed on."""
        self.to_bob.congest()
        self.stage.pass_time(0.9 * _SLOW * LAN.graft_timeout)
        self.assertEqual(self.prunes(self.to_bob), [])
        self.look()
        self.assertEqual([self.prunes(line) for line in self.lines], [[], [0], []])
        self.to_bob.drain()
        self.assertEqual((self.eager(), self.stage.counts["pruned_slow"]), ([True, False, True], 1))

    def test_in_time(self) -> None:
        """One that reads again before that is pushed to as ever, however often it pauses."""
        for _ in range(3):
            self.to_bob.congest()
            self.look(0.6)
            self.to_bob.drain()
            self.look(0.6)
        self.assertEqual((self.prunes(self.to_bob), self.eager()), ([], [True, True, True]))

    def test_as_measured(self) -> None:
        """Where bundles are late by more than that, one that takes nothing for as long is not slow."""
        lateness = self.stage.core.catchup.lateness
        lateness.measured(0.5 * _SLOW * LAN.graft_timeout)
        timeout = lateness.timeout
        self.assertGreater(timeout, 1.4 * _SLOW * LAN.graft_timeout)
        self.to_bob.congest()
        self.stage.pass_time(0.9 * timeout)
        self.assertEqual(self.prunes(self.to_bob), [])
        self.stage.pass_time(0.2 * timeout)
        self.assertEqual(self.prunes(self.to_bob), [0])

    def test_counted(self) -> None:
        """The PRUNE names the last GRAFT that we have got."""
        self.to_bob.send(wire.Graft([], 5))
        self.to_bob.congest()
        self.look()
        self.assertEqual(self.prunes(self.to_bob), [5])

    def test_last_eager_link(self) -> None:
        """The last eager link stays so; it rests as soon as there is another one."""
        for line in (self.to_alice, self.to_carol):
            self.make_lazy(line)
        self.to_bob.congest()
        self.look(3)
        self.assertEqual(self.prunes(self.to_bob), [])
        self.to_alice.send(wire.Graft([], 1))
        self.look()
        self.assertEqual(self.prunes(self.to_bob), [0])

    def test_asks(self) -> None:
        """What it was owed it is told of, once and not before it reads; what it asks for it gets, and is pushed to."""
        stream = self.stage.core.spread.own
        self.to_bob.congest()
        self.stage.broadcast("a")
        self.look()
        self.stage.broadcast("b")
        self.stage.pass_time(2 * LAN.frontier_interval)
        self.assertEqual(self.to_bob.take(), [wire.Prune(0)])
        self.to_bob.drain()
        self.stage.pass_time(2 * LAN.frontier_interval)
        self.assertEqual(self.to_bob.take(), [wire.Frontier([(*stream, 3)])])
        self.to_bob.send(wire.Graft([(*stream, 1)], 1))
        self.stage.pass_time(0.01)
        self.stage.broadcast("c")
        self.assertEqual(self.to_bob.take_seqs(), [1, 2, 3])

    def test_asked_before(self) -> None:
        """What it had asked for before it got slow it gets, too, however late: it counts on us for that."""
        stream = self.stage.core.spread.own
        self.stage.broadcast("a", "b")
        self.to_bob.take()
        self.to_bob.congest()
        self.to_bob.send(wire.Graft([(*stream, 1)], 1))
        self.look()
        self.assertEqual(self.prunes(self.to_bob), [1])
        self.to_bob.drain()
        self.stage.pass_time(0.01)
        self.assertEqual(self.to_bob.take_seqs(), [1])

    def test_gone(self) -> None:
        """A link that ends meanwhile concerns nobody."""
        self.to_bob.congest()
        self.to_bob.close()
        self.look()
        self.assertEqual((self.prunes(self.to_bob), self.stage.counts["pruned_slow"]), ([], 0))


class EagerAgainTests(TreeCase):
    """What makes a link eager."""

    def test_grafted(self) -> None:
        """A GRAFT does; what it asks for is sent, and what comes later pushed."""
        self.make_lazy(self.to_bob)
        self.assertEqual(self.eager(), [True, False, True])
        self.to_bob.send(wire.Graft([(*self.stage.core.spread.own, 1)], 1))
        self.stage.pass_time(0.01)
        self.assertEqual(self.to_bob.take_seqs(), [1])
        self.assertEqual(self.eager(), [True, True, True])

    def test_counted(self) -> None:
        """Our PRUNE names the last GRAFT that we have got."""
        self.to_bob.send(wire.Graft([], 5))
        self.twice(self.alice.bundle(1))
        self.assertEqual(self.pruned(), [[], [5], []])

    def test_behind(self) -> None:
        """We are told of a bundle and do not get it: we ask for it, and push from then on, too."""
        self.make_lazy(self.to_bob)
        self.to_bob.send(wire.Frontier([(*self.alice.stream, 2)]))
        self.assertEqual(self.grafts(self.to_bob), [])
        self.stage.pass_time(2 * LAN.graft_timeout)
        self.assertEqual(self.grafts(self.to_bob)[0], wire.Graft([(*self.alice.stream, 1)], 1))
        self.assertEqual(self.eager(), [True, True, True])

    def test_came_by_itself(self) -> None:
        """We are told of a bundle, and it comes: the link stays lazy, and is not told that we are level."""
        self.make_lazy(self.to_bob)
        self.to_bob.send(wire.Frontier([(*self.alice.stream, 2)]))
        self.to_alice.send_lines(self.alice.bundle(1))
        self.stage.pass_time(2 * LAN.graft_timeout)
        self.assertEqual(self.grafts(self.to_bob), [])
        self.assertEqual(self.eager(), [True, False, True])

    def test_one_link_for_many(self) -> None:
        """What is missing of several streams is asked on one link, if it can be: each link that is asked is eager."""
        streams = [(*puppet.stream, 2) for puppet in (self.alice, self.bob, self.carol)]
        for line in self.lines:
            line.send(wire.Frontier(streams))
        self.stage.pass_time(1.5 * LAN.graft_timeout)
        asked = [sum(len(graft.streams) for graft in self.grafts(line)) for line in self.lines]
        self.assertEqual(sorted(asked), [0, 0, 3])

    def test_lost(self) -> None:
        """An eager neighbour is lost: a lazy link takes its place at once."""
        self.make_lazy(self.to_bob)
        self.to_alice.close()
        self.assertEqual(self.grafts(self.to_bob), [wire.Graft([], 1)])
        self.stage.broadcast("a")
        self.assertEqual([line.take_seqs() for line in self.lines[1:]], [[1], [1]])

    def test_lazy_lost(self) -> None:
        """A lazy neighbour is lost: the tree is whole."""
        self.make_lazy(self.to_bob)
        self.make_lazy(self.to_alice)
        self.to_alice.close()
        self.assertEqual(self.grafts(self.to_bob), [])


class LatenessTests(TreeCase):
    """The graft time-out follows what was measured."""

    @property
    def timeout(self) -> float:
        """The time-out as it is."""
        return self.stage.core.catchup.lateness.timeout

    def late(self, seq: int, seconds: float) -> None:
        """A bundle comes so long after the news of it."""
        self.to_bob.send(wire.Frontier([(*self.alice.stream, seq + 1)]))
        self.stage.pass_time(seconds)
        self.to_alice.send_lines(self.alice.bundle(seq))

    def test_first(self) -> None:
        """At first it is the setting."""
        self.assertEqual(self.timeout, LAN.graft_timeout)

    def test_quick(self) -> None:
        """Where bundles follow at once it falls, down to a quarter."""
        for seq in range(1, 30):
            self.late(seq, 0.001)
        self.assertEqual(self.timeout, 0.25 * LAN.graft_timeout)

    def test_slow(self) -> None:
        """Where they come late it rises above that: mean and four deviations, as in RFC 6298."""
        self.late(1, 0.8)
        self.assertAlmostEqual(self.timeout, 0.8 + 4 * 0.4, 5)
        self.late(2, 0.8)
        self.assertAlmostEqual(self.timeout, 0.8 + 4 * 0.3, 5)

    def test_bounded(self) -> None:
        """It stays below eight times the setting."""
        for seq in range(1, 20):
            self.late(seq, 0.9 * self.timeout)
        self.assertEqual(self.timeout, 8 * LAN.graft_timeout)

    def test_asked_for(self) -> None:
        """What comes from whoever was asked says nothing about how late it would have come by itself."""
        self.to_bob.send(wire.Frontier([(*self.alice.stream, 2)]))
        self.stage.pass_time(1.5 * LAN.graft_timeout)
        self.to_bob.send_lines(self.alice.bundle(1))
        self.assertEqual(self.timeout, LAN.graft_timeout)

    def test_asked_too_early(self) -> None:
        """But if it then comes by itself, too, that says how long we should have waited, and the link is given back."""
        self.make_lazy(self.to_bob)
        self.to_bob.send(wire.Frontier([(*self.alice.stream, 2)]))
        self.stage.pass_time(1.5 * LAN.graft_timeout)
        self.to_bob.send_lines(self.alice.bundle(1))
        self.stage.pass_time(0.5 * LAN.graft_timeout)
        self.to_bob.take()
        for again in range(2):
            self.to_alice.send_lines(self.alice.bundle(1))
            self.assertAlmostEqual(self.timeout, 3 * 2 * LAN.graft_timeout, 5)
            self.assertEqual(len(self.to_bob.take_kind(wire.Prune)), 1 - again)

    def bring(self, seconds: float) -> None:
        """Time passes in which bundles of carol come on the link to alice, after the news, and nothing of alice."""
        end, seq = self.stage.now + seconds, self.stage.core.positions.of(self.carol.stream)
        while self.stage.now < end:
            self.to_carol.send(wire.Frontier([(*self.carol.stream, seq + 1)]))
            self.stage.pass_time(0.1)
            self.to_alice.send_lines(self.carol.bundle(seq))
            seq += 1

    def test_others_come_first(self) -> None:
        """A bundle is not late while the link by which its stream comes brings others; but it must come at last."""
        self.to_alice.send_lines(self.alice.bundle(1))
        self.to_bob.send(wire.Frontier([(*self.alice.stream, 3)]))
        self.bring(3 * LAN.graft_timeout)
        self.to_bob.send(wire.Frontier([(*self.alice.stream, 4)]))
        self.assertEqual(self.grafts(self.to_bob), [])
        self.bring((_WHILE_BUSY - 1) * LAN.graft_timeout)
        self.assertEqual([graft.streams for graft in self.grafts(self.to_bob)], [[(*self.alice.stream, 2)]])

    def test_pushes_no_more(self) -> None:
        """Nor is a link waited for whose other end tells of the stream, instead of pushing it."""
        self.to_alice.send_lines(self.alice.bundle(1))
        for line in (self.to_alice, self.to_bob):
            line.send(wire.Frontier([(*self.alice.stream, 3)]))
        self.bring(1.6 * LAN.graft_timeout)
        self.assertEqual(sum(len(self.grafts(line)) for line in (self.to_alice, self.to_bob)), 1)

    def test_nothing_comes(self) -> None:
        """Nor when that link brings nothing more."""
        self.to_alice.send_lines(self.alice.bundle(1))
        self.to_bob.send(wire.Frontier([(*self.alice.stream, 3)]))
        self.bring(2 * LAN.graft_timeout)
        self.stage.pass_time(1.6 * LAN.graft_timeout)
        self.assertEqual(len(self.grafts(self.to_bob)), 1)

    def test_lazy_link_brings_nothing(self) -> None:
        """Nor is one waited for that is lazy now: what it brings was asked for."""
        self.to_carol.send_lines(self.alice.bundle(1))
        self.to_alice.send_lines(self.alice.bundle(2))
        self.make_lazy(self.to_alice)
        self.to_bob.send(wire.Frontier([(*self.alice.stream, 4)]))
        self.bring(1.6 * LAN.graft_timeout)
        self.assertEqual(len(self.grafts(self.to_bob)), 1)

    def test_few_are_remembered(self) -> None:
        """By which link a stream came is known of so many."""
        self.begin(attrs.evolve(LAN, max_wants=2))
        for puppet in (self.alice, self.bob, self.carol):
            self.to_alice.send_lines(puppet.bundle(1))
        self.assertEqual([*self.stage.core.catchup._bringers], [self.bob.stream, self.carol.stream])

    def test_stream_that_flows(self) -> None:
        """A stream that moves is not asked for, however far ahead the other end is."""
        self.to_bob.send(wire.Frontier([(*self.alice.stream, 100)]))
        for seq in range(1, 40):
            self.to_alice.send_lines(self.alice.bundle(seq))
            self.stage.pass_time(0.1)
        self.assertEqual(self.grafts(self.to_bob), [])
