"""Anti-entropy: what a newcomer takes over, and how two peers that differ come to have the same."""

from __future__ import annotations

import attrs
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import OWN, Line, Puppet, Stage, peer_id
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Kind, Reason
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.digest import BucketDigest, bucket_of
from twisted_p2p.interfaces import Stream

ALICE, BOB, CAROL = Puppet(0x10), Puppet(0x20), Puppet(0x30)
OTHER = "f" * 16
"""A hash that is nobody's."""


def digest_of(*positions: wire.Position) -> wire.Digest:
    """The digest of a peer that has these positions."""
    there = {(origin, epoch): position for origin, epoch, position in positions}
    digest = BucketDigest[Stream](lambda stream: f"{stream[0]} {stream[1]} {there[stream]}")
    for stream in there:
        digest.touch(bucket_of(stream[0]), stream)
    return wire.Digest("streams", {str(bucket): value for bucket, value in digest.hashes().items()})


def kinds(line: Line, *wanted: type) -> list[wire.Frame]:
    """The frames of these kinds that came since they were last taken."""
    return [frame for frame in line.take_all() if isinstance(frame, wanted)]


class NewcomerTests(SynchronousTestCase):
    """A newcomer takes over the directory and a baseline from its first neighbour."""

    def setUp(self) -> None:
        """A peer that is about to join through Alice, who knows nobody else that it could be sent to."""
        self.stage = Stage(joined=False)
        self.stage.perform(self.stage.core.join([ALICE.address], self.stage.now))

    def reach(self, baseline: bool = True) -> Line:
        """Alice is reached, and asked to be a neighbour."""
        [dial] = self.stage.take_dials()
        line = self.stage.connect(ALICE, dial)
        line.shake_hands(baseline)
        if baseline:
            self.assertEqual(len(kinds(line, wire.AskRandomNode)), 1)
            line.send(wire.ResponseRandomNode(None))
            self.assertEqual(kinds(line, wire.NodeConnAddr), [wire.NodeConnAddr(urgent=True)])
            line.send(wire.NodeConnAnswer(True))
        return line

    def page(self, *positions: wire.Position, following: str | None = None) -> wire.NodesInNetwork:
        """A page of the baseline, with Alice and Bob in it."""
        return wire.NodesInNetwork([ALICE.record(), BOB.record()], [], list(positions), following)

    def has_joined(self) -> bool:
        """Whether the application was told so."""
        return bool(self.stage.told(Kind.READY))

    def test_whole_course(self) -> None:
        """It asks page after page, announces itself, compares, and has joined once payload flows; not before."""
        line = self.reach()
        self.assertEqual(kinds(line, wire.GiveNodesInNetwork), [wire.GiveNodesInNetwork()])
        line.send(self.page((*ALICE.stream, 10), following=ALICE.peer))
        self.assertEqual(kinds(line, wire.GiveNodesInNetwork), [wire.GiveNodesInNetwork(ALICE.peer)])
        self.assertFalse(self.has_joined())
        line.send(self.page((*BOB.stream, 5)))
        frames = line.take()
        [announced] = [frame for frame in frames if isinstance(frame, wire.JoinedInNetwork)]
        self.assertEqual((announced.record.peer, announced.sender_ip), (OWN, "10.0.0.1"))
        digest = digest_of((*ALICE.stream, 10), (*BOB.stream, 5))
        self.assertIn(digest, frames)
        self.assertFalse(self.has_joined())
        line.send(digest)
        self.assertTrue(self.has_joined())
        self.assertEqual(self.stage.told(Kind.JOINED), [(Kind.JOINED, ALICE.peer), (Kind.JOINED, BOB.peer)])

    def test_no_history(self) -> None:
        """It asks for nothing that was said before it joined, is handed nothing of it, and hears what comes next."""
        line = self.reach()
        line.send(self.page((*ALICE.stream, 10)))
        line.send(digest_of((*ALICE.stream, 10)))
        self.assertTrue(line.is_live)
        line.send_lines(ALICE.bundle(9), ALICE.bundle(10), BOB.bundle(1))
        self.stage.pass_time(5)
        self.assertEqual((self.stage.seqs(ALICE.stream), self.stage.seqs(BOB.stream)), ([10], [1]))
        self.assertEqual(kinds(line, wire.Graft), [])

    def test_said_during_the_join(self) -> None:
        """What was said between the baseline and the comparison is asked for."""
        line = self.reach()
        line.send(self.page((*ALICE.stream, 10)))
        line.take_all()
        bucket = bucket_of(ALICE.peer)
        line.send(digest_of((*ALICE.stream, 12)), wire.Positions([(*ALICE.stream, 12)], [bucket]))
        self.assertEqual(kinds(line, wire.Graft), [wire.Graft([(*ALICE.stream, 10)], 1)])

    def test_neighbour_compares_first(self) -> None:
        """A neighbour's digest that comes before the baseline is kept until there is one."""
        line = self.reach()
        line.send(digest_of((*ALICE.stream, 10)))
        self.assertFalse(line.is_live)
        line.send(self.page((*ALICE.stream, 10)))
        self.assertTrue(line.is_live and self.has_joined())

    def test_lone_genesis(self) -> None:
        """A genesis that was alone takes over a baseline, too, but keeps its place in what it knows already."""
        stage = Stage()
        stage.broadcast("a")
        line = stage.meet(ALICE)
        self.assertTrue(line.become_neighbour())
        self.assertEqual(kinds(line, wire.GiveNodesInNetwork), [wire.GiveNodesInNetwork()])
        line.send(self.page((*stage.core.spread.own, 99), (*ALICE.stream, 10)))
        positions = stage.core.positions
        self.assertEqual((positions.of(stage.core.spread.own), positions.of(ALICE.stream)), (2, 10))

    def test_payload_before_the_baseline(self) -> None:
        """Before it has a baseline it takes no payload: it could not tell what is old."""
        line = self.reach()
        line.send_lines(ALICE.bundle(1))
        line.send(self.page((*ALICE.stream, 2)))
        line.send_lines(ALICE.bundle(2))
        self.assertEqual(self.stage.received, [])
        self.assertIsNone(line.ended)

    def test_gives_no_baseline(self) -> None:
        """It gives no baseline itself, and says so in its HELLO."""
        line = self.stage.connect(CAROL)
        line.send(line.hello(baseline=False))
        [hello] = kinds(line, wire.Hello)
        assert isinstance(hello, wire.Hello)
        self.assertFalse(hello.baseline)
        line.send(CAROL.proof(OWN, hello.nonce, line.nonce), wire.GiveNodesInNetwork())
        self.assertEqual(kinds(line, wire.NodesInNetwork), [])
        self.assertEqual(self.stage.counts["baseline_not_given"], 1)

    def test_through_another_newcomer(self) -> None:
        """Two newcomers give each other nothing: who was asked to help and can't is left, and it is tried again."""
        line = self.reach(baseline=False)
        assert line.ended is not None
        self.assertEqual(line.ended.reason, Reason.NOT_READY)
        [retry] = [change for change in self.stage.changes if change.kind is Kind.RETRY]
        self.assertEqual((retry.ip_addr, retry.port, retry.reason), (*ALICE.address, "not-joined-yet"))
        self.stage.pass_time(retry.after)
        self.assertEqual([(dial.host, dial.port) for dial in self.stage.take_dials()], [ALICE.address])

    def test_newcomers_as_neighbours(self) -> None:
        """A newcomer that asks to be a neighbour is not asked for a baseline; once there is one, all flows."""
        with_alice = self.reach()
        other = self.stage.meet(CAROL, baseline=False)
        self.assertTrue(other.become_neighbour())
        self.assertEqual(kinds(other, wire.GiveNodesInNetwork, wire.Digest), [])
        with_alice.send(self.page((*ALICE.stream, 10)))
        self.assertEqual(kinds(other, wire.Digest), [digest_of((*ALICE.stream, 10))])
        self.assertFalse(other.is_live)

    def test_silent_neighbour(self) -> None:
        """If the neighbour that was asked does not answer, another one is."""
        line = self.reach()
        other = self.stage.meet(BOB)
        self.assertTrue(other.become_neighbour())
        self.assertEqual(kinds(other, wire.GiveNodesInNetwork), [])
        self.stage.pass_time(LAN.handshake_timeout + 0.01)
        self.assertEqual(kinds(other, wire.GiveNodesInNetwork), [wire.GiveNodesInNetwork()])
        line.send(self.page((*CAROL.stream, 99)))
        self.assertEqual(self.stage.core.positions.of(CAROL.stream), 1)

    def test_slow_neighbour(self) -> None:
        """Where the pages take too long, another neighbour is asked for the rest. No page is gone on from twice."""
        line = self.reach()
        other = self.stage.meet(BOB)
        self.assertTrue(other.become_neighbour())
        line.send(self.page((*ALICE.stream, 10), following=ALICE.peer))
        line.take_all()
        line.send(self.page((*ALICE.stream, 10), following=ALICE.peer))
        self.assertEqual(kinds(line, wire.GiveNodesInNetwork), [])
        self.stage.pass_time(LAN.handshake_timeout + 0.01)
        self.assertEqual(kinds(other, wire.GiveNodesInNetwork), [wire.GiveNodesInNetwork(ALICE.peer)])
        other.send(self.page((*BOB.stream, 5)))
        positions = self.stage.core.positions
        self.assertEqual([positions.of(ALICE.stream), positions.of(BOB.stream)], [10, 5])
        self.assertTrue(self.stage.core.antientropy.has_baseline)

    def test_nobody_left(self) -> None:
        """When all that could be asked are gone, whoever comes next is asked for everything."""
        line = self.reach()
        line.send(self.page((*ALICE.stream, 10), following=ALICE.peer))
        line.close()
        other = self.stage.meet(BOB)
        self.assertTrue(other.become_neighbour())
        self.assertEqual(kinds(other, wire.GiveNodesInNetwork), [wire.GiveNodesInNetwork()])

    def test_neighbour_breaks(self) -> None:
        """If the neighbour that was asked is lost, another one is asked at once."""
        line = self.reach()
        other = self.stage.meet(BOB)
        self.assertTrue(other.become_neighbour())
        other.take_all()
        line.close()
        self.assertEqual(kinds(other, wire.GiveNodesInNetwork), [wire.GiveNodesInNetwork()])

    def test_forged_page(self) -> None:
        """A page with a forged record ends the link, and is no baseline."""
        line = self.reach()
        line.send(wire.NodesInNetwork([msgspec.structs.replace(BOB.record(), port=1)], [], [(*BOB.stream, 5)]))
        assert line.ended is not None
        self.assertEqual(line.ended.reason, Reason.BAD_SIGNATURE)
        self.assertFalse(self.stage.core.antientropy.has_baseline)


