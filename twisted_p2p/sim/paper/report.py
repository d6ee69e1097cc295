"""All experiments, and whether their figures are as good as they are to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import log

import attrs

from twisted_p2p.sim.paper import overlay, tree
from twisted_p2p.sim.paper.network import ACTIVE, FLOOD, apart, build
from twisted_p2p.sim.paper.tables import Table

LEAST = 200
"""Peers; with fewer nothing is left to measure after 95 % of them have failed."""


def run(peers: int, seed: int, cycles: int, progress: Callable[[str], None]) -> list[Table]:
    """All experiments on one network of so many peers, which had so many cycles to settle."""
    network = build(peers, seed, cycles, FLOOD, progress)
    return [
        apart(lambda: overlay.properties(network)),
        *overlay.reliability(network, progress),
        *tree.counts(network, progress),
        tree.failures(network, progress),
        tree.churn(network, progress),
    ]


def as_json(tables: Sequence[Table]) -> str:
    """The tables as one JSON object, by name."""
    return json.dumps({table.name: attrs.asdict(table) for table in tables}, indent=1)


def verdicts(tables: Sequence[Table]) -> list[str]:
    """What is not as good as it is to be, a sentence each."""
    by_name = {table.name: table for table in tables}
    return [
        *_graph(by_name["hyparview_graph"]),
        *_reliability(by_name["hyparview_reliability"]),
        *_tree(by_name["plumtree_counts"], by_name["plumtree_hops"]),
    ]


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


def _tree(counts: Table, hops: Table) -> list[str]:
    found = list[str]()
    for row, most in (("one sender", 0.01), ("many senders", 0.05)):
        redundancy = _figure(counts, row, "ours: RMR")
        if redundancy > most:
            found.append(f"{row}: redundancy {redundancy:.4f}, more than {most}")
    last = _figure(hops, "many senders, at most", "ours")
    if last > 20:
        found.append(f"many senders: the last delivery after {last:g} hops, more than 20")
    return found
