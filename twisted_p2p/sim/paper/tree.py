"""The experiments of Plumtree (Leitao, Pereira, Rodrigues; TR-07-14, SRDS 2007)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted_p2p.sim.paper.network import FLOOD, HOP, PAPER, Measured, Network, apart, reconfigure
from twisted_p2p.sim.paper.tables import Cell, Table
from twisted_p2p.sim.peer import SimPeer

SOURCE = "Leitao, Pereira, Rodrigues: Epidemic Broadcast Trees, TR-07-14, SRDS 2007"
PERIOD = 1.0
"""Seconds from one broadcast to the next; the paper's cycle, as far as the tree is concerned."""
CYCLES = 30
"""Broadcasts; the tree of one sender does not change any more after the first few."""
FAILED = (40, 60, 80)
AFTER = 8
"""Broadcasts after a failure."""
CHURN = 0.01
"""Of all peers so many fail in a second, and as many join."""
CHURN_SECONDS = 60

Speaker = Callable[[], SimPeer]


def counts(network: Network, progress: Callable[[str], None]) -> list[Table]:
    """What a broadcast costs and how far it goes: flooded, by a tree with one sender, and with many."""
    size = len(network.world.running)
    flood = apart(lambda: _flood(network))
    reconfigure(network, PAPER)
    one = apart(lambda: _cycles(network, CYCLES, network.anyone()))
    progress(f"one sender: {one[-1]}")
    many = apart(lambda: _cycles(network, CYCLES))
    progress(f"many senders: {many[-1]}")
    rows: list[Sequence[Cell]] = [
        ("flood", 39_984, 0, flood.payload, flood.control, flood.redundancy),
        ("one sender", 9_999, 29_987, one[-1].payload, one[-1].control, one[-1].redundancy),
        ("many senders", 9_999, 29_990, many[-1].payload, many[-1].control, many[-1].redundancy),
    ]
    by_cycle: list[Sequence[Cell]] = [
        (cycle, _PAPER_RMR.get(cycle), a.redundancy, b.redundancy, a.last_hop, b.last_hop)
        for cycle, (a, b) in enumerate(zip(one, many, strict=True), 1)
        if cycle <= 5 or cycle % 10 == 0
    ]
    settled = [result.last_hop for result in many[CYCLES // 2 :]]
    hops: list[Sequence[Cell]] = [
        ("flood", 9.0, flood.last_hop),
        ("one sender", 10.0, one[-1].last_hop),
        ("one sender, optimised", 8.5, None),
        ("many senders, mean", 17.0, sum(settled) / len(settled)),
        ("many senders, at most", 75.0, max(settled)),
    ]
    return [
        Table(
            "plumtree_counts",
            f"Frames received for one broadcast, {size:,} peers",
            f"{SOURCE}, table 1; the paper's at 10,000 peers, cycle 100",
            ("", "paper: payload", "paper: control", "ours: payload", "ours: control", "ours: RMR"),
            rows,
            (
                f"Ours after {CYCLES} broadcasts, one each {PERIOD:g} s; the tree is settled long before.",
                "Control: all other frames of that second, shuffles and comparisons of digests included.",
            ),
        ),
        Table(
            "plumtree_by_cycle",
            f"Relative message redundancy and last delivery hop by broadcast, {size:,} peers",
            f"{SOURCE}, section 4.2",
            ("broadcast", "paper: RMR", "ours: RMR, one", "ours: RMR, many", "ours: LDH, one", "ours: LDH, many"),
            by_cycle,
            ("Ours prunes by one bundle, the witness, so the second broadcast finds a tree already.",),
        ),
        Table(
            "plumtree_hops",
            f"Hops to the last delivery, {size:,} peers",
            f"{SOURCE}, figures 3 and 5",
            ("", "paper", "ours"),
            hops,
            (
                "There is no optimisation step: the tree is made of the first arrivals of one bundle, and so is short.",
                "The paper's many senders: 50 to 75, and about 17 optimised.",
            ),
        ),
    ]


_PAPER_RMR = {1: 2.0, 2: 0.9, 3: 0.05}


def _flood(network: Network) -> Measured:
    reconfigure(network, FLOOD)
    return network.broadcast(network.anyone())


def _cycles(network: Network, cycles: int, speaker: SimPeer | None = None) -> list[Measured]:
    """So many broadcasts, each by somebody drawn by chance unless there is one speaker."""
    return [network.broadcast(speaker or network.anyone(), round(PERIOD / HOP)) for _ in range(cycles)]


def failures(network: Network, progress: Callable[[str], None]) -> Table:
    """How the tree mends after a share of the peers died at once, many senders talking."""
    rows = list[Sequence[Cell]]()
    for percent in FAILED:
        results = apart(lambda share=percent / 100: _after_failure(network, share))  # type: ignore[misc]
        progress(f"{percent} % failed: {results}")
        for cycle, result in enumerate(results, 1):
            rows.append((percent, cycle, 100 * result.reliability, result.redundancy, result.last_hop))
    return Table(
        "plumtree_failures",
        f"The tree after failures, {len(network.world.running):,} peers",
        f"{SOURCE}, section 4.3: RMR peaks at 1.9 to 2.5, and is about 0 by the third cycle",
        ("failed %", "broadcast", "ours: % of the living within its second", "ours: RMR", "ours: LDH"),
        rows,
        ("Broadcast 0 would be the last one before the failure. What is late comes by GRAFT, and is never lost.",),
    )


def _after_failure(network: Network, share: float) -> list[Measured]:
    reconfigure(network, PAPER)
    _cycles(network, 3)
    network.fail(share)
    return _cycles(network, AFTER)


def churn(network: Network, progress: Callable[[str], None]) -> Table:
    """The tree while peers fail and others join all the time."""
    results = apart(lambda: _while_churning(network))
    progress(f"churn: {results[-1]}")
    settled = results[len(results) // 2 :]
    hops, redundancy = [r.last_hop for r in settled], [r.redundancy for r in settled]
    rows: list[Sequence[Cell]] = [
        ("RMR, mean", sum(redundancy) / len(redundancy)),
        ("LDH, mean", sum(hops) / len(hops)),
        ("LDH, at most", max(hops)),
        ("delivered within its second, %", 100 * sum(r.reliability for r in settled) / len(settled)),
    ]
    return Table(
        "plumtree_churn",
        f"The tree during churn, {len(network.world.running):,} peers",
        f"ours; the paper's overlay did not change: {100 * CHURN:g} % of the peers a second fail, as many join",
        ("many senders", "ours"),
        rows,
        (f"The second half of {CHURN_SECONDS} s. Newcomers that have not joined yet count as not reached.",),
    )


def _while_churning(network: Network) -> list[Measured]:
    reconfigure(network, PAPER)
    world, results = network.world, list[Measured]()
    genesis, rate = world.peers[0], round(CHURN * len(world.running))
    for _ in range(CHURN_SECONDS):
        for peer in network.rng.sample([peer for peer in world.running if peer is not genesis], rate):
            peer.kill()
            network.watch(world.newcomer(config=PAPER))
        results.append(network.broadcast(network.anyone(), round(PERIOD / HOP)))
    return results
