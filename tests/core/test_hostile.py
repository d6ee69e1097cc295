"""What one hostile member may try: it ends no join, loses nobody's messages, and fills nothing beyond its bound."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import BEGINNING, FIRST, NETWORK, OWN, Line, Puppet, Stage, message
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Actions, Kind, Reason, Write
from twisted_p2p.core.config import LAN
from twisted_p2p.core.link import Link
from twisted_p2p.core.wire import Claim, Frame, Position, Record
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.signing import CheapSigner
from twisted_p2p.sim.world import World

LATEST = int((BEGINNING + LAN.clock_ahead) * 1000)
"""The latest time that is believed, in ms since 1970."""
HIGHEST = 2**52 - 1
"""The highest seq that a bundle may have."""


def invented(count: int, salt: int = 0) -> list[Position]:
    """Streams of origins that nobody has ever heard of, each one bundle ahead."""
    return [(hashlib.sha256(b"%d %d" % (salt, n)).hexdigest(), 1, 2) for n in range(count)]


def is_ready(peer: SimPeer) -> bool:
    """Whether its application was told that it has joined."""
    return any(change.kind is Kind.READY for change in peer.changes)


class WorldCase(SynchronousTestCase):
    """A genesis, a liar, and two honest members, all neighbours of one another."""

    def setUp(self) -> None:
        """All have joined."""
        self.world = World(1)
        self.genesis, self.liar = self.world.genesis(), self.world.newcomer()
        self.bystander, self.origin = self.world.newcomer(), self.world.newcomer()
        self.world.run(5)
        self.honest = (self.genesis, self.bystander, self.origin)
        for peer in self.honest:
            self.assertIn(self.liar.peer, peer.core.overlay.active)

    def say(self, *lines: bytes, to: Sequence[SimPeer] | None = None) -> None:
        """The liar sends lines to its neighbours."""
        to = self.honest if to is None else to
        for link in list(self.liar.core.overlay.active.values()):
            if any(peer.peer == link.peer for peer in to):
                self.world.write(self.liar, Write(link.id, list(lines)))

    def bundle(self, seq: int, epoch: int = 7) -> bytes:
        """A bundle that the liar has signed."""
        stream, body = (self.liar.peer, epoch), b"[%b]" % message("lie")
        sig = self.liar.core.membership.signer.sign(wire.bundle_bytes(self.world.network, *stream, seq, body))
        return wire.bundle_line(*stream, seq, sig, body)

    def answer_grafts(self, origin: str, answer: Callable[[Position], Sequence[bytes]]) -> None:
        """When the liar is asked for streams of this origin it answers with these lines."""
        honest = self.liar.core.lines_received

        def lie(number: int, lines: Sequence[bytes], now: float) -> Actions:
            left: list[bytes] = []
            for line in lines:
                frame = wire.decode(line)
                asked = frame.streams if isinstance(frame, wire.Graft) else []
                if not any(position[0] == origin for position in asked):
                    left.append(line)
                    continue
                for position in asked:
                    if position[0] == origin:
                        self.world.write(self.liar, Write(number, list(answer(position))))
            return honest(number, left, now)

        self.patch(self.liar.core, "lines_received", lie)

    def check_messages(self) -> None:
        """What honest members say still reaches everybody, in order, and nobody is told of a gap."""
        said = [message(f"{n}") for n in range(3)]
        for text in said:
            self.origin.broadcast([text])
            self.world.run(1)
        self.world.run(10)
        for peer in (self.genesis, self.bystander):
            heard = [bytes(bundle.messages) for bundle in peer.received if bundle.origin == self.origin.peer]
            self.assertEqual(heard, [b"[%b]" % text for text in said])
            self.assertEqual([gap for gap in peer.gaps if gap.origin == self.origin.peer], [])

    def check_joins(self) -> None:
        """Newcomers still get in, through any member, and hear what is said then."""
        for through in self.honest:
            newcomer = self.world.newcomer(through)
            self.assertTrue(self.world.run_until(partial(is_ready, newcomer), 15), newcomer)
            self.world.run(5)
            self.origin.broadcast([message("welcome")])
            self.world.run(5)
            self.assertEqual(len(newcomer.received), 1)


class HighSeqTests(WorldCase):
    """A stream that stands at the end of all numbers."""

    def lie_about_floor(self, first: int, following: int) -> None:
        """Whoever asks the liar for the elders of what it sent is told that they are gone."""
        self.answer_grafts(
            self.liar.peer,
            lambda asked: [
                self.bundle(first)
                if asked[2] == first
                else wire.encode(wire.Floor(*asked[:2], asked[2], first, following))
            ],
        )

    def test_beyond_the_highest(self) -> None:
        """A bundle whose number leaves no room for a position after it ends the liar's link, and moves nothing."""
        seq = 2**53 - 1
        self.lie_about_floor(seq, seq)
        self.say(self.bundle(seq))
        self.world.run(0.5)
        for peer in self.honest:
            self.assertEqual(peer.core.turn.counts["link_end_bad-frame"], 1)
        self.world.run(40)
        for peer in self.honest:
            self.assertEqual((peer.core.positions.of((self.liar.peer, 7)), peer.gaps), (1, []))
        self.check_messages()
        self.check_joins()

    def test_the_highest(self) -> None:
        """A liar may end a stream of its own at the highest number: it harms that stream, and nobody else."""
        self.lie_about_floor(HIGHEST, HIGHEST + 1)
        self.say(self.bundle(HIGHEST))
        self.world.run(60)
        for peer in self.honest:
            self.assertIn(peer.core.positions.of((self.liar.peer, 7)), (1, HIGHEST + 1))
        self.liar.kill()
        self.world.run(30)
        self.check_messages()
        self.check_joins()


