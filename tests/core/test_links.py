"""Connections: who gets in, who is dropped, when, and what the other end is told."""

from __future__ import annotations

import random

import attrs
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import NETWORK, OWN, Line, Puppet, Stage, peer_id
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Dial, Hangup, Kind, Reason, Write
from twisted_p2p.core.config import LAN
from twisted_p2p.core.peer import PeerCore
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.sim.signing import CheapSigner, CheapVerifier

PING_TIMEOUT = LAN.ping_interval * 1.2 + LAN.ping_timeout
UNNOTICED = LAN.refill_interval * 1.2
"""Of a stop only what follows the first deadline is noticed; there is always one within this time."""


class LinkCase(SynchronousTestCase):
    """What the tests of links have in common."""

    def setUp(self) -> None:
        """A genesis, and a puppet."""
        self.stage = Stage()
        self.puppet = Puppet(0x10)

    def check_ended(self, line: Line, reason: Reason, said: bool = True) -> None:
        """The core has hung up, and has told the other end why if `said`."""
        self.assertIsNotNone(line.ended)
        assert line.ended is not None
        self.assertEqual(line.ended.reason, reason)
        byes = [frame.reason for frame in line.peek() if isinstance(frame, wire.Bye)]
        self.assertEqual(byes, [reason.value] if said else [])
        self.assertNotIn(line.number, self.stage.core.links.by_id)

    def check_open(self, line: Line) -> None:
        """The link is open."""
        self.assertIsNone(line.ended)
        self.assertTrue(self.stage.core.links.by_id[line.number].is_open)


class HandshakeTests(LinkCase):
    """Two HELLOs and two proofs open a link."""

    def test_inbound(self) -> None:
        """Who connects speaks first; we answer with our HELLO and proof, and open once we have the other's."""
        line = self.stage.connect(self.puppet)
        self.assertEqual(line.take(), [])
        line.send(line.hello())
        hello, proof = line.take()
        assert isinstance(hello, wire.Hello) and isinstance(proof, wire.Proof)
        self.assertEqual((hello.version, hello.network, hello.record.peer), (wire.VERSION, NETWORK, OWN))
        self.assertEqual((hello.record.ip_addr, hello.record.port), self.stage.address)
        data = wire.proof_bytes(NETWORK, OWN, self.puppet.peer, line.nonce, hello.nonce)
        self.assertTrue(CheapVerifier().verify(OWN, data, proof.sig))
        self.assertFalse(self.stage.core.links.by_id[line.number].is_open)
        line.send(self.puppet.proof(OWN, hello.nonce, line.nonce))
        self.check_open(line)

    def test_outbound(self) -> None:
        """Who dials speaks first."""
        other = Puppet(0x20)
        self.stage.befriend(self.puppet).send(wire.JoinedInNetwork(other.record()))
        self.stage.pass_time(2)
        [dial] = self.stage.take_dials()
        self.assertEqual((dial.host, dial.port), other.address)
        line = self.stage.connect(other, dial)
        [hello] = line.take()
        assert isinstance(hello, wire.Hello)
        line.send(line.hello(), other.proof(OWN, hello.nonce, line.nonce))
        self.assertIsInstance(line.take()[0], wire.Proof)
        self.check_open(line)

    def test_nonces_differ(self) -> None:
        """No two links have the same nonce, so no proof is good for two."""
        nonces = []
        for number in range(1, 20):
            line = self.stage.connect(Puppet(number))
            line.send(line.hello())
            nonces += [frame.nonce for frame in line.take_kind(wire.Hello) if isinstance(frame, wire.Hello)]
        self.assertEqual(len(set(nonces)), 19)

    def test_stranger_is_no_member(self) -> None:
        """A newcomer that has not joined yet is not in our directory."""
        self.stage.meet(self.puppet, baseline=False)
        self.assertNotIn(self.puppet.peer, self.stage.core.membership.entries)

    def test_member_is_learnt(self) -> None:
        """A member of whom we had not heard is in our directory as soon as it has proved its key."""
        line = self.stage.connect(self.puppet)
        line.send(line.hello())
        self.assertNotIn(self.puppet.peer, self.stage.core.membership.entries)
        [hello] = line.take_kind(wire.Hello)
        assert isinstance(hello, wire.Hello)
        line.send(self.puppet.proof(OWN, hello.nonce, line.nonce))
        self.assertTrue(self.stage.core.membership.is_alive(self.puppet.peer))
        self.assertEqual(self.stage.told(Kind.JOINED), [(Kind.JOINED, self.puppet.peer)])

    def test_deadline(self) -> None:
        """Who connects and does not introduce itself is dropped after the handshake time-out, not before."""
        line = self.stage.connect(self.puppet)
        self.stage.pass_time(LAN.handshake_timeout - 0.01)
        self.assertIsNone(line.ended)
        self.stage.pass_time(0.02)
        self.check_ended(line, Reason.HANDSHAKE_TIMEOUT)

    def test_deadline_without_proof(self) -> None:
        """Who says HELLO, or talks in words that we do not know, but proves nothing, is dropped as soon."""
        line = self.stage.connect(self.puppet)
        line.send(line.hello())
        line.take()
        for _ in range(10):
            self.stage.pass_time(LAN.handshake_timeout / 10)
            line.send_lines(b'{"title":"#NEWS"}')
        self.check_ended(line, Reason.HANDSHAKE_TIMEOUT)

    def test_deadline_is_over(self) -> None:
        """An open link is not subject to the handshake's deadline."""
        line = self.stage.befriend(self.puppet)
        self.stage.pass_time(LAN.handshake_timeout + 1)
        self.check_open(line)


