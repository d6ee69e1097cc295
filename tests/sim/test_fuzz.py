"""Faults by chance: some of them, and what becomes of a plan that fails."""

from __future__ import annotations

import contextlib
import io

import attrs
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.broadcast import Spread
from twisted_p2p.core.config import LAN
from twisted_p2p.sim import fuzz
from twisted_p2p.sim.__main__ import main

SEEDS = 25
"""How many are played here; `python -m twisted_p2p.sim fuzz --seeds 2000` plays as many as one likes."""


def command(*arguments: str) -> tuple[int, str]:
    """Exit code and output of the simulator's command line."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
        code = main(arguments)
    return code, output.getvalue()


class PlanTests(SynchronousTestCase):
    """Plans by chance."""

    def test_holds(self) -> None:
        """The contract holds in all of these."""
        for seed in range(SEEDS):
            self.assertEqual((seed, list(fuzz.play(fuzz.draw(seed)).violations)), (seed, []))

    def test_same_seed_same_plan(self) -> None:
        """A seed alone decides what happens."""
        self.assertEqual(fuzz.draw(3), fuzz.draw(3))
        self.assertNotEqual(fuzz.draw(3), fuzz.draw(4))
        one, again = fuzz.play(fuzz.draw(3)), fuzz.play(fuzz.draw(3))
        self.assertEqual((one.events, one.happened), (again.events, again.happened))

    def test_each_fault(self) -> None:
        """Every fault can happen, more than once, whoever is left to suffer it."""
        for what in fuzz.FAULTS:
            steps = tuple(fuzz.Step(at, what, chance) for chance, at in enumerate((1.0, 1.5, 2.0, 9.0)))
            plan = fuzz.Plan(1, 5, fuzz.draw(1).config, (0.001, 0.01), 0.0, 0.0, steps)
            result = fuzz.play(plan)
            self.assertEqual((what, result.happened[what], list(result.violations)), (what, 4, []))


class FoundTests(SynchronousTestCase):
    """Plans that once violated the contract, made short."""

    def hold(self, *steps: fuzz.Step) -> None:
        """This plan does not."""
        plan = fuzz.Plan(1, 5, LAN, (0.05, 0.4), 0.0, 0.0, steps)
        self.assertEqual(list(fuzz.play(plan).violations), [])

    def test_behind_in_own_stream(self) -> None:
        """Of two peers with one key the one is stopped that was further: the other one was never level again."""
        for chance in (0, 8, 30):
            self.hold(fuzz.Step(1.0, "two with one key", chance), fuzz.Step(12.0, "all talk", 1))


class BrokenTests(SynchronousTestCase):
    """A core that drops what it should hand over."""

    def setUp(self) -> None:
        """Each tenth bundle of a stream is taken for granted."""
        accept = Spread._accept

        def accept_most(spread: Spread, source: object, stream: object, seq: int, line: bytes, frame: object) -> None:
            accept(spread, source, stream, seq, line, None if seq % 10 == 0 else frame)  # type: ignore[arg-type]

        self.patch(Spread, "_accept", accept_most)
        short = (seed for seed in range(200) if len(fuzz.draw(seed).steps) < 9)
        self.seed = next(seed for seed in short if fuzz.play(fuzz.draw(seed)).violations)

    def test_shrunk(self) -> None:
        """The plan is made so short that it holds without any one of its steps."""
        plan = fuzz.shrink(fuzz.draw(self.seed))
        self.assertTrue(fuzz.play(plan).violations)
        for n in range(len(plan.steps)):
            fewer = attrs.evolve(plan, steps=plan.steps[:n] + plan.steps[n + 1 :])
            self.assertFalse(fuzz.play(fewer).violations)

    def test_told(self) -> None:
        """The command line prints what is violated, the short plan, and how to see it again; it exits with 1."""
        code, output = command("fuzz", "--seeds", "1", "--first", str(self.seed))
        self.assertEqual(code, 1)
        for said in (f"seed {self.seed}\n", "VIOLATED silent loss", f"fuzz --first {self.seed} --seeds 1 --peers 8"):
            self.assertIn(said, output)

    def test_nothing_happened(self) -> None:
        """Nor is it content where a fault never occurred."""
        code, output = command("fuzz", "--seeds", "0")
        self.assertEqual((code, "did not occur: one talks" in output), (1, True))