class ManyEpochsTests(WorldCase):
    """One origin with a stream for every moment."""

    def test_baseline_is_still_given(self) -> None:
        """One member with 4,001 streams is kept to 100 of them, and newcomers still get in."""
        self.say(*(self.bundle(1, epoch) for epoch in range(1, 4002)))
        self.world.run(5)
        for peer in self.honest:
            self.assertLessEqual(peer.core.positions.epochs(self.liar.peer), LAN.max_epochs)
            self.assertGreater(peer.core.turn.counts["streams_full"], 3800)
        self.liar.kill()
        self.world.run(30)
        self.check_messages()
        self.check_joins()


class SilentSourceTests(WorldCase):
    """A liar that claims to have more of another one's stream than there is."""

    def test_floor_that_matches(self) -> None:
        """Its claim makes nobody skip what the honest origin goes on to say."""
        stream = self.origin.core.spread.own
        self.answer_grafts(self.origin.peer, lambda asked: [wire.encode(wire.Floor(*asked[:2], asked[2], 999, 1000))])
        others = (self.genesis, self.bystander)
        self.say(wire.encode(wire.Positions([(*stream, 1000)])), to=others)
        self.world.run(2 * LAN.gap_patience)
        for peer in others:
            self.assertEqual((peer.core.positions.of(stream), peer.gaps), (1, []))
        self.say(wire.encode(wire.Frontier([(*stream, 1000)])), to=others)
        self.check_messages()

    def test_no_answer(self) -> None:
        """Nor does it hold anything up if it claims to have more and never answers."""
        stream = self.origin.core.spread.own
        self.answer_grafts(self.origin.peer, lambda asked: [])
        self.say(wire.encode(wire.Positions([(*stream, 1000)])), to=(self.genesis, self.bystander))
        self.world.run(2)
        self.check_messages()


class StageCase(SynchronousTestCase):
    """One peer, and a neighbour that is hostile."""

    def hostile(self, **settings: int) -> Line:
        """The hostile neighbour of a new peer with these settings."""
        self.stage = Stage(attrs.evolve(LAN, **settings))
        return self.stage.befriend(Puppet(0x10))


