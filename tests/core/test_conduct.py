"""Penalties and bans."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import Line, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Banned, Hangup, Reason
from twisted_p2p.core.config import LAN
from twisted_p2p.core.link import Purpose

ALICE, BOB = Puppet(0x10), Puppet(0x20)
JUNK = b"junk"


class ConductCase(SynchronousTestCase):
    """A peer among others, some of whom break the rules."""

    def setUp(self) -> None:
        """With the settings as they are."""
        self.stage = Stage()

    def evolve(self, **settings: Any) -> None:
        """With other settings."""
        self.stage = Stage(attrs.evolve(LAN, **settings))

    def offend(self, puppet: Puppet, times: int, host: str = "") -> Line:
        """It breaks the rules, and comes again."""
        for _ in range(times):
            line = self.stage.meet(puppet, host=host)
            line.send_lines(JUNK)
            self.assertEqual(line.ended and line.ended.reason, Reason.BAD_FRAME)
        return line

    def refusal(self, puppet: Puppet, host: str = "") -> str:
        """What it is told when it comes, instead of a HELLO; "" if it is let in."""
        line = self.stage.connect(puppet, host=host)
        line.send(line.hello())
        return "".join(frame.reason for frame in line.take() if isinstance(frame, wire.Bye))


class BanTests(ConductCase):
    """Who breaks the rules again and again is not let in for a while."""

    def test_third_offence(self) -> None:
        """Two are forgiven, the third is not; it is told why, and the application until when."""
        self.offend(ALICE, 2)
        self.assertEqual((self.refusal(ALICE), self.stage.bans), ("", []))
        self.offend(ALICE, 1)
        self.assertEqual(self.stage.bans, [Banned(ALICE.peer, self.stage.now + LAN.ban_time, "bad-frame")])
        self.assertEqual(self.refusal(ALICE), "banned")
        self.assertEqual(self.refusal(BOB), "")

    def test_ends(self) -> None:
        """After its time it is let in."""
        self.offend(ALICE, 3)
        self.stage.pass_time(LAN.ban_time - 1)
        self.assertEqual(self.refusal(ALICE), "banned")
        self.stage.pass_time(2)
        self.assertEqual(self.refusal(ALICE), "")

    def test_twice_as_long(self) -> None:
        """Each ban is twice as long as the one before, up to a longest; after that time it counts no more."""
        self.evolve(ban_max=3 * LAN.ban_time)
        terms = []
        for _ in range(4):
            self.offend(ALICE, 3)
            terms.append(self.stage.bans[-1].until - self.stage.now)
            self.stage.pass_time(terms[-1] + 1)
        self.assertEqual(terms, [LAN.ban_time, 2 * LAN.ban_time, 3 * LAN.ban_time, 3 * LAN.ban_time])
        self.stage.pass_time(3 * LAN.ban_time + 1)
        self.offend(ALICE, 3)
        self.assertEqual(self.stage.bans[-1].until - self.stage.now, LAN.ban_time)

    def test_decays(self) -> None:
        """Who breaks the rules now and then is not banned."""
        for _ in range(20):
            self.offend(ALICE, 1)
            self.stage.pass_time(LAN.penalty_half_life)
        self.assertEqual(self.stage.bans, [])

    def test_not_asked(self) -> None:
        """We do not ask it to be our neighbour either."""
        self.offend(ALICE, 3)
        self.stage.befriend(BOB).send(wire.JoinedInNetwork(ALICE.record()))
        self.stage.pass_time(LAN.probe_interval * 10)
        attempts = self.stage.core.links._attempts.values()
        purposes = {attempt.purpose for attempt in attempts if attempt.peer == ALICE.peer}
        self.assertEqual(purposes, {Purpose.PROBE})

    def test_unproven_key(self) -> None:
        """What somebody does in another's name, without its key, is not held against that one."""
        for _ in range(10):
            line = self.stage.connect(BOB)
            line.send(line.hello())
            line.send(wire.Proof("0" * 128))
            self.assertEqual(line.ended and line.ended.reason, Reason.BAD_SIGNATURE)
        self.assertEqual((self.refusal(BOB), self.stage.bans), ("", []))

    def test_proven_by_the_connection(self) -> None:
        """Where the connection proves the key, who is banned is told so before it has said a word, and can offend no
        more."""
        self.offend(ALICE, 3)
        line = self.stage.connect(ALICE)
        self.stage.perform(self.stage.core.link_secured(line.number, ALICE.peer, self.stage.now))
        self.assertEqual(line.take(), [wire.Bye("banned")])
        self.assertEqual(line.ended and line.ended.reason, Reason.BANNED)
        self.assertEqual(len(self.stage.bans), 1)
        other = self.stage.connect(BOB)
        self.stage.perform(self.stage.core.link_secured(other.number, BOB.peer, self.stage.now))
        self.assertIsNone(other.ended)

    def test_bounded(self) -> None:
        """The list of bans, and that of penalties, have room for so many; what matters least gives way."""
        self.evolve(bans_max=2, penalties_max=3)
        for number in range(1, 9):
            self.offend(Puppet(number), 1)
        self.assertEqual(len(self.stage.core.conduct._points), 3)
        for number in range(1, 5):
            self.offend(Puppet(number), 3)
            self.stage.pass_time(1)
        self.assertEqual([self.refusal(Puppet(number)) for number in (1, 2, 3, 4)], ["", "", "banned", "banned"])
        self.assertEqual([*self.stage.core.conduct._terms], [Puppet(number).peer for number in (2, 3, 4)])


