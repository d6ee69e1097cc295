"""All experiments, and whether their figures are as good as they are to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import log

import attrs

from twisted_p2p.sim.paper import detection, overlay, tree
from twisted_p2p.sim.paper.network import ACTIVE, FLOOD, apart, build
from twisted_p2p.sim.paper.tables import Table

LEAST = 200
"""Peers; with fewer nothing is left to measure after 95 % of them have failed."""


PARTS = ("overlay", "tree", "detection")
"""What may be left out: HyParView's, Plumtree's, and SWIM's and Lifeguard's, which have sizes of their own."""
QUICK = 1_000
"""Peers; with fewer the third part is small, too."""


def run(
    peers: int, seed: int, cycles: int, progress: Callable[[str], None], parts: Sequence[str] = PARTS
) -> list[Table]:
    """The experiments of these parts; the first two on one network of so many peers, which had so many cycles."""
    tables = list[Table]()
    if "overlay" in parts or "tree" in parts:
        network = build(peers, seed, cycles, FLOOD, progress)
    if "overlay" in parts:
        tables += [apart(lambda: overlay.properties(network)), *overlay.reliability(network, progress)]
    if "tree" in parts:
        tables += [*tree.counts(network, progress), tree.failures(network, progress), tree.churn(network, progress)]
    if "detection" in parts:
        tables += detection.tables(seed, peers < QUICK, progress)
    return tables


def as_json(tables: Sequence[Table]) -> str:
    """The tables as one JSON object, by name."""
    return json.dumps({table.name: attrs.asdict(table) for table in tables}, indent=1)


def verdicts(tables: Sequence[Table]) -> list[str]:
    """What of these is not as good as it is to be, a sentence each."""
    return [found for table in tables if table.name in _VERDICTS for found in _VERDICTS[table.name](table)]


def _figure(table: Table, row: object, column: str) -> float:
    """One figure of a table, which there is."""
    [found] = [cells[table.columns.index(column)] for cells in table.rows if cells[0] == row]
    assert isinstance(found, (int, float)), (table.name, row, column)
    return found


def _graph(table: Table) -> list[str]:
    path = _figure(table, "average shortest path", "ours")
    peers = _figure(table, "payload received a flood", "ours") / (ACTIVE - 1)
    found = list[str]()
    if not 0.93 <= path / (log(peers) / log(ACTIVE - 1)) <= 1:
        found.append(f"average shortest path {path:.3f}: the overlay is no random graph")
    if _figure(table, "payload received a flood", "ours") != _figure(table, "twice the links, less the others", "ours"):
        found.append("a flood did not cross each link once in each direction, less its tree")
    return found


def _reliability(table: Table) -> list[str]:
    found = list[str]()
    for row in table.rows:
        percent, rest = row[0], _figure(table, row[0], "ours: at rest, of the connected")
        assert isinstance(percent, int)
        short = _figure(table, percent, "paper: HyParView") - _figure(table, percent, "ours: mean of 1,000")
        if percent <= 80 and short > 0.5:
            found.append(f"{percent} % failed: reliability is {short:.2f} below the paper's")
        if percent <= 90 and rest < 100:
            found.append(f"{percent} % failed: at rest {rest:.4f} % of the connected have everything, not all")
    return found


def _redundancy(table: Table) -> list[str]:
    found = list[str]()
    for row, most in (("one sender", 0.01), ("many senders", 0.05)):
        redundancy = _figure(table, row, "ours: RMR")
        if redundancy > most:
            found.append(f"{row}: redundancy {redundancy:.4f}, more than {most}")
    return found


def _hops(table: Table) -> list[str]:
    last = _figure(table, "many senders, at most", "ours")
    return [f"many senders: the last delivery after {last:g} hops, more than 20"] if last > 20 else []


def _detection(table: Table) -> list[str]:
    means = [(row[0], _figure(table, row[0], "mean, periods")) for row in table.rows]
    return [
        f"{peers} peers: a failure is suspected after {mean} periods, more than 2" for peers, mean in means if mean > 2
    ]


def _false_positives(table: Table) -> list[str]:
    """Ours, with local health: nobody who is well accused at anybody who is."""
    column = table.columns.index("at healthy members")
    wrong = [row for row in table.rows if row[0] != "paper" and row[3] == "with" and row[column]]
    return [f"{row[0]} for {row[1]} s: told {row[column]} times that a healthy peer has failed" for row in wrong]


def _losses(table: Table) -> list[str]:
    column = table.columns.index("live peers declared failed")
    wrong = [row for row in table.rows if row[1] == 10 and row[column]]
    return [f"{row[0]} peers, {row[1]} % loss: {row[column]} live ones declared failed" for row in wrong]


_VERDICTS: dict[str, Callable[[Table], list[str]]] = {
    "hyparview_graph": _graph,
    "hyparview_reliability": _reliability,
    "plumtree_counts": _redundancy,
    "plumtree_hops": _hops,
    "first_detection": _detection,
    "false_positives": _false_positives,
    "losses": _losses,
}
