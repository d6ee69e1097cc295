"""What is dialled on the word of others."""

from __future__ import annotations

import random

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import BEGINNING, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.config import LAN
from twisted_p2p.core.dials import Dials
from twisted_p2p.core.turn import Turn

CONFIG = attrs.evolve(
    LAN, vain_dials_burst=3, vain_dials_interval=5.0, vain_dials_total_burst=7, vain_dials_total_interval=2.0
)
VICTIM = "198.51.100.7"


class RationTests(SynchronousTestCase):
    """How often."""

    def setUp(self) -> None:
        """A peer in a range of its own."""
        self.turn = Turn(CONFIG, random.Random(1))
        self.turn.timers.advance(BEGINNING, 1e9)
        self.dials = Dials(self.turn, lambda: "192.0.2.1")

    def dial_all(self, *hosts: str) -> int:
        """Dial these in vain; how many of them we may."""
        done = 0
        for host in hosts:
            if self.dials.may(host):
                self.dials.begun(host)
                done += 1
        return done

    def test_of_a_range(self) -> None:
        """Up to the bound, and no more, to one /24, whichever hosts there; then one each interval (case 42)."""
        hosts = [f"198.51.100.{number}" for number in range(1, 101)]
        self.assertEqual(self.dial_all(*hosts), 3)
        self.turn.timers.advance(BEGINNING + 4.9, 1e9)
        self.assertEqual(self.dial_all(*hosts), 0)
        self.turn.timers.advance(BEGINNING + 5.0, 1e9)
        self.assertEqual(self.dial_all(*hosts), 1)
        self.dials.expire()
        self.assertEqual(self.dial_all(*hosts), 0)

    def test_in_all(self) -> None:
        """Up to the bound to all ranges together."""
        hosts = [f"66.{number}.1.1" for number in range(100)]
        self.assertEqual(self.dial_all(*hosts), 7)
        self.assertFalse(self.dials.may_any())
        self.turn.timers.advance(BEGINNING + 2.0, 1e9)
        self.assertTrue(self.dials.may_any())
        self.assertEqual(self.dial_all(*hosts), 1)

    def test_found(self) -> None:
        """Dials that find whom they are for cost nothing."""
        for _ in range(100):
            self.assertEqual(self.dial_all(VICTIM), 1)
            self.dials.found(VICTIM)

    def test_own_range(self) -> None:
        """Those to our own range, and to this machine, are not counted."""
        hosts = [f"192.0.2.{number}" for number in range(100)] + ["127.0.0.1"] * 100
        self.assertEqual(self.dial_all(*hosts), 200)
        self.assertEqual(self.dial_all(VICTIM), 1)

    def test_many_records(self) -> None:
        """The dials a minute at somebody who is no peer are as many for a thousand records as for some (case 42)."""
        dials = []
        for records in (1, 10, 100, 500):
            stage = Stage(seed=records)
            line = stage.befriend(Puppet(0x10))
            for number in range(records):
                puppet = Puppet(0x20)
                puppet.signer.peer = puppet.peer = f"{number:08x}" * 8
                puppet.address = VICTIM, 1000 + number
                line.send(wire.JoinedInNetwork(puppet.record()))
            begin, count = stage.now, 0
            while stage.now < begin + 60:
                stage.pass_time(0.1)
                for dial in stage.take_dials():
                    count += dial.host == VICTIM
                    stage.fail(dial)
            dials.append(count)
            print("DIALS", records, count)
        self.assertLessEqual(max(dials), LAN.vain_dials_burst + 60 / LAN.vain_dials_interval)
        self.assertGreaterEqual(min(dials), 1)


class SenseTests(SynchronousTestCase):
    """Which addresses."""

    def may(self, own: str, *hosts: str) -> list[bool]:
        """For each of these hosts whether a peer at `own` dials it on the word of others."""
        dials = Dials(Turn(LAN, random.Random(1)), lambda: own)
        return [dials.is_sense(host) for host in hosts]

    def test_nobodys(self) -> None:
        """Nobody dials what is no single host's (case 36)."""
        hosts = ("0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:0.0.0.0", "240.0.0.1")
        for own in ("127.0.0.1", "10.0.0.1", "8.8.8.8"):
            self.assertEqual(self.may(own, *hosts), [False] * len(hosts))

    def test_private(self) -> None:
        """Who listens on a public address does not dial private ones; who does not, may live there (case 42)."""
        private = ("10.0.0.1", "192.168.1.1", "127.0.0.1", "::1", "169.254.169.254", "fe80::1", "::ffff:10.0.0.1")
        for own in ("8.8.8.8", "2606:4700::1"):
            self.assertEqual(self.may(own, *private), [False] * len(private))
            self.assertEqual(self.may(own, "9.9.9.9", "a.example"), [True, True])
        for own in ("127.0.0.1", "192.168.1.2", "a.example"):
            self.assertEqual(self.may(own, *private, "9.9.9.9"), [True] * 8)

    def test_as_if_unreachable(self) -> None:
        """A peer that says it is at such an address is found to have failed, and not a connection is tried."""
        stage = Stage()
        line = stage.befriend(Puppet(0x10))
        ghost = Puppet(0x20)
        ghost.address = "0.0.0.0", 5050
        line.send(wire.JoinedInNetwork(ghost.record()))
        self.assertTrue(stage.core.membership.is_alive(ghost.peer))
        for _ in range(300):
            stage.pass_time(0.2)
            for suspect in line.take_kind(wire.Suspect):
                assert isinstance(suspect, wire.Suspect)
                line.send(wire.Verdict(suspect.peer, suspect.incarnation, False))
        self.assertEqual([dial.host for dial in stage.take_dials() if dial.host == "0.0.0.0"], [])
        self.assertTrue(stage.core.membership.has_failed(ghost.peer))
