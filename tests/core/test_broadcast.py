"""Eager push: every bundle is handed over once, in its stream's order, and goes on as it came."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import BEGINNING, NETWORK, OWN, Line, Puppet, Stage, message, seqs_in
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Fork, Reason, Write
from twisted_p2p.core.config import LAN, Config

BUNDLE = "p2p bundle"
"""What the verifier counts checks of bundles under."""


class SpreadCase(SynchronousTestCase):
    """A peer with three neighbours."""

    config = LAN

    def setUp(self) -> None:
        """Alice, Bob and Carol are its neighbours, at its own positions."""
        self.begin(self.config)

    def begin(self, config: Config) -> None:
        """Anew, with these settings."""
        self.stage = Stage(config)
        self.alice, self.bob, self.carol = Puppet(0x10), Puppet(0x20), Puppet(0x30)
        self.lines = [self.stage.befriend(puppet) for puppet in (self.alice, self.bob, self.carol)]
        self.to_alice, self.to_bob, self.to_carol = self.lines
        for line in self.lines:
            line.take()

    def origin_seqs(self, line: Line) -> list[tuple[str, int]]:
        """Origin and seq of the bundles that came on a link."""
        return [(f.origin, f.seq) for f in line.take_all() if isinstance(f, wire.Broadcast)]

    @property
    def checks(self) -> int:
        """How many signatures of bundles were checked."""
        return self.stage.verifier.calls[BUNDLE]


class PassedOnTests(SpreadCase):
    """What arrives is handed over and passed on."""

    def test_byte_for_byte(self) -> None:
        """A bundle goes to every neighbour but the one it came from, in the very bytes that were signed."""
        line = self.alice.bundle(1, "first")
        self.to_alice.send_lines(line)
        self.assertEqual(self.stage.seqs(self.alice.stream), [1])
        self.assertNotIn(line, self.to_alice.written)
        self.assertEqual((self.to_bob.written, self.to_carol.written), ([line], [line]))

    def test_in_the_log(self) -> None:
        """Whoever was handed a bundle can serve it, in the very bytes that were signed."""
        line = self.alice.bundle(1)
        self.to_alice.send_lines(line)
        self.assertEqual(list(self.stage.log.read(self.alice.stream, 1, 1 << 20)), [line])

    def test_carriage_return(self) -> None:
        """A bundle on a line that ends in CRLF goes on without the CR, which was not signed."""
        line = self.alice.bundle(1)
        self.to_alice.send_lines(line + b"\r")
        self.assertEqual(self.stage.seqs(self.alice.stream), [1])
        self.assertEqual(self.to_bob.written, [line])

    def test_several_in_one_read(self) -> None:
        """Bundles of several streams in one read are handed over together, each stream in its order."""
        self.to_alice.send_lines(self.alice.bundle(1), self.bob.bundle(1), self.alice.bundle(2))
        handed = [(bundle.origin, bundle.seq) for bundle in self.stage.received]
        self.assertEqual(handed, [(self.alice.peer, 1), (self.bob.peer, 1), (self.alice.peer, 2)])

    def test_equal_texts(self) -> None:
        """The same text twice is two messages."""
        self.to_alice.send_lines(self.alice.bundle(1, "same"), self.alice.bundle(2, "same"))
        self.assertEqual(self.stage.seqs(self.alice.stream), [1, 2])
        self.assertEqual(self.stage.received[0].messages, self.stage.received[1].messages)

    def test_origin_unknown(self) -> None:
        """A bundle is taken whatever the directory thinks of its origin: dead, or never heard of."""
        stranger = Puppet(0x66)
        self.to_alice.send_lines(stranger.bundle(1))
        self.to_alice.send(wire.FailedInNetwork(self.alice.claim(self.bob.peer)))
        self.to_alice.send_lines(self.bob.bundle(1))
        self.assertEqual((self.stage.seqs(stranger.stream), self.stage.seqs(self.bob.stream)), ([1], [1]))

    def test_unreadable_body(self) -> None:
        """What an origin signed takes its seq and is passed on, though no application can read it."""
        for seq, body in enumerate((b"[]", b"5", b'[{"x":1},null]', b'"text"'), 1):
            sig = self.alice.signer.sign(wire.bundle_bytes("test", *self.alice.stream, seq, body))
            self.to_bob.send_lines(wire.bundle_line(*self.alice.stream, seq, sig, body))
        self.assertIsNone(self.to_bob.ended)
        self.assertEqual(self.stage.seqs(self.alice.stream), [1, 2, 3, 4])
        self.assertEqual(self.to_carol.take_seqs(), [1, 2, 3, 4])

    @given(st.permutations(range(1, 7)), st.lists(st.integers(0, 2), min_size=6, max_size=6))
    def test_any_order_any_link(self, order: list[int], links: list[int]) -> None:
        """However bundles come, each is handed over once, in order, and sent to whoever is not known to have it."""
        self.begin(LAN)
        origin = Puppet(0x66)
        for seq, link in zip(order, links, strict=True):
            self.lines[link].send_lines(origin.bundle(seq), origin.bundle(seq))
        self.assertEqual(self.stage.seqs(origin.stream), [1, 2, 3, 4, 5, 6])
        for number, line in enumerate(self.lines):
            seqs = line.take_seqs()
            self.assertEqual(seqs, sorted(set(seqs)))
            furthest = max((seq for seq, link in zip(order, links, strict=True) if link == number), default=0)
            self.assertEqual({*seqs, *range(1, furthest + 1)}, {1, 2, 3, 4, 5, 6})
        self.assertEqual(self.stage.core.spread.early.count, 0)


class RefusedTests(SpreadCase):
    """What is not handed over."""

    def test_duplicate(self) -> None:
        """What is known is dropped before its signature is looked at, so that duplicates cost nearly nothing."""
        self.to_alice.send_lines(self.alice.bundle(1))
        self.assertEqual(self.checks, 1)
        self.to_bob.send_lines(self.alice.bundle(1))
        self.assertEqual((self.checks, self.stage.seqs(self.alice.stream)), (1, [1]))
        self.assertEqual(self.stage.counts["duplicate"], 1)

    def test_duplicate_of_an_early_one(self) -> None:
        """What is held back already is not checked again."""
        self.to_alice.send_lines(self.alice.bundle(3))
        self.to_bob.send_lines(self.alice.bundle(3))
        self.assertEqual((self.checks, self.stage.core.spread.early.count), (1, 1))

    def test_replayed_after_retention(self) -> None:
        """A bundle that the log no longer holds is not handed over again."""
        self.begin(attrs.evolve(LAN, retention_count=1))
        self.to_alice.send_lines(*(self.alice.bundle(seq) for seq in (1, 2, 3)))
        self.assertEqual(self.stage.log.floor(self.alice.stream), 3)
        self.to_bob.send_lines(self.alice.bundle(1))
        self.assertEqual(self.stage.seqs(self.alice.stream), [1, 2, 3])

    def test_forged(self) -> None:
        """A forger is dropped, and can't suppress the true message by using its place first."""
        forged = self.alice.bundle(1, "false").replace(b"false", b"wrong")
        self.to_bob.send_lines(forged)
        assert self.to_bob.ended is not None
        self.assertEqual(self.to_bob.ended.reason, Reason.BAD_SIGNATURE)
        self.assertEqual((self.stage.received, self.to_carol.take_seqs()), ([], []))
        true = self.alice.bundle(1, "true")
        self.to_alice.send_lines(true)
        self.assertEqual(self.stage.seqs(self.alice.stream), [1])
        self.assertEqual(self.to_carol.written, [true])

    def test_id_of_another(self) -> None:
        """Who uses the id of a message that is still to come does not suppress it (row 72)."""
        text = self.bob.bundle(1, "the id is in the message")
        body = text[text.index(b'"messages":') + 11 : -1]
        sig = self.alice.signer.sign(wire.bundle_bytes(self.alice.network, *self.alice.stream, 1, body))
        self.to_alice.send_lines(wire.bundle_line(*self.alice.stream, 1, sig, body))
        self.to_bob.send_lines(text)
        self.assertEqual([bytes(bundle.messages) for bundle in self.stage.received], [body, body])

    def test_forged_ahead(self) -> None:
        """A forged bundle that lies ahead is not held back, either."""
        self.to_bob.send_lines(self.alice.bundle(2, "false").replace(b"false", b"wrong"))
        self.assertIsNotNone(self.to_bob.ended)
        self.assertEqual(self.stage.core.spread.early.count, 0)

    def test_signed_for_another_place(self) -> None:
        """A signature counts for one network, origin, epoch and seq."""
        line = self.alice.bundle(1)
        for change in (
            line.replace(b'"seq":1', b'"seq":2'),
            line.replace(b'"epoch":7', b'"epoch":8'),
            line.replace(self.alice.peer.encode(), self.bob.peer.encode()),
            Puppet(0x10, network="other").bundle(1),
        ):
            self.begin(LAN)
            self.to_carol.send_lines(change)
            self.assertIsNotNone(self.to_carol.ended)
            self.assertEqual(self.stage.received, [])

    def test_other_spelling(self) -> None:
        """The same bundle in other words is refused: its bytes are not those that everybody else passes on."""
        fields = json.loads(self.alice.bundle(1))
        self.to_alice.send_lines(json.dumps(fields).encode())
        assert self.to_alice.ended is not None
        self.assertEqual(self.to_alice.ended.reason, Reason.BAD_FRAME)
        self.assertEqual(self.stage.received, [])

    def test_nothing_after_a_forged_one(self) -> None:
        """What comes behind a forged bundle in the same read is not read."""
        self.to_bob.send_lines(self.alice.bundle(1, "false").replace(b"false", b"wrong"), self.bob.bundle(1))
        self.assertEqual(self.stage.received, [])

    def test_stranger(self) -> None:
        """Payload is taken from neighbours only; anybody else's is counted and ignored."""
        line = self.stage.meet(Puppet(0x40))
        line.send_lines(self.alice.bundle(1))
        self.assertEqual((self.stage.received, self.checks), ([], 0))
        self.assertEqual(self.stage.counts["bundle_from_stranger"], 1)
        self.assertIsNone(line.ended)

    def test_before_the_comparison(self) -> None:
        """A neighbour's payload is taken only once positions were compared."""
        line = self.stage.meet(Puppet(0x40))
        self.assertTrue(line.become_neighbour())
        line.send_lines(self.alice.bundle(1))
        self.assertEqual((self.stage.received, line.is_live), ([], False))

    def test_too_many_streams(self) -> None:
        """Over the greatest number of streams unknown ones are dropped and counted; known ones go on."""
        self.begin(attrs.evolve(LAN, max_streams=1))
        self.to_alice.send_lines(self.alice.bundle(1), self.bob.bundle(1), self.alice.bundle(2))
        self.assertEqual(self.stage.seqs(self.alice.stream), [1, 2])
        self.assertEqual(self.stage.seqs(self.bob.stream), [])
        self.assertEqual(self.stage.counts["streams_full"], 1)

    def test_too_many_epochs(self) -> None:
        """No origin can fill the memory with streams of its own; other origins are heard."""
        self.begin(attrs.evolve(LAN, max_epochs=2))
        self.to_alice.send_lines(*(self.alice.bundle(1, epoch=epoch) for epoch in (7, 8, 9)), self.bob.bundle(1))
        handed = [(bundle.origin, bundle.epoch) for bundle in self.stage.received]
        self.assertEqual(handed, [(self.alice.peer, 7), (self.alice.peer, 8), self.bob.stream])
        self.assertEqual(self.stage.counts["streams_full"], 1)


