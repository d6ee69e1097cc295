"""The whole core of one peer: whatever comes in, it keeps its bounds and its word; its answers; how it leaves."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import OWN, Line, Puppet, Stage, message, peer_id
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Actions, Deliver, Finished, Gap, Hangup, Kind, Reason, Write
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.wire import Frame

PUPPETS = [Puppet(number) for number in (0x10, 0x20, 0x90, 0xA0)]
SMALL = attrs.evolve(
    LAN, page=3, active_max=3, active_target=2, early_max=3, burst=600, max_peers=5, max_streams=4, retention_count=5
)

# --- what a peer may say, in a small world: so that it concerns somebody

ids = st.sampled_from([*(puppet.peer for puppet in PUPPETS), OWN, peer_id(0x55)])
lives = st.integers(1, 3)
epochs = st.sampled_from([7, 7, 8])
places = st.integers(1, 9)
positions = st.tuples(ids, epochs, places)
streams = st.lists(positions, max_size=3)
buckets = st.sampled_from([0x10, 0x20, 0x55, 0x80, 0x90, 0xA0])
hashes = st.sampled_from(["0" * 16, "1" * 16])
puppets = st.sampled_from(PUPPETS)
records = st.builds(Puppet.record, puppets, lives, st.sampled_from(["alive", "alive", "left"]))
claims = st.builds(Puppet.claim, puppets, ids, lives)
incarnations = lives.map(lambda life: PUPPETS[0].record(life).incarnation)
digests = st.builds(wire.Digest, st.sampled_from(["nodes", "streams"]), st.dictionaries(buckets.map(str), hashes))

frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(wire.Ping, places),
    st.builds(wire.Pong, places),
    st.builds(wire.Bye, st.sampled_from([*(reason.value for reason in Reason), "no-such-reason"])),
    st.builds(wire.AskRandomNode),
    st.builds(wire.ResponseRandomNode, st.none() | records),
    st.builds(wire.AskNodesToConnect),
    st.builds(wire.ConnectableNodes, st.lists(records, max_size=3)),
    st.builds(wire.NodeConnAddr, st.booleans()),
    st.builds(wire.NodeConnAnswer, st.booleans()),
    st.builds(wire.GiveNodesInNetwork, st.just("") | ids),
    st.builds(
        wire.NodesInNetwork,
        st.lists(records, max_size=3),
        st.lists(claims, max_size=2),
        st.none() | streams,
        st.none() | ids,
        st.booleans(),
    ),
    st.builds(wire.JoinedInNetwork, records),
    st.builds(wire.Disconnect, records),
    st.builds(wire.FailedInNetwork, claims),
    st.builds(wire.Suspect, ids, incarnations),
    st.builds(wire.Verdict, ids, incarnations, st.booleans()),
    st.builds(wire.Roots, hashes, hashes, st.booleans()),
    digests,
    digests,
    st.builds(wire.Positions, streams, st.lists(buckets, max_size=2), st.booleans()),
    st.builds(wire.Frontier, streams),
    st.builds(wire.Graft, streams),
    st.builds(wire.Prune, places),
    st.builds(wire.Floor, ids, epochs, places, places, places),
)
firsts = st.sampled_from([1, 1, 1, 2, 3, 5])
bundles = st.builds(
    lambda puppet, first, count: [puppet.bundle(first + n) for n in range(count)], puppets, firsts, places
)
steps = st.one_of(
    st.tuples(st.just("say"), st.integers(0, 5), st.lists(frames, min_size=1, max_size=3)),
    st.tuples(st.just("say"), st.integers(0, 5), st.lists(frames, min_size=1, max_size=3)),
    st.tuples(st.just("bundles"), st.integers(0, 5), bundles),
    st.tuples(st.just("bundles"), st.integers(0, 5), bundles),
    st.tuples(st.just("come"), puppets, st.booleans()),
    st.tuples(st.just("befriend"), puppets, st.booleans()),
    st.tuples(st.just("answer"), puppets, st.booleans()),
    st.tuples(st.just("close"), st.integers(0, 5), st.none()),
    st.tuples(st.just("congest"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("time"), st.sampled_from([0.0, 0.3, 1.0, 5.0, 30.0]), st.booleans()),
    st.tuples(st.just("broadcast"), st.integers(1, 5), st.none()),
)
scripts = st.lists(steps, min_size=20, max_size=40)


class AnythingTests(SynchronousTestCase):
    """Peers may say what they like: nothing raises, no bound is broken, and the application is never misled."""

    def play(self, stage: Stage, step: tuple[str, Any, Any]) -> None:
        """Let one thing happen."""
        what, one, other = step
        lines = [line for line in stage.lines.values() if line.ended is None]
        line = lines[one % len(lines)] if lines and isinstance(one, int) else None
        if what == "come":
            line = stage.connect(one)
            line.send(line.hello(other))
        elif what == "befriend":
            line = stage.meet(one, other)
            line.become_neighbour(urgent=True)
            if any(isinstance(frame, wire.Digest) and frame.of == "streams" for frame in line.peek()):
                line.go_live()
        elif what == "answer" and stage.dials:
            dial = stage.dials.pop()
            if other:
                stage.connect(one, dial).shake_hands()
            else:
                stage.fail(dial)
        elif what == "time":
            if other:
                stage.stand_still(one)
            stage.pass_time(one)
        elif what == "broadcast":
            stage.broadcast(*["x"] * one)
        elif line is not None and what == "say":
            line.send(*other)
        elif line is not None and what == "bundles":
            line.send_lines(*other)
        elif line is not None and what == "congest":
            line.congest() if other else line.drain()
        elif line is not None and what == "close":
            line.close()
            stage.lines.pop(line.number)

    def check(self, stage: Stage) -> None:
        """The bounds hold, and the machines agree with each other."""
        core, config = stage.core, stage.core.config
        links = core.links.by_id
        self.assertLessEqual(len(core.overlay.active), config.active_max)
        for peer, link in core.overlay.active.items():
            self.assertEqual((link.peer, link.is_neighbour, link.end, links[link.id]), (peer, True, None, link))
        self.assertEqual(list(core.spread.flows), [link.id for link in self.by_age(stage)])
        self.assertLessEqual(len(core.membership.entries), config.max_peers)
        self.assertLessEqual(len(core.positions), config.max_streams + 1)
        self.assertLessEqual(core.spread.early.count, config.early_max)
        self.assertEqual(core.spread.early.count, sum(map(len, core.spread.early.streams.values())))
        self.assertLessEqual(len(stage.log), config.retention_count)
        for line in stage.lines.values():
            if line.ended is None:
                self.assertIn(line.number, links)
            for written in line.written:
                self.assertIsNotNone(wire.decode(written))
            line.written = []

    def by_age(self, stage: Stage) -> list[Any]:
        """Neighbour links in the order in which their flows were opened."""
        flows = stage.core.spread.flows
        active = list(stage.core.overlay.active.values())
        return sorted(active, key=lambda link: list(flows).index(link.id) if link.id in flows else -1)

    def begin(self, config: Config, friends: int) -> Stage:
        """A peer with so many neighbours; with none it is one that has not joined yet."""
        stage = Stage(config, joined=friends > 0)
        for puppet in PUPPETS[:friends]:
            stage.befriend(puppet)
        return stage

    @given(scripts, st.booleans(), st.integers(0, 3))
    def test_anything(self, script: list[tuple[str, Any, Any]], small: bool, friends: int) -> None:
        """Whatever happens in whatever order."""
        stage = self.begin(SMALL if small else LAN, friends)
        told: dict[tuple[str, int], list[tuple[int, int]]] = {}
        perform = stage.perform

        def watch(actions: Actions) -> None:
            for action in actions:
                if isinstance(action, Gap):
                    told.setdefault((action.origin, action.epoch), []).append((action.first, action.last))
                elif isinstance(action, Deliver):
                    for bundle in action.bundles:
                        told.setdefault((bundle.origin, bundle.epoch), []).append((bundle.seq, bundle.seq))
            perform(actions)

        stage.perform = watch  # type: ignore[method-assign]
        for step in script:
            self.play(stage, step)
            self.check(stage)
        for stream, ranges in told.items():
            position = ranges[0][0]
            for first, last in ranges:
                self.assertEqual(first, position)
                self.assertGreaterEqual(last, first)
                position = last + 1
            self.assertEqual(position, stage.core.positions.of(stream))

    @given(scripts, st.integers(0, 3))
    def test_a_way_back(self, script: list[tuple[str, Any, Any]], friends: int) -> None:
        """Whatever happened: once all others are gone for a minute, no question to them and no deadline is left."""
        stage = self.begin(SMALL, friends)
        for step in script:
            self.play(stage, step)
        for line in list(stage.lines.values()):
            if line.ended is None:
                line.close()
        for _ in range(120):
            for dial in stage.take_dials():
                stage.fail(dial)
            stage.pass_time(0.5)
        core = stage.core
        self.assertEqual((core.links.by_id, core.overlay.active, core.spread.flows), ({}, {}, {}))
        self.assertEqual((core.catchup.wants, core.spread.early.count), ({}, 0))
        self.assertLess(len(core.turn.timers), 12)


class QuestionTests(SynchronousTestCase):
    """What a peer answers to those who ask it."""

    def setUp(self) -> None:
        """A peer with two neighbours that knows a third one, and somebody who asks."""
        self.stage = Stage()
        self.friends = [Puppet(0x10), Puppet(0x20)]
        lines = [self.stage.befriend(friend) for friend in self.friends]
        lines[0].send(wire.JoinedInNetwork(Puppet(0x30).record()))
        self.asker = self.stage.meet(Puppet(0x40))
        self.asker.take()

    def ask(self, question: Frame) -> Frame:
        """Ask; the answer."""
        self.asker.send(question)
        [answer] = self.asker.take()
        return answer

    def random_nodes(self, times: int) -> list[str]:
        """Whom it draws."""
        drawn = []
        for _ in range(times):
            answer = self.ask(wire.AskRandomNode())
            assert isinstance(answer, wire.ResponseRandomNode) and answer.node is not None
            drawn.append(answer.node.peer)
        return drawn

    def test_random_node(self) -> None:
        """It draws from the whole directory, everybody alike, but never the asker or itself."""
        drawn = self.random_nodes(600)
        self.assertEqual(set(drawn), {Puppet(number).peer for number in (0x10, 0x20, 0x30)})
        for peer in set(drawn):
            self.assertGreater(drawn.count(peer), 120)

    def test_random_node_is_alive(self) -> None:
        """Nobody is sent to a peer that has left or failed."""
        line = self.stage.lines[1]
        line.send(wire.Disconnect(Puppet(0x30).record(2, "left")))
        line.send(wire.FailedInNetwork(self.friends[0].claim(self.friends[1].peer)))
        self.assertEqual(set(self.random_nodes(50)), {self.friends[0].peer})

    def test_nobody_else(self) -> None:
        """Where there is nobody but the two of us the answer is null."""
        stage = Stage()
        line = stage.meet(Puppet(0x10))
        line.send(wire.AskRandomNode())
        self.assertEqual(line.take(), [wire.ResponseRandomNode(None)])

    def test_nodes_to_connect(self) -> None:
        """It names itself first, then others that it knows, with addresses that they signed."""
        line = self.stage.lines[1]
        line.send(*(wire.JoinedInNetwork(Puppet(number).record()) for number in range(0x60, 0x70)))
        known = list(self.stage.core.membership.others())
        answer = self.ask(wire.AskNodesToConnect())
        assert isinstance(answer, wire.ConnectableNodes)
        self.assertEqual(answer.nodes[0], self.stage.core.membership.own)
        self.assertEqual(len(answer.nodes), 1 + 2 * LAN.active_target)
        self.assertEqual([record for record in answer.nodes[1:] if record not in known], [])

    def test_nodes_to_connect_for_a_neighbour(self) -> None:
        """Whoever asks is not named to itself."""
        line = self.stage.lines[1]
        line.take()
        line.send(wire.AskNodesToConnect())
        [answer] = line.take()
        assert isinstance(answer, wire.ConnectableNodes)
        peers = [node.peer for node in answer.nodes]
        self.assertIn(self.friends[1].peer, peers)
        self.assertNotIn(line.puppet.peer, peers)


class LeavingTests(SynchronousTestCase):
    """A peer leaves: what it said is with somebody, everybody knows, and it takes a few seconds at most."""

    def setUp(self) -> None:
        """A peer with two neighbours that do not answer pings by themselves."""
        self.stage = Stage()
        self.one = self.stage.befriend(Puppet(0x10))
        self.two = self.stage.befriend(Puppet(0x20))
        for line in (self.one, self.two):
            line.answers = False
            line.take_all()

    def pong(self, line: Line) -> None:
        """Answer the last ping."""
        pings = [frame.n for frame in line.peek() if isinstance(frame, wire.Ping)]
        line.send(wire.Pong(pings[-1]))

    def see_off(self, line: Line) -> None:
        """Have everything, hear that it leaves, and wait until it has gone."""
        self.pong(line)
        self.pong(line)
        self.stage.pass_time(LAN.leave_linger + 0.001)

    def check_finished(self) -> None:
        """It has left, and has hung up everywhere, with a word."""
        self.assertTrue(self.stage.finished)
        for line in (self.one, self.two):
            self.assertEqual(line.ended, Hangup(line.number, Reason.LEAVING))
            self.assertEqual(line.peek()[-1], wire.Bye("leaving"))

    def test_alone(self) -> None:
        """Who has nobody to tell leaves at once."""
        stage = Stage()
        stage.leave()
        self.assertTrue(stage.finished)

    def test_never_joined(self) -> None:
        """Who has not joined yet leaves at once."""
        stage = Stage(joined=False)
        stage.perform(stage.core.join([("192.0.2.1", 5050)], stage.now))
        stage.leave()
        self.assertTrue(stage.finished)

    def test_told(self) -> None:
        """Every neighbour is told that it leaves before the link ends, once one of them has all that it said."""
        self.stage.leave()
        self.assertNotIn(wire.Disconnect, [type(frame) for frame in self.two.peek()])
        self.pong(self.two)
        for line in (self.one, self.two):
            [said] = [frame for frame in line.peek() if isinstance(frame, wire.Disconnect)]
            self.assertEqual((said.record.peer, said.record.state), (OWN, "left"))
        self.assertFalse(self.stage.finished)
        self.pong(self.two)
        self.stage.pass_time(LAN.leave_linger - 0.001)
        self.assertFalse(self.stage.finished)
        self.stage.pass_time(0.002)
        self.check_finished()

    def test_dialled_while_leaving(self) -> None:
        """Who dials it before the news has come reads in its HELLO that it has left."""
        self.stage.leave()
        self.pong(self.one)
        self.pong(self.one)
        line = self.stage.connect(Puppet(0x30))
        line.send(line.hello())
        self.assertEqual([f.record.state for f in line.peek() if isinstance(f, wire.Hello)], ["left"])

    def test_without_neighbours(self) -> None:
        """A member whose last neighbour is lost finds another one to tell, before it leaves."""
        self.stage.leave()
        self.one.close()
        self.two.close()
        for _ in range(2):  # first to see whether they are there, then to be their neighbour
            self.stage.pass_time(0.1)
            self.assertFalse(self.stage.finished)
            for dial in self.stage.take_dials():
                puppet = next(line.puppet for line in (self.one, self.two) if line.puppet.address[0] == dial.host)
                line = self.stage.connect(puppet, dial)
                line.shake_hands(life=2)
        self.assertIn(wire.NodeConnAddr, [type(frame) for frame in line.peek()])
        line.answers = False
        line.send(wire.NodeConnAnswer(True))
        line.go_live()
        self.stage.pass_time(0.1)
        self.one = self.two = line
        self.see_off(line)
        self.check_finished()

    def test_nobody_there(self) -> None:
        """If nobody can be reached any more it leaves at once."""
        self.one.close()
        self.two.close()
        self.stage.leave()
        for _ in range(3):
            for dial in self.stage.take_dials():
                self.stage.fail(dial)
            self.stage.pass_time(0.06)
        self.assertTrue(self.stage.finished)

    def test_last_words(self) -> None:
        """What was said just before arrives first: it has left only when a neighbour has worked through all of it."""
        self.stage.broadcast("a")
        self.stage.broadcast("b")
        self.stage.leave()
        kinds = [type(frame) for frame in self.one.peek()]
        self.assertEqual(kinds[:3], [wire.Broadcast, wire.Broadcast, wire.Ping])
        self.assertFalse(self.stage.finished)
        self.see_off(self.one)
        self.check_finished()

    def test_congested(self) -> None:
        """It does not leave while no neighbour has been sent its last words."""
        self.one.congest()
        self.two.congest()
        self.stage.broadcast("a")
        self.stage.leave()
        self.stage.pass_time(LAN.leave_timeout / 2)
        self.assertFalse(self.stage.finished)
        self.assertNotIn(wire.Ping, [type(frame) for frame in self.one.peek() if not isinstance(frame, wire.Ping)])
        self.two.drain()
        self.stage.pass_time(0.1)
        self.assertEqual([f.seq for f in self.two.peek() if isinstance(f, wire.Broadcast)], [1])
        self.see_off(self.two)
        self.check_finished()

    def test_nobody_answers(self) -> None:
        """When nobody answers it leaves after the leave time-out."""
        self.stage.leave()
        self.stage.pass_time(LAN.leave_timeout - 0.01)
        self.assertFalse(self.stage.finished)
        self.stage.pass_time(0.02)
        self.check_finished()

    def test_neighbours_gone(self) -> None:
        """When the last neighbour that was told is gone there is nobody left to wait for."""
        self.stage.leave()
        self.pong(self.one)
        self.one.close()
        self.assertFalse(self.stage.finished)
        self.two.send(wire.Bye("leaving"))
        self.assertTrue(self.stage.finished)

    def test_twice(self) -> None:
        """To leave twice is to leave once."""
        self.stage.leave()
        self.stage.leave()
        self.pong(self.one)
        self.pong(self.two)
        self.assertEqual(len([frame for frame in self.one.peek() if isinstance(frame, wire.Disconnect)]), 1)
        self.see_off(self.one)
        self.check_finished()
        finished = []
        for _ in range(20):
            self.stage.now += 1
            finished += [a for a in self.stage.core.wake(self.stage.now) if isinstance(a, Finished)]
        self.assertEqual(finished, [])

    def test_no_new_neighbours(self) -> None:
        """Who leaves looks for nobody any more."""
        self.one.send(wire.JoinedInNetwork(Puppet(0x30).record()))
        self.stage.leave()
        self.stage.take_dials()
        self.stage.pass_time(LAN.leave_timeout - 0.1)
        self.assertEqual([dial for dial in self.stage.take_dials() if dial.host == Puppet(0x30).address[0]], [])

    def test_accused_while_leaving(self) -> None:
        """Who has said that it leaves lets nobody call it failed, and does not come back."""
        self.stage.leave()
        self.pong(self.one)
        left = self.stage.core.membership.own
        self.assertEqual(left.state, "left")
        self.one.send(wire.NodesInNetwork([], [self.one.puppet.claim(OWN, 0)]))
        self.assertEqual(self.stage.core.membership.own, left)

    def test_the_others(self) -> None:
        """Whose neighbour leaves hears that it has left, not that it failed, and suspects nobody."""
        self.one.send(wire.Disconnect(self.one.puppet.record(2, "left")), wire.Bye("leaving"))
        self.assertEqual(self.stage.told(Kind.LEFT, Kind.FAILED), [(Kind.LEFT, self.one.puppet.peer)])
        self.assertEqual(self.stage.core.detection.suspicions, {})
        self.two.answers = True
        self.stage.pass_time(60)
        self.assertEqual(self.stage.told(Kind.FAILED), [])


class OrderTests(SynchronousTestCase):
    """What a shell is asked for at the end of a turn."""

    def test_quiet_turns(self) -> None:
        """A turn in which nothing is to be done asks for nothing."""
        stage = Stage()
        line = stage.befriend(Puppet(0x10))
        self.assertEqual(list(stage.core.lines_received(line.number, [wire.encode(wire.Pong(9))], stage.now)), [])
        self.assertEqual(list(stage.core.lines_received(999, [b"junk"], stage.now)), [])
        self.assertEqual(list(stage.core.link_down(999, Reason.CLOSED, stage.now)), [])
        self.assertEqual(list(stage.core.congested(999, stage.now)), [])

    def test_one_write_a_link(self) -> None:
        """All that a link is sent in a turn is one write, however many frames it is."""
        stage = Stage()
        one, two = stage.befriend(Puppet(0x10)), stage.befriend(Puppet(0x20))
        far = Puppet(0x30)
        lines = [
            far.bundle(1),
            wire.encode(wire.JoinedInNetwork(far.record())),
            wire.encode(wire.Ping(1)),
            far.bundle(2),
        ]
        actions = stage.core.lines_received(one.number, lines, stage.now)
        writes = [action for action in actions if isinstance(action, Write)]
        self.assertEqual(sorted((write.link, len(write.lines)) for write in writes), [(one.number, 1), (two.number, 3)])

    def test_messages_as_they_were_given(self) -> None:
        """The core looks at no message: what it is given travels, byte for byte."""
        stage = Stage()
        line = stage.befriend(Puppet(0x10))
        stage.perform(stage.core.broadcast([b'{ "odd":\t1 }', message("x")], stage.now))
        [bundle] = [frame for frame in line.take() if isinstance(frame, wire.Broadcast)]
        self.assertEqual(bytes(bundle.messages), b'[{ "odd":\t1 },%b]' % message("x"))
