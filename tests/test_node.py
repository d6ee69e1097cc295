"""A Node: what an application may do with its peer, and what it is told."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p import LAN, Changed, Kind, Message, MessageTooBig, Node, NotJSON, NotRunning
from twisted_p2p.core.actions import Gap
from twisted_p2p.core.config import Config
from twisted_p2p.core.wire import groups_of
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.world import World


class NodeCase(SynchronousTestCase):
    """Nodes in a simulated network."""

    def setUp(self) -> None:
        """Nobody is there yet."""
        self.world = World(1)
        self.peers: dict[Node, SimPeer] = {}

    def node(self, config: Config = LAN, **options: Any) -> Node:
        """A node that is not started."""
        peer = self.world.add(config=config)
        node = Node(self.world, shell=lambda reactor, settings: peer, config=config, **options)
        self.peers[node] = peer
        return node

    def pair(self) -> tuple[Node, Node]:
        """A genesis, and another one that has joined through it."""
        one = self.node(genesis=True)
        one.startService()
        two = self.node(join=[one.address])
        two.startService()
        self.world.run(3)
        self.successResultOf(two.when_ready())
        return one, two

    def heard(self, node: Node) -> list[Any]:
        """What a node hears from now on."""
        heard: list[Any] = []
        node.on_message(lambda message: heard.append(message.message))
        return heard


class LifeTests(NodeCase):
    """A node starts, joins and stops."""

    def test_listening(self) -> None:
        """Who waits for the port is told once it is open, and at once if it is already."""
        node = self.node(genesis=True)
        waiting = node.when_listening()
        self.assertNoResult(waiting)
        node.startService()
        self.successResultOf(waiting)
        self.successResultOf(node.when_listening())

    def test_privileged(self) -> None:
        """A port that needs rights is opened before they are given up, and only once."""
        node = self.node(genesis=True)
        node.privilegedStartService()
        self.successResultOf(node.when_listening())
        self.assertEqual(list(self.world.listening.values()), [self.peers[node]])
        node.startService()
        self.successResultOf(node.when_ready())

    def test_joined(self) -> None:
        """Who waits for the join is told once the node is in the network: a genesis at once."""
        one = self.node(genesis=True)
        one.startService()
        self.successResultOf(one.when_ready())
        two = self.node(join=[one.address])
        waiting = two.when_ready()
        two.startService()
        self.assertNoResult(waiting)
        self.world.run(3)
        self.successResultOf(waiting)
        self.successResultOf(two.when_ready())

    def test_join_network(self) -> None:
        """A node that was started alone joins when it is told to."""
        one = self.node(genesis=True)
        one.startService()
        two = self.node()
        two.startService()
        self.world.run(5)
        self.assertEqual(len(two.nodes_in_network), 1)
        joined = two.join_network(*one.address)
        self.world.run(3)
        self.successResultOf(joined)
        self.assertEqual(len(two.nodes_in_network), 2)

    def test_keeps_trying(self) -> None:
        """A join that does not work at first works as soon as the genesis is there."""
        one = self.node(genesis=True)
        two = self.node(join=[self.peers[one].address])
        two.startService()
        self.world.run(20)
        self.assertNoResult(two.when_ready())
        one.startService()
        self.world.run(30)
        self.successResultOf(two.when_ready())

    def test_given_up_waiting(self) -> None:
        """Who no longer wants to wait may cancel that; the node goes on."""
        one = self.node(genesis=True)
        one.startService()
        two = self.node(join=[one.address])
        waiting = two.when_ready()
        two.startService()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.world.run(3)
        self.successResultOf(two.when_ready())

    def test_not_started(self) -> None:
        """A node that was not started can neither broadcast nor join, and says so."""
        node = self.node()
        self.assertRaises(NotRunning, node.broadcast, "x")
        self.assertRaises(NotRunning, node.broadcast_all, ["x"])
        self.assertRaises(NotRunning, node.join_network)
        self.assertRaises(NotRunning, node.reload)

    def test_stopped(self) -> None:
        """A node that was stopped is gone, for the others too, and says so when it is used."""
        one, two = self.pair()
        changes: list[Changed] = []
        one.on_change(changes.append)
        stopped = two.stopService()
        self.world.run(5)
        self.successResultOf(stopped)
        self.assertRaises(NotRunning, two.broadcast, "x")
        self.assertRaises(NotRunning, two.join_network)
        self.assertEqual([node["peer"] for node in one.nodes_in_network], [one.peer])
        self.assertEqual([c.kind for c in changes if c.peer == two.peer], [Kind.LEFT, Kind.LINK_DOWN])

    def test_last_words(self) -> None:
        """What was broadcast in the very turn in which the node is stopped still arrives."""
        one, two = self.pair()
        heard = self.heard(one)
        said = [two.broadcast(number) for number in range(3)]
        stopped = two.stopService()
        self.world.run(5)
        self.successResultOf(stopped)
        self.assertEqual(heard, [0, 1, 2])
        for broadcast in said:
            self.successResultOf(broadcast)


class BroadcastTests(NodeCase):
    """What one broadcasts all others hear."""

    def test_everything_json(self) -> None:
        """Any JSON value arrives as it was, in order, with its id, its origin and its time."""
        one, two = self.pair()
        messages: list[Message] = []
        one.on_message(messages.append)
        values = ["text", 5, 1.5, True, None, [1, [2]], {"a": {"b": []}}, "\U0001f600"]
        ids = [two.broadcast(value) for value in values]
        self.world.run(1)
        self.assertEqual([message.message for message in messages], values)
        self.assertEqual([message.id for message in messages], [self.successResultOf(i) for i in ids])
        self.assertEqual({message.origin for message in messages}, {two.peer})
        self.assertEqual({message.title for message in messages}, {"#BROADCAST"})
        for message in messages:
            self.assertRegex(message.id, "^[0-9a-f]{64}$")
            self.assertLess(abs(message.time - self.world.now), 2)

    def test_not_to_oneself(self) -> None:
        """Nobody hears its own words."""
        one, two = self.pair()
        heard = self.heard(two)
        two.broadcast("x")
        self.world.run(1)
        self.assertEqual(heard, [])
        self.assertEqual(len(one.nodes_in_network), 2)

    def test_one_turn_one_bundle(self) -> None:
        """What is broadcast in one turn travels together: it costs one signature."""
        one, two = self.pair()
        messages: list[Message] = []
        one.on_message(messages.append)
        for number in range(100):
            two.broadcast(number)
        self.world.run(1)
        two.broadcast("later")
        self.world.run(1)
        self.assertEqual([message.seq for message in messages], [1] * 100 + [2])

    def test_one_group(self) -> None:
        """What is broadcast in one call, or within a millisecond, is one group, with its time in milliseconds."""
        one, two = self.pair()
        two.broadcast_all(["a", "b"])
        two.broadcast("c")
        self.world.run(0.0123456)
        two.broadcast_all(["d"])
        self.world.run(1)
        lines = [entry.line for entry in self.peers[one].log.entries(0, 1 << 20) if entry.line is not None]
        groups = [json.loads(group) for line in lines for group in groups_of(line)]
        self.assertEqual([group["values"] for group in groups], [["a", "b", "c"], ["d"]])
        for group in groups:
            self.assertEqual(group["time"], round(group["time"], 3))

    def test_all(self) -> None:
        """Several values at once are in order, and their ids come together."""
        one, two = self.pair()
        heard = self.heard(one)
        ids = two.broadcast_all(["a", "b", "a"])
        self.world.run(1)
        self.assertEqual(heard, ["a", "b", "a"])
        self.assertEqual(len(set(self.successResultOf(ids))), 3)

    def test_all_or_none(self) -> None:
        """If one of several values can't be broadcast, none is."""
        one, two = self.pair()
        heard = self.heard(one)
        self.assertRaises(NotJSON, two.broadcast_all, ["a", object(), "b"])
        self.world.run(1)
        self.assertEqual(heard, [])

    def test_too_big(self) -> None:
        """A message over the limit is refused at once, with the limit in the text, and nothing is sent."""
        one, two = self.pair()
        heard = self.heard(one)
        error = self.assertRaises(MessageTooBig, two.broadcast, "x" * LAN.message_max)
        self.assertIn(str(LAN.message_max), str(error))
        two.broadcast("y" * (LAN.message_max - 200))
        self.world.run(1)
        self.assertEqual([len(message) for message in heard], [LAN.message_max - 200])

    def test_alone(self) -> None:
        """Who is alone may broadcast: it is accepted, and nobody is kept waiting."""
        node = self.node(genesis=True)
        node.startService()
        said = [node.broadcast(number) for number in range(1000)]
        self.world.run(1)
        self.assertEqual(len([self.successResultOf(s) for s in said]), 1000)

    def test_before_the_join(self) -> None:
        """What is broadcast before the join is through is heard after it."""
        one = self.node(genesis=True)
        one.startService()
        heard = self.heard(one)
        two = self.node(join=[one.address])
        two.startService()
        two.broadcast("early")
        self.world.run(5)
        self.assertEqual(heard, ["early"])

    def test_back_pressure(self) -> None:
        """Where the network can't take more a broadcast is accepted late; all of it arrives in order."""
        one, two = self.pair()
        heard = self.heard(one)
        self.peers[one].freeze()
        said: list[Deferred[str]] = []
        for number in range(200):
            said.append(two.broadcast(f"{number}".rjust(100_000)))
            self.world.run(0.001)
        accepted = sum(broadcast.called for broadcast in said)
        self.assertLess(accepted, 100)
        self.peers[one].thaw()
        self.world.run(10)
        self.assertEqual([int(text) for text in heard], list(range(200)))
        for broadcast in said:
            self.successResultOf(broadcast)

    def test_cancelled(self) -> None:
        """Who no longer waits for a broadcast may cancel that; it is broadcast all the same."""
        one, two = self.pair()
        heard = self.heard(one)
        broadcast = two.broadcast("x")
        broadcast.cancel()
        self.failureResultOf(broadcast, CancelledError)
        two.broadcast("y")
        self.world.run(1)
        self.assertEqual(heard, ["x", "y"])