class ForkTests(SpreadCase):
    """An origin signs two bundles for one seq: its key is in two processes."""

    def test_seen(self) -> None:
        """The first one stays, the other one is counted and goes no further; who brought it is not to blame."""
        self.to_alice.send_lines(self.alice.bundle(1, "this"))
        self.to_bob.send_lines(self.alice.bundle(1, "that"))
        self.assertEqual((self.stage.seqs(self.alice.stream), self.stage.counts["forks"]), ([1], 1))
        self.assertEqual([line.take_seqs() for line in self.lines], [[], [1], [1]])
        self.assertIsNone(self.to_bob.ended)
        self.assertEqual(self.stage.log.read(self.alice.stream, 1, 1), [self.alice.bundle(1, "this")])

    def test_seen_among_early_ones(self) -> None:
        """The same where both come before their elders."""
        self.to_alice.send_lines(self.alice.bundle(2, "this"))
        self.to_bob.send_lines(self.alice.bundle(2, "this"))
        self.assertEqual(self.stage.counts["forks"], 0)
        self.to_bob.send_lines(self.alice.bundle(2, "that"), self.alice.bundle(1))
        self.assertEqual((self.stage.seqs(self.alice.stream), self.stage.counts["forks"]), ([1, 2], 1))
        self.assertIn(b"this", bytes(self.stage.received[1].messages))

    def test_not_signed(self) -> None:
        """What differs and is not signed is its sender's fault."""
        self.to_alice.send_lines(self.alice.bundle(1, "this"))
        self.to_bob.send_lines(self.alice.bundle(1, "this").replace(b"this", b"that"))
        self.assertEqual((self.to_bob.ended.reason, self.stage.counts["forks"]), (Reason.BAD_SIGNATURE, 0))

    def own(self, seq: int, text: str) -> bytes:
        """A bundle of our first stream that another process has made."""
        twin = Puppet(1)
        twin.signer, twin.peer = self.stage.core.spread.signer, OWN  # type: ignore[assignment]  # the same key
        return twin.bundle(seq, text, int(BEGINNING * 1000))

    def epochs(self, *texts: str) -> list[int]:
        """How much later than our first stream the streams began in which we now broadcast these."""
        self.stage.broadcast(*texts)
        epochs = [frame.epoch for frame in self.to_carol.take_all() if isinstance(frame, wire.Broadcast)]
        return [epoch - int(BEGINNING * 1000) for epoch in epochs]

    def test_own_stream(self) -> None:
        """A bundle of our stream that we have not made: it goes on, is not handed over, and we begin a new stream."""
        self.assertEqual(self.epochs("a"), [0])
        self.stage.pass_time(5)
        self.to_alice.send_lines(self.own(2, "not by us"))
        self.assertEqual(self.to_bob.take_seqs(), [1, 2])
        self.assertEqual((self.epochs("b"), self.epochs("c")), ([0, 5000], [5000]))
        self.assertEqual(self.stage.received, [])

    def test_own_stream_twice(self) -> None:
        """So it is where it has the seq of one of ours; in the same millisecond, too."""
        self.assertEqual(self.epochs("a"), [0])
        self.to_alice.send_lines(self.own(1, "not by us"))
        self.assertEqual(self.epochs("b"), [1])
        self.to_alice.send_lines(self.own(1, "not by us"))
        self.assertEqual(self.epochs("c"), [1])

    def say_elsewhere(self) -> None:
        """A record comes that another process has made with our key."""
        own = self.stage.core.membership.own
        data = wire.record_bytes(NETWORK, OWN, own.incarnation + 1, "alive", "10.9.9.9", 1, "")
        sig = self.stage.core.spread.signer.sign(data)
        record = wire.Record(OWN, own.incarnation + 1, "alive", "10.9.9.9", 1, sig)
        self.to_alice.send(wire.JoinedInNetwork(record))

    def test_twin_is_seen(self) -> None:
        """A record of ours from another process is enough: before two bundles have one number we begin a new stream,
        once, and the application is told."""
        self.assertEqual(self.epochs("a"), [0])
        self.stage.pass_time(5)
        self.say_elsewhere()
        self.assertEqual(self.epochs("b"), [5000])
        self.stage.pass_time(5)
        self.say_elsewhere()
        self.assertEqual(self.epochs("c"), [5000])
        self.assertEqual(self.stage.forks, [Fork(OWN, int(BEGINNING * 1000), 2, b"", b"")])

    def test_twin_is_seen_first(self) -> None:
        """Where nobody has said yet how far our stream is, that comes first: our log may be an old copy."""
        spread = self.stage.core.spread
        self.assertEqual(self.epochs("a"), [0])
        self.stage.pass_time(5)
        spread.unproven = 2
        self.say_elsewhere()
        self.assertEqual(self.epochs("b"), [0])
        self.assertFalse(spread.prove(2))
        self.assertEqual(self.epochs("c"), [5000])

    def test_own_bundle_comes_back(self) -> None:
        """One that we have made is no fork."""
        self.stage.broadcast("a")
        self.to_alice.send_lines(*(line for line in self.to_bob.written if b"#BROADCAST" in line))
        self.assertEqual((self.stage.counts["duplicate"], self.stage.counts["own_forks"]), (1, 0))


