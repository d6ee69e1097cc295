"""Serving those who ask."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import OWN, Puppet, Stage, seqs_in
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Reason
from twisted_p2p.core.config import LAN


class ServingTests(SynchronousTestCase):
    """Who is asked serves from its log."""

    def setUp(self) -> None:
        """One's own stream has five bundles, and a neighbour is level."""
        self.stage = Stage()
        for text in "abcde":
            self.stage.broadcast(text)
        self.own = self.stage.core.spread.own
        self.line = self.stage.befriend(Puppet(0x10))
        self.line.take_all()

    def test_in_order(self) -> None:
        """A GRAFT is served from its position on, in order, and then pushed to."""
        self.line.send(wire.Graft([(*self.own, 3)]))
        self.stage.pass_time(0)
        self.stage.broadcast("f")
        self.assertEqual(self.line.take_seqs(), [3, 4, 5, 6])

    def test_pushed_only_when_level(self) -> None:
        """What is new while a link catches up does not overtake."""
        self.line.send(wire.Graft([(*self.own, 1)]))
        self.stage.broadcast("f")
        self.stage.pass_time(0)
        self.stage.broadcast("g")
        self.assertEqual(self.line.take_seqs(), [1, 2, 3, 4, 5, 6, 7])

    def test_sent_already(self) -> None:
        """What was sent on a link already is sent on it three times more, then once in a while (row 86)."""
        for _ in range(20):
            self.line.send(wire.Graft([(*self.own, 1)]))
            self.stage.pass_time(0)
        self.assertEqual(self.line.take_seqs(), [1, 2, 3, 4, 5] * (1 + LAN.grafts_again))
        self.assertEqual(self.stage.counts["graft_refused"], 19 - LAN.grafts_again)
        self.stage.pass_time(LAN.grafts_again_interval)
        self.line.take_all()
        self.line.send(wire.Graft([(*self.own, 1)]))
        self.stage.broadcast("f")
        self.stage.pass_time(0)
        self.assertEqual(self.line.take_seqs(), [1, 2, 3, 4, 5, 6])

    def test_sent_already_without_end(self) -> None:
        """Who asks for it a hundred times more ends its link (row 86)."""
        self.line.send(*[wire.Graft([(*self.own, 1)])] * 2)
        self.stage.pass_time(0)
        asked = [wire.Graft([(*self.own, 1)])]
        self.line.send(*asked * (LAN.grafts_again + LAN.grafts_refused))
        self.assertIsNone(self.line.ended)
        self.line.send(*asked)
        assert self.line.ended is not None
        self.assertIs(self.line.ended.reason, Reason.ASKS_AGAIN)

    def test_sent_already_now_and_then(self) -> None:
        """Who does so now and then, for however long, is just refused; so is one request for many streams at once."""
        self.line.send(*[wire.Graft([(*self.own, 1)])] * 2)
        for _ in range(2 * LAN.grafts_refused):
            self.line.send(*[wire.Graft([(*self.own, 1)] * LAN.grafts_refused)])
            self.stage.pass_time(LAN.grafts_again_interval)
        self.assertIsNone(self.line.ended)

    def test_level(self) -> None:
        """Who asks for what comes next gets just that, once it is there."""
        self.line.send(wire.Graft([(*self.own, 6)]))
        self.stage.pass_time(1)
        self.assertEqual(self.line.take_seqs(), [])
        self.stage.broadcast("f")
        self.assertEqual(self.line.take_seqs(), [6])

    def test_again(self) -> None:
        """A later GRAFT counts, and an earlier one is forgotten."""
        self.line.send(wire.Graft([(*self.own, 1)]), wire.Graft([(*self.own, 5)]))
        self.stage.pass_time(0)
        self.assertEqual(self.line.take_seqs(), [5])

    def test_again_and_again(self) -> None:
        """Who asks for the same a thousand times in one turn gets it once; later again what its link takes (row 86)."""
        self.line.send(*(wire.Graft([(*self.own, 1)], n) for n in range(1, 1001)))
        self.stage.pass_time(0.01)
        self.assertEqual(self.line.take_seqs(), [1, 2, 3, 4, 5])
        self.line.congest()
        for n in range(1001, 2001):
            self.line.send(wire.Graft([(*self.own, 1)], n))
            self.stage.pass_time(0.001)
        self.assertEqual(self.line.take_seqs(), [])

    def test_ahead_of_us(self) -> None:
        """Who asks for what we do not have ourselves is told what we have, and is pushed to once we are there."""
        self.line.send(wire.Graft([(*self.own, 8)]))
        self.stage.pass_time(0)
        [floor] = self.line.take_kind(wire.Floor)
        self.assertEqual(floor, wire.Floor(*self.own, 8, 1, 6))
        for text in "fgh":
            self.stage.broadcast(text)
        self.assertEqual(self.line.take_seqs(), [8])

    def test_behind_a_gap(self) -> None:
        """What we hold from before a gap of our own is no reason to ask us for what follows it (fuzz seed 301147)."""
        self.stage.core.spread.skip_to(self.own, 20)
        self.line.send(wire.Graft([(*self.own, 6)]))
        self.stage.pass_time(0)
        self.assertEqual(self.line.take_kind(wire.Floor), [wire.Floor(*self.own, 6, 20, 20)])

    def test_unknown_stream(self) -> None:
        """Who asks for a stream that we have never heard of is told that there is none of it."""
        stream = Puppet(0x30).stream
        self.line.send(wire.Graft([(*stream, 3)]))
        self.stage.pass_time(0)
        [floor] = self.line.take_kind(wire.Floor)
        self.assertEqual(floor, wire.Floor(*stream, 3, 1, 1))
        self.assertEqual(self.stage.core.spread.flows[self.line.number].cursor, {})

    def test_lost_from_the_log(self) -> None:
        """What retention has taken is answered by a FLOOR, and what is there by itself."""
        self.stage = Stage(attrs.evolve(LAN, retention_count=2))
        for text in "abcde":
            self.stage.broadcast(text)
        line, own = self.stage.befriend(Puppet(0x10)), self.stage.core.spread.own
        line.send(wire.Graft([(*own, 2)]))
        self.stage.pass_time(0)
        frames = line.take()
        self.assertEqual([f for f in frames if isinstance(f, wire.Floor)], [wire.Floor(*own, 2, 4, 6)])
        self.assertEqual(seqs_in(frames), [])
        line.send(wire.Graft([(*own, 4)]))
        self.stage.pass_time(0)
        self.assertEqual(line.take_seqs(), [4, 5])

    def test_stranger(self) -> None:
        """Only neighbours are served; anybody else's question is counted."""
        line = self.stage.meet(Puppet(0x20))
        line.send(wire.Graft([(OWN, self.own[1], 1)]))
        self.stage.pass_time(0)
        self.assertEqual((line.take_seqs(), self.stage.counts["graft_by_stranger"]), ([], 1))

    def test_congested(self) -> None:
        """Who asks and does not read is served once it does."""
        self.line.congest()
        self.line.send(wire.Graft([(*self.own, 1)]))
        self.stage.pass_time(0)
        self.assertEqual(self.line.take_seqs(), [])
        self.line.drain()
        self.stage.pass_time(0)
        self.assertEqual(self.line.take_seqs(), [1, 2, 3, 4, 5])
