"""A sample of a network that is larger than a peer wants to know."""

import attrs
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import OWN, Line, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Kind, Reason
from twisted_p2p.core.config import LAN
from twisted_p2p.core.shuffle import _WALKS_MAX

KNOWN = 12
SAMPLE = attrs.evolve(
    LAN, max_known=KNOWN, active_target=0, ping_interval=1000.0, shuffle_interval=10.0, introductions_interval=0.0
)


class SampleLine(Line):
    """A connection of a puppet that knows a sample, too."""

    def hello(self, baseline: bool = True, life: int = 1) -> wire.Hello:
        """Its HELLO says so."""
        return msgspec.structs.replace(super().hello(baseline, life), sample=True)


class SampleStage(Stage):
    """A peer that knows a sample of its network."""

    line = SampleLine


class SampleCase(SynchronousTestCase):
    """What these tests have in common."""

    def setUp(self) -> None:
        """A peer with two neighbours."""
        self.stage = SampleStage(SAMPLE)
        self.one, self.two = self.stage.befriend(Puppet(0x11)), self.stage.befriend(Puppet(0x22))
        self.quieten()

    def quieten(self) -> None:
        """Forget what was written so far."""
        for line in (self.one, self.two):
            line.take_all()

    def known(self) -> list[str]:
        """Who is in the directory, ourselves left out."""
        return [record.peer for record in self.stage.core.membership.others()]

    def tell(self, *numbers: int) -> None:
        """Have these peers in the directory."""
        self.one.send(*(wire.JoinedInNetwork(Puppet(number).record()) for number in numbers))

    def shuffle(self, line: Line, *numbers: int, hops: int = 1, walk: int = 1) -> None:
        """A walk comes by a link."""
        line.send(wire.Shuffle(f"{walk:032x}", hops, [Puppet(number).record() for number in numbers]))


