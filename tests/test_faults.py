"""What the first version of this program did wrong, each by name, so that it never comes back."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, RaisingMemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import Puppet, Stage
from tests.net.memory import BEGINNING, Net, Transport
from twisted_p2p import CannotListen, Kind, Node
from twisted_p2p.core import wire
from twisted_p2p.core.config import LAN
from twisted_p2p.sim.scenarios import say
from twisted_p2p.sim.world import World
from twisted_p2p.testing import MemoryNetwork

ALICE, BOB, CAROL = Puppet(0x10), Puppet(0x20), Puppet(0x30)


def heard_by(node: Node) -> list[Any]:
    """What this node is told from now on."""
    heard: list[Any] = []
    node.on_message(lambda message: heard.append(message.message))
    return heard


class FaultTests(SynchronousTestCase):
    """The faults of the first version, in the order of its list."""

    def test_01_equal_texts_were_dropped(self) -> None:
        """A text that is broadcast a thousand times by two peers arrives two thousand times."""
        network = MemoryNetwork()
        nodes = [network.node() for _ in range(4)]
        network.settle()
        heard = heard_by(nodes[3])
        for node in nodes[:2]:
            network.result(node.broadcast_all(["ping"] * 1000))
        network.settle()
        self.assertEqual(heard, ["ping"] * 2000)

    def test_02_a_disconnect_burnt_a_core(self) -> None:
        """A connection that ends leaves nothing behind that would run: no link, no deadline."""
        net = Net()
        service = net.service()
        service.start()
        service.join([], genesis=True)
        core, before = service.core, len(service.core.turn.timers)
        [(_, factory, _, _)] = net.reactor.tcpServers
        for said in (b"", b'{"title":"#HEL', b"\n\n"):
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(Transport())
            self.assertEqual(len(core.turn.timers), before + 1)
            protocol.dataReceived(said)
            protocol.connectionLost(Failure(ConnectionDone()))
            self.assertEqual((len(core.turn.timers), core.links.by_id, service._links), (before, {}, {}))
        self.assertEqual(len(net.reactor.getDelayedCalls()), 1)

    def test_03_nobody_could_join_beyond_22_peers(self) -> None:
        """Forty peers join, and every one lists all of them."""
        network = MemoryNetwork()
        nodes = [network.node() for _ in range(40)]
        network.settle()
        for node in nodes:
            self.assertEqual(len(node.nodes_in_network), 40)

    def test_04_directories_stayed_incomplete(self) -> None:
        """Twenty-four peers that join one right after the other end up in every directory."""
        network = MemoryNetwork()
        nodes = [network.node()]
        for _ in range(24):
            nodes.append(network.node())
            network.advance(0.02)
        network.settle()
        everybody = {node.peer for node in nodes}
        for node in nodes:
            self.assertEqual({entry["peer"] for entry in node.nodes_in_network}, everybody)

    def test_05_the_dead_stayed_listed(self) -> None:
        """Who dies is taken off the lists, and newcomers join as ever, at once as well as later."""
        network = MemoryNetwork()
        nodes = [network.node() for _ in range(6)]
        network.settle()
        network.kill(nodes[3])
        network.kill(nodes[4])
        at_once = network.node(join=[nodes[0]])
        network.result(at_once.when_ready(), 30)
        network.settle()
        later = network.node(join=[nodes[1]])
        network.settle()
        for node in (nodes[0], nodes[1], at_once, later):
            listed = {entry["peer"] for entry in node.nodes_in_network}
            self.assertEqual(listed, {peer.peer for peer in (*nodes[:3], nodes[5], at_once, later)})

    def test_06_listed_under_a_relays_address(self) -> None:
        """Every peer is listed everywhere under the address at which it listens, whoever passed that on."""
        network = MemoryNetwork()
        nodes = [network.node() for _ in range(12)]
        network.settle()
        addresses = {node.peer: node.address for node in nodes}
        self.assertEqual(len(set(addresses.values())), 12)
        for node in nodes:
            listed = {str(entry["peer"]): (entry["ip_addr"], entry["port"]) for entry in node.nodes_in_network}
            self.assertEqual(listed, addresses)

    def test_07_deaf_on_a_taken_port(self) -> None:
        """A taken port is an error at the start, and not a process that nobody can reach."""
        taken = CannotListenError("127.0.0.1", 5050, OSError(98, "Address already in use"))
        node = Node(RaisingMemoryReactor(listenException=taken), port=5050)
        self.assertIn("5050", str(self.assertRaises(CannotListen, node.privilegedStartService)))
        self.assertIn("5050", str(self.assertRaises(CannotListen, node.startService)))
        self.assertFalse(node.running)

    def test_08_malformed_input_killed_the_reader(self) -> None:
        """Whatever malformed comes in closes that one connection, and everybody else goes on being served."""
        net = Net()
        service = net.service()
        service.start()
        service.join([], genesis=True)
        [(_, factory, _, _)] = net.reactor.tcpServers
        bystander = factory.buildProtocol(None)
        bystander.makeConnection(Transport())
        for junk in (
            b"0000000042{}\n",
            b'{"title":"#HELLO"}\n',
            b"[1]\n",
            b"null\n",
            b"\xff\xfe\n",
            b'{"title":"#PING","n":NaN}\n',
            b"x" * (LAN.line_max + 2),
        ):
            protocol, transport = factory.buildProtocol(None), Transport()
            protocol.makeConnection(transport)
            for byte in range(0, len(junk), 4096):
                protocol.dataReceived(junk[byte : byte + 4096])
            self.assertTrue(transport.disconnecting, junk[:20])
        self.assertIn(bystander.number, service.core.links.by_id)
        self.assertFalse(bystander.transport.disconnecting)

    def test_08_letters_cut_across_reads(self) -> None:
        """A letter of several bytes may be cut by the network anywhere."""
        net = Net()
        service = net.service()
        lines: list[bytes] = []
        service.start()
        service.lines_received = lambda link, new: lines.extend(new)  # type: ignore[method-assign]  # only what comes
        [(_, factory, _, _)] = net.reactor.tcpServers
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(Transport())
        line = json.dumps({"title": "#NEW", "text": "Grüße, 世界 🌍"}, ensure_ascii=False).encode()
        for byte in line + b"\n":
            protocol.dataReceived(bytes([byte]))
        self.assertEqual(lines, [line])

    def test_09_one_frame_made_us_dial(self) -> None:
        """Nobody makes us dial an address: not without a handshake, nor by what its peer did not sign."""
        stage = Stage()
        old = b'{"title":"#NODE_CONN_ADDR","sender_ip":"6.6.6.6","sender_port":22}'
        line = stage.connect(ALICE)
        line.send_lines(old, old)
        self.assertIsNotNone(line.ended)
        forged = wire.Record(CAROL.peer, 5, "alive", "6.6.6.6", 22, "0" * 128)
        for frame in (wire.JoinedInNetwork(forged, "6.6.6.6", 22), wire.NodesInNetwork([forged], [])):
            stage.befriend(BOB).send(frame)
        told = stage.befriend(BOB)
        told.send(wire.ConnectableNodes([forged]), wire.ResponseRandomNode(forged), wire.Suspect(CAROL.peer, 5))
        for _ in range(30):
            stage.pass_time(1)
        self.assertEqual([dial for dial in stage.take_dials() if dial.host == "6.6.6.6"], [])

    def test_10_receiving_was_quadratic_and_unbounded(self) -> None:
        """A line in small reads is gathered without copying it at each, and dropped when it is longer than allowed."""
        net = Net()
        service = net.service()
        service.start()
        [(_, factory, _, _)] = net.reactor.tcpServers
        protocol, transport = factory.buildProtocol(None), Transport()
        protocol.makeConnection(transport)
        reads = 0
        while not transport.disconnecting:
            protocol.dataReceived(b"x" * 1448)
            reads += 1
        self.assertEqual(reads, LAN.hello_max // 1448 + 1)
        self.assertLess(len(protocol._splitter._tail), LAN.hello_max + 1448)

    def test_11_one_that_stopped_reading_blocked_all(self) -> None:
        """A peer that does not read holds up nobody, and gets everything once it reads again."""
        network = MemoryNetwork()
        nodes = [network.node() for _ in range(6)]
        network.settle()
        heard = [heard_by(node) for node in nodes]
        network.freeze(nodes[2])
        sent = [f"{number} {'x' * 1000}" for number in range(500)]
        network.result(nodes[0].broadcast_all(sent), 1)
        network.advance(1)
        for number in (1, 3, 4, 5):
            self.assertEqual(heard[number], sent)
        self.assertEqual(heard[2], [])
        network.thaw(nodes[2])
        network.settle()
        self.assertEqual(heard[2], sent)

    def test_12_one_message_was_delivered_twice(self) -> None:
        """A message that comes from all neighbours at the same time is delivered once."""
        stage = Stage()
        lines = [stage.befriend(puppet) for puppet in (ALICE, BOB, CAROL)]
        for line in lines:
            line.send_lines(ALICE.bundle(1), ALICE.bundle(1))
        self.assertEqual(stage.seqs(ALICE.stream), [1])

    def test_13_the_application_got_nothing(self) -> None:
        """The application is called with every message and every change; its own faults stop nothing."""
        network = MemoryNetwork()
        alice = network.node()
        bob = network.node(start=False)
        changes: list[Kind] = []
        bob.on_message(lambda message: 1 // 0)
        heard = heard_by(bob)
        bob.on_change(lambda change: changes.append(change.kind))
        bob.startService()
        network.settle()
        network.result(alice.broadcast({"a": [1]}))
        network.settle()
        self.assertEqual(heard, [{"a": [1]}])
        self.assertLessEqual({Kind.JOINED, Kind.LINK_UP, Kind.READY}, set(changes))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_14_anyone_could_forge(self) -> None:
        """Nobody can speak as another, poison the directory, or suppress a message by using its place first."""
        stage = Stage()
        good, evil = stage.befriend(ALICE), stage.befriend(BOB)
        evil.send_lines(ALICE.bundle(1, "true").replace(b"true", b"evil"))
        self.assertIsNotNone(evil.ended)
        evil = stage.befriend(BOB)
        evil.send(
            wire.JoinedInNetwork(wire.Record(ALICE.peer, int(stage.now * 1000) + 5, "alive", "6.6.6.6", 22, "0" * 128))
        )
        self.assertIsNotNone(evil.ended)
        good.send_lines(ALICE.bundle(1, "true"))
        self.assertEqual([b"true" in bytes(bundle.messages) for bundle in stage.received], [True])
        record = stage.core.membership.entries[ALICE.peer].record
        self.assertEqual((record.ip_addr, record.port), ALICE.address)

    def test_15_genesis_became_the_hub(self) -> None:
        """However many join through the genesis, it has no more neighbours than anybody else may have."""
        network = MemoryNetwork()
        nodes = [network.node()]
        for _ in range(39):
            nodes.append(network.node())
            network.advance(0.1)
        network.settle()
        degrees = [len(node.connections) for node in nodes]
        self.assertLessEqual(max(degrees), LAN.active_max)
        self.assertGreaterEqual(min(degrees), 2)

    def test_16_guaranteed_meant_nothing(self) -> None:
        """What is said while the network is cut in two arrives on the other side once it is whole, and once only."""
        world = World(5)
        world.genesis()
        for _ in range(7):
            world.newcomer()
        world.run(5)
        world.partition(world.peers[:4], world.peers[4:])
        say(world.peers, 3)
        world.run(40)
        self.assertEqual(len(world.peers[0].received), 9)
        world.heal()
        world.run(60)
        for peer in world.peers:
            self.assertEqual(len({(bundle.origin, bundle.seq) for bundle in peer.received}), 21)
            self.assertEqual((len(peer.received), peer.gaps), (21, []))

    def test_17_all_state_was_shared(self) -> None:
        """Nodes in one process are apart: each has its own id, directory, neighbours and messages."""
        network = MemoryNetwork()
        one, two = network.node(), network.node(genesis=True)
        heard_one, heard_two = heard_by(one), heard_by(two)
        network.advance(5)
        network.result(one.broadcast("for nobody"))
        network.advance(5)
        self.assertNotEqual(one.peer, two.peer)
        self.assertEqual([len(node.nodes_in_network) for node in (one, two)], [1, 1])
        self.assertEqual((heard_one, heard_two, one.connections, two.connections), ([], [], [], []))

    def test_18_there_was_no_way_to_stop(self) -> None:
        """A node that is stopped has left the lists, and leaves nothing running."""
        network = MemoryNetwork()
        alice, bob = network.node(), network.node()
        network.settle()
        network.result(bob.stopService(), 10)
        network.advance(1)
        self.assertEqual([entry["peer"] for entry in alice.nodes_in_network], [alice.peer])
        reactor = MemoryReactorClock()
        reactor.rightNow = BEGINNING
        node = Node(reactor, port=5050, genesis=True)
        node.startService()
        self.assertGreater(len(reactor.getDelayedCalls()), 0)
        self.successResultOf(node.stopService())
        self.assertEqual(reactor.getDelayedCalls(), [])
