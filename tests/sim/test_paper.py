"""The papers' experiments: what they measure, and that a figure which is not good enough is seen."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from unittest import mock

import attrs
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.sim.__main__ import main
from twisted_p2p.sim.paper import overlay, report, tree
from twisted_p2p.sim.paper.network import FLOOD, PAPER, Measured, Network, apart, build, distances, pieces, reconfigure
from twisted_p2p.sim.paper.plots import draw
from twisted_p2p.sim.paper.tables import Cell, Table

PEERS = 60


def silent(what: str) -> None:
    """Progress that nobody looks at."""


@cache
def settled() -> Network:
    """A network that is built once."""
    return build(PEERS, 0, 3, FLOOD, silent)


class NetworkTests(SynchronousTestCase):
    """A small network as the papers have it."""

    def setUp(self) -> None:
        """It has settled; what is done to it is done to copies."""
        self.network = settled()

    def test_overlay(self) -> None:
        """Views are full, symmetric and in one piece; nobody knows more than it may, and samples are full."""
        graph = self.network.graph()
        self.assertEqual(len(pieces(graph)), 1)
        self.assertGreater(sum(len(others) == 5 for others in graph.values()), 0.9 * PEERS)
        self.assertLessEqual(max(map(len, graph.values())), 5)
        known = [peer.core.membership.living for peer in self.network.world.running]
        self.assertLessEqual(max(known), 35)
        self.assertGreater(sum(known), 30 * PEERS)

    def test_flood(self) -> None:
        """A flood reaches everybody by the shortest ways, and crosses each link as it must."""
        origin = self.network.anyone()
        far = distances(self.network.graph(), origin)
        links = sum(map(len, self.network.graph().values()))
        result = apart(lambda: self.network.broadcast(origin))
        self.assertEqual((result.others, result.delivered, result.reliability), (PEERS - 1, PEERS - 1, 1.0))
        self.assertEqual((result.payload, result.last_hop), (links - PEERS + 1, max(far.values())))

    def test_tree(self) -> None:
        """The second broadcast goes along a tree, and is told of on all other links, in one direction at least."""

        def second() -> Measured:
            reconfigure(self.network, PAPER)
            self.network.broadcast(self.network.anyone(), 2000)
            before = self.network.frames["#FRONTIER"]
            result = self.network.broadcast(self.network.anyone(), 2000)
            return attrs.evolve(result, control=self.network.frames["#FRONTIER"] - before)

        result = apart(second)
        links = sum(map(len, self.network.graph().values()))
        self.assertEqual((result.payload, result.redundancy), (PEERS - 1, 0.0))
        lazy = links // 2 - (PEERS - 1)
        self.assertTrue(lazy <= result.control <= 2 * lazy, (lazy, result.control))

    def test_aftermath(self) -> None:
        """Most of the peers die: the first flood loses some of the others, and in the end nobody lacks anything."""
        [row] = [row for row in overlay.reliability(self.network, silent)[0].rows if row[0] == 70]
        assert isinstance(row[5], float) and isinstance(row[6], float)
        self.assertLess(row[5], 100)
        self.assertGreater(row[6], 98)
        self.assertEqual(row[7:9], (100.0, 100.0))

    def test_apart(self) -> None:
        """An experiment leaves the network as it was; one that fails says so."""
        before = self.network.world.now, len(self.network.world.running)
        apart(lambda: self.network.fail(0.5))
        self.assertEqual((self.network.world.now, len(self.network.world.running)), before)
        with mock.patch("sys.stderr"):
            self.assertRaises(RuntimeError, apart, lambda: 1 // 0)

    def test_all(self) -> None:
        """There is a figure wherever there should be one, and the same figures again for the same seed."""
        self.patch(tree, "CHURN_SECONDS", 4)
        self.patch(tree, "CYCLES", 10)

        def figures() -> list[Table]:
            network = attrs.evolve(self.network, rng=random.Random(1))
            lasting = (tree.failures(network, silent), tree.churn(network, silent))
            return [overlay.properties(network), *tree.counts(network, silent), *lasting]

        tables = apart(figures)
        self.assertEqual([table.text() for table in tables], [table.text() for table in apart(figures)])
        for table in tables:
            for row in table.rows:
                self.assertEqual(len(row), len(table.columns), table.name)


OURS = ("first message", "mean of 1,000", "connected", "at rest, of the connected")
GOOD = [
    Table(
        "hyparview_graph",
        "",
        "",
        ("", "paper", "ours"),
        (
            ("average shortest path", 6.4, 6.4),
            ("payload received a flood", None, 40_000),
            ("twice the links, less the others", None, 40_000),
        ),
    ),
    Table(
        "hyparview_reliability",
        "",
        "",
        ("failed %", *overlay.RIVALS, *(f"ours: {what}" for what in OURS)),
        tuple((percent, *paper, 90.0, 99.8, 100.0, 100.0) for percent, paper in overlay.PAPER_RELIABILITY.items()),
    ),
    Table(
        "hyparview_healing", "", "", ("failed %", "paper", "ours"), tuple((p, 1, 1) for p in overlay.PAPER_RELIABILITY)
    ),
    Table(
        "plumtree_counts",
        "",
        "",
        ("", "ours: RMR"),
        (("flood", 3.0), ("one sender", 0.0), ("many senders", 0.04)),
    ),
    Table("plumtree_hops", "", "", ("", "ours"), (("many senders, at most", 19),)),
    Table("first_detection", "", "", ("peers", "mean, periods"), ((32, 1.9), (1000, 2.0))),
    Table(
        "false_positives",
        "",
        "",
        ("paused members are", "for s", "then back for s", "local health", "at healthy members"),
        (("stopped", 16.0, 4.0, "without", 9), ("stopped", 16.0, 4.0, "with", 0), ("paper", None, None, "with", 5)),
    ),
    Table("losses", "", "", ("peers", "loss, %", "live peers declared failed"), ((17, 10.0, 0), (17, 30.0, 9))),
]


class VerdictTests(SynchronousTestCase):
    """A figure that is not good enough is named."""

    def changed(self, name: str, row: int, column: int, cell: Cell) -> list[str]:
        """The verdict with one cell changed."""
        tables = list[Table]()
        for table in GOOD:
            if table.name == name:
                rows = [list(cells) for cells in table.rows]
                rows[row][column] = cell
                table = attrs.evolve(table, rows=rows)
            tables.append(table)
        return report.verdicts(tables)

    def test_good(self) -> None:
        """Good figures pass."""
        self.assertEqual(report.verdicts(GOOD), [])

    def test_each(self) -> None:
        """Each that is not good enough is seen, alone."""
        for name, row, column, cell, words in (
            ("hyparview_graph", 0, 2, 6.0, "no random graph"),
            ("hyparview_graph", 0, 2, 6.7, "no random graph"),
            ("hyparview_graph", 1, 2, 40_001, "did not cross each link once"),
            ("hyparview_reliability", 4, 6, 99.4, "80 % failed: reliability is 0.60 below"),
            ("hyparview_reliability", 5, 8, 99.99, "90 % failed: at rest"),
            ("plumtree_counts", 1, 1, 0.011, "one sender"),
            ("plumtree_counts", 2, 1, 0.051, "many senders"),
            ("plumtree_hops", 0, 1, 21, "21 hops"),
            ("first_detection", 1, 1, 2.1, "1000 peers: a failure is suspected after 2.1 periods"),
            ("false_positives", 1, 4, 1, "told 1 times that a healthy peer has failed"),
            ("losses", 0, 2, 1, "10.0 % loss: 1 live ones"),
        ):
            [found] = self.changed(name, row, column, cell)
            self.assertIn(words, found)

    def test_beyond(self) -> None:
        """What the papers do not reach is not asked for."""
        self.assertEqual(self.changed("hyparview_reliability", 6, 6, 10.0), [])
        self.assertEqual(self.changed("hyparview_reliability", 6, 8, 10.0), [])


class OutputTests(SynchronousTestCase):
    """Tables as text, JSON and pictures."""

    def test_text(self) -> None:
        """Markdown: figures with four digits, and nothing where there is none."""
        table = Table("name", "Title", "where", ("a", "b"), ((1, 2.34567), ("x", None)), ("a note",))
        text = "### Title\n\nSource: where\n\n| a | b |\n| --- | --- |\n| 1 | 2.346 |\n| x |  |\n\n- a note"
        self.assertEqual(table.text(), text)

    def test_command(self) -> None:
        """`paper` prints the tables and the verdict, writes JSON and pictures, and exits with 1 if one is bad."""
        folder = Path(self.mktemp())
        folder.mkdir()
        words = ["paper", "--json", str(folder / "f.json"), "--plots", str(folder / "plots")]
        for tables, code, last in (
            (GOOD, 0, "All figures are as good as they are to be."),
            ([*GOOD[:-1], attrs.evolve(GOOD[-1], rows=((17, 10.0, 3),))], 1, "NOT REACHED 17 peers, 10.0 % loss"),
        ):
            with mock.patch.object(report, "run", return_value=tables), mock.patch("builtins.print") as printed:
                self.assertEqual(main(words), code)
            text = [str(call.args[0]) for call in printed.call_args_list if not call.kwargs]
            self.assertIn(last, text[-1])
        self.assertEqual(set(json.loads((folder / "f.json").read_text())), {table.name for table in GOOD})
        self.assertIn("hyparview_healing_cycles_until_healed.svg", [path.name for path in (folder / "plots").iterdir()])

    def test_parts(self) -> None:
        """`--only` leaves the other parts out."""
        with mock.patch.object(report, "run", return_value=GOOD[:1]) as run, mock.patch("builtins.print"):
            main(["paper", "--only", "tree", "--only", "detection"])
            main(["paper"])
        self.assertEqual([call.args[-1] for call in run.call_args_list], [["tree", "detection"], report.PARTS])

    def test_pictures_repeat(self) -> None:
        """The same table gives the same file."""
        one, two = Path(self.mktemp()), Path(self.mktemp())
        for path, again in zip(draw(GOOD, one), draw(GOOD, two), strict=True):
            self.assertEqual(path.read_bytes(), again.read_bytes())

    def test_wrong(self) -> None:
        """Too few peers, and files that can't be written, are refused in a line."""
        with mock.patch("sys.stderr"):
            self.assertRaises(SystemExit, main, ["paper", "--peers", "10"])
        with mock.patch.object(report, "run", return_value=GOOD), mock.patch("builtins.print") as printed:
            self.assertEqual(main(["paper", "--json", "/nowhere/at/all"]), 1)
        self.assertIn("/nowhere/at/all", str(printed.call_args_list[-1].args[0]))
