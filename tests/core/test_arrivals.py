"""Arrivals: at each bound, below and above it."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import Line, Puppet, Stage
from twisted_p2p.core.actions import Hangup, Reason
from twisted_p2p.core.config import LAN


class ArrivalCase(SynchronousTestCase):
    """A peer that others connect to."""

    def stage(self, **settings: Any) -> Stage:
        """With these settings."""
        return Stage(attrs.evolve(LAN, **settings))

    def ended(self, *lines: Line) -> list[Reason | None]:
        """How these have ended."""
        return [None if line.ended is None else line.ended.reason for line in lines]


class HostTests(ArrivalCase):
    """Links from one address, and from one range of them."""

    def test_host(self) -> None:
        """So many links from one address; then each newcomer takes the place of the eldest that is not open."""
        stage = self.stage(max_links_host=3)
        one = stage.meet(Puppet(1), host="192.0.2.1")
        two, three = (stage.connect(Puppet(number), host="192.0.2.1") for number in (2, 3))
        self.assertEqual(self.ended(one, two, three), [None] * 3)
        four = stage.connect(Puppet(4), host="192.0.2.1")
        self.assertEqual(self.ended(one, two, three, four), [None, Reason.TOO_MANY, None, None])
        other = stage.connect(Puppet(5), host="192.0.2.2")
        self.assertEqual(self.ended(one, three, four, other), [None] * 4)

    def test_neighbours_stay(self) -> None:
        """Where all are neighbours it is the newcomer that goes."""
        stage = self.stage(max_links_host=2)
        lines = [stage.meet(Puppet(number), host="192.0.2.1") for number in (1, 2)]
        for line in lines:
            self.assertTrue(line.become_neighbour())
        newcomer = stage.connect(Puppet(3), host="192.0.2.1")
        self.assertEqual(self.ended(*lines, newcomer), [None, None, Reason.TOO_MANY])

    def test_group(self) -> None:
        """So many from one /24 or /64."""
        for hosts in (("192.0.2.{}", "192.0.3.1"), ("2001:db8::{}", "2001:db8:0:1::1")):
            stage = self.stage(max_links_group=3)
            lines = [stage.connect(Puppet(number), host=hosts[0].format(number)) for number in (1, 2, 3)]
            self.assertEqual(self.ended(*lines), [None] * 3)
            stage.connect(Puppet(9), host=hosts[1])
            self.assertEqual(self.ended(*lines), [None] * 3)
            stage.connect(Puppet(4), host=hosts[0].format(4))
            self.assertEqual(self.ended(*lines), [Reason.TOO_MANY, None, None])

    def test_this_machine(self) -> None:
        """Programs on this machine share an address, and do not count as one."""
        stage = self.stage(max_links_host=2, max_links_group=2, arrivals_burst=2)
        lines = [stage.connect(Puppet(number), host="127.0.0.1") for number in range(1, 9)]
        self.assertEqual(self.ended(*lines), [None] * 8)

    def test_own_address(self) -> None:
        """Nor do those that share our own address: others on this machine, or behind the same router."""
        stage = self.stage(max_links_host=2, max_links_group=2, arrivals_burst=2)
        own = stage.core.membership.own.ip_addr
        lines = [stage.connect(Puppet(number), host=own) for number in range(1, 9)]
        self.assertEqual(self.ended(*lines), [None] * 8)

    def test_place_is_given_back(self) -> None:
        """Who has gone does not count any more."""
        stage = self.stage(max_links_host=1)
        for number in range(1, 5):
            line = stage.connect(Puppet(number), host="192.0.2.1")
            self.assertIsNone(line.ended)
            line.close()


class HandshakeTests(ArrivalCase):
    """Handshakes in flight."""

    def test_eldest_goes(self) -> None:
        """Over the bound who waits longest goes, and whoever is open stays."""
        stage = self.stage(max_handshakes=2)
        opened = [stage.meet(Puppet(number)) for number in (1, 2, 3)]
        slow = [stage.connect(Puppet(number)) for number in (4, 5)]
        self.assertEqual(self.ended(*opened, *slow), [None] * 5)
        newcomer = stage.meet(Puppet(6))
        self.assertEqual(self.ended(*opened, *slow, newcomer), [None, None, None, Reason.TOO_MANY, None, None])

    def test_most_crowded_goes(self) -> None:
        """Who comes from elsewhere is not pushed out by a range that sends many."""
        stage = self.stage(max_handshakes=4)
        honest = stage.connect(Puppet(1), host="198.51.100.1")
        many = [stage.connect(Puppet(number), host=f"192.0.2.{number}") for number in range(2, 30)]
        self.assertIsNone(honest.ended)
        self.assertEqual(self.ended(*many[:-3]), [Reason.TOO_MANY] * 25)
        self.assertEqual(self.ended(*many[-3:]), [None] * 3)


class RateTests(ArrivalCase):
    """Connections one after another."""

    def test_rate(self) -> None:
        """An address that comes too often is sent away unheard, until it has rested."""
        stage = self.stage(arrivals_burst=3, arrivals_interval=10.0)
        for number in (1, 2, 3):
            line = stage.connect(Puppet(number), host="192.0.2.1")
            self.assertIsNone(line.ended)
            line.close()
        line = stage.connect(Puppet(4), host="192.0.2.1")
        self.assertEqual((line.ended, line.written), (Hangup(line.number, Reason.TOO_MANY, abort=True), []))
        self.assertIsNone(stage.connect(Puppet(5), host="192.0.2.2").ended)
        stage.pass_time(10.5)
        self.assertIsNone(stage.connect(Puppet(6), host="192.0.2.1").ended)


class AllTests(ArrivalCase):
    """Links in all."""

    def test_crowd_pays(self) -> None:
        """One of the range that has most links goes, and no other."""
        stage = self.stage(max_links=5)
        honest = [stage.meet(Puppet(number), host=f"198.51.{number}.1") for number in (1, 2)]
        many = [stage.connect(Puppet(number), host="192.0.2.1") for number in range(10, 20)]
        self.assertEqual(self.ended(*honest), [None, None])
        self.assertEqual(len(stage.core.links.by_id), 5)
        self.assertEqual(self.ended(*many), [Reason.TOO_MANY] * 7 + [None] * 3)

    def test_only_neighbours(self) -> None:
        """Neighbours are not given up for strangers."""
        stage = self.stage(max_links=2, active_max=2)
        lines = [stage.befriend(Puppet(number)) for number in (1, 2)]
        newcomer = stage.connect(Puppet(3))
        self.assertEqual(self.ended(*lines, newcomer), [None, None, Reason.TOO_MANY])
