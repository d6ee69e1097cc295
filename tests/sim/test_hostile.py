"""Hostile members: whatever they do, what honest peers say reaches all honest peers, once, in order, without a gap."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.sim.test_fuzz import command
from twisted_p2p.core.actions import Reason
from twisted_p2p.core.config import LAN
from twisted_p2p.sim import checks, fuzz
from twisted_p2p.sim.attacks import ATTACKS, PLACES, Cost, Watched, cost, watch
from twisted_p2p.sim.hostile import BOMBS, KINDS, turn
from twisted_p2p.sim.scenarios import SCENARIOS, build, say
from twisted_p2p.sim.world import World

PEERS = 10
PHASES = 4, 4, 3
SILENT = 4, int(2 * LAN.gap_patience) + 2, 3
"""Virtual seconds of talk, silence and talk; who lies about what is left needs twice the gap patience."""


class AttackCase(SynchronousTestCase):
    """One attack, and the same without it."""

    def attack(self, kind: str, place: str = "three", phases: tuple[int, int, int] = PHASES, seed: int = 0) -> None:
        """Watch it: the contract holds among the honest peers while it goes on, and no table is over its bound."""
        self.seen = watch(World(seed), PEERS, kind, place, phases)
        self.without = watch(World(seed), PEERS, "", place, phases)
        self.assertEqual(list(self.seen.violations), [])
        most = self.seen.meter.most
        self.assertLessEqual(most["early bundles"], LAN.early_max)
        self.assertLessEqual(most["wants"], LAN.max_wants)
        self.assertLessEqual(most["peers"], PEERS + LAN.active_max * (LAN.introductions_burst + sum(phases)))
        self.assertLessEqual(most["streams"], PEERS + len(self.seen.attackers) * LAN.max_epochs)
        self.assertEqual((self.seen.meter.renewed(), self.without.meter.flaps()), (0, 0))

    @property
    def cost(self) -> Cost:
        """What it costs the honest peers together, for each line and byte of the attackers."""
        return cost(self.seen, self.without)

    def p99(self, watched: Watched) -> float:
        """Seconds within which 99 of 100 deliveries were made."""
        delays = watched.meter.delays()
        return delays[len(delays) * 99 // 100]

    def ends(self, reason: Reason) -> int:
        """How many links of honest peers have ended for this reason."""
        return self.seen.meter.ends()[f"link_end_{reason.value}"]

    def banned(self) -> set[str]:
        """Whom honest peers have banned."""
        return {ban.subject for peer in self.seen.honest for ban in peer.banned}

    def check_banned(self) -> None:
        """All attackers were, by their keys, and nobody else."""
        self.assertEqual(self.banned() & {peer.peer for peer in self.seen.honest}, set())
        self.assertEqual({peer.peer for peer in self.seen.attackers} - self.banned(), set())


class NotPassedOnTests(AttackCase):
    """Members that take, and do not give."""

    def test_black_holes(self) -> None:
        """Three black holes of ten delay some bundles by the graft time-out, and by little more (row 85)."""
        self.attack("black-hole")
        self.assertLess(self.p99(self.seen), 4 * LAN.graft_timeout)
        self.assertLess(self.seen.meter.delays()[-1], 10)

    def test_around_one(self) -> None:
        """One peer most of whose neighbours are black holes hears everything, in a few seconds more."""
        for kind in ("black-hole", "silent-hole", "half-hole"):
            self.attack(kind, "most-neighbours", seed=1)
            self.assertLess(self.seen.meter.delays()[-1], 15)

    def test_genesis(self) -> None:
        """A genesis that is one lets newcomers in, and they hear everything."""
        self.attack("black-hole", "genesis", (10, 4, 3))
        self.assertEqual(len(self.seen.honest), PEERS - 1 + 3)

    def test_leak(self) -> None:
        """One of ten loses one bundle in a hundred: all arrive, and the delays stay what they were (row 80)."""
        delays = list[float]()
        for seed in range(8):
            self.attack("leak", "one", seed=seed)
            delays += self.seen.meter.delays()
        self.assertLess(sorted(delays)[len(delays) * 99 // 100], 3 * self.p99(self.without))

    def test_pruner(self) -> None:
        """Members that ask all to push nothing to them, ten times a second, delay others by a graft at most."""
        self.attack("pruner")
        self.assertLess(self.p99(self.seen), 4 * LAN.graft_timeout)
        self.assertLess(self.cost.bytes, 3)


class ClaimsTests(AttackCase):
    """Members that claim to have what they have not."""

    def test_promiser(self) -> None:
        """Claims to be far ahead of everybody delay nothing, and cost those who make them their links (row 85)."""
        self.attack("promiser", phases=(4, 70, 3))
        self.assertLess(self.p99(self.seen), 3 * self.p99(self.without))
        self.assertGreater(self.ends(Reason.BROKEN_PROMISE), 0)

    def test_inventor(self) -> None:
        """So do claims to have streams that do not exist, a thousand a second (row 87)."""
        self.attack("inventor", "one")
        self.assertLess(self.cost.bytes, 3)

    def test_silent_inventor(self) -> None:
        """Three that answer nothing of what is asked for then make nobody ask others without end, nor be blamed."""
        self.attack("silent-inventor", phases=(4, 15, 3))
        self.assertLess(self.p99(self.seen), 3 * self.p99(self.without))
        self.assertLess(sum(peer.core.turn.counts["given_up"] for peer in self.seen.honest), 30_000)

    def test_floor_liar(self) -> None:
        """Nobody skips anything since three of ten say that it is gone, and delays stay what they are."""
        self.attack("floor-liar", phases=(4, 56, 3))
        self.assertLess(self.p99(self.seen), 3 * self.p99(self.without))
        self.assertLess(self.ends(Reason.DISPLACED), 60)

    def test_floor_liars_around_one(self) -> None:
        """Nor does a peer most of whose neighbours say so; nor does it begin streams of its own again and again."""
        for seed in (1, 3):
            self.attack("floor-liar", "most-neighbours", SILENT, seed)


class RequestsTests(AttackCase):
    """Members that ask for much."""

    def test_grafter(self) -> None:
        """What was sent is not sent again and again: the links end, and who goes on asking is banned (row 86)."""
        self.attack("grafter", phases=(4, 100, 3))
        self.assertLess(self.cost.bytes, 10)
        self.assertGreater(self.ends(Reason.ASKS_AGAIN), 0)
        self.check_banned()

    def test_asker(self) -> None:
        """Questions with long answers, eighty a second, end their links, and who goes on is banned (row 69)."""
        self.attack("asker", "one", (4, 50, 3))
        self.assertGreater(self.ends(Reason.FLOODING), 0)


class FactsTests(AttackCase):
    """Members that lie about others, or about themselves."""

    def test_accuser(self) -> None:
        """Who claims that all have failed is refuted by each, and believed at a bounded rate."""
        self.attack("accuser")
        claims = len(self.seen.attackers) * (LAN.facts_burst + sum(PHASES))
        self.assertTrue(0 < self.seen.meter.flaps() <= claims * len(self.seen.honest))

    def test_verdict_liar(self) -> None:
        """Nobody is declared failed since three of ten say of all that they are not there."""
        self.attack("verdict-liar", phases=(4, 15, 3))
        self.assertEqual(self.seen.meter.flaps(), 0)

    def test_suspecter(self) -> None:
        """Questions without end about a peer cost a word each, and get nobody banned whom they are put to."""
        self.attack("suspecter", "most-neighbours", phases=(4, 45, 3))
        self.assertEqual(self.ends(Reason.FLOODING), 0)
        self.assertLess(self.cost.bytes, 2)

    def test_introducer(self) -> None:
        """Invented peers, a hundred a second, keep no message from anybody."""
        self.attack("introducer", "one")
        self.assertGreater(self.seen.meter.most["peers"], PEERS + LAN.introductions_burst // 3)

    def test_restless(self) -> None:
        """Who says something new of itself twenty times a second is passed on at a bounded rate."""
        self.attack("restless")
        self.assertLess(self.seen.meter.spent(self.seen.honest)["checks"], 3 * (LAN.facts_burst + 100) + 500)

    def test_clocks(self) -> None:
        """A clock that is a year ahead, or behind, harms nobody but its peer."""
        for kind in ("clock-ahead", "clock-behind"):
            self.attack(kind)
            self.assertEqual(self.seen.meter.flaps(), 0)
            self.assertLess(self.p99(self.seen), 4 * LAN.graft_timeout)


class BundlesTests(AttackCase):
    """Members that send bundles that they should not."""

    def test_forger(self) -> None:
        """What its origin has not signed goes no further, whatever it says its number is; its sender is banned.

        Rows 72 and 88: wrong authors, altered bodies, numbers that are still to come.
        """
        self.attack("forger", phases=(4, 30, 3))
        self.assertGreater(self.ends(Reason.BAD_SIGNATURE), 0)
        self.check_banned()

    def test_replayer(self) -> None:
        """What was said before is not handed over again, and not even checked again (row 74)."""
        self.attack("replayer")
        self.assertLess(self.cost.checks, 0.01)

    def test_replayed_after_the_retention(self) -> None:
        """Nor is it an hour later, when no log holds it any more (row 74)."""
        world = World(1, config=attrs.evolve(LAN, retention_age=60.0))
        members = build(world, 5)
        turn(members[3], "replayer")
        honest = [peer for peer in members if peer is not members[3]]
        say(honest, 3)
        world.run(3600)
        self.assertEqual({bundle.seq for peer in honest for bundle in peer.received}, {1, 2, 3})
        self.assertTrue(all(peer.log.floor(other.stream) == 3 for peer in honest for other in honest))
        say(honest)
        self.assertEqual(checks.settles(world, 30, checks=checks.UNDER_ATTACK), [])

    def test_forker(self) -> None:
        """Two bundles for one number are told as a fork, and harm nobody but the stream of who has signed them."""
        self.attack("forker")
        self.assertTrue(any(peer.forks for peer in self.seen.honest))

    def test_early_bird(self) -> None:
        """Streams without a beginning fill what is held back up to its bound; others are served all the same."""
        self.attack("early-bird")
        self.assertGreater(self.seen.meter.most["early bundles"], 100)
        self.assertLess(self.cost.checks, 1.5)

    def test_chatterbox(self) -> None:
        """Two hundred tiny bundles a second delay nobody's (rows 87 and 89)."""
        self.attack("chatterbox", "one")
        self.assertLess(self.p99(self.seen), 0.1)

    def test_shouter(self) -> None:
        """Nor do five messages a second that are as long as one may be (row 89)."""
        self.attack("shouter", "one")
        self.assertLess(self.p99(self.seen), 0.1)

    def test_bomber(self) -> None:
        """A line that is no frame ends its link, whatever is wrong with it; the third gets its sender banned."""
        self.attack("bomber", phases=(4, 50, 3))
        self.assertGreaterEqual(self.ends(Reason.BAD_FRAME), 3 * len(self.seen.attackers))
        self.check_banned()

    def test_bombs(self) -> None:
        """Each of the bombs is found out at once."""
        for bomb in BOMBS:
            world = World(1)
            genesis, liar = world.genesis(), world.newcomer()
            world.run(5)
            [flow] = turn(liar, "leak").flows
            liar.mask.send_lines(flow.link.id, [bomb])  # type: ignore[union-attr]  # `turn` has put it on
            world.run(0.5)
            self.assertEqual((bomb[:40], genesis.core.turn.counts["link_end_bad-frame"]), (bomb[:40], 1))


