"""Facts about peers are passed on once, to everybody but whoever brought them."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import OWN, Line, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Kind, Reason
from twisted_p2p.core.config import LAN

A, B, C = Puppet(0x30), Puppet(0x31), Puppet(0x32)
FACTS = (wire.JoinedInNetwork, wire.Disconnect, wire.FailedInNetwork, wire.NodesInNetwork)


class FloodTests(SynchronousTestCase):
    """A peer with three neighbours hears news."""

    def setUp(self) -> None:
        """Nobody has anything left to say."""
        self.stage = Stage(attrs.evolve(LAN, page=5))
        self.lines = [self.stage.befriend(Puppet(number)) for number in (0x10, 0x11, 0x12)]
        self.source = self.lines[0]
        self.source.send(*(wire.JoinedInNetwork(puppet.record()) for puppet in (A, B)))
        for line in self.lines:
            line.take()

    def facts(self, line: Line) -> list[wire.Frame]:
        """The facts that came since this was last called."""
        return [frame for frame in line.take() if isinstance(frame, FACTS)]

    def check_passed_on(self, *frames: wire.Frame) -> None:
        """These went to all but the source."""
        self.assertEqual(self.facts(self.source), [])
        for line in self.lines[1:]:
            self.assertEqual(self.facts(line), list(frames))

    def test_joined(self) -> None:
        """A peer that has joined is announced under the first version's name, with its address."""
        self.source.send(wire.JoinedInNetwork(C.record()))
        self.check_passed_on(wire.JoinedInNetwork(C.record(), *C.address))
        self.assertEqual(self.stage.told(Kind.JOINED)[-1], (Kind.JOINED, C.peer))

    def test_left(self) -> None:
        """A peer that has left is announced under the first version's name."""
        self.source.send(wire.Disconnect(A.record(2, "left")))
        self.check_passed_on(wire.Disconnect(A.record(2, "left")))
        self.assertEqual(self.stage.told(Kind.LEFT), [(Kind.LEFT, A.peer)])

    def test_failed(self) -> None:
        """A claim of failure is passed on as its accuser made it."""
        self.source.send(wire.FailedInNetwork(B.claim(A.peer)))
        self.check_passed_on(wire.FailedInNetwork(B.claim(A.peer)))
        self.assertEqual(self.stage.told(Kind.FAILED), [(Kind.FAILED, A.peer)])

    def test_once(self) -> None:
        """What comes back, or by another way, is not passed on again."""
        for line in (*self.lines, *self.lines):
            line.send(wire.JoinedInNetwork(C.record()), wire.FailedInNetwork(B.claim(A.peer)))
        for line in self.lines[1:]:
            self.assertEqual(len(self.facts(line)), 2)
        self.assertEqual(self.facts(self.source), [])

    def test_sender_is_believed_by_its_record_only(self) -> None:
        """The address beside the record is nobody's word: only the signed one counts."""
        self.source.send(wire.JoinedInNetwork(C.record(), "10.6.6.6", 6666))
        self.check_passed_on(wire.JoinedInNetwork(C.record(), *C.address))
        change = [change for change in self.stage.changes if change.kind is Kind.JOINED][-1]
        self.assertEqual((change.ip_addr, change.port), C.address)

    def test_forged(self) -> None:
        """A forged fact ends the link on which it came, and is passed on to nobody."""
        frames = (
            wire.JoinedInNetwork(unsigned(C.record())),
            wire.Disconnect(unsigned(A.record(2, "left"))),
            wire.FailedInNetwork(unsigned(B.claim(A.peer))),
            wire.NodesInNetwork([unsigned(C.record())]),
        )
        for number, frame in enumerate(frames, 0x60):
            line = self.stage.meet(Puppet(number), baseline=False)
            line.send(frame)
            self.assertEqual(line.ended and line.ended.reason, Reason.BAD_SIGNATURE)
            for other in self.lines:
                self.assertEqual(self.facts(other), [])
        self.assertNotIn(C.peer, self.stage.core.membership.entries)
        self.assertTrue(self.stage.core.membership.is_alive(A.peer))

    def test_many_at_once(self) -> None:
        """Much news at once goes in pages, and nothing of it is lost."""
        newcomers = [Puppet(number) for number in range(0x40, 0x4C)]
        self.source.send(wire.NodesInNetwork([puppet.record() for puppet in newcomers], [B.claim(A.peer)]))
        frames = self.facts(self.lines[1])
        self.assertEqual([type(frame) for frame in frames], [wire.NodesInNetwork] * 3)
        nodes = [record for frame in frames for record in frame.nodes]  # type: ignore[union-attr]
        claims = [claim for frame in frames for claim in frame.claims]  # type: ignore[union-attr]
        self.assertEqual(nodes, [puppet.record() for puppet in newcomers])
        self.assertEqual(claims, [B.claim(A.peer)])

    def test_not_to_strangers(self) -> None:
        """Only neighbours are told news."""
        stranger = self.stage.meet(Puppet(0x60), baseline=False)
        stranger.take()
        self.source.send(wire.JoinedInNetwork(C.record()))
        self.assertEqual(self.facts(stranger), [])

    def test_by_a_stranger(self) -> None:
        """News may come from anybody, since it is signed; all neighbours are told."""
        stranger = self.stage.meet(Puppet(0x60), baseline=False)
        stranger.send(wire.JoinedInNetwork(C.record()))
        for line in self.lines:
            self.assertEqual(self.facts(line), [wire.JoinedInNetwork(C.record(), *C.address)])

    def test_own_name(self) -> None:
        """Who is told that it has failed tells everybody that it has not, first of all the one who said so."""
        own = self.stage.core.membership.own
        claim = A.claim(OWN, 0)
        self.assertEqual(claim.incarnation, own.incarnation)
        self.source.send(wire.FailedInNetwork(claim))
        refuted = self.stage.core.membership.own
        self.assertGreater(refuted.incarnation, own.incarnation)
        for line in self.lines:
            self.assertEqual(self.facts(line), [wire.JoinedInNetwork(refuted, *self.stage.address)])

    def test_own_name_to_a_stranger(self) -> None:
        """Who is told so by somebody who is no neighbour answers there, too."""
        stranger = self.stage.meet(Puppet(0x60), baseline=False)
        stranger.take()
        stranger.send(wire.FailedInNetwork(A.claim(OWN, 0)))
        refuted = self.stage.core.membership.own
        self.assertEqual(self.facts(stranger), [wire.JoinedInNetwork(refuted, *self.stage.address)])


def unsigned(fact):  # type: ignore[no-untyped-def]
    """The fact with a signature that is none."""
    return type(fact)(**{name: getattr(fact, name) for name in fact.__struct_fields__} | {"sig": "0" * 128})
