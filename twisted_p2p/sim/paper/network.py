"""A network as the papers have it: no directory, a passive view, one broadcast after another, everything in cycles.

It is the shipped core with `max_known` set, so that each peer knows a sample. A hop takes one millisecond, so hops are
told from the time at which something arrives. A cycle is a shuffle interval: so long that 1,000 broadcasts, 0.1 s
apart, fit into one, and each finds done what the last one set off.
"""

from __future__ import annotations

import os
import pickle
import random
import traceback
from collections import Counter, deque
from collections.abc import Callable
from typing import TypeVar

import attrs

from twisted_p2p.core.actions import Deliver, Write
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.interfaces import Stream
from twisted_p2p.shell import Told
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.scenarios import say
from twisted_p2p.sim.world import World

T = TypeVar("T")
Graph = dict[SimPeer, list[SimPeer]]
"""Neighbours of each peer, both ends agreeing."""

HOP = 0.001
CYCLE = 100.0
NEVER = 1e12
"""Seconds; longer than any run."""
ACTIVE, PASSIVE = 5, 30
"""HyParView, section 5.1."""
PAPER = attrs.evolve(
    LAN,
    active_target=ACTIVE,
    active_max=ACTIVE,
    active_drawn=0,
    max_known=ACTIVE + PASSIVE,
    shuffle_interval=CYCLE,
    sync_interval=CYCLE,
    probe_interval=NEVER,
    departed_probe_interval=NEVER,
    ping_interval=NEVER,
    stall=NEVER,
)
"""What the papers do not have is off: probes, address ranges, and pings, since every failure closes its connections."""
FLOOD = attrs.evolve(PAPER, prune_delay=NEVER)
"""Every link stays eager."""
JOINING = 0.01
"""Seconds from one join to the next."""


@attrs.define(eq=False)
class Network:
    """A world, and what is measured in it."""

    world: World
    rng: random.Random
    arrivals: Counter[int] = attrs.field(factory=Counter)
    """Of the broadcast at hand: how many peers it reached after so many hops."""
    frames: Counter[str] = attrs.field(factory=Counter)
    """Frames written, by title."""
    sent: dict[tuple[Stream, int], float] = attrs.field(factory=dict)
    """When which bundle was broadcast."""
    slowest: float = 0.0
    """Seconds from a broadcast to a delivery of it, at most."""
    _last: tuple[Stream, int] = (("", 0), 0)

    def __attrs_post_init__(self) -> None:
        self.world.on_write = self._written
        for peer in self.world.running:
            self.watch(peer)

    def watch(self, peer: SimPeer) -> None:
        """Take note of what this peer's application is handed."""
        peer.sink = self._told

    def _told(self, told: Told) -> None:
        if isinstance(told, Deliver):
            for bundle in told.bundles:
                key = (bundle.origin, bundle.epoch), bundle.seq
                took = self.world.now - self.sent[key]
                self.slowest = max(self.slowest, took)
                if key == self._last:
                    self.arrivals[round(took / HOP)] += 1

    def _written(self, action: Write) -> None:
        for line in action.lines:
            self.frames[line[10 : line.index(b'"', 10)].decode()] += 1

    def broadcast(self, origin: SimPeer, hops: int = 40) -> Measured:
        """One peer broadcasts; what there is to say after so many hops."""
        frames, before = Counter(self.frames), self._duplicates()
        self.arrivals = Counter()
        self._last = origin.stream, origin.core.positions.of(origin.stream)
        self.sent[self._last] = self.world.now
        say([origin])
        self.world.run(hops * HOP)
        for peer in self.world.running:
            peer.received.clear()
        control = self.frames - frames
        control.pop("#BROADCAST", None)
        delivered = self.arrivals.total()
        return Measured(
            others=len(self.world.running) - 1,
            delivered=delivered,
            payload=delivered + self._duplicates() - before,
            control=control.total(),
            last_hop=max(self.arrivals, default=0),
        )

    def _duplicates(self) -> int:
        return sum(peer.core.turn.counts["duplicate"] for peer in self.world.running)

    def anyone(self) -> SimPeer:
        """A peer drawn by chance."""
        return self.rng.choice(self.world.running)

    def fail(self, share: float) -> None:
        """So large a share of the peers dies at the same instant."""
        for peer in self.rng.sample(self.world.peers, round(share * len(self.world.peers))):
            peer.kill()

    def graph(self) -> Graph:
        """Who is whose neighbour, as far as both are up and agree."""
        by_id = {peer.peer: peer for peer in self.world.running}
        return {
            peer: [
                by_id[other]
                for other in peer.core.overlay.active
                if other in by_id and peer.peer in by_id[other].core.overlay.active
            ]
            for peer in self.world.running
        }


@attrs.frozen
class Measured:
    """What became of one broadcast.

    Attributes:
        others: peers that are up, its origin left out.
        delivered: those of them that it reached.
        payload: times that it was received.
        control: other frames that were written meanwhile.
        last_hop: hops to the last of them.
    """

    others: int
    delivered: int
    payload: int
    control: int
    last_hop: int

    @property
    def reliability(self) -> float:
        """The share of the peers that are up, its origin among them, that have it."""
        return (self.delivered + 1) / (self.others + 1)

    @property
    def redundancy(self) -> float:
        """Relative message redundancy (Plumtree, section 4.1): payload beyond what was needed; 0 for a tree."""
        return self.payload / self.delivered - 1 if self.delivered else 0.0


def build(peers: int, seed: int, cycles: int, config: Config, progress: Callable[[str], None]) -> Network:
    """A network whose peers joined one by one through one contact, and which then had so many cycles to settle."""
    world = World(seed, config, latency=(HOP, HOP))
    world.genesis()
    for number in range(1, peers):
        world.newcomer()
        world.run(JOINING)
        if number % 1000 == 0:
            progress(f"{number} of {peers} peers have joined")
    for cycle in range(1, cycles + 1):
        world.run(CYCLE)
        if cycle % 10 == 0:
            progress(f"{cycle} of {cycles} cycles to settle")
    return Network(world, random.Random(f"{seed} measuring"))


def reconfigure(network: Network, config: Config) -> None:
    """Give every peer other settings; periods that run already run on."""
    for peer in network.world.peers:
        peer.core.turn.config = config


def distances(graph: Graph, start: SimPeer) -> dict[SimPeer, int]:
    """Hops from one peer to each that it reaches."""
    found, queue = {start: 0}, deque([start])
    while queue:
        peer = queue.popleft()
        for other in graph[peer]:
            if other not in found:
                found[other] = found[peer] + 1
                queue.append(other)
    return found


def apart(experiment: Callable[[], T]) -> T:
    """Run an experiment on a copy of this whole process, so that the network is as it was for the next one.

    Raises:
        RuntimeError: the copy did not come to an end; its traceback is on standard error.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(experiment(), pipe)
            code = 0
        except BaseException:  # noqa: BLE001  # whatever it is, the copy ends here
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError("an experiment failed")
    result: T = pickle.loads(data)
    return result


def pieces(graph: Graph) -> list[list[SimPeer]]:
    """Peers that reach one another, the largest piece first."""
    found, left = list[list[SimPeer]](), dict.fromkeys(graph)
    while left:
        piece = list(distances(graph, next(iter(left))))
        found.append(piece)
        for peer in piece:
            del left[peer]
    return sorted(found, key=len, reverse=True)
