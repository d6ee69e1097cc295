"""Promises: who tells of bundles, and sends none when asked, is asked last, and left in the end."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import Line, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Reason
from twisted_p2p.core.config import LAN

CAROL, DAVE = Puppet(0x30), Puppet(0x48)


class PromisesCase(SynchronousTestCase):
    """A peer with two neighbours."""

    def setUp(self) -> None:
        """Both are level with it."""
        self.stage = Stage()
        self.one, self.two = self.stage.befriend(Puppet(0x10)), self.stage.befriend(Puppet(0x11))
        self.seq = 0

    def tell(self, *lines: Line) -> None:
        """These are one further in Carol's stream."""
        self.seq += 1
        for line in lines:
            line.take_all()
            line.send(wire.Frontier([(*CAROL.stream, self.seq + 1)]))

    def was_asked(self, line: Line) -> bool:
        """Whether a link was asked for anything since its frames were last taken."""
        return any(frame.streams for frame in line.take_kind(wire.Graft) if isinstance(frame, wire.Graft))

    def doubt(self, line: Line) -> float:
        """What is held against a link."""
        return self.stage.core.promises.doubt(line.number)


class BrokenTests(PromisesCase):
    """A neighbour tells of bundles, and sends none."""

    def break_one(self) -> None:
        """It does so once more; the other neighbour has the bundle."""
        self.tell(self.one)
        self.stage.pass_time(LAN.ping_timeout / 2)
        self.stage.pass_time(LAN.ping_timeout)

    def test_left(self) -> None:
        """After five times it is hung up on, and not asked to be a neighbour for a while (row 85)."""
        for _ in range(20):
            if self.one.ended is not None:
                break
            self.break_one()
        assert self.one.ended is not None
        self.assertIs(self.one.ended.reason, Reason.BROKEN_PROMISE)
        self.assertGreaterEqual(self.stage.counts["broken_promises"], LAN.promises_max)
        self.assertTrue(self.stage.core.overlay._is_faulty(self.one.puppet.peer))
        self.assertIsNone(self.two.ended)

    def test_not_forgotten_by_a_new_link(self) -> None:
        """A new link of the same peer is no new beginning; time is."""
        self.break_one()
        before = self.doubt(self.one)
        self.assertGreater(before, 0)
        self.one.close()
        self.one = self.stage.befriend(Puppet(0x10))
        self.assertGreater(self.doubt(self.one), 0)
        self.stage.pass_time(2 * LAN.promises_decay)
        self.assertEqual(self.doubt(self.one), 0)

    def test_asked_last(self) -> None:
        """Of two that tell of the same the one is asked that has kept its word (row 85)."""
        self.break_one()
        self.two.send_lines(CAROL.bundle(1))
        for _ in range(10):
            self.tell(self.one, self.two)
            self.stage.pass_time(1.5 * LAN.graft_timeout + 0.1)
            self.assertEqual((self.was_asked(self.one), self.was_asked(self.two)), (False, True))
            self.two.send_lines(CAROL.bundle(self.seq))
            self.one.send(wire.Frontier([(*CAROL.stream, self.seq + 1)]))


class KeptTests(PromisesCase):
    """A neighbour is slow, or has not what it is asked for, and says so."""

    def answer(self, *lines: bytes) -> None:
        """The one neighbour tells of bundles, and answers just before it is too late."""
        self.tell(self.one)
        self.stage.pass_time(LAN.ping_timeout - 0.5)
        self.one.send_lines(*lines)
        self.stage.pass_time(LAN.ping_timeout)
        self.assertEqual(self.stage.counts["broken_promises"], 0)

    def test_late(self) -> None:
        """A late bundle keeps it."""
        self.answer(CAROL.bundle(1))

    def test_came_from_another(self) -> None:
        """So does one that another neighbour has brought meanwhile."""
        self.tell(self.one)
        self.stage.pass_time(2 * LAN.graft_timeout)
        self.two.send_lines(CAROL.bundle(1))
        self.one.send_lines(CAROL.bundle(1))
        self.stage.pass_time(2 * LAN.ping_timeout)
        self.assertEqual((self.doubt(self.one), self.stage.counts["broken_promises"]), (0, 0))

    def test_serves(self) -> None:
        """While it brings other bundles those that it is asked for may wait behind them."""
        self.tell(self.one)
        self.one.send(wire.Frontier([(DAVE.peer, 7, 9)]))
        for seq in range(1, 9):
            self.stage.pass_time(LAN.ping_timeout / 2)
            self.one.send_lines(DAVE.bundle(seq))
        self.assertEqual(self.stage.counts["broken_promises"], 0)
        self.stage.pass_time(2 * LAN.ping_timeout)
        self.assertEqual(self.stage.counts["broken_promises"], 1)

    def test_floor(self) -> None:
        """So does the word that it is gone."""
        self.answer(wire.encode(wire.Floor(*CAROL.stream, 1, 2, 2)))

    def test_makes_up(self) -> None:
        """Each that is kept makes up for one that was broken."""
        self.tell(self.one)
        self.stage.pass_time(2 * LAN.ping_timeout)
        self.assertGreater(self.doubt(self.one), 0)
        self.tell(self.one)
        self.stage.pass_time(2 * LAN.graft_timeout)
        self.one.send_lines(CAROL.bundle(1))
        self.assertEqual(self.doubt(self.one), 0)

    def test_we_stood_still(self) -> None:
        """While we stand still ourselves nobody breaks any."""
        self.tell(self.one)
        self.stage.pass_time(2 * LAN.graft_timeout)
        self.stage.stand_still(60)
        self.stage.pass_time(1)
        self.assertEqual(self.stage.counts["broken_promises"], 0)


class UntrueTests(PromisesCase):
    """Neighbours say that what comes next is gone, of a stream whose origin lives."""

    def test_doubted(self) -> None:
        """Who says so again and again is asked last, and not left: where logs have forgotten it, everybody says so."""
        self.stage = Stage(attrs.evolve(LAN, gap_patience=5.0))
        self.one = self.stage.befriend(Puppet(0x10))
        self.one.send(wire.JoinedInNetwork(CAROL.record()))
        for _ in range(200):
            self.one.send(wire.Frontier([(*CAROL.stream, 9)]))
            self.stage.pass_time(0.5)
            if self.was_asked(self.one):
                self.one.send(wire.Floor(*CAROL.stream, 1, 9, 9))
        self.assertGreater(self.doubt(self.one), 0)
        self.assertLess(self.doubt(self.one), LAN.promises_max)
        self.assertEqual((self.one.ended, self.stage.gaps), (None, []))