class EarlyTests(SpreadCase):
    """A bundle before its elders."""

    def test_held_and_released(self) -> None:
        """An early bundle waits; as soon as its elders come all go on, in order."""
        self.to_alice.send_lines(self.alice.bundle(3), self.alice.bundle(2))
        self.assertEqual((self.stage.seqs(self.alice.stream), self.stage.core.spread.early.count), ([], 2))
        self.assertEqual(self.to_carol.take_seqs(), [])
        self.to_bob.send_lines(self.alice.bundle(1))
        self.assertEqual((self.stage.seqs(self.alice.stream), self.stage.core.spread.early.count), ([1, 2, 3], 0))
        self.assertEqual(self.to_carol.take_seqs(), [1, 2, 3])

    def test_a_hole_stays(self) -> None:
        """Only what is without a hole is handed over."""
        self.to_alice.send_lines(self.alice.bundle(2), self.alice.bundle(4))
        self.to_bob.send_lines(self.alice.bundle(1))
        self.assertEqual((self.stage.seqs(self.alice.stream), self.stage.core.spread.early.count), ([1, 2], 1))

    def test_other_streams_go_on(self) -> None:
        """A hole in one stream holds up no other."""
        self.to_alice.send_lines(self.alice.bundle(5), self.bob.bundle(1))
        self.assertEqual(self.stage.seqs(self.bob.stream), [1])

    def test_bounded_by_number(self) -> None:
        """Over the bound early bundles are dropped; they are asked for again, and none is lost."""
        self.begin(attrs.evolve(LAN, early_max=2))
        self.to_alice.send_lines(*(self.alice.bundle(seq) for seq in (4, 3, 2)))
        self.assertEqual((self.stage.core.spread.early.count, self.stage.counts["early_dropped"]), (2, 1))
        self.to_bob.send_lines(self.alice.bundle(1))
        self.assertEqual(self.stage.seqs(self.alice.stream), [1])
        self.stage.pass_time(1.5 * LAN.graft_timeout + 0.01)
        asked = [f.streams for line in self.lines for f in line.take_all() if isinstance(f, wire.Graft)]
        self.assertIn([(*self.alice.stream, 2)], asked)
        self.assertEqual(len({str(streams) for streams in asked}), 1)

    def test_bounded_by_bytes(self) -> None:
        """The bound is of bytes, too, of all streams together; what is released makes room."""
        size = len(self.alice.bundle(2))
        self.begin(attrs.evolve(LAN, early_bytes=2 * size))
        self.to_alice.send_lines(self.alice.bundle(2), self.bob.bundle(2), self.carol.bundle(2))
        self.assertEqual((self.stage.core.spread.early.count, self.stage.counts["early_dropped"]), (2, 1))
        self.to_alice.send_lines(self.bob.bundle(1), self.carol.bundle(2))
        self.assertEqual((self.stage.core.spread.early.count, self.stage.counts["early_dropped"]), (2, 1))