class InventedStreamsTests(StageCase):
    """What a neighbour says of streams that do not exist takes no memory beyond a bound."""

    def test_grafts(self) -> None:
        """Asking for streams that nobody knows leaves nothing behind."""
        line = self.hostile()
        for n in range(5):
            line.send(wire.Graft(invented(4000, n)))
        self.assertEqual(self.stage.core.spread.flows[line.number].cursor, {})
        self.assertIsNone(line.ended)

    def test_positions(self) -> None:
        """Claims to be ahead are looked into up to a bound, and forgotten when nothing comes of them."""
        line = self.hostile(max_wants=300)
        for n in range(5):
            line.send(wire.Positions(invented(200, n)), wire.Frontier(invented(200, n + 100)))
        self.assertTrue(0 < len(self.stage.core.catchup.wants) <= 300)
        self.assertGreaterEqual(self.stage.counts["wants_full"], 1700)
        self.stage.pass_time(2 * LAN.gap_patience)
        self.assertEqual((len(self.stage.core.catchup.wants), len(self.stage.core.positions)), (0, 0))

    def test_wants_of_others(self) -> None:
        """While a liar claims to be ahead on invented streams, what others are ahead on is asked for all the same."""
        line = self.hostile(max_wants=90)
        honest, carol = self.stage.befriend(Puppet(0x11)), Puppet(0x30)
        line.send(wire.Frontier(invented(200)))
        self.assertEqual(len(self.stage.core.catchup.wants), 90)
        honest.send_lines(carol.bundle(2))
        line.send(wire.Frontier(invented(200, 1)))
        self.stage.pass_time(2 * LAN.graft_timeout)
        asked = [position for frame in honest.take_kind(wire.Graft) for position in frame.streams]
        self.assertIn((*carol.stream, 1), asked)
        self.assertEqual(len(self.stage.core.catchup.wants), 90)

    def test_wants_are_shared(self) -> None:
        """Neighbours that all claim to be ahead on more than may be asked for get the same share of it, and no more."""
        lines = [self.hostile(max_wants=90), *(self.stage.befriend(Puppet(n)) for n in (0x11, 0x12))]
        for salt, line in enumerate(lines):
            line.send(wire.Frontier(invented(200, salt)))
        self.assertEqual(len(self.stage.core.catchup.wants), 90)
        for salt in range(3):
            streams = {(origin, epoch) for origin, epoch, _ in invented(200, salt)}
            self.assertIn(len(streams & set(self.stage.core.catchup.wants)), (29, 30, 31))
        self.stage.pass_time(2 * LAN.gap_patience)
        self.assertEqual((self.stage.core.catchup.wants, self.stage.core.catchup._raised), ({}, {}))

    def test_first_comparison_without_end(self) -> None:
        """A first comparison that goes on for more pages than there may be positions ends the link."""
        self.stage = Stage(attrs.evolve(LAN, max_streams=1000))
        line = self.stage.meet(Puppet(0x10), baseline=False)
        line.become_neighbour()
        line.send(wire.Digest("streams", {"1": "0" * 16}))
        for n in range(5):
            self.assertIsNone(line.ended)
            line.send(wire.Positions(invented(200, n), [1], more=True))
        line.send(wire.Positions(invented(200, 5), [1], more=True))
        assert line.ended is not None
        self.assertIs(line.ended.reason, Reason.BAD_FRAME)
        self.assertEqual(self.stage.core.antientropy._syncs, {})

    def test_later_comparison_without_end(self) -> None:
        """So does a later one."""
        line = self.hostile(max_streams=1000)
        self.stage.pass_time(2 * LAN.sync_interval)
        self.assertIn(line.number, self.stage.core.antientropy._compared)
        line.send(wire.Roots("0" * 16, "0" * 16))
        for n in range(6):
            line.send(wire.Positions(invented(200, n), [1], more=True))
        assert line.ended is not None
        self.assertIs(line.ended.reason, Reason.BAD_FRAME)
        self.assertEqual(self.stage.core.antientropy._compared, {})

    def test_comparison_that_ends_beyond(self) -> None:
        """So does one whose last page goes beyond: nothing is done with what it said."""
        self.stage = Stage(attrs.evolve(LAN, max_streams=1000))
        first = self.stage.meet(Puppet(0x10), baseline=False)
        first.become_neighbour()
        first.send(wire.Digest("streams", {"1": "0" * 16}))
        later = self.stage.befriend(Puppet(0x11))
        self.stage.pass_time(2 * LAN.sync_interval)
        later.send(wire.Roots("0" * 16, "0" * 16))
        for line in (first, later):
            line.send(wire.Positions(invented(1001), [1]))
            assert line.ended is not None
            self.assertIs(line.ended.reason, Reason.BAD_FRAME)
        self.assertEqual((self.stage.core.catchup.wants, self.stage.core.overlay.active), ({}, {}))

    def test_many_keys(self) -> None:
        """Bundles by ever more invented origins are dropped once the positions are full; known streams go on."""
        line = self.hostile(max_streams=10)
        for number in range(0x20, 0x40):
            line.send_lines(Puppet(number).bundle(1))
        line.send_lines(Puppet(0x20).bundle(2))
        self.assertEqual((len(self.stage.core.positions), self.stage.counts["streams_full"]), (10, 22))
        self.assertEqual(self.stage.seqs(Puppet(0x20).stream), [1, 2])

    def test_unknown_origins(self) -> None:
        """Of peers of whom nobody has told us one neighbour brings so many streams at once, and then slowly more; known
        ones, and what others bring, are not held up."""
        line = self.hostile(introductions_burst=3, introductions_interval=10)
        other = self.stage.befriend(Puppet(0x11))
        for number in range(0x20, 0x30):
            line.send_lines(Puppet(number).bundle(1))
        self.assertEqual((len(self.stage.core.positions), self.stage.counts["streams_over_rate"]), (3, 13))
        other.send_lines(Puppet(0x30).bundle(1))
        line.send(wire.JoinedInNetwork(Puppet(0x31).record()))
        line.send_lines(Puppet(0x31).bundle(1), Puppet(0x20).bundle(2))
        self.assertEqual(len(self.stage.core.positions), 5)
        self.assertEqual(self.stage.seqs(Puppet(0x20).stream), [1, 2])
        self.stage.pass_time(11)
        line.send_lines(Puppet(0x2F).bundle(1))
        self.assertEqual(self.stage.seqs(Puppet(0x2F).stream), [1])