class ToldTests(NodeCase):
    """What the application is told."""

    def test_several_callbacks(self) -> None:
        """All callbacks hear all, one by one or in lists."""
        one, two = self.pair()
        single, lists = self.heard(one), list[list[Any]]()
        again = self.heard(one)
        one.on_messages(lambda messages: lists.append([message.message for message in messages]))
        two.broadcast("a")
        two.broadcast("b")
        self.world.run(1)
        self.assertEqual((single, again, lists), (["a", "b"], ["a", "b"], [["a", "b"]]))

    def test_callback_fails(self) -> None:
        """A callback that raises is logged and stops nothing: neither the next message nor the next callback."""
        one, two = self.pair()

        def fail(message: Message) -> None:
            raise RuntimeError(message.message)

        one.on_message(fail)
        heard = self.heard(one)
        two.broadcast("a")
        two.broadcast("b")
        self.world.run(1)
        self.assertEqual(heard, ["a", "b"])
        self.assertEqual([str(failure.value) for failure in self.flushLoggedErrors(RuntimeError)], ["a", "b"])
        self.assertEqual(len(two.nodes_in_network), 2)

    def test_change_callback_fails(self) -> None:
        """The same holds of a callback for changes."""
        one, two = self.pair()
        changes: list[Changed] = []
        one.on_change(lambda changed: 1 / 0)
        one.on_change(changes.append)
        two.stopService()
        self.world.run(5)
        self.assertEqual(len(changes), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_broadcast_from_a_callback(self) -> None:
        """A callback may broadcast: an answer goes out in the next turn."""
        one, two = self.pair()
        heard = self.heard(two)
        one.on_message(lambda message: one.broadcast(f"re: {message.message}"))
        two.broadcast("a")
        self.world.run(1)
        self.assertEqual(heard, ["re: a"])

    def test_stop_from_a_callback(self) -> None:
        """A callback may stop the node."""
        one, two = self.pair()
        stopped: list[Deferred[None]] = []
        one.on_message(lambda message: stopped.append(one.stopService()))
        two.broadcast("stop")
        self.world.run(5)
        self.successResultOf(stopped[0])
        self.assertEqual([node["peer"] for node in two.nodes_in_network], [two.peer])

    def test_changes(self) -> None:
        """A node hears who joins, who becomes its neighbour, and who fails."""
        one = self.node(genesis=True)
        one.startService()
        changes: list[Changed] = []
        one.on_change(changes.append)
        two = self.node(join=[one.address])
        two.startService()
        self.world.run(5)
        told = [(change.kind, change.peer) for change in changes]
        self.assertEqual(sorted(told), sorted([(Kind.JOINED, two.peer), (Kind.LINK_UP, two.peer)]))
        joined = next(change for change in changes if change.kind is Kind.JOINED)
        self.assertEqual((joined.ip_addr, joined.port), two.address)
        del changes[:]
        self.peers[two].kill()
        self.world.run(30)
        self.assertEqual([change.kind for change in changes], [Kind.LINK_DOWN, Kind.FAILED])

    def test_gap(self) -> None:
        """What nobody has any more is told as a gap, with the stream and the range; the rest arrives."""
        config = attrs.evolve(LAN, retention_count=5)
        one = self.node(config, genesis=True)
        one.startService()
        two = self.node(config, join=[one.address])
        two.startService()
        self.world.run(3)
        gaps: list[Gap] = []
        one.on_gap(gaps.append)
        heard = self.heard(one)
        self.world.cut(self.peers[one], self.peers[two])
        for number in range(20):
            two.broadcast(number)
            self.world.run(1)
        self.world.run(30)
        self.world.heal()
        self.world.run(120)
        [gap] = gaps
        self.assertEqual((gap.origin, gap.last), (two.peer, 15))
        self.assertEqual(heard, [*range(gap.first - 1), *range(15, 20)])

    def test_directory(self) -> None:
        """The directory has everybody, ourselves included, in the shape of the first version."""
        one, two = self.pair()
        entries = [{"ip_addr": n.address[0], "port": n.address[1], "peer": n.peer} for n in (one, two)]
        for node in (one, two):
            self.assertEqual(sorted(node.nodes_in_network, key=lambda e: e["peer"] == two.peer), entries)
        self.assertEqual(one.connections, entries[1:])
        self.assertEqual(two.connections, entries[:1])

    def test_two_in_one_process(self) -> None:
        """Two nodes of one process that were not joined know nothing of each other."""
        one, two = self.node(genesis=True), self.node(genesis=True)
        one.startService()
        two.startService()
        heard = self.heard(two)
        one.broadcast("x")
        self.world.run(60)
        self.assertEqual(heard, [])
        self.assertEqual([len(node.nodes_in_network) for node in (one, two)], [1, 1])
        self.assertNotEqual(one.peer, two.peer)

    def test_copies(self) -> None:
        """What an application does to the lists that it is given changes nothing for us."""
        one, two = self.pair()
        one.nodes_in_network.clear()
        one.nodes_in_network[0]["port"] = 0
        self.assertEqual(len(one.nodes_in_network), 2)
        self.assertNotIn(0, [entry["port"] for entry in one.nodes_in_network])
        self.assertEqual(len(two.connections), 1)