class PublishTests(SpreadCase):
    """Broadcasts of one's own."""

    def bodies(self, line: Line) -> list[Any]:
        """The texts in each bundle that came on a link."""
        frames = [f for f in line.take_all() if isinstance(f, wire.Broadcast)]
        return [[value for group in json.loads(bytes(f.messages)) for value in group["values"]] for f in frames]

    def test_one_turn_is_one_bundle(self) -> None:
        """What is broadcast in one turn shares a signature; it goes to all, and not to oneself."""
        self.stage.broadcast("a", "b", "c")
        for line in self.lines:
            self.assertEqual(self.bodies(line), [["a", "b", "c"]])
        self.assertEqual(self.stage.received, [])

    def test_seqs(self) -> None:
        """Bundles are numbered from 1 without holes, and signed by their origin."""
        for text in "abc":
            self.stage.broadcast(text)
        frames = [f for f in self.to_bob.take_all() if isinstance(f, wire.Broadcast)]
        self.assertEqual([(f.origin, f.seq) for f in frames], [(OWN, 1), (OWN, 2), (OWN, 3)])
        self.assertEqual({f.epoch for f in frames}, {int(self.stage.now * 1000)})
        for frame in frames:
            data = wire.bundle_bytes("test", *frame.stream, frame.seq, bytes(frame.messages))
            self.assertTrue(self.stage.verifier.verify(OWN, data, frame.sig))

    def test_cut_into_bundles(self) -> None:
        """Many messages become as few bundles as the limit allows, in order; a bigger message is one by itself."""
        size = len(message("a")) + 1
        self.begin(attrs.evolve(LAN, bundle_bytes=2 * size))
        self.stage.broadcast("a", "b", "c", "x" * 3 * size, "d", "e")
        self.assertEqual(self.bodies(self.to_bob), [["a", "b"], ["c"], ["x" * 3 * size], ["d", "e"]])

    def test_nothing(self) -> None:
        """No messages are no bundle."""
        self.stage.broadcast()
        self.assertEqual(self.to_bob.take_seqs(), [])

    def test_comes_back(self) -> None:
        """One's own bundle that comes back by another way is a duplicate."""
        self.stage.broadcast("a")
        [line] = [line for line in self.to_bob.written if line.startswith(b'{"title":"#BROADCAST"')]
        self.to_carol.send_lines(line)
        self.assertEqual((self.stage.received, self.stage.counts["duplicate"]), ([], 1))

    def test_alone(self) -> None:
        """What is said while there are no neighbours is kept for those who come."""
        stage = Stage()
        stage.broadcast("a")
        self.assertEqual(stage.core.unsent(), 0)
        self.assertEqual(len(stage.log.read(stage.core.spread.own, 1, 1 << 20)), 1)