class GivingTests(SynchronousTestCase):
    """A member gives directory and baseline to newcomers."""

    def setUp(self) -> None:
        """A member that knows thirty peers, and positions of each."""
        self.stage = Stage(attrs.evolve(LAN, page=10))
        self.known = [Puppet(number) for number in range(1, 121, 4)]
        neighbour = self.stage.befriend(self.known[0])
        neighbour.send(wire.NodesInNetwork([puppet.record() for puppet in self.known], []))
        neighbour.send(wire.FailedInNetwork(self.known[0].claim(self.known[5].peer)))
        for puppet in self.known:
            neighbour.send_lines(puppet.bundle(1))
        self.line = self.stage.meet(Puppet(0xF0), baseline=False)

    def test_pages(self) -> None:
        """The pages are bounded, and together they are the whole directory, all claims and the whole baseline."""
        after: str | None = ""
        nodes: list[str] = []
        claims: list[str] = []
        streams: list[wire.Position] = []
        pages = 0
        while after is not None:
            self.line.send(wire.GiveNodesInNetwork(after))
            [page] = kinds(self.line, wire.NodesInNetwork)
            assert isinstance(page, wire.NodesInNetwork) and page.streams is not None
            self.assertLessEqual(len(page.nodes) + len(page.streams), 12)
            nodes += [record.peer for record in page.nodes]
            claims += [claim.peer for claim in page.claims]
            streams += page.streams
            after, pages = page.next, pages + 1
        self.assertEqual(set(nodes), {OWN, *(puppet.peer for puppet in self.known)})
        self.assertEqual(claims, [self.known[5].peer])
        self.assertEqual(sorted(streams), sorted((*puppet.stream, 2) for puppet in self.known))
        self.assertGreater(pages, 5)