class RefusalTests(LinkCase):
    """Who does not keep to the handshake is dropped, and told why."""

    def say(self, **changes: object) -> Line:
        """Connect, and say a HELLO with these changes."""
        line = self.stage.connect(self.puppet)
        line.send(msgspec.structs.replace(line.hello(), **changes))  # type: ignore[arg-type]
        return line

    def test_wrong_version(self) -> None:
        """A peer of another version of the protocol is told so."""
        for version in (0, 2, 2**53 - 1):
            self.check_ended(self.say(version=version), Reason.WRONG_VERSION)

    def test_wrong_network(self) -> None:
        """A peer of another network is told so."""
        self.check_ended(self.say(network="other"), Reason.WRONG_NETWORK)

    def test_own_id(self) -> None:
        """Who has reached itself hears so, and is not told of as a peer."""
        line = self.stage.connect(Puppet(0x80))
        line.send(line.hello())
        self.check_ended(line, Reason.OWN_ADDRESS)
        self.assertEqual(self.stage.told(Kind.JOINED, Kind.LINK_UP), [])

    def test_bad_record(self) -> None:
        """A record that its peer did not sign is refused before anything is said to it."""
        for change in ({"peer": peer_id(0x20)}, {"port": 1}, {"incarnation": 9}, {"sig": "0" * 128}):
            record = msgspec.structs.replace(self.puppet.record(), **change)  # type: ignore[arg-type]
            line = self.say(record=record)
            self.assertEqual([type(frame) for frame in line.peek()], [wire.Bye])
            self.check_ended(line, Reason.BAD_SIGNATURE)

    def test_record_of_another_network(self) -> None:
        """A record signed for another network is refused, though the HELLO names ours."""
        self.check_ended(self.say(record=Puppet(0x10, "other").record()), Reason.BAD_SIGNATURE)

    def test_bad_proof(self) -> None:
        """Who can't prove its key is dropped."""
        line = self.stage.connect(self.puppet)
        line.send(line.hello())
        line.take()
        line.send(wire.Proof("0" * 128))
        self.check_ended(line, Reason.BAD_SIGNATURE)

    def test_replayed_proof(self) -> None:
        """A proof that was overheard on one link is worth nothing on the next."""
        first = self.stage.connect(self.puppet)
        first.send(first.hello())
        [hello] = first.take_kind(wire.Hello)
        assert isinstance(hello, wire.Hello)
        proof = self.puppet.proof(OWN, hello.nonce, first.nonce)
        first.send(proof)
        self.check_open(first)
        second = self.stage.connect(self.puppet)
        second.nonce = first.nonce
        second.send(second.hello(), proof)
        self.check_ended(second, Reason.BAD_SIGNATURE)
        self.check_open(first)

    def test_proof_for_another(self) -> None:
        """A proof that was given to another peer is worth nothing to us, nor is our own sent back."""
        for judge, prover in ((peer_id(0x20), self.puppet), (self.puppet.peer, Puppet(0x80))):
            line = self.stage.connect(self.puppet)
            line.send(line.hello())
            [hello] = line.take_kind(wire.Hello)
            assert isinstance(hello, wire.Hello)
            line.send(prover.proof(judge, hello.nonce, line.nonce))
            self.check_ended(line, Reason.BAD_SIGNATURE)

    def test_reflected_proof(self) -> None:
        """Who sends our own proof back proves nothing."""
        line = self.stage.connect(self.puppet)
        line.send(line.hello())
        [proof] = line.take_kind(wire.Proof)
        line.send(proof)
        self.check_ended(line, Reason.BAD_SIGNATURE)

    def test_proof_first(self) -> None:
        """A proof before the HELLO is a fault."""
        line = self.stage.connect(self.puppet)
        line.send(wire.Proof("0" * 128))
        self.check_ended(line, Reason.BAD_FRAME)

    def test_second_hello(self) -> None:
        """A peer introduces itself once; a second HELLO ends the link, and nothing becomes of it."""
        line = self.stage.connect(self.puppet)
        line.send(line.hello())
        line.take()
        line.send(line.hello())
        self.check_ended(line, Reason.BAD_FRAME)

    def test_hello_and_proof_after_data(self) -> None:
        """On an open link there is neither a HELLO nor a proof any more; the link ends, and the directory stays."""
        root = None
        for number, frame in enumerate([self.puppet.record(5), None]):
            line = self.stage.meet(self.puppet)
            root = root or self.stage.core.membership.digest.root()
            line.send(wire.Ping(1))
            line.take_all()
            if frame is not None:
                line.send(msgspec.structs.replace(line.hello(), record=frame))
            else:
                line.send(self.puppet.proof(OWN, "0" * 32, line.nonce))
            self.check_ended(line, Reason.BAD_FRAME)
            self.assertEqual(self.stage.core.membership.digest.root(), root, number)

    def test_data_before_hello(self) -> None:
        """Data from a stranger ends the link and does nothing."""
        root = self.stage.core.membership.digest.root()
        other = Puppet(0x20)
        for frame in (
            wire.Ping(1),
            wire.AskRandomNode(),
            wire.GiveNodesInNetwork(),
            wire.JoinedInNetwork(other.record()),
            wire.NodeConnAddr(True),
            wire.Suspect(other.peer, 1),
        ):
            line = self.stage.connect(self.puppet)
            line.send(frame)
            self.assertEqual([type(written) for written in line.peek()], [wire.Bye])
            self.check_ended(line, Reason.BAD_FRAME)
        line = self.stage.connect(self.puppet)
        line.send_lines(self.puppet.bundle(1))
        self.check_ended(line, Reason.BAD_FRAME)
        self.assertEqual(self.stage.core.membership.digest.root(), root)
        self.assertEqual((self.stage.received, self.stage.take_dials()), ([], []))

    def test_data_before_proof(self) -> None:
        """Data from somebody who has not proved its key ends the link and does nothing."""
        line = self.stage.connect(self.puppet)
        line.send(line.hello())
        line.take()
        line.send(wire.NodeConnAddr(True))
        self.check_ended(line, Reason.BAD_FRAME)
        self.assertEqual(self.stage.core.overlay.active, {})

    def test_claiming_anothers_id(self) -> None:
        """Who claims the id of a neighbour of ours without its key gets nowhere, and the neighbour notices nothing."""
        live = self.stage.befriend(self.puppet)
        thief = self.stage.connect(Puppet(0x10))
        thief.send(thief.hello(life=5))
        thief.take()
        self.check_open(live)
        thief.send(wire.Proof("0" * 128))
        self.check_ended(thief, Reason.BAD_SIGNATURE)
        self.check_open(live)
        self.assertEqual(self.stage.core.overlay.active[self.puppet.peer].id, live.number)
        self.assertEqual(self.stage.told(Kind.LINK_DOWN), [])
        self.assertEqual(live.take(), [])
        self.stage.broadcast("still there?")
        self.assertEqual(live.take_seqs(), [1])

    def test_too_many(self) -> None:
        """Over the limit one that is no neighbour has to go, and it is told why."""
        stage = Stage(attrs.evolve(LAN, max_links=2))
        one, two = stage.befriend(Puppet(1)), stage.meet(Puppet(2))
        three = stage.connect(Puppet(3))
        self.assertEqual([frame.reason for frame in two.take() if isinstance(frame, wire.Bye)], ["too-many-links"])
        self.assertIsNone(one.ended)
        self.assertIsNone(three.ended)