class RequestsTests(StageCase):
    """Requests without end."""

    def test_to_be_neighbours(self) -> None:
        """Who is refused may ask as often as it likes: it gets a word for each, and nobody gives way (row 69)."""
        self.hostile()
        friends = [self.stage.befriend(Puppet(0x40 + n)) for n in range(LAN.active_max - 1)]
        self.assertEqual(len(self.stage.core.overlay.active), LAN.active_max)
        line = self.stage.meet(Puppet(0x20))
        asked = [wire.NodeConnAddr(urgent=False)] * 1000
        line.send(*asked)
        self.assertEqual(line.take_all(), [wire.NodeConnAnswer(False)] * 1000)
        self.assertLess(
            len(wire.encode(wire.NodeConnAnswer(False))), 1.2 * len(wire.encode(wire.NodeConnAddr(urgent=False)))
        )
        self.assertEqual([friend.ended for friend in friends], [None] * len(friends))

    def test_for_nothing(self) -> None:
        """Asking for streams that nobody knows is answered by less than twice what was asked (row 69)."""
        line = self.hostile()
        line.take_all()
        asked = wire.Graft(invented(4000), 1)
        line.send(asked)
        answer = line.written
        self.assertEqual(len(answer), 4000)
        self.assertLess(sum(map(len, answer)), 2 * len(wire.encode(asked)))

    def test_by_a_stranger(self) -> None:
        """Who is no neighbour is not served at all (row 69)."""
        self.hostile()
        line = self.stage.meet(Puppet(0x20))
        line.send(*[wire.Graft(invented(1), 1)] * 1000)
        self.assertEqual((line.take(), self.stage.counts["graft_by_stranger"]), ([], 1000))