class SyncTests(SynchronousTestCase):
    """The first comparison on a new neighbour link."""

    def setUp(self) -> None:
        """A member that has two bundles of Carol's and one of its own."""
        self.stage = Stage()
        self.stage.befriend(BOB).send_lines(CAROL.bundle(1), CAROL.bundle(2))
        self.stage.broadcast("a")
        self.own = (*self.stage.core.spread.own, 2)

    def new(self) -> Line:
        """Alice has become a neighbour."""
        line = self.stage.meet(ALICE)
        self.assertTrue(line.become_neighbour())
        return line

    def test_equal(self) -> None:
        """Where the digests are equal no position is sent, and payload flows."""
        line = self.new()
        same = digest_of((*CAROL.stream, 3), self.own)
        self.assertEqual(kinds(line, wire.Digest), [same])
        line.send(same)
        self.assertTrue(line.is_live)
        self.assertEqual(kinds(line, wire.Positions), [])

    def test_only_what_differs(self) -> None:
        """Only positions in buckets that differ are sent."""
        line = self.new()
        line.take_all()
        line.send(digest_of((*CAROL.stream, 1), self.own))
        bucket = bucket_of(CAROL.peer)
        self.assertEqual(kinds(line, wire.Positions), [wire.Positions([(*CAROL.stream, 3)], [bucket])])
        self.assertFalse(line.is_live)

    def test_other_is_behind(self) -> None:
        """Who told less asks: nothing is sent before its GRAFT, and then in order."""
        line = self.new()
        line.take_all()
        bucket = bucket_of(CAROL.peer)
        line.send(digest_of((*CAROL.stream, 1), self.own), wire.Positions([(*CAROL.stream, 1)], [bucket]))
        self.assertTrue(line.is_live)
        self.stage.pass_time(0)
        frames = line.take()
        self.assertEqual([f for f in frames if isinstance(f, (wire.Broadcast, wire.Graft))], [])
        line.send(wire.Graft([(*CAROL.stream, 1)]))
        self.stage.pass_time(0)
        self.assertEqual(line.take_seqs(), [1, 2])

    def test_said_meanwhile(self) -> None:
        """What is said during the comparison goes out when it is over."""
        line = self.new()
        line.take_all()
        self.stage.broadcast("b")
        self.assertEqual(line.take_seqs(), [])
        line.send(digest_of((*CAROL.stream, 3), self.own))
        self.stage.pass_time(0)
        self.assertEqual(line.take_seqs(), [2])

    def test_pages(self) -> None:
        """Positions may come in pages; payload flows after the last one."""
        line = self.new()
        bucket = bucket_of(ALICE.peer)
        line.send(wire.Digest("streams", digest_of((*CAROL.stream, 3), self.own).buckets | {str(bucket): OTHER}))
        line.send(wire.Positions([(ALICE.peer, 1, 5)], [bucket], more=True))
        self.assertFalse(line.is_live)
        line.take_all()
        line.send(wire.Positions([(ALICE.peer, 2, 6)], [bucket]))
        self.assertTrue(line.is_live)
        [graft] = kinds(line, wire.Graft)
        assert isinstance(graft, wire.Graft)
        self.assertEqual(sorted(graft.streams), [(ALICE.peer, 1, 1), (ALICE.peer, 2, 1)])

    def test_second_digest(self) -> None:
        """Another digest before the comparison is over is a fault."""
        line = self.new()
        line.send(wire.Digest("streams", {"1": OTHER}), wire.Digest("streams", {"1": OTHER}))
        assert line.ended is not None
        self.assertEqual(line.ended.reason, Reason.BAD_FRAME)

    def test_no_buckets(self) -> None:
        """Buckets that do not exist are a fault."""
        for number, key in enumerate(("256", "-1", "x", "", "1.0"), 0x60):
            line = self.stage.meet(Puppet(number))
            line.send(wire.Digest("nodes", {key: OTHER}))
            assert line.ended is not None, key
            self.assertEqual(line.ended.reason, Reason.BAD_FRAME)