class CongestedTests(SpreadCase):
    """A neighbour that reads slowly."""

    def test_no_payload(self) -> None:
        """To a neighbour that does not read nothing is written; all others get everything."""
        self.to_bob.congest()
        for text in "abc":
            self.stage.broadcast(text)
        self.assertEqual(self.to_bob.take_seqs(), [])
        self.assertEqual(self.to_carol.take_seqs(), [1, 2, 3])

    def test_goes_on(self) -> None:
        """Once it reads again it gets what it lacks, in order, and then what is new."""
        self.stage.broadcast("a")
        self.to_bob.congest()
        self.stage.broadcast("b")
        self.stage.broadcast("c")
        self.to_bob.drain()
        self.stage.pass_time(0)
        self.stage.broadcast("d")
        self.assertEqual(self.to_bob.take_seqs(), [1, 2, 3, 4])

    def test_others_streams(self) -> None:
        """Streams of others wait at their own places, and none is jumped."""
        self.to_bob.congest()
        self.to_alice.send_lines(self.alice.bundle(1), self.carol.bundle(1), self.alice.bundle(2))
        self.stage.broadcast("a")
        self.to_bob.drain()
        self.stage.pass_time(0)
        came = self.origin_seqs(self.to_bob)
        self.assertEqual(sorted(came), [(self.alice.peer, 1), (self.alice.peer, 2), (self.carol.peer, 1), (OWN, 1)])
        self.assertLess(came.index((self.alice.peer, 1)), came.index((self.alice.peer, 2)))

    def test_brings_what_it_waits_for(self) -> None:
        """What the slow neighbour sends us itself is not sent back to it later."""
        self.to_bob.congest()
        self.to_alice.send_lines(self.alice.bundle(1))
        self.to_bob.send_lines(self.alice.bundle(1), self.alice.bundle(2))
        self.to_bob.drain()
        self.stage.pass_time(0)
        self.assertEqual(self.to_bob.take_seqs(), [])
        self.assertEqual(self.to_carol.take_seqs(), [1, 2])

    def test_lost_from_the_log(self) -> None:
        """Where retention took what a slow neighbour lacks, it is told what there is instead."""
        self.begin(attrs.evolve(LAN, retention_count=2))
        self.to_bob.congest()
        for text in "abcd":
            self.stage.broadcast(text)
        self.to_bob.drain()
        self.stage.pass_time(0)
        frames = self.to_bob.take()
        self.assertEqual(seqs_in(frames), [])
        [floor] = [frame for frame in frames if isinstance(frame, wire.Floor)]
        self.assertEqual((floor.origin, floor.first, floor.next), (OWN, 3, 5))

    def test_unsent(self) -> None:
        """How far the fastest neighbour is behind is known, so that a fast speaker can be slowed down."""
        self.stage.broadcast("a")
        self.assertEqual(self.stage.core.unsent(), 0)
        for line in self.lines:
            line.congest()
        for text in "bcd":
            self.stage.broadcast(text)
        self.assertEqual(self.stage.core.unsent(), 3)
        self.to_carol.drain()
        self.stage.pass_time(0)
        self.assertEqual(self.stage.core.unsent(), 0)


