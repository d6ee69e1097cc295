"""What the benchmark counts and computes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from tests.bench import rivals
from tests.bench.ledger import Ledger, text
from tests.bench.network import percentile
from tests.bench.report import comparison, middle, spread, tables, write
from tests.bench.systems import System


class LedgerTests(SynchronousTestCase):
    """Ledger."""

    def test_in_order(self) -> None:
        """Whatever comes once and in order is right, of each publisher, and over several runs."""
        ledger = Ledger()
        ledger.take("a", [text(0, 100), text(1, 100)])
        ledger.take("b", [text(0, 100)])
        self.assertEqual((ledger.got, ledger.wrong), (3, 0))
        ledger.reset(timed=False)
        ledger.take("a", [text(2, 100)])
        self.assertEqual((ledger.got, ledger.wrong), (1, 0))

    def test_out_of_order(self) -> None:
        """What comes too early, twice, or in another order is counted as wrong."""
        for numbers in ([1], [0, 0], [0, 2], [1, 0]):
            ledger = Ledger()
            ledger.take("a", [text(number, 100) for number in numbers])
            self.assertEqual(ledger.wrong, 1, numbers)

    def test_delay(self) -> None:
        """A text carries when it was made, and has the size that was asked for."""
        ledger = Ledger()
        ledger.reset(timed=True)
        made = text(0, 100)
        self.assertEqual(len(made), 100)
        ledger.take("a", [made])
        self.assertTrue(0 <= ledger.delays[0] < 60)


class SystemTests(SynchronousTestCase):
    """System."""

    def test_words(self) -> None:
        """A name says which parts are there."""
        usual, none = System("ours"), System("bare:plaintext,memory,unsigned")
        self.assertEqual((usual.kind, usual.tls, usual.signed, usual.synchronous), ("ours", True, True, "NORMAL"))
        self.assertEqual((none.kind, none.tls, none.signed, none.synchronous), ("bare", False, False, None))
        self.assertEqual(System("ours:full@main").synchronous, "FULL")

    def test_unknown(self) -> None:
        """A name that says something else is refused."""
        for name in ("theirs", "ours:fast"):
            self.assertRaises(ValueError, System, name)


ROWS = [
    {"round": number, "scenario": "one", "system": system, "cpu_us": cpu, "lost": 0}
    for number, cpus in enumerate(((2.0, 4.0), (3.0, 3.0), (2.0, 5.0)))
    for system, cpu in zip(("bare", "ours"), cpus, strict=True)
]


class ReportTests(SynchronousTestCase):
    """Tables."""

    def test_medians(self) -> None:
        """The medians of the rounds, and how far they lie apart."""
        self.assertEqual(middle(ROWS, "one", "ours")["cpu_us"], 4.0)
        self.assertEqual(spread(ROWS, "one", "ours", "cpu_us"), 0.5)
        self.assertEqual(percentile([1.0, 2.0, 3.0, 4.0], 50), 3.0)
        self.assertEqual(percentile([1.0], 99), 1.0)

    def test_ratio(self) -> None:
        """Beside a figure stands how many times as much it is as the bare relay's."""
        self.assertIn("| ours | 4 (2.00) | 0 | 50 % |", tables(ROWS, "bare"))

    def test_comparison(self) -> None:
        """Ratios are those of the systems in one round."""
        self.assertIn("| one | CPU µs | 2 | 4 | 2.000 | 1.000 to 2.500 |", comparison(ROWS, "bare", "ours"))

    def test_write(self) -> None:
        """The table goes between its marks, again and again."""
        with TemporaryDirectory() as folder:
            page = Path(folder) / "page.md"
            page.write_text("before\n<!-- this: begin -->\nold\n<!-- this: end -->\nafter\n")
            for _ in range(2):
                write(f"{page}:this", "new\n")
            self.assertEqual(page.read_text(), "before\n<!-- this: begin -->\n\nnew\n\n<!-- this: end -->\nafter\n")
            self.assertRaises(ValueError, write, f"{page}:that", "new\n")


class RivalTests(SynchronousTestCase):
    """The table of rivals."""

    def test_lossy(self) -> None:
        """Of a system that loses at full speed the highest rate that it kept is shown, with what it lost."""
        kept = {"metric": "single", "rate": 9, "per_s": 50.0, "cpu_per_m": 10.0}
        lost = {"metric": "single_lossy", "rate": 0, "got": 75, "lost": 25}
        found = {"single": [kept], "single_lossy": [lost]}
        self.assertEqual(rivals._load(found, "single", 5.0), "50 · 10 · 0 % · 2; at full speed 25 % is lost")
        self.assertEqual(rivals._load({"single_lossy": [lost]}, "single", 5.0), "loses")