class FramingTests(LinkCase):
    """What is no frame ends the link it came on, and no other."""

    def test_bad_frame(self) -> None:
        """After a line that is no frame nothing that came with it is heard any more."""
        good = self.stage.befriend(Puppet(0x20))
        line = self.stage.befriend(self.puppet)
        line.send_lines(self.puppet.bundle(1), b"GET / HTTP/1.1", self.puppet.bundle(2), wire.encode(wire.Ping(1)))
        self.check_ended(line, Reason.BAD_FRAME)
        self.assertEqual(self.stage.seqs(self.puppet.stream), [1])
        self.check_open(good)
        self.assertEqual(good.take_seqs(), [1])

    def test_unknown_title(self) -> None:
        """A frame of a later version is counted, and the link goes on."""
        line = self.stage.befriend(self.puppet)
        line.send_lines(b'{"title":"#NEWS","n":1}', self.puppet.bundle(1))
        self.assertEqual(self.stage.counts["unknown_title"], 1)
        self.assertEqual(self.stage.seqs(self.puppet.stream), [1])
        self.check_open(line)

    def test_ends_of_lines(self) -> None:
        """Lines may end in CR LF, and empty ones are skipped."""
        line = self.stage.befriend(self.puppet)
        line.send_lines(b"", self.puppet.bundle(1) + b"\r", b"", wire.encode(wire.AskNodesToConnect()) + b"\r")
        self.assertEqual(self.stage.seqs(self.puppet.stream), [1])
        self.assertEqual([type(frame) for frame in line.take()], [wire.ConnectableNodes])

    def test_line_too_long(self) -> None:
        """Who sends a line that is too long is told so and dropped."""
        line = self.stage.meet(self.puppet)
        self.stage.perform(self.stage.core.link_fault(line.number, Reason.LINE_TOO_LONG, self.stage.now))
        self.check_ended(line, Reason.LINE_TOO_LONG)

    def test_after_the_end(self) -> None:
        """What the shell still reports of a link that has ended changes nothing."""
        line = self.stage.befriend(self.puppet)
        line.send_lines(b"junk")
        line.take()
        before = len(self.stage.changes)
        line.send_lines(self.puppet.bundle(1))
        line.congest()
        line.drain()
        self.stage.perform(self.stage.core.link_fault(line.number, Reason.LINE_TOO_LONG, self.stage.now))
        line.close()
        self.assertEqual((line.take_all(), len(self.stage.changes)), ([], before))
        self.assertEqual(self.stage.seqs(self.puppet.stream), [])