class BurstTests(SpreadCase):
    """How much is written to one link in one turn."""

    config = attrs.evolve(LAN, burst=2_000)

    def test_bounded(self) -> None:
        """A turn writes no more than the burst to a link, by a line at most; the rest follows in order."""
        self.to_bob.congest()
        for number in range(40):
            self.stage.broadcast(f"{number}")
        self.to_bob.drain()
        largest = max(len(line) for line in self.stage.log.read(self.stage.core.spread.own, 1, 1 << 20))
        turns = 0
        while (wake := self.stage.core.next_wake) is not None and wake <= self.stage.now:
            actions = self.stage.core.wake(self.stage.now)
            written = [a for a in actions if isinstance(a, Write) and a.link == self.to_bob.number]
            size = sum(len(line) for action in written for line in action.lines if b"#BROADCAST" in line)
            self.assertLessEqual(size, 2_000 + largest)
            self.stage.perform(actions)
            turns += 1
        self.assertEqual(self.to_bob.take_seqs(), list(range(1, 41)))
        self.assertGreater(turns, 5)

    def test_one_big_turn(self) -> None:
        """A turn with more than the burst writes the rest in the turns after it, in order."""
        self.begin(attrs.evolve(self.config, bundle_bytes=150))
        self.stage.broadcast(*(f"{number}" for number in range(40)))
        first = self.to_bob.take_seqs()
        self.stage.pass_time(0)
        later = self.to_bob.take_seqs()
        self.assertEqual(first + later, list(range(1, len(first) + len(later) + 1)))
        self.assertEqual(len(first + later), 40)
        self.assertLess(len(first), 10)
