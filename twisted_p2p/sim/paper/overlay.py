"""The experiments of HyParView (Leitao, Pereira, Rodrigues; DI-FCUL TR-07-13, DSN 2007)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import attrs

from twisted_p2p.sim.paper.network import CYCLE, FLOOD, HOP, Graph, Network, apart, distances, reconfigure
from twisted_p2p.sim.paper.tables import Cell, Table

SOURCE = "Leitao, Pereira, Rodrigues: HyParView, DI-FCUL TR-07-13, DSN 2007"
PAPER_RELIABILITY: dict[int, tuple[float | None, ...]] = {
    10: (100.0, 98.4, 97.4, 94.7),
    30: (100.0, 98.4, 92.5, 88.0),
    50: (100.0, 98.0, 73.3, 65.4),
    70: (100.0, 96.9, 11.5, 4.2),
    80: (100.0, 46.2, 0.0, 0.0),
    90: (99.7, 0.0, 0.0, 0.0),
    95: (90.9, 0.0, 0.0, 0.0),
}
"""Per cent of the peers failed: HyParView, CyclonAcked, Cyclon, Scamp; read from the bars of figure 2, within 0.3."""
PAPER_HEALING = {10: 1, 30: 1, 50: 1, 70: 2, 80: 2, 90: 4, 95: None}
"""Cycles; section 5.4."""
MESSAGES = 1_000
"""That follow a failure, within one cycle."""
SAMPLES = 300
"""Peers from which distances are measured."""
PAUSE = 0.1
"""Seconds between the broadcasts that are measured: each stands for those that would have followed until the next."""
HOPS = 50
"""In which a flood reaches whom it can."""
HEALED = 10
"""Cycles that healing is watched for."""
REST = 120.0
"""Seconds within which everything that was said is everywhere."""


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
        ("clustering coefficient", 0.0009, sum(map(_clustering, graph.values(), [graph] * len(graph))) / len(graph)),
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


def _clustering(others: Sequence[object], graph: Graph) -> float:
    """Of the pairs of one's neighbours the share that are neighbours."""
    near = set(others)
    if len(near) < 2:
        return 0.0
    return sum(len(near.intersection(graph[other])) for other in near) / (len(near) * (len(near) - 1))  # type: ignore[index]


@attrs.frozen
class Aftermath:
    """What became of a network in which a share of the peers died at once.

    Attributes:
        first: reliability of the first broadcast after it, by push alone.
        mean: of all 1,000 before the next cycle, by push alone.
        connected: the share of the living that is in the largest piece at the end of that cycle.
        quiet: the share of that piece that has all broadcasts of its members once nothing moves any more.
        last: seconds from a broadcast until the last of the piece had it, at most.
        healing: cycles until a flood reached as many of the living as ever; None: not within those watched.
    """

    first: float
    mean: float
    connected: float
    quiet: float
    last: float
    healing: int | None


def reliability(network: Network, progress: Callable[[str], None]) -> tuple[Table, Table]:
    """How many of the living a broadcast reaches after a share of the peers died at once, and how soon that is mended."""
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
        "paper: HyParView",
        "CyclonAcked",
        "Cyclon",
        "Scamp",
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
                "First and mean count what was pushed within 50 hops; repair by the log is not in them.",
                "The thousand follow within one cycle. One each 0.1 s is sent, and stands for those until the next, until "
                "the overlay is at rest; from then on a flood reaches the piece that its origin is in, which was checked.",
                "Connected: the largest piece of the overlay at the end of that cycle. At rest: the share of it that has "
                "everything that its members said since the failure; last delivery: after how long the last one had it.",
            ),
        ),
        Table(
            "hyparview_healing",
            f"Healing time, {len(network.world.peers):,} peers, cycles",
            f"{SOURCE}, section 5.4",
            ("failed %", "paper", "ours"),
            healing,
            (f"The first cycle of {HEALED} at whose end a flood reached as many of the living as ever after.",),
        ),
    )


def _aftermath(network: Network, share: float) -> Aftermath:
    world = network.world
    network.fail(share)
    failed = world.now
    shares = list[float]()
    speakers = list[tuple[float, SimPeerSaid]]()
    rested, graph = False, network.graph()
    while not rested and world.now - failed < CYCLE - PAUSE:
        origin = network.anyone()
        speakers.append((world.now, (origin, origin.core.positions.of(origin.stream))))
        shares.append(network.broadcast(origin, HOPS).reliability)
        world.run(PAUSE - HOPS * HOP)
        before, graph = graph, network.graph()
        rested = graph == before and world.now - failed > 2 * FLOOD.refill_interval
    each = round(MESSAGES * PAUSE / CYCLE)
    total = sum(shares) * each
    for _ in range(MESSAGES - each * len(shares)):
        total += len(distances(graph, network.anyone())) / len(graph)
    raise NotImplementedError