class PingTests(LinkCase):
    """Every link watches itself."""

    def pings(self, line: Line) -> list[int]:
        """The numbers of the pings that came since this was last called; all else is forgotten."""
        return [frame.n for frame in line.take_all() if isinstance(frame, wire.Ping)]

    def silent(self) -> Line:
        """A neighbour that does not answer pings."""
        line = self.stage.befriend(self.puppet)
        line.answers = False
        return line

    def test_answer(self) -> None:
        """A ping is answered with its number, after everything that came before it."""
        line = self.stage.befriend(self.puppet)
        line.send(wire.AskNodesToConnect(), wire.Ping(77), wire.AskNodesToConnect())
        kinds = [type(frame) for frame in line.take_all()]
        self.assertEqual(kinds, [wire.ConnectableNodes, wire.Pong, wire.ConnectableNodes])
        line.send(wire.Ping(0))
        self.assertEqual(line.take_all(), [wire.Pong(0)])

    def test_regular(self) -> None:
        """A neighbour is pinged once in each interval, and lives as long as it answers."""
        line = self.stage.befriend(self.puppet)
        self.stage.pass_time(100)
        self.check_open(line)
        line.answers = False
        self.stage.pass_time(LAN.ping_interval * 1.2)
        [number] = self.pings(line)
        self.assertGreater(number, 100 / (LAN.ping_interval * 1.2) - 1)

    def test_silent(self) -> None:
        """A neighbour that says nothing is dropped at the deadline, at once and without a word."""
        line = self.silent()
        self.stage.pass_time(PING_TIMEOUT)
        self.check_ended(line, Reason.PING_TIMEOUT, said=False)
        assert line.ended is not None
        self.assertTrue(line.ended.abort)
        self.assertIn((Kind.LINK_DOWN, self.puppet.peer), self.stage.told(Kind.LINK_DOWN))

    def test_not_before_the_deadline(self) -> None:
        """An answer that comes just in time is good."""
        line = self.silent()
        while not (pings := self.pings(line)):
            self.stage.pass_time(0.1)
        self.stage.pass_time(LAN.ping_timeout - 0.2)
        self.check_open(line)
        line.send(wire.Pong(pings[0]))
        self.stage.pass_time(LAN.ping_interval * 0.7)
        self.check_open(line)

    def test_talks_but_never_answers(self) -> None:
        """A peer that sends bundles and pings of its own but never answers ours is dropped at the deadline."""
        line = self.silent()
        seq = 0
        for _ in range(round(PING_TIMEOUT * 10) + 1):
            if line.ended is None:
                seq += 1
                line.send_lines(self.puppet.bundle(seq), wire.encode(wire.Ping(seq)))
                self.stage.pass_time(0.1)
        self.check_ended(line, Reason.PING_TIMEOUT, said=False)
        self.assertGreater(len(self.stage.seqs(self.puppet.stream)), 50)

    def test_one_end_asks(self) -> None:
        """Where the other end of an idle link asks in time, we ask now and then only; where much is sent, we do."""
        little, much = b'{"title":"#MORE"}', b'{"title":"#MORE","x":"%b"}' % (b"x" * 3_000)
        asks = [wire.encode(wire.AskNodesToConnect())] * 10  # of which the answers are much longer
        for number, lines, least, most in ((0x30, [little], 15, 25), (0x40, [much], 40, 60), (0x50, asks, 40, 60)):
            line = self.stage.befriend(Puppet(number))
            self.stage.pass_time(LAN.ping_interval * 1.2)
            for n in range(100):
                line.send_lines(wire.encode(wire.Ping(n)), *lines)
                self.stage.pass_time(LAN.ping_interval / 2)
            line.answers = False
            self.stage.pass_time(LAN.ping_interval * 1.2)
            [asked] = self.pings(line)
            self.assertTrue(least <= asked <= most, (least, asked, most))

    def test_asks_but_never_answers(self) -> None:
        """Nor does it help on an idle link to ask all the time."""
        line = self.silent()
        for n in range(round(PING_TIMEOUT * 10) + 1):
            if line.ended is None:
                line.send(wire.Ping(n))
                self.stage.pass_time(0.1)
        self.check_ended(line, Reason.PING_TIMEOUT, said=False)

    def test_wrong_number(self) -> None:
        """A pong with a number that was never asked, or that was answered before, counts for nothing."""
        line = self.silent()
        while not (pings := self.pings(line)):
            self.stage.pass_time(0.1)
        line.send(wire.Pong(pings[0] + 1), wire.Pong(0), wire.Pong(2**53 - 1))
        self.assertEqual(self.stage.counts["pong_unasked"], 3)
        self.stage.pass_time(LAN.ping_timeout)
        self.check_ended(line, Reason.PING_TIMEOUT, said=False)

    def test_old_pong(self) -> None:
        """Who repeats its first answer is dropped once the second is due."""
        line = self.silent()
        while not (pings := self.pings(line)):
            self.stage.pass_time(0.1)
        line.send(wire.Pong(pings[0]))
        for _ in range(round(PING_TIMEOUT * 10) + 1):
            if line.ended is None:
                line.send(wire.Pong(pings[0]))
                self.stage.pass_time(0.1)
        self.check_ended(line, Reason.PING_TIMEOUT, said=False)

    def test_unsolicited(self) -> None:
        """A pong that nobody asked for is counted, and no fault."""
        line = self.stage.befriend(self.puppet)
        line.send(wire.Pong(1), wire.Pong(5))
        self.assertEqual(self.stage.counts["pong_unasked"], 2)
        self.check_open(line)

    def test_a_late_wake_judges_nobody(self) -> None:
        """Who stood still itself, and finds its pings unanswered, gives the others as long again."""
        line = self.silent()
        while not (pings := self.pings(line)):
            self.stage.pass_time(0.1)
        self.stage.stand_still(60)
        self.stage.pass_time(0)
        self.check_open(line)
        self.stage.pass_time(LAN.ping_timeout - UNNOTICED)
        self.check_open(line)
        line.send(wire.Pong(pings[0]))
        line.answers = True
        self.stage.pass_time(LAN.ping_timeout)
        self.check_open(line)

    def test_a_late_wake_only_puts_off(self) -> None:
        """After a stop of ours a dead neighbour is dropped all the same, a time-out later."""
        line = self.silent()
        while not self.pings(line):
            self.stage.pass_time(0.1)
        self.stage.stand_still(60)
        self.stage.pass_time(PING_TIMEOUT)
        self.check_ended(line, Reason.PING_TIMEOUT, said=False)

    def test_handshake_and_a_late_wake(self) -> None:
        """Who connected just before we stood still has its whole time for the handshake."""
        line = self.stage.connect(self.puppet)
        self.stage.stand_still(60)
        self.stage.pass_time(LAN.handshake_timeout - UNNOTICED)
        self.assertIsNone(line.ended)
        self.stage.pass_time(UNNOTICED)
        self.check_ended(line, Reason.HANDSHAKE_TIMEOUT)

    def test_slow_reader(self) -> None:
        """A neighbour that takes little but talks is kept for two minutes; then it is given up as stuck."""
        line = self.silent()
        line.congest()
        for _ in range(round(LAN.paused_timeout) - 1):
            self.stage.pass_time(1)
            line.send(wire.Ping(1))
        self.check_open(line)
        for _ in range(round(PING_TIMEOUT) + 2):
            self.stage.pass_time(1)
            line.send(wire.Ping(1))
        line.written = [written for written in line.written if b"#BYE" in written]
        self.check_ended(line, Reason.STUCK, said=False)

    def test_stuck_and_silent(self) -> None:
        """A neighbour that takes nothing and says nothing is given up at the ping's deadline."""
        line = self.silent()
        line.congest()
        self.stage.pass_time(PING_TIMEOUT)
        self.check_ended(line, Reason.STUCK, said=False)


