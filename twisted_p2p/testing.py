"""A network in memory, with a clock of its own, so that you can test your application without sockets or waiting.

    from twisted_p2p.testing import MemoryNetwork

    network = MemoryNetwork()
    alice, bob = network.node(), network.node()     # the first is the genesis, the others join through it
    heard = []
    bob.on_message(lambda message: heard.append(message.message))
    network.settle()
    alice.broadcast("hello")
    network.settle()
    assert heard == ["hello"]

The nodes are real ones, and so is the protocol that they speak; only sockets, keys and time are not. A run depends on
nothing but its seed: the same calls give the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from twisted_p2p.core.config import LAN, Config
from twisted_p2p.net.service import Settings
from twisted_p2p.node import Node
from twisted_p2p.shell import IPeerShell
from twisted_p2p.sim.checks import settles
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.world import World


class MemoryNetwork:
    """Nodes that live in virtual time.

    Args:
        seed: all chance comes from this.
        config: the settings of all nodes.
        latency: from one node to another, seconds, at least and at most.
    """

    def __init__(self, seed: int = 0, config: Config = LAN, latency: tuple[float, float] = (0.0005, 0.005)) -> None:
        self.world = World(seed, config, network="p2p", latency=latency)
        self._peers: dict[Node, SimPeer] = {}

    def node(self, *, genesis: bool = False, join: Sequence[Node] = (), start: bool = True) -> Node:
        """A new node.

        Args:
            genesis: it begins a network; so does the first node of all.
            join: whom it joins through; otherwise the first node.
            start: False to add callbacks before you call its `startService`.
        """
        through = list(join) or list(self._peers)[:1]
        made: list[SimPeer] = []

        def shell(world: Any, settings: Settings) -> IPeerShell:
            made.append(self.world.add())
            return made[0]

        node = Node(
            self.world,
            genesis=genesis or not through,
            join=() if genesis else [self._peers[other].address for other in through],
            config=self.world.config,
            shell=shell,
        )
        self._peers[node] = made[0]
        if start:
            node.startService()
        return node

    # --- time

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.world.run(seconds)

    def settle(self, limit: float = 60.0) -> None:
        """Let time pass until every running node knows every other and has every message.

        Raises:
            AssertionError: that has not come about after `limit` seconds; it says what is missing.
        """
        self.world.run(0.05)
        left = settles(self.world, limit)
        if left:
            raise AssertionError(f"not settled after {limit} s: " + "; ".join(left[:5]))

    def result(self, deferred: Deferred[Any], limit: float = 60.0) -> Any:
        """Let time pass until `deferred` has fired; its result, or its failure raised.

        Raises:
            AssertionError: it has not fired after `limit` seconds.
        """
        results: list[Any] = []
        failures: list[Any] = []
        deferred.addCallbacks(results.append, failures.append)
        self.world.run_until(lambda: results or failures, limit)
        if failures:
            failures[0].raiseException()
        if not results:
            raise AssertionError(f"nothing came of it within {limit} s")
        return results[0]

    # --- faults

    def kill(self, node: Node) -> None:
        """As by kill -9: it is gone without a word."""
        self._peers[node].kill()

    def freeze(self, node: Node) -> None:
        """As by SIGSTOP: it does nothing until `thaw`."""
        self._peers[node].freeze()

    def thaw(self, node: Node) -> None:
        """As by SIGCONT."""
        self._peers[node].thaw()

    def partition(self, left: Sequence[Node], right: Sequence[Node]) -> None:
        """Cut every way between two groups of nodes."""
        self.world.partition([self._peers[node] for node in left], [self._peers[node] for node in right])

    def heal(self) -> None:
        """All ways are open again."""
        self.world.heal()