class ListTests(SynchronousTestCase):
    """The attacks as scenarios, and in the fuzz."""

    def test_names(self) -> None:
        """Each kind can be played by each place."""
        self.assertEqual(set(ATTACKS), {f"{kind}-by-{place}" for kind in KINDS for place in PLACES})
        self.assertLessEqual(set(ATTACKS), set(SCENARIOS))

    def test_command(self) -> None:
        """The command line plays one, and prints what it costs."""
        code, output = command("run", "black-hole-by-one", "--peers", "8")
        self.assertEqual(code, 0, output)
        for words in (
            "delays: ",
            "honest: lines_in",
            "attacker: ",
            "at most: ",
            "for each line of an attacker",
            "holds",
        ):
            self.assertIn(words, output)

    def test_found_by_fuzz(self) -> None:
        """A plan that once violated the contract: a claim by a clock that is ahead kept directories apart."""
        steps = (fuzz.Step(2.0, "newcomer", 1), fuzz.Step(9.0, "crash", 3), fuzz.Step(25.0, "newcomer", 2))
        plan = fuzz.Plan(1, PEERS, LAN, (0.001, 0.01), 0.0, 0.0, steps)
        self.patch(fuzz, "HOSTILE", ("clock-ahead",))
        hostile = (fuzz.Step(1.0, "hostile members", chance) for chance in range(3))
        plan = attrs.evolve(plan, steps=(*hostile, *plan.steps))
        result = fuzz.play(plan)
        self.assertEqual((list(result.violations), result.happened["hostile members"]), ([], 3))
