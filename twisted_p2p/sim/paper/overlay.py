"""The experiments of HyParView (Leitao, Pereira, Rodrigues; DI-FCUL TR-07-13, DSN 2007)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import attrs

from twisted_p2p.interfaces import Stream
from twisted_p2p.sim.paper.network import CYCLE, FLOOD, HOP, Graph, Network, apart, distances, pieces, reconfigure
from twisted_p2p.sim.paper.tables import Cell, Table
from twisted_p2p.sim.peer import SimPeer

SOURCE = "Leitao, Pereira, Rodrigues: HyParView, DI-FCUL TR-07-13, DSN 2007"
RIVALS = ("paper: HyParView", "CyclonAcked", "Cyclon", "Scamp")
PAPER_RELIABILITY: dict[int, tuple[float | None, ...]] = {
    10: (100.0, 98.4, 97.4, 94.7),
    30: (100.0, 98.4, 92.5, 88.0),
    50: (100.0, 98.0, 73.3, 65.4),
    70: (100.0, 96.9, 11.5, 4.2),
    80: (100.0, 46.2, 0.0, 0.0),
    90: (99.7, 0.0, 0.0, 0.0),
    95: (90.9, 0.0, 0.0, 0.0),
}
"""By per cent of the peers failed, per cent of the living reached; read from the bars of figure 2, within 0.3."""
PAPER_HEALING = {10: 1, 30: 1, 50: 1, 70: 2, 80: 2, 90: 4, 95: None}
"""Cycles; section 5.4."""
MESSAGES = 1_000
"""That follow a failure, within one cycle."""
SAMPLES = 300
"""Peers from which distances are measured."""
PAUSE = CYCLE / MESSAGES
"""Seconds from one to the next."""
HOPS = 50
"""In which a flood reaches whom it can."""
HEALED = 5
"""Cycles that healing is watched for, unless a flood reaches everybody before."""


def properties(network: Network) -> Table:
    """The graph of the overlay."""
    graph = network.graph()
    degrees = Counter(len(others) for others in graph.values())
    starts = network.rng.sample(list(graph), min(SAMPLES, len(graph)))
    found = [distances(graph, start) for start in starts]
    paths = [hops for reached in found for hops in reached.values() if hops]
    floods = [network.broadcast(network.anyone(), HOPS) for _ in range(10)]
    full = 100 * degrees[FLOOD.active_target] / len(graph)
    rows: list[Sequence[Cell]] = [
        ("average shortest path", 6.385, sum(paths) / len(paths)),
        ("hops to the last delivery of a flood", 9.0, sum(flood.last_hop for flood in floods) / len(floods)),
        ("clustering coefficient", 0.0009, sum(_clustering(others, graph) for others in graph.values()) / len(graph)),
        (f"peers with {FLOOD.active_target} neighbours, %", None, full),
        ("peers that a flood reaches, %", 100.0, 100 * sum(flood.reliability for flood in floods) / len(floods)),
        ("payload received a flood", None, sum(flood.payload for flood in floods) / len(floods)),
        ("twice the links, less the others", None, sum(map(len, graph.values())) - len(graph) + 1),
    ]
    return Table(
        "hyparview_graph",
        f"The overlay of {len(graph):,} peers",
        f"{SOURCE}, section 5.3 and table 1",
        ("", "paper", "ours"),
        rows,
        (
            "The paper says of the degrees that almost all are 5.",
            "A flood is received once over each link and direction but back to where it first came from.",
        ),
    )


def _clustering(others: Sequence[SimPeer], graph: Graph) -> float:
    """Of the pairs of one's neighbours the share that are neighbours."""
    near = set(others)
    if len(near) < 2:
        return 0.0
    return sum(len(near.intersection(graph[other])) for other in near) / (len(near) * (len(near) - 1))


@attrs.frozen
class Aftermath:
    """What became of a network in which a share of the peers died at once.

    Attributes:
        first: reliability of the first broadcast after it, by push alone.
        mean: of all 1,000 before the next cycle, by push alone.
        connected: the share of the living that is in the largest piece when it is healed.
        quiet: the share of that piece that has all broadcasts of its members once nothing moves any more.
        last: seconds from a broadcast until the last of the piece had it, at most.
        healing: the cycle at whose end a flood reached as many of the living as at the end of any.
    """

    first: float
    mean: float
    connected: float
    quiet: float
    last: float
    healing: int


