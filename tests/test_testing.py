from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p import Kind, Message, Node
from twisted_p2p.testing import MemoryNetwork


def heard_by(node: Node) -> list[Any]:
    """What this node is told from now on."""
    heard: list[Any] = []
    node.on_message(lambda message: heard.append(message.message))
    return heard


class MemoryNetworkTests(SynchronousTestCase):
    """The network in memory behaves as one on sockets does."""

    def test_broadcast(self) -> None:
        """A message reaches every other node once, and not its sender."""
        network = MemoryNetwork()
        nodes = [network.node() for _ in range(5)]
        heard = [heard_by(node) for node in nodes]
        network.settle()
        identity = network.result(nodes[2].broadcast({"text": "hello"}))
        network.settle()
        self.assertEqual(len(identity), 64)
        self.assertEqual(heard, [[{"text": "hello"}]] * 2 + [[]] + [[{"text": "hello"}]] * 2)

    def test_everything_of_a_message(self) -> None:
        """A message carries its id, title, value, time and origin."""
        network = MemoryNetwork()
        alice, bob = network.node(), network.node()
        messages: list[Message] = []
        bob.on_message(messages.append)
        network.settle()
        identity = network.result(alice.broadcast(None))
        network.settle()
        (message,) = messages
        self.assertEqual((message.id, message.title, message.message), (identity, "#BROADCAST", None))
        self.assertEqual((message.origin, message.seq), (alice.peer, 1))
        self.assertTrue(0 <= network.world.now - message.time < 60)

    def test_same_seed_same_run(self) -> None:
        """Two runs of one seed tell the application the same things at the same times."""

        def run() -> list[Any]:
            network, told = MemoryNetwork(seed=7), []
            for _ in range(4):
                node = network.node(start=False)
                node.on_change(lambda changed: told.append((network.world.now, changed)))
                node.startService()
            network.settle()
            return told

        first = run()
        self.assertTrue(first)
        self.assertEqual(first, run())

    def test_partition(self) -> None:
        """What is said on both sides of a partition reaches everybody after it has healed."""
        network = MemoryNetwork(seed=3)
        nodes = [network.node() for _ in range(6)]
        heard = [heard_by(node) for node in nodes]
        network.settle()
        network.partition(nodes[:3], nodes[3:])
        nodes[0].broadcast("left")
        nodes[5].broadcast("right")
        network.advance(30)
        self.assertEqual(heard[4], ["right"])
        network.heal()
        network.settle()
        self.assertEqual([sorted(texts) for texts in heard], [["right"], *[["left", "right"]] * 4, ["left"]])

    def test_kill_and_leave(self) -> None:
        """A node that is killed has failed; one that is stopped has left."""
        network = MemoryNetwork(seed=1)
        nodes = [network.node() for _ in range(5)]
        network.settle()
        told: list[tuple[Kind, str]] = []
        nodes[0].on_change(lambda changed: told.append((changed.kind, changed.peer)))
        network.kill(nodes[1])
        network.result(nodes[2].stopService())
        network.settle()
        self.assertIn((Kind.FAILED, nodes[1].peer), told)
        self.assertIn((Kind.LEFT, nodes[2].peer), told)
        self.assertNotIn((Kind.FAILED, nodes[2].peer), told)
        self.assertEqual({entry["peer"] for entry in nodes[0].nodes_in_network}, {nodes[n].peer for n in (0, 3, 4)})

    def test_last_words(self) -> None:
        """Who says something and stops at once has left only after everybody has heard it."""
        network = MemoryNetwork(seed=5)
        nodes = [network.node() for _ in range(6)]
        told: list[list[str]] = [[] for _ in nodes]
        for node, heard in zip(nodes, told, strict=True):
            node.on_message(lambda message, heard=heard: heard.append(message.message))
            node.on_change(lambda changed, heard=heard: heard.append(changed.kind.value))
        network.settle()
        for heard in told:
            heard.clear()
        nodes[2].broadcast("goodbye")
        network.result(nodes[2].stopService())
        network.settle()
        for number in (0, 1, 3, 4, 5):
            words = [word for word in told[number] if word in ("goodbye", "left")]
            self.assertEqual(words, ["goodbye", "left"])

    def test_frozen(self) -> None:
        """A node that was stopped for a while catches up with all that was said meanwhile, in order."""
        network = MemoryNetwork(seed=2)
        nodes = [network.node() for _ in range(4)]
        heard = heard_by(nodes[3])
        network.settle()
        network.freeze(nodes[3])
        for number in range(50):
            nodes[0].broadcast(number)
            network.advance(1)
        network.thaw(nodes[3])
        network.settle()
        self.assertEqual(heard, list(range(50)))

    def test_callback_that_fails(self) -> None:
        """A callback that raises is logged; the next message arrives all the same."""
        network = MemoryNetwork()
        alice, bob = network.node(), network.node()
        bob.on_message(lambda message: 1 / 0)
        heard = heard_by(bob)
        network.settle()
        alice.broadcast("one")
        network.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(heard, ["one"])

    def test_answer_from_a_callback(self) -> None:
        """A callback may broadcast."""
        network = MemoryNetwork()
        alice, bob = network.node(), network.node()
        bob.on_message(lambda message: bob.broadcast("pong"))
        heard = heard_by(alice)
        network.settle()
        alice.broadcast("ping")
        network.settle()
        self.assertEqual(heard, ["pong"])

    def test_not_settled(self) -> None:
        """Waiting for what does not come about says what is missing."""
        network = MemoryNetwork()
        nodes = [network.node() for _ in range(2)]
        network.settle()
        network.partition(nodes[:1], nodes[1:])
        network.advance(40)
        error = self.assertRaises(AssertionError, network.settle, 1)
        self.assertIn("lacks", str(error))
        self.assertRaises(AssertionError, network.result, Deferred(), 1)

    def test_join_again(self) -> None:
        """Who is in a network already and joins it again is told at once that it has, be it the genesis or another."""
        network = MemoryNetwork(seed=4)
        alice, bob, carol = (network.node() for _ in range(3))
        network.settle()
        heard = heard_by(carol)
        for one, other in ((bob, alice), (alice, bob), (bob, carol)):
            network.result(one.join_network(*other.address), 15)
            self.assertEqual(len(one.nodes_in_network), 3)
        network.settle()
        alice.broadcast("alice")
        network.settle()
        bob.broadcast("bob")
        network.settle()
        self.assertEqual(heard, ["alice", "bob"])

    def test_join_of_two_networks(self) -> None:
        """A genesis that joins another network is told when the two have met, and then they are one."""
        network = MemoryNetwork(seed=4)
        alice, bob = network.node(genesis=True), network.node(genesis=True)
        network.advance(5)
        heard = heard_by(bob)
        network.result(bob.join_network(*alice.address), 15)
        network.settle()
        alice.broadcast("hello")
        network.settle()
        self.assertEqual((heard, len(alice.nodes_in_network), len(bob.nodes_in_network)), (["hello"], 2, 2))