class ForgedTests(WorldCase):
    """Bundles that their origin has not signed."""

    def test_goes_no_further(self) -> None:
        """It ends the link of whoever sends it, and reaches nobody else (row 88)."""
        forged = self.bundle(1).replace(self.liar.peer.encode(), self.origin.peer.encode())
        self.say(forged, to=[self.genesis])
        self.world.run(1)
        self.assertEqual(self.genesis.core.turn.counts["link_end_bad-signature"], 1)
        self.assertNotIn(self.liar.peer, self.genesis.core.overlay.active)
        self.assertEqual([peer.received for peer in self.honest], [[], [], []])
        self.check_messages()

    def test_by_one_who_never_joined(self) -> None:
        """What is signed is taken, whoever has signed it: the directory does not say who may speak (row 88)."""
        signer, body = CheapSigner("ab" * 32), b"[%b]" % message("from afar")
        sig = signer.sign(wire.bundle_bytes(self.world.network, signer.peer, 7, 1, body))
        self.say(wire.bundle_line(signer.peer, 7, 1, sig, body), to=[self.genesis])
        self.world.run(1)
        self.assertEqual([[b.origin for b in peer.received] for peer in self.honest], [[signer.peer]] * 3)


class BrokenPromisesTests(WorldCase):
    """A neighbour tells of much that it does not have."""

    def test_invented(self) -> None:
        """5,000 streams at once, again and again: what others say arrives all the same, nothing is left (row 85)."""
        for n in range(5):
            streams = invented(5000, n)
            frames = [wire.Frontier(streams[first : first + 1000]) for first in range(0, 5000, 1000)]
            self.say(*map(wire.encode, frames))
            self.world.run(1)
            for peer in self.honest:
                self.assertTrue((n > 0) <= len(peer.core.catchup.wants) + n <= LAN.introductions_burst + n)
                self.assertLess(peer.core.turn.counts["grafts"], 100)
        self.check_messages()
        self.world.run(2 * LAN.gap_patience)
        for peer in self.honest:
            self.assertEqual((peer.core.catchup.wants, len(peer.core.positions)), ({}, 1))

    def test_of_one_who_speaks(self) -> None:
        """It says to be far ahead in a stream that goes on: whoever has the next bundle is asked, too (row 85)."""
        self.say(wire.encode(wire.Frontier([(*self.origin.stream, 5000)])))
        self.check_messages()
        self.world.run(10)
        for peer in self.honest:
            self.assertEqual((peer.gaps, peer.core.catchup.wants), ([], {}))