class SlowReaderTests(LinkCase):
    """Who asks and does not read lets the answers wait in our memory. There is a bound for each, and one for all."""

    size = 200_000

    def setUp(self) -> None:
        """A directory of some kilobytes; each link may let so much wait, and all together twice that."""
        super().setUp()
        limits = attrs.evolve(LAN, control_max=self.size, control_total=2 * self.size)
        self.stage = Stage(limits)
        friend = self.stage.befriend(Puppet(0x7F))
        friend.send(*(wire.JoinedInNetwork(Puppet(number).record()) for number in range(1, 30)))
        self.lines = [self.stage.meet(Puppet(number)) for number in range(0x40, 0x44)]
        for line in (friend, *self.lines):
            line.answers = False
            line.written.clear()

    def ask(self, line: Line, size: int) -> None:
        """Ask for the directory until so much has been written."""
        while line.ended is None and sum(map(len, line.written)) < size:
            line.send(wire.GiveNodesInNetwork())

    def reasons(self) -> list[Reason | None]:
        """Why these links have ended."""
        return [line.ended and line.ended.reason for line in self.lines]

    def test_each(self) -> None:
        """One that lets too much wait is ended as stuck."""
        self.ask(self.lines[0], 2 * self.size)
        self.assertEqual(self.reasons(), [Reason.STUCK, None, None, None])

    def test_all_together(self) -> None:
        """If too much waits for all of them together the one for which the most waits is ended, and the others stay."""
        for line, share in zip(self.lines, (0.4, 0.5, 0.75, 0.6), strict=True):
            line.congest()
            self.ask(line, round(share * self.size))
        self.assertEqual(self.reasons(), [None, None, Reason.STUCK, None])

    def test_congested_later(self) -> None:
        """It counts from when the link takes no more, however much was written before."""
        for line, share in zip(self.lines, (0.4, 0.5, 0.75, 0.6), strict=True):
            self.ask(line, round(share * self.size))
        for line in self.lines:
            self.assertEqual(self.reasons(), [None, None, None, None])
            line.congest()
        self.assertEqual(self.reasons(), [None, None, Reason.STUCK, None])

    def test_fast_readers(self) -> None:
        """Any number of links that read what was written may ask for as much as they like."""
        for line in self.lines:
            self.ask(line, round(0.9 * self.size))
        self.assertEqual(self.reasons(), [None, None, None, None])

    def test_pongs(self) -> None:
        """What was answered by a pong was read, and waits no more."""
        for line in self.lines:
            line.congest()
            self.ask(line, round(0.6 * self.size))
            line.answers = True
            self.stage.pass_time(1.2 * LAN.ping_interval)
        self.assertEqual(self.reasons(), [None, None, None, None])

    def test_ended_while_being_served(self) -> None:
        """A neighbour that is ended as stuck while it is being served from the log takes no other with it."""
        self.stage = Stage(attrs.evolve(LAN, control_max=5_000, retention_count=1))
        for text in "abc":
            self.stage.broadcast(text)
        liar, other = self.stage.befriend(self.puppet), self.stage.befriend(Puppet(0x11))
        own, liar.answers = self.stage.core.spread.own, False
        for _ in range(60):
            liar.send(wire.Graft([(*own, 1)]))
            self.stage.pass_time(0)
        assert liar.ended is not None
        self.assertIs(liar.ended.reason, Reason.STUCK)
        other.take_all()
        self.stage.broadcast("d")
        self.assertEqual(other.take_seqs(), [4])