class SampleTests(SampleCase):
    """What is known, and what is not told."""

    def test_bounded(self) -> None:
        """No more are known than may be; neighbours stay, others make room by chance, and the application hears it."""
        self.tell(*range(0x30, 0x60))
        self.assertEqual(len(self.known()), KNOWN)
        self.assertLess({Puppet(0x11).peer, Puppet(0x22).peer}, set(self.known()))
        forgotten = {peer for _, peer in self.stage.told(Kind.FORGOTTEN)}
        joined = {peer for _, peer in self.stage.told(Kind.JOINED)}
        self.assertEqual(joined - forgotten, set(self.known()))
        self.assertNotEqual(set(self.known()) - {Puppet(0x11).peer, Puppet(0x22).peer}, set(list(joined)[-10:]))

    def test_departed_first(self) -> None:
        """Room is made by those who have left, before anybody else."""
        self.tell(*range(0x30, 0x30 + KNOWN - 2))
        self.one.send(wire.Disconnect(Puppet(0x33).record(2, "left")))
        self.tell(0x60)
        self.assertEqual(self.stage.told(Kind.FORGOTTEN), [])
        self.assertIn(Puppet(0x60).peer, self.known())

    def test_no_room(self) -> None:
        """Where all that are known are neighbours, nobody else is."""
        stage = SampleStage(attrs.evolve(SAMPLE, max_known=2))
        lines = [stage.befriend(Puppet(number)) for number in (0x11, 0x22)]
        lines[0].send(wire.JoinedInNetwork(Puppet(0x33).record()))
        self.assertEqual(len(list(stage.core.membership.others())), 2)
        self.assertEqual(stage.counts["directory_full"], 1)

    def test_not_flooded(self) -> None:
        """Who hears of a peer keeps it to itself."""
        self.tell(0x30)
        self.assertEqual([self.two.take(), self.one.take()], [[], []])

    def test_directories_not_compared(self) -> None:
        """Nobody's sample is like another's."""
        self.one.send(wire.Roots("0" * 16, self.stage.core.positions.digest.root()), wire.Digest("nodes", {}))
        self.assertEqual(self.one.take(), [])

    def test_none_named_to_newcomers(self) -> None:
        """A newcomer finds neighbours by walks, or all near it would have the same; but it learns whom we know."""
        self.tell(0x30)
        line = self.stage.meet(Puppet(0x40))
        line.send(wire.AskNodesToConnect(), wire.GiveNodesInNetwork())
        named, page = line.take()
        assert isinstance(named, wire.ConnectableNodes) and isinstance(page, wire.NodesInNetwork)
        self.assertEqual([record.peer for record in named.nodes], [OWN])
        self.assertEqual({record.peer for record in page.nodes}, {OWN, *self.known()})

    def test_bounded_before_it_has_joined(self) -> None:
        """A newcomer that is told of more than it may know keeps as many."""
        self.stage = SampleStage(SAMPLE, joined=False)
        self.stage.perform(self.stage.core.join([Puppet(0x11).address], self.stage.now))
        [dial] = self.stage.take_dials()
        line = self.stage.connect(Puppet(0x11), dial)
        line.shake_hands()
        line.send(wire.ResponseRandomNode(None), wire.NodeConnAnswer(True))
        line.send(wire.NodesInNetwork([Puppet(number).record() for number in range(0x30, 0x60)], [], [], None))
        self.assertEqual(len(self.known()), KNOWN)
        self.assertIn(OWN, self.stage.core.membership.entries)

    def test_other_kind_refused(self) -> None:
        """Who knows everybody would wait for floods that never come."""
        line = Line(self.stage, Puppet(0x50), self.stage.connect(Puppet(0x50)).number)
        line.send(line.hello())
        hangup = self.stage.lines[line.number].ended
        assert hangup is not None
        self.assertIs(hangup.reason, Reason.OTHER_DIRECTORY)

    def test_not_reached(self) -> None:
        """Who can't be reached twice is taken to have failed, without asking or telling anybody."""
        self.tell(0x30)
        for _ in range(2):
            self.stage.core.detection.seek(Puppet(0x30).peer)
            self.stage.perform(self.stage.core.broadcast([], self.stage.now))
            [dial] = [dial for dial in self.stage.take_dials() if dial.host == Puppet(0x30).address[0]]
            self.stage.fail(dial)
            self.stage.pass_time(LAN.suspicion_timeout + 0.1)
        self.assertEqual(self.stage.told(Kind.FAILED), [(Kind.FAILED, Puppet(0x30).peer)])
        sent = [type(frame) for line in (self.one, self.two) for frame in line.take()]
        self.assertFalse({wire.Suspect, wire.FailedInNetwork} & {*sent})

    def test_back(self) -> None:
        """Who was taken to have failed, and is there after all, is alive again, and the application hears it."""
        self.test_not_reached()
        self.assertTrue(self.stage.core.catchup.has_ended((Puppet(0x30).peer, 7), False))
        self.stage.meet(Puppet(0x30))
        self.assertTrue(self.stage.core.membership.is_alive(Puppet(0x30).peer))
        self.assertEqual(self.stage.told(Kind.JOINED)[-1], (Kind.JOINED, Puppet(0x30).peer))

    def test_claims_of_others(self) -> None:
        """What others say of third ones, who can't hear and refute it, counts for nothing, and is not passed on."""
        self.tell(0x30)
        self.one.send(wire.FailedInNetwork(self.one.puppet.claim(Puppet(0x30).peer)))
        self.assertTrue(self.stage.core.membership.is_alive(Puppet(0x30).peer))
        self.assertEqual(self.two.take(), [])

    def test_half_at_once(self) -> None:
        """One neighbour can't make a whole sample its own."""
        self.stage = SampleStage(attrs.evolve(SAMPLE, introductions_interval=1.0))
        line = self.stage.befriend(Puppet(0x11))
        line.send(*(wire.JoinedInNetwork(Puppet(number).record()) for number in range(0x30, 0x60)))
        self.assertEqual(len(self.known()), 1 + KNOWN // 2)

    def test_unknown_origin(self) -> None:
        """That an origin is not in the sample does not mean that it is gone; most neighbours are believed, then."""
        stream = (Puppet(0x70).peer, 7)
        self.assertFalse(self.stage.core.catchup.has_ended(stream, False))
        self.assertTrue(self.stage.core.catchup.has_ended(stream, True))
        self.tell(0x30)
        self.one.send(wire.Disconnect(Puppet(0x30).record(2, "left")))
        self.assertTrue(self.stage.core.catchup.has_ended((Puppet(0x30).peer, 7), False))

    def test_positions_kept(self) -> None:
        """The position of an origin that nobody here knows is never forgotten: it may speak again."""
        config = attrs.evolve(SAMPLE, retention_age=100.0)
        self.stage = SampleStage(config)
        self.stage.befriend(Puppet(0x11)).send_lines(Puppet(0x70).bundle(1))
        self.stage.pass_time(3 * config.retention_age)
        self.assertTrue(self.stage.core.positions.knows((Puppet(0x70).peer, 7)))


class ShuffleTests(SampleCase):
    """Walks, and their answers."""

    def test_begins(self) -> None:
        """A peer sends its own record, its other neighbour's, and some of those that it knows."""
        self.tell(*range(0x30, 0x3A))
        self.stage.pass_time(SAMPLE.shuffle_interval * 1.2)
        [frame] = self.one.take_kind(wire.Shuffle) + self.two.take_kind(wire.Shuffle)
        assert isinstance(frame, wire.Shuffle)
        peers = [record.peer for record in frame.nodes]
        self.assertEqual((frame.hops, peers[0], len(peers)), (6, OWN, 1 + 1 + SAMPLE.shuffle_passive))
        self.assertIn(peers[1], (Puppet(0x11).peer, Puppet(0x22).peer))
        self.assertEqual(len(set(peers)), len(peers))

    def test_answer_taken_in(self) -> None:
        """The answer to our own walk is taken in, once, and only from where the walk went."""
        self.stage.pass_time(SAMPLE.shuffle_interval * 1.2)
        asked, other = (self.one, self.two) if self.one.take_kind(wire.Shuffle) else (self.two, self.one)
        [walk] = self.stage.core.shuffles._walks
        other.send(wire.Shuffled(walk, [Puppet(0x31).record()]))
        asked.send(wire.Shuffled(walk, [Puppet(0x32).record()]))
        asked.send(wire.Shuffled(walk, [Puppet(0x33).record()]))
        asked.send(wire.Shuffled("0" * 32, [Puppet(0x34).record()]))
        new = set(self.known()) - {Puppet(0x11).peer, Puppet(0x22).peer}
        self.assertEqual(new, {Puppet(0x32).peer})
        self.assertEqual(self.stage.counts["walks_unasked"], 3)

    def test_passed_on(self) -> None:
        """A walk goes on with one hop less, and its answer goes back."""
        self.shuffle(self.one, 0x30, 0x31, hops=6)
        [frame] = self.two.take()
        assert isinstance(frame, wire.Shuffle)
        self.assertEqual((frame.hops, frame.nodes[0].peer), (5, Puppet(0x30).peer))
        answer = wire.Shuffled(frame.walk, [Puppet(0x40).record()])
        self.two.send(answer)
        self.assertEqual(self.one.take(), [answer])
        self.assertEqual(set(self.known()), {Puppet(0x11).peer, Puppet(0x22).peer})

    def test_known_where_it_passes(self) -> None:
        """Half-way the peer that began it becomes known, and none of the others."""
        self.shuffle(self.one, 0x30, 0x31, hops=3)
        self.assertIn(Puppet(0x30).peer, self.known())
        self.assertNotIn(Puppet(0x31).peer, self.known())

    def test_ends(self) -> None:
        """At its last hop its peers become known, and as many go back, the end itself the first."""
        self.tell(0x40, 0x41, 0x42)
        self.shuffle(self.one, 0x30, 0x31)
        [frame] = self.one.take()
        assert isinstance(frame, wire.Shuffled)
        peers = [record.peer for record in frame.nodes]
        self.assertEqual((peers[0], len(peers)), (OWN, 3))
        self.assertLess(set(peers[1:]), {Puppet(number).peer for number in (0x40, 0x41, 0x42)})
        self.assertLess({Puppet(0x30).peer, Puppet(0x31).peer}, set(self.known()))

    def test_longer_than_ours(self) -> None:
        """A walk goes no further than ours do, and an answer brings no more than was sent."""
        self.shuffle(self.one, 0x30, hops=20)
        [frame] = self.two.take()
        assert isinstance(frame, wire.Shuffle)
        self.assertEqual(frame.hops, SAMPLE.shuffle_hops - 1)
        self.stage.pass_time(SAMPLE.shuffle_interval * 1.2)
        [(own, walk)] = [item for item in self.stage.core.shuffles._walks.items() if item[1].back is None]
        asked = self.one if walk.to.id == self.one.number else self.two
        asked.send(wire.Shuffled(own, [Puppet(number).record() for number in range(0x40, 0x60)]))
        self.assertEqual(len(set(self.known()) - {Puppet(0x11).peer, Puppet(0x22).peer}), walk.size + 1)

    def test_comes_back(self) -> None:
        """A walk that has been here before ends here, and the first way back stays open."""
        self.shuffle(self.one, 0x30, hops=6)
        self.two.take()
        self.shuffle(self.two, 0x30, hops=4)
        [end] = self.two.take()
        self.assertIsInstance(end, wire.Shuffled)
        self.two.send(wire.Shuffled(f"{1:032x}", []))
        self.assertEqual(self.one.take(), [wire.Shuffled(f"{1:032x}", [])])

    def test_dead_end(self) -> None:
        """Where there is no other neighbour a walk ends."""
        self.two.close()
        self.one.take()
        self.shuffle(self.one, 0x30, hops=6)
        self.assertEqual([type(frame) for frame in self.one.take()], [wire.Shuffled])

    def test_way_back_gone(self) -> None:
        """An answer whose way back is closed is dropped."""
        self.shuffle(self.one, 0x30, hops=6)
        self.one.close()
        self.two.send(wire.Shuffled(f"{1:032x}", [Puppet(0x40).record()]))
        self.assertIsNone(self.two.ended)

    def test_bad_signature(self) -> None:
        """A record that its peer has not signed is left out; who brought it is not to blame."""
        bad = msgspec.structs.replace(Puppet(0x30).record(), port=1)
        self.one.send(wire.Shuffle("1" * 32, 1, [bad, Puppet(0x31).record()]))
        self.assertNotIn(Puppet(0x30).peer, self.known())
        self.assertIn(Puppet(0x31).peer, self.known())
        self.assertIsNone(self.one.ended)
        self.assertEqual(self.stage.counts["walks_bad"], 1)

    def test_rationed(self) -> None:
        """A neighbour that sends walk after walk is answered so often, and then once an interval; others as before."""
        for walk in range(SAMPLE.walks_burst + 5):
            self.shuffle(self.one, 0x30, walk=walk)
        self.assertEqual(len(self.one.take()), SAMPLE.walks_burst)
        self.assertEqual(self.stage.counts["walks_refused"], 5)
        self.shuffle(self.two, 0x30, walk=1000)
        self.assertEqual(len(self.two.take()), 1)
        self.stage.pass_time(SAMPLE.walks_interval)
        self.shuffle(self.one, 0x30, walk=1001)
        self.assertEqual(len(self.one.take_kind(wire.Shuffled)), 1)

    def test_walks_bounded(self) -> None:
        """Walks whose answers never come are forgotten, the eldest first."""
        for walk in range(_WALKS_MAX + 3):
            self.stage.core.shuffles._go(
                f"{walk:032x}", self.stage.core.links.by_id[1], self.stage.core.links.by_id[2], 5, []
            )
        walks = list(self.stage.core.shuffles._walks)
        self.assertEqual((len(walks), walks[0]), (_WALKS_MAX, f"{3:032x}"))

    def test_not_for_strangers(self) -> None:
        """A walk takes place among neighbours, and only where directories are samples."""
        stranger = self.stage.meet(Puppet(0x50))
        self.shuffle(stranger, 0x30)
        whole = Stage(attrs.evolve(SAMPLE, max_known=0))
        friend = whole.befriend(Puppet(0x11))
        friend.take()
        self.shuffle(friend, 0x30)
        self.assertEqual([stranger.take(), friend.take()], [[], []])
        whole.pass_time(100.0)
        self.assertEqual(friend.take_kind(wire.Shuffle), [])


class EnteringTests(SynchronousTestCase):
    """A newcomer finds neighbours at the ends of walks."""

    def setUp(self) -> None:
        """One that has joined through its only neighbour."""
        stage = self.stage = SampleStage(attrs.evolve(SAMPLE, active_target=3, refill_interval=1000.0), joined=False)
        stage.perform(stage.core.join([("10.0.1.17", 5050)], stage.now))
        [dial] = stage.take_dials()
        line = self.line = stage.connect(Puppet(0x11), dial)
        line.shake_hands()
        line.send(wire.ResponseRandomNode(None))
        line.take()
        line.send(wire.NodeConnAnswer(True))
        line.send(wire.NodesInNetwork([], [], [], None))
        line.send(wire.Digest("streams", {}))
        self.walks = [frame for frame in line.take_kind(wire.Shuffle) if isinstance(frame, wire.Shuffle)]
        stage.take_dials()

    def test_walks(self) -> None:
        """Once it has joined it begins as many walks as it looks for neighbours, with its own record alone."""
        self.assertEqual([[record.peer for record in walk.nodes] for walk in self.walks], [[OWN]] * 3)

    def test_end_is_asked(self) -> None:
        """The peer at the end of a walk is asked to be a neighbour, and may not refuse; others named are not asked."""
        self.line.send(wire.Shuffled(self.walks[0].walk, [Puppet(0x40).record(), Puppet(0x41).record()]))
        dial = next(dial for dial in self.stage.take_dials() if dial.host == Puppet(0x40).address[0])
        end = self.stage.connect(Puppet(0x40), dial)
        end.shake_hands()
        self.assertEqual(end.take_kind(wire.NodeConnAddr), [wire.NodeConnAddr(urgent=True)])

    def test_later_walks(self) -> None:
        """The end of any later walk is only known."""
        self.stage.pass_time(SAMPLE.shuffle_interval * 1.2)
        later = [frame.walk for frame in self.line.take_kind(wire.Shuffle) if isinstance(frame, wire.Shuffle)]
        self.stage.take_dials()
        self.line.send(wire.Shuffled(later[0], [Puppet(0x40).record()]))
        self.assertEqual(self.stage.take_dials(), [])
        self.assertTrue(self.stage.core.membership.is_alive(Puppet(0x40).peer))

    def test_bad_end_is_not_dialled(self) -> None:
        """Nobody can have us dial an address that its peer has not signed."""
        bad = msgspec.structs.replace(Puppet(0x40).record(), port=1)
        self.line.send(wire.Shuffled(self.walks[0].walk, [bad]))
        self.assertEqual(self.stage.take_dials(), [])