class InventedPeersTests(StageCase):
    """Facts about peers that do not exist, or that are not as they are said to be."""

    def records(self, count: int, state: str = "alive") -> list[Record]:
        """Signed by keys that the liar has made up."""
        made: list[Record] = []
        for n in range(count):
            signer = CheapSigner(hashlib.sha256(b"peer %d" % n).hexdigest())
            said = (signer.peer, FIRST, state, f"10.9.{n >> 8}.{n & 255}", 5050, "")
            sig = signer.sign(wire.record_bytes(NETWORK, *said))
            made.append(Record(*said[:5], sig))  # type: ignore[arg-type]
        return made

    def facts(self, line: Line) -> int:
        """How many facts were passed on to a neighbour since this was last called."""
        count = 0
        for frame in line.take():
            if isinstance(frame, wire.NodesInNetwork):
                count += len(frame.nodes) + len(frame.claims)
            count += isinstance(frame, (wire.JoinedInNetwork, wire.FailedInNetwork))
        return count

    def test_flood(self) -> None:
        """One neighbour can't fill the directory at once, and keeps nobody else out of it."""
        line = self.hostile(max_peers=3000)
        other = self.stage.befriend(Puppet(0x11))
        other.take()
        records = self.records(4000)
        line.send(*map(wire.JoinedInNetwork, records))
        line.send(*(wire.NodesInNetwork(records[begin : begin + 500]) for begin in range(0, 4000, 500)))
        known = LAN.introductions_burst + 3
        self.assertEqual(len(self.stage.core.membership.entries), known)
        self.assertEqual(self.facts(other), LAN.introductions_burst)
        self.assertGreaterEqual(self.stage.counts["records_over_rate"], 3000)
        self.stage.meet(Puppet(0x20))
        other.send(wire.JoinedInNetwork(Puppet(0x21).record()))
        self.assertEqual(len(self.stage.core.membership.entries), known + 2)
        self.stage.pass_time(30 * LAN.introductions_interval)
        line.send(*map(wire.JoinedInNetwork, records))
        self.assertLessEqual(len(self.stage.core.membership.entries), known + 2 + 30)

    def test_in_answer_to_a_comparison(self) -> None:
        """Nor by answering our comparisons, for which we have asked."""
        line, records = self.hostile(), self.records(4000)
        for begin in range(0, 4000, 200):
            line.send(wire.Roots("0" * 16, "0" * 16))
            line.send(wire.NodesInNetwork(records[begin : begin + 200], again=True))
        self.assertEqual(len(self.stage.core.membership.entries), LAN.introductions_burst + 2)

    def test_full_of_the_departed(self) -> None:
        """A directory that is full of peers which have departed still takes in who comes."""
        line = self.hostile(max_peers=50)
        line.send(wire.NodesInNetwork(self.records(100, "left")))
        self.assertEqual(self.stage.counts["directory_full"], 52)
        for number in range(0x20, 0x2A):
            self.stage.meet(Puppet(number))
            self.assertTrue(self.stage.core.membership.is_alive(Puppet(number).peer))
        self.assertEqual(len(self.stage.core.membership.entries), 50)

    def test_accusations(self) -> None:
        """One that accuses everybody of having failed is believed, and passed on, at a bounded rate."""
        line = self.hostile()
        other = self.stage.befriend(Puppet(0x11))
        accused = [Puppet(number) for number in range(0x81, 0x81 + 120)]
        line.send(wire.NodesInNetwork([puppet.record() for puppet in accused]))
        other.take()
        line.send(*(wire.FailedInNetwork(line.puppet.claim(puppet.peer)) for puppet in accused))
        self.assertEqual(self.facts(other), LAN.facts_burst)
        self.assertEqual(self.stage.counts["claims_over_rate"], 20)
        other.send(*(wire.FailedInNetwork(other.puppet.claim(puppet.peer)) for puppet in accused[100:]))
        self.assertEqual(len(self.stage.told(Kind.FAILED)), 120)

    def test_accused_ourselves(self) -> None:
        """One that accuses us whenever we refute makes us tell everybody at a bounded rate."""
        line = self.hostile()
        other = self.stage.befriend(Puppet(0x11))
        other.take()
        for _ in range(300):
            line.send(wire.FailedInNetwork(line.puppet.claim(OWN, self.stage.core.membership.own.incarnation - FIRST)))
            self.stage.pass_time(0.01)
        told = self.facts(other)
        self.assertTrue(LAN.facts_burst <= told <= LAN.facts_burst + 4, told)

    def test_speaks_of_itself(self) -> None:
        """One that says something new of itself all the time is passed on at that rate, too."""
        line = self.hostile()
        other = self.stage.befriend(Puppet(0x11))
        other.take()
        for life in range(2, 500):
            line.send(wire.JoinedInNetwork(line.puppet.record(life)))
        self.assertEqual(self.facts(other), LAN.facts_burst)