class EndTests(LinkCase):
    """How links end, and that nothing of them is left."""

    def test_linger(self) -> None:
        """A link without a purpose is closed after a while."""
        line = self.stage.meet(self.puppet)
        self.stage.pass_time(LAN.linger - 0.1)
        self.check_open(line)
        self.stage.pass_time(0.2)
        self.check_ended(line, Reason.DONE)

    def test_neighbours_stay(self) -> None:
        """A neighbour's link stays, however long."""
        line = self.stage.befriend(self.puppet)
        self.stage.pass_time(3 * LAN.linger)
        self.check_open(line)

    def test_bye(self) -> None:
        """The reason that the other end gives is the one that the application is told."""
        for reason in (Reason.LEAVING, Reason.DISPLACED, Reason.STUCK):
            line = self.stage.befriend(self.puppet)
            line.send(wire.Bye(reason.value))
            self.assertEqual(line.ended, Hangup(line.number, reason))
            self.assertEqual(line.take(), [])
            self.assertEqual(self.stage.changes[-1].kind, Kind.LINK_DOWN)
            self.assertEqual(self.stage.changes[-1].reason, reason.value)

    def test_bye_of_a_later_version(self) -> None:
        """A reason that we do not know is "closed"."""
        line = self.stage.befriend(self.puppet)
        line.send(wire.Bye("bored"))
        self.assertEqual(self.stage.changes[-1].reason, "closed")

    def test_bye_in_the_handshake(self) -> None:
        """Who refuses us says why before any HELLO."""
        line = self.stage.connect(self.puppet)
        line.send(wire.Bye("too-many-links"))
        self.assertEqual(line.ended, Hangup(line.number, Reason.TOO_MANY))

    def test_after_bye(self) -> None:
        """What follows a BYE in the same read is not heard."""
        line = self.stage.befriend(self.puppet)
        line.send_lines(wire.encode(wire.Bye("leaving")), self.puppet.bundle(1))
        self.assertEqual(self.stage.seqs(self.puppet.stream), [])

    def test_closed_without_a_word(self) -> None:
        """A connection that breaks is told once, as closed."""
        line = self.stage.befriend(self.puppet)
        line.close()
        line.close()
        downs = [change for change in self.stage.changes if change.kind is Kind.LINK_DOWN]
        self.assertEqual([(change.peer, change.reason) for change in downs], [(self.puppet.peer, "closed")])

    def test_no_deadlines_left(self) -> None:
        """After any number of links have come and gone in any way, no deadline of theirs is left."""
        before = len(self.stage.core.turn.timers)
        for number in range(1, 6):
            self.stage.connect(Puppet(number)).close()
            line = self.stage.connect(Puppet(number))
            line.send(line.hello())
            line.close()
            self.stage.meet(Puppet(number), baseline=False).close()
            self.stage.meet(Puppet(number), baseline=False).send_lines(b"junk")
        self.stage.pass_time(LAN.linger + 1)
        self.assertEqual(self.stage.core.links.by_id, {})
        self.assertLessEqual(len(self.stage.core.turn.timers), before)

    def test_own_address_is_remembered(self) -> None:
        """An address at which a peer has found itself is not dialled again."""
        address = ("192.0.2.1", 5050)
        stage = Stage(joined=False)
        stage.perform(stage.core.join([address, ("192.0.2.2", 5050)], stage.now))
        stage.pass_time(0.1)
        for _ in range(2):
            for dial in stage.take_dials():
                if (dial.host, dial.port) == address:
                    stage.connect(Puppet(0x80), dial).send(wire.Bye("own-address"))
                else:
                    stage.fail(dial)
            stage.pass_time(0.1)
        dialled = []
        for _ in range(60):
            stage.pass_time(1)
            for dial in stage.take_dials():
                dialled.append((dial.host, dial.port))
                stage.fail(dial)
        self.assertIn(("192.0.2.2", 5050), dialled)
        self.assertNotIn(address, dialled)


class RepeatTests(SynchronousTestCase):
    """A run of the core is a function of its inputs."""

    def test_same_inputs(self) -> None:
        """Two cores with the same seed and the same inputs ask for the same."""
        runs = []
        for _ in range(2):
            core = PeerCore(
                config=LAN,
                network=NETWORK,
                signer=CheapSigner(OWN),
                verifier=CheapVerifier(),
                log=MemoryLog(LAN),
                rng=random.Random(5),
            )
            asked = [*core.start(("10.0.0.1", 5050), 1000.0), *core.join([("10.0.0.2", 5050)], 1000.0)]
            now = 1000.0
            while now < 1500.0:
                assert core.next_wake is not None
                now = max(now, core.next_wake)
                for action in core.wake(now):
                    asked.append(action)
                    if isinstance(action, Dial):
                        asked += core.dial_failed(action.dial, now)
                    self.assertNotIsInstance(action, Write)
            runs.append(asked)
        self.assertEqual(runs[0], runs[1])
        self.assertGreater(len(runs[0]), 10)