class LaterTests(SynchronousTestCase):
    """Comparisons now and then with a neighbour."""

    def setUp(self) -> None:
        """Alice is a neighbour, and level."""
        self.stage = Stage()
        self.line = self.stage.befriend(ALICE)
        self.stage.broadcast("a")
        self.own = (*self.stage.core.spread.own, 2)
        self.line.take_all()

    def roots(self, answer: bool = False, nodes: str = "", streams: str = "") -> wire.Roots:
        """The core's own roots, but for what is given."""
        core = self.stage.core
        return wire.Roots(nodes or core.membership.digest.root(), streams or core.positions.digest.root(), answer)

    def test_answer(self) -> None:
        """Who is asked for its roots tells them; who is only told does not answer for ever."""
        self.line.send(self.roots(answer=True))
        self.assertEqual(self.line.take(), [self.roots()])
        self.line.send(self.roots())
        self.assertEqual(self.line.take(), [])

    def test_now_and_then(self) -> None:
        """In each interval one neighbour is compared with."""
        self.stage.pass_time(LAN.sync_interval * 1.21)
        self.assertIn(self.roots(answer=True), self.line.take())

    def compare(self) -> None:
        """The core compares, and finds its positions to differ."""
        self.stage.pass_time(LAN.sync_interval * 1.21)
        self.line.take_all()
        self.line.send(self.roots(streams=OTHER))
        self.assertEqual(kinds(self.line, wire.Digest), [digest_of(self.own)])

    def test_behind(self) -> None:
        """Who finds that it is behind, and stays so, asks."""
        self.compare()
        bucket = bucket_of(CAROL.peer)
        self.line.send(wire.Positions([(*CAROL.stream, 4)], [bucket]))
        self.assertEqual(kinds(self.line, wire.Graft), [])
        self.stage.pass_time(1.5 * LAN.graft_timeout + 0.01)
        self.assertEqual(kinds(self.line, wire.Graft), [wire.Graft([(*CAROL.stream, 1)], 1)])

    def test_ahead(self) -> None:
        """Who finds that the other is behind tells it so, of streams that it has never heard of, too."""
        self.compare()
        self.line.send(wire.Positions([], [bucket_of(OWN)]))
        self.assertEqual(kinds(self.line, wire.Positions), [wire.Positions([self.own])])

    def test_told_to_be_behind(self) -> None:
        """Who is told so asks, if it stays so."""
        self.line.send(wire.Positions([(*CAROL.stream, 2)]))
        self.stage.pass_time(1.5 * LAN.graft_timeout + 0.01)
        self.assertEqual(kinds(self.line, wire.Graft), [wire.Graft([(*CAROL.stream, 1)], 1)])

    def test_positions_asked_for(self) -> None:
        """A digest is answered by the positions in the buckets that differ, and no others."""
        other = str(bucket_of(CAROL.peer))
        self.line.send(wire.Digest("streams", {other: OTHER} | digest_of(self.own).buckets))
        self.assertEqual(kinds(self.line, wire.Positions), [wire.Positions([], [bucket_of(CAROL.peer)])])
        self.line.send(wire.Digest("streams", {}))
        self.assertEqual(kinds(self.line, wire.Positions), [wire.Positions([self.own], [bucket_of(OWN)])])

    def test_directory(self) -> None:
        """Where directories differ the digest is sent, and is answered by the entries of the buckets that differ."""
        self.line.send(self.roots(nodes=OTHER))
        [digest] = kinds(self.line, wire.Digest)
        assert isinstance(digest, wire.Digest)
        self.assertEqual((digest.of, set(digest.buckets)), ("nodes", {str(bucket_of(p)) for p in (OWN, ALICE.peer)}))
        self.line.send(wire.Digest("nodes", digest.buckets | {str(bucket_of(OWN)): OTHER}))
        [page] = kinds(self.line, wire.NodesInNetwork)
        assert isinstance(page, wire.NodesInNetwork)
        self.assertEqual([record.peer for record in page.nodes], [OWN])

    def test_directory_in_pages(self) -> None:
        """A large difference goes in pages, until there is none."""
        stage = Stage(attrs.evolve(LAN, page=4))
        line = stage.befriend(ALICE)
        line.send(*(wire.JoinedInNetwork(Puppet(number).record()) for number in range(1, 12)))
        line.take_all()
        seen: list[str] = []
        hashes = dict[str, str]()
        everything = {str(bucket): value for bucket, value in stage.core.membership.digest.hashes().items()}
        for _ in range(10):
            line.send(wire.Digest("nodes", hashes))
            pages = kinds(line, wire.NodesInNetwork)
            if not pages:
                break
            [page] = pages
            assert isinstance(page, wire.NodesInNetwork)
            self.assertLessEqual(len(page.nodes), 4)
            seen += [record.peer for record in page.nodes]
            self.assertEqual(page.again, len(seen) < 13)
            hashes = {str(bucket_of(peer)): everything[str(bucket_of(peer))] for peer in seen}
        self.assertEqual(sorted(seen), sorted([OWN, *(peer_id(n) for n in (*range(1, 12), 0x10))]))

    def test_again(self) -> None:
        """Who is told that there is more asks for it, from what it has by then."""
        self.line.send(wire.NodesInNetwork([BOB.record()], [], again=True))
        [digest] = kinds(self.line, wire.Digest)
        assert isinstance(digest, wire.Digest)
        self.assertIn(str(bucket_of(BOB.peer)), digest.buckets)
        self.line.send(wire.NodesInNetwork([BOB.record()], [], again=True))
        self.assertEqual(kinds(self.line, wire.Digest), [])

    def test_baseline_unasked(self) -> None:
        """A baseline that nobody asked for moves no position: nobody can make us skip what we lack."""
        self.line.send(wire.NodesInNetwork([], [], [(*CAROL.stream, 100)]))
        self.line.send_lines(CAROL.bundle(1))
        self.assertEqual(self.stage.seqs(CAROL.stream), [1])

    def test_forged_facts(self) -> None:
        """Forged facts end the link."""
        self.line.send(wire.JoinedInNetwork(msgspec.structs.replace(BOB.record(), port=1)))
        assert self.line.ended is not None
        self.assertEqual(self.line.ended.reason, Reason.BAD_SIGNATURE)
        self.assertNotIn(BOB.peer, self.stage.core.membership.entries)