class LongFactsTests(StageCase):
    """Facts as long as the wire allows."""

    def longest(self, number: int, more: str) -> Record:
        """A record of an invented peer; the ids of invented peers are ordered as their numbers."""
        signer = CheapSigner(f"{number:08x}" * 8)
        said = (signer.peer, LATEST, "alive", "h" * 253, 65535, more)
        return Record(*said[:5], signer.sign(wire.record_bytes(NETWORK, *said)), more)  # type: ignore[arg-type]

    def claim(self, record: Record, accuser: str) -> Claim:
        """A claim that this peer has failed."""
        said = (record.peer, record.incarnation, accuser, LATEST)
        return Claim(*said, CheapSigner(accuser).sign(wire.claim_bytes(NETWORK, *said)))

    def test_text_that_grows(self) -> None:
        """A record with characters that JSON spells in six bytes is no frame, and is kept out of the directory."""
        for more in ("\x01" * 512, '"', "\\", "\x7f", "é"):
            line = self.hostile()
            record = self.longest(1, more)
            line.send(wire.JoinedInNetwork(record))
            assert line.ended is not None
            self.assertIs(line.ended.reason, Reason.BAD_FRAME)
            self.assertNotIn(record.peer, self.stage.core.membership.entries)

    def test_longest_page(self) -> None:
        """A newcomer can read every page of a directory of the longest facts that a member may invent."""
        line, size = self.hostile(), LAN.page
        records = [self.longest(n << 20, "m" * 512) for n in range(1, 2 * size + 1)]
        dead, accusers = records[:size], records[size:]
        for begin in range(0, size, 50):
            line.send(wire.NodesInNetwork(accusers[begin : begin + 50]))
            part = dead[begin : begin + 50]
            line.send(wire.NodesInNetwork(part))
            claims = [self.claim(one, two.peer) for one, two in zip(part, accusers[begin:], strict=False)]
            line.send(wire.NodesInNetwork(part, claims))
        self.assertEqual(len(self.stage.core.membership.departed()), size)
        newcomer = self.stage.meet(Puppet(0x11), baseline=False)
        asked: list[Frame] = [wire.GiveNodesInNetwork(), wire.Digest("nodes", {})]
        for question in asked:
            newcomer.written.clear()
            newcomer.send(question)
            page = max(newcomer.written, key=len)
            self.assertGreater(len(page), 300_000)
            self.assertLessEqual(len(page), LAN.line_max)
            self.assertIsInstance(wire.decode(page), wire.NodesInNetwork)


class AgainTests(StageCase):
    """Pages that say that there is more."""

    def test_nothing_new(self) -> None:
        """Who sends the same page over and over is not asked for more."""
        line = self.hostile()
        page = wire.NodesInNetwork([Puppet(0x20).record()], again=True)
        line.send(page)
        self.assertEqual(len(line.take_kind(wire.Digest)), 1)
        for _ in range(3):
            line.send(page)
            self.assertEqual(line.take_kind(wire.Digest), [])

    def test_full_directory(self) -> None:
        """Nor is who names peers for which there is no room."""
        line = self.hostile(max_peers=2)
        for number in range(0x20, 0x30):
            line.send(wire.NodesInNetwork([Puppet(number).record()], again=True))
        self.assertEqual(line.take_kind(wire.Digest), [])
        self.assertEqual(len(self.stage.core.membership.entries), 2)