def reliability(network: Network, progress: Callable[[str], None]) -> tuple[Table, Table]:
    """How many of the living a broadcast reaches after a share of the peers died at once, and how soon it is mended."""
    reconfigure(network, FLOOD)
    rows, healing = list[Sequence[Cell]](), list[Sequence[Cell]]()
    for percent, paper in PAPER_RELIABILITY.items():
        after = apart(lambda share=percent / 100: _aftermath(network, share))  # type: ignore[misc]
        progress(f"{percent} % failed: {after}")
        rows.append(
            (percent, *paper, *(100 * x for x in (after.first, after.mean, after.connected, after.quiet)), after.last)
        )
        healing.append((percent, PAPER_HEALING[percent], after.healing))
    columns = (
        "failed %",
        *RIVALS,
        "ours: first message",
        "ours: mean of 1,000",
        "ours: connected",
        "ours: at rest, of the connected",
        "last delivery, s",
    )
    return (
        Table(
            "hyparview_reliability",
            f"Reliability after failures, {len(network.world.peers):,} peers, % of the living",
            f"{SOURCE}, section 5.2 and figure 2",
            columns,
            rows,
            (
                f"First and mean count what was pushed within {HOPS} hops; repair by the log is not in them.",
                f"The 1,000 follow each other within one cycle, {PAUSE:g} s apart. They are sent until the overlay is",
                "at rest; from then on a flood reaches the piece that its origin is in: one shows it, for the others.",
                "Connected: the largest piece of the overlay, once healed. At rest: the share of it that has",
                "everything that its members said since the failure. Last delivery: how late the last of them had it.",
            ),
        ),
        Table(
            "hyparview_healing",
            f"Healing time, {len(network.world.peers):,} peers, cycles",
            f"{SOURCE}, section 5.4",
            ("failed %", "paper", "ours"),
            healing,
            (f"The first cycle of {HEALED} at whose end a flood reached as many of the living as at the end of any.",),
        ),
    )


def _aftermath(network: Network, share: float) -> Aftermath:
    world, failed = network.world, network.world.now
    network.fail(share)
    shares, first_seqs = list[float](), dict(network.sent)
    graph, rested = network.graph(), False
    while not rested and world.now - failed < CYCLE - PAUSE:
        shares.append(network.broadcast(network.anyone(), HOPS).reliability)
        world.run(PAUSE - HOPS * HOP)
        before, graph = graph, network.graph()
        rested = graph == before and world.now - failed > 2 * FLOOD.refill_interval
    mean = _mean_of_all(network, shares, graph if rested else None)
    floods = list[float]()
    while len(floods) < HEALED and max(floods, default=0.0) < 1:
        world.run(failed + (len(floods) + 1) * CYCLE - world.now)
        piece = pieces(network.graph())[0]
        floods.append(network.broadcast(network.rng.choice(piece), HOPS).reliability)
    said = [key for key in network.sent if key not in first_seqs]
    quiet = _share_at(piece, said)
    healing = floods.index(max(floods)) + 1
    return Aftermath(shares[0], mean, len(piece) / len(world.running), quiet, network.slowest, healing)


def _mean_of_all(network: Network, shares: Sequence[float], graph: Graph | None) -> float:
    """Of the 1,000. `graph`: the overlay, if it is at rest; those that were not sent would reach its pieces.

    Raises:
        RuntimeError: a broadcast reached others than the piece that its origin is in.
    """
    total, left = sum(shares), MESSAGES - len(shares)
    if graph is not None:
        origin = network.anyone()
        if network.broadcast(origin, HOPS).delivered + 1 != len(distances(graph, origin)):
            raise RuntimeError("a flood did not reach its piece of an overlay at rest")
        sizes = {peer: len(piece) for piece in pieces(graph) for peer in piece}
        total += sum(sizes[network.anyone()] for _ in range(left)) / len(graph)
        left = 0
    return total / (MESSAGES - left)


def _share_at(piece: Sequence[SimPeer], said: Sequence[tuple[Stream, int]]) -> float:
    """Of these bundles, as far as their origins are in the piece, the share that its members have."""
    members = {peer.peer for peer in piece}
    due = [(stream, seq) for stream, seq in said if stream[0] in members]
    have = sum(peer.core.positions.of(stream) > seq for peer in piece for stream, seq in due)
    return have / (len(piece) * len(due))