class ProbeTests(SynchronousTestCase):
    """A probe compares with one who is no neighbour."""

    config: Config = attrs.evolve(LAN, active_target=0, linger=60.0, sync_interval=1000.0)

    def setUp(self) -> None:
        """Carol, whom the core knows of and is no neighbour of, is probed."""
        self.stage = Stage(self.config)
        self.stage.befriend(ALICE).send(wire.JoinedInNetwork(CAROL.record()))
        while not (dials := [dial for dial in self.stage.take_dials() if dial.host == CAROL.address[0]]):
            self.stage.pass_time(1)
        self.line = self.stage.connect(CAROL, dials[0])
        self.line.shake_hands()
        self.roots = [frame for frame in self.line.take_all() if isinstance(frame, wire.Roots)]

    def tell(self, *positions: wire.Position) -> None:
        """Carol answers the digest."""
        self.assertEqual(len(kinds(self.line, wire.Digest)), 1)
        self.line.send(wire.Positions(list(positions), [bucket_of(CAROL.peer)]))

    def test_equal(self) -> None:
        """If both have the same the link is ended, kindly, soon after."""
        [roots] = self.roots
        self.line.send(msgspec.structs.replace(roots, answer=False))
        self.stage.pass_time(LAN.graft_timeout + 0.01)
        assert self.line.ended is not None
        self.assertEqual(self.line.ended.reason, Reason.DONE)

    def look_twice(self) -> None:
        """Carol is ahead at the first look, which says nothing yet; she is asked once more."""
        [roots] = self.roots
        self.line.send(msgspec.structs.replace(roots, answer=False, streams=OTHER))
        self.tell((*CAROL.stream, 5))
        self.assertEqual(kinds(self.line, wire.NodeConnAddr, wire.Graft), [])
        self.stage.pass_time(LAN.graft_timeout + 0.01)

    def look_again(self) -> None:
        """Nothing has changed at two more looks."""
        for _ in range(2):
            self.tell((*CAROL.stream, 5))
            self.assertEqual(kinds(self.line, wire.NodeConnAddr), [])
            self.stage.pass_time(LAN.graft_timeout + 0.01)

    def test_gets_on(self) -> None:
        """Who is behind, and gets on, is just catching up: its neighbours are not to make room for us."""
        self.look_twice()
        self.look_again()
        self.stage.lines[1].send_lines(CAROL.bundle(1))
        self.tell((*CAROL.stream, 5))
        self.assertEqual((kinds(self.line, wire.NodeConnAddr), self.stage.counts["splits"]), ([], 0))

    def test_other_gets_on(self) -> None:
        """So it is with the other one."""
        self.stage.lines[1].send_lines(CAROL.bundle(1), CAROL.bundle(2))
        [roots] = self.roots
        self.line.send(msgspec.structs.replace(roots, answer=False, streams=OTHER))
        self.tell()
        self.stage.pass_time(LAN.graft_timeout + 0.01)
        self.tell((*CAROL.stream, 2))
        self.assertEqual((kinds(self.line, wire.NodeConnAddr), self.stage.counts["splits"]), ([], 0))

    def test_split(self) -> None:
        """If both still differ after the time-out, the other is asked to be a neighbour, urgently: two become one."""
        self.look_twice()
        self.look_again()
        self.tell((*CAROL.stream, 5))
        self.assertEqual(kinds(self.line, wire.NodeConnAddr), [wire.NodeConnAddr(urgent=True)])
        self.assertEqual(self.stage.counts["splits"], 1)

    def test_only_late(self) -> None:
        """If what lacked has come meanwhile by another way, it was no split."""
        self.look_twice()
        alice = self.stage.lines[1]
        alice.send_lines(*(CAROL.bundle(seq) for seq in (1, 2, 3, 4)))
        self.tell((*CAROL.stream, 5))
        self.assertEqual((kinds(self.line, wire.NodeConnAddr), self.stage.counts["splits"]), ([], 0))
        self.stage.pass_time(LAN.graft_timeout + 0.01)
        self.assertIsNotNone(self.line.ended)

    def test_other_stays_behind(self) -> None:
        """If the other one stays behind, that is a split, too."""
        self.stage.lines[1].send_lines(CAROL.bundle(1))
        [roots] = self.roots
        self.line.send(msgspec.structs.replace(roots, answer=False, streams=OTHER))
        for _ in range(3):
            self.tell()
            self.stage.pass_time(LAN.graft_timeout + 0.01)
        self.tell()
        self.assertEqual(kinds(self.line, wire.NodeConnAddr), [wire.NodeConnAddr(urgent=True)])