class VerdictTests(StageCase):
    """Verdicts that nobody asked for."""

    def test_not_asked(self) -> None:
        """A neighbour that was not asked can't make us believe that another peer has failed."""
        self.hostile()
        lines = {Puppet(n).peer: self.stage.befriend(Puppet(n)) for n in range(0x11, 0x16)}
        victim = Puppet(0x20)
        next(iter(lines.values())).send(wire.JoinedInNetwork(victim.record()))
        self.stage.core.detection._suspect(victim.peer, ours=1)
        suspicion = self.stage.core.detection.suspicions[victim.peer]
        unasked = [line for peer, line in lines.items() if peer not in suspicion.asked]
        self.assertTrue(unasked)
        for line in unasked:
            line.send(wire.Verdict(victim.peer, suspicion.incarnation, reached=False))
        self.assertEqual((suspicion.theirs, self.stage.counts["verdict_unasked"]), ({}, len(unasked)))

    def test_no_suspicion(self) -> None:
        """Nor can anybody by a verdict on a peer that is not suspected, or on ourselves."""
        line, victim = self.hostile(), Puppet(0x20)
        line.send(wire.JoinedInNetwork(victim.record()))
        for peer in (victim.peer, OWN):
            line.send(wire.Verdict(peer, FIRST + 1, reached=False), wire.Verdict(peer, FIRST, reached=True))
        self.assertEqual((self.stage.counts["verdict_unasked"], self.stage.told(Kind.FAILED)), (4, []))
        self.assertTrue(self.stage.core.membership.is_alive(victim.peer))


class BoundTests(StageCase):
    """What a member may say has a bound, and everything within it can be said."""

    def test_early_bundles_of_many_epochs(self) -> None:
        """Early bundles of ever more streams of a liar leave no more behind than the bound on streams."""
        line = self.hostile(max_streams=100)
        for n in range(5):
            line.send_lines(*(line.puppet.bundle(2, epoch=100 * n + k) for k in range(100)))
            self.stage.pass_time(10)
        self.assertLessEqual(len(self.stage.core.spread.flows[line.number].cursor), 100)

    def test_highest_floor(self) -> None:
        """Who stands at the end of a stream and holds nothing of it can say so."""
        floor = wire.Floor(OWN, 7, 1, 2**52, 2**52)
        self.assertEqual(wire.decode(wire.encode(floor)), floor)
        self.assertRaises(wire.BadFrame, wire.decode, wire.encode(wire.Positions([(OWN, 7, 2**52 + 1)])))


class LyingBaselineTests(WorldCase):
    """A member tells newcomers false positions."""

    def test_only_newcomers_are_harmed(self) -> None:
        """A position that is too high makes those skip who join through the liar, and nobody who was there before."""
        stream, liar = self.origin.core.spread.own, self.liar.core

        def stay(link: Link, frame: wire.AskRandomNode) -> None:
            liar.links.send(link, wire.ResponseRandomNode(None))

        def lie(link: Link, frame: wire.GiveNodesInNetwork) -> None:
            records = [entry.record for entry in liar.membership.entries.values()]
            liar.links.send(link, wire.NodesInNetwork(records, [], [(*stream, 1000)]))

        liar._routes |= {wire.AskRandomNode: stay, wire.GiveNodesInNetwork: lie}
        newcomers = [self.world.newcomer(self.liar) for _ in range(3)]
        self.world.run(10)
        self.assertEqual([peer.core.positions.of(stream) for peer in newcomers], [1000] * 3)
        self.world.run(2 * LAN.gap_patience)
        self.check_messages()
        heard = [len([b for b in peer.received if b.origin == self.origin.peer]) for peer in newcomers]
        self.assertEqual((heard, [peer.gaps for peer in newcomers]), ([0, 0, 0], [[], [], []]))

    def test_own_position(self) -> None:
        """A baseline does not move what a newcomer has itself said: its first words reach everybody."""

        def lie(link: Link, frame: wire.GiveNodesInNetwork) -> None:
            assert link.record is not None
            own = (link.peer, link.record.incarnation, 1000)
            self.liar.core.links.send(link, wire.NodesInNetwork([self.liar.core.membership.own], [], [own]))

        self.liar.core._routes[wire.GiveNodesInNetwork] = lie
        for _ in range(6):
            newcomer = self.world.newcomer()
            self.world.run(20)
            self.assertEqual(newcomer.core.positions.of(newcomer.core.spread.own), 1)