class AddressTests(ConductCase):
    """Many keys behind one address."""

    def test_address(self) -> None:
        """It is banned after so many more offences, by whatever keys, and then refused before a word is heard."""
        for number in range(1, 25):
            self.offend(Puppet(number), 1, host="192.0.2.1")
        self.assertEqual(self.stage.bans, [])
        self.offend(Puppet(25), 1, host="192.0.2.1")
        self.assertEqual([ban.subject for ban in self.stage.bans], ["192.0.2.1"])
        line = self.stage.connect(BOB, host="192.0.2.1")
        self.assertEqual((line.ended, line.written), (Hangup(line.number, Reason.TOO_MANY, abort=True), []))
        self.assertEqual(self.refusal(BOB, host="192.0.2.2"), "")

    def test_silence(self) -> None:
        """Connections that never say a word count, too, a little."""
        self.evolve(penalty_half_life=1e9)
        for _ in range(251):
            self.assertEqual(self.stage.bans, [])
            self.stage.connect(BOB, host="192.0.2.1")
            self.stage.pass_time(LAN.handshake_timeout / 2)
        self.stage.pass_time(LAN.handshake_timeout * 2)
        self.assertEqual([ban.subject for ban in self.stage.bans], ["192.0.2.1"])

    def test_this_machine(self) -> None:
        """This machine's address is never banned: other programs on it have done nothing."""
        for number in range(1, 80):
            self.offend(Puppet(number), 1, host="127.0.0.1")
        self.assertEqual(self.stage.bans, [])
        self.assertEqual(self.refusal(BOB, host="127.0.0.1"), "")

    def test_own_address(self) -> None:
        """Nor is our own, which others on this machine have, or behind the same router."""
        own = self.stage.core.membership.own.ip_addr
        for number in range(1, 80):
            self.offend(Puppet(number), 1, host=own)
        self.assertEqual((self.stage.bans, self.refusal(BOB, host=own)), ([], ""))

    def test_shared_address(self) -> None:
        """Nor is one at which a peer is said to be, and nothing is held against it: others there are banned by key."""
        self.stage.befriend(BOB).send(wire.JoinedInNetwork(ALICE.record(address=("192.0.2.1", 5050))))
        for number in range(1, 9):
            self.offend(Puppet(number), 3, host="192.0.2.1")
        self.assertEqual({ban.subject for ban in self.stage.bans}, {Puppet(number).peer for number in range(1, 9)})
        self.offend(Puppet(9), 3, host="192.0.2.1")
        self.assertEqual(self.refusal(ALICE, host="192.0.2.1"), "")
        self.offend(ALICE, 1, host="192.0.2.1")
        self.assertEqual(self.stage.bans[-1].subject, "192.0.2.1")

    def test_dialled(self) -> None:
        """What is found at an address that others told is not held against that address, where it is no peer."""
        self.stage.befriend(BOB)
        for number in range(1, 60):
            self.stage.core.links.dial(Purpose.PROBE, ("192.0.2.1", 22), Puppet(number).peer)
            self.stage.perform(self.stage.core.wake(self.stage.now))
            dial = self.stage.take_dials()[-1]
            line = self.stage.connect(ALICE, dial, host="192.0.2.1")
            line.send_lines(b"SSH-2.0-OpenSSH_9.2")
            self.assertEqual(line.ended and line.ended.reason, Reason.BAD_FRAME)
            self.stage.pass_time(1)
        self.assertEqual((self.stage.bans, self.refusal(ALICE, host="192.0.2.1")), ([], ""))


class SetTests(ConductCase):
    """What the user, or an earlier life, has banned."""

    def test_set(self) -> None:
        """Whoever is on the list loses its links, and is refused; whoever is not starts anew."""
        self.offend(ALICE, 3)
        line = self.stage.befriend(BOB)
        until = self.stage.now + 60
        self.stage.perform(self.stage.core.set_bans({BOB.peer: until}, self.stage.now))
        self.assertEqual(line.ended and line.ended.reason, Reason.BANNED)
        self.assertEqual((self.refusal(BOB), self.refusal(ALICE)), ("banned", ""))
        self.offend(ALICE, 2)
        self.assertEqual(len(self.stage.bans), 1)

    def test_who_bans_us_is_there(self) -> None:
        """A peer that has banned us is not dead for that: nobody is told so."""
        self.stage.meet(BOB).send(wire.JoinedInNetwork(ALICE.record()))
        for _ in range(200):
            self.stage.pass_time(LAN.probe_interval / 10)
            for dial in self.stage.take_dials():
                if (dial.host, dial.port) == ALICE.address:
                    self.stage.connect(ALICE, dial).send(wire.Bye("banned"))
        self.assertTrue(self.stage.core.membership.is_alive(ALICE.peer))
        self.assertEqual(self.stage.core.detection.suspicions, {})
