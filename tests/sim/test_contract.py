"""The contract holds in every scenario, and each of its checks notices when a peer breaks it."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import twisted_p2p
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Action, Actions, Deliver
from twisted_p2p.core.catchup import Want
from twisted_p2p.core.detection import Suspicion
from twisted_p2p.sim import checks
from twisted_p2p.sim.__main__ import fingerprint, main, play, report
from twisted_p2p.sim.attacks import ATTACKS
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.scenarios import SCENARIOS, build, say
from twisted_p2p.sim.world import World

PEERS = 12
LONG = ("quiet-origin-and-newcomer",)
"""Scenarios that take too long for a unit test."""


class ScenarioTests(SynchronousTestCase):
    """The contract holds, whatever happens to the network."""

    def hold(self, name: str) -> None:
        """The scenario ends without a violation, and something was said in it and arrived."""
        for seed in (0, 1):
            outcome = play(name, PEERS, seed)
            self.assertEqual(outcome.violations, [], report(name, PEERS, seed, outcome))
            self.assertTrue(any(peer.received for peer in outcome.world.peers) or name == "genesis-comes-late")

    def test_all_are_here(self) -> None:
        """Every scenario is a test, or said to be too long for one, or an attack, which `test_hostile` plays."""
        names = {name[len("test_") :].replace("_", "-") for name in dir(self) if name.startswith("test_")}
        self.assertEqual(set(SCENARIOS) - names, {*LONG, *ATTACKS})


def _test(name: str, doc: str) -> Callable[[ScenarioTests], None]:
    def test(self: ScenarioTests) -> None:
        self.hold(name)

    test.__name__, test.__doc__ = f"test_{name.replace('-', '_')}", doc
    return test


for _name, _scenario in SCENARIOS.items():
    if _name not in (*LONG, *ATTACKS):
        _made = _test(_name, _scenario.__doc__ or "")
        setattr(ScenarioTests, _made.__name__, _made)


def altered(peer: SimPeer, alter: Callable[[Deliver], Sequence[Action]]) -> None:
    """From now on what this peer's core tells its application of bundles becomes something else."""
    received = peer.core.lines_received

    def lines_received(number: int, lines: Sequence[bytes], now: float) -> Actions:
        actions: list[Action] = []
        for action in received(number, lines, now):
            actions += alter(action) if isinstance(action, Deliver) else [action]
        return actions

    peer.core.lines_received = lines_received  # type: ignore[method-assign]  # the fault that is to be found


class BrokenTests(SynchronousTestCase):
    """A peer breaks the contract in one way, and the check for that says so."""

    def setUp(self) -> None:
        self.world = World(3)
        self.members = build(self.world, 6)
        self.victim, self.speaker, self.other = self.members[2], self.members[4], self.members[5]
        say(self.members)
        self.world.run(2)
        self.assertEqual(checks.violations(self.world), [])

    def complains(self, check: checks.Check, *words: str) -> None:
        """This check finds something that has these words."""
        found = check(self.world, self.world.running)
        for word in words:
            self.assertTrue([text for text in found if word in text], (word, found))

    def content(self, *unbroken: checks.Check) -> None:
        """These checks find nothing."""
        for check in unbroken:
            self.assertEqual(check(self.world, self.world.running), [])

    def talk(self, count: int = 3) -> None:
        """The speaker says something, and all settles."""
        say([self.speaker], count)
        self.world.run(5)

    def test_blamed(self) -> None:
        """An honest peer is held to have broken the rules."""
        link = next(iter(self.victim.core.overlay.active.values()))
        self.victim.do(lambda now: self.victim.core.lines_received(link.id, [b"junk"], now))
        self.complains(checks.nobody_blamed, "holds 40 points against")
        self.content(checks.integrity, checks.fifo)

    def test_repeated(self) -> None:
        """A message that is handed over twice breaks integrity."""
        altered(self.victim, lambda told: [told, told])
        self.talk()
        self.complains(checks.integrity, f"{self.victim} was handed 3 messages twice")

    def test_forgotten_position(self) -> None:
        """A peer that forgets how far it was hands everything over again, which breaks integrity."""
        stream = self.speaker.core.spread.own
        self.victim.core.positions.move(stream, 1)
        self.complains(checks.positions_equal, f"of stream {stream[0][:6]}")
        self.talk()
        self.complains(checks.integrity, f"{self.victim} was handed 1 messages twice")

    def test_invented(self) -> None:
        """A message that its origin never broadcast breaks integrity."""
        encoded = b'{"id":"%b","time":1.0,"values":[1]}' % (b"0" * 64)
        self.speaker.do(lambda now: self.speaker.core.broadcast([encoded], now))
        self.world.run(1)
        self.complains(checks.integrity, f"handed 1 that {self.speaker.peer[:6]} never broadcast")

    def test_own_message(self) -> None:
        """Handing a peer its own messages breaks integrity."""
        self.talk()
        self.speaker.received += self.victim.received[-1:]
        self.complains(checks.integrity, f"{self.speaker} was handed its own messages")

    def test_swapped(self) -> None:
        """Messages that change places break the order of their stream."""
        kept: list[Deliver] = []

        def swap(told: Deliver) -> list[Deliver]:
            kept.append(told)
            return [] if len(kept) % 2 else [kept[-1], kept[-2]]

        altered(self.victim, swap)
        self.talk(4)
        self.complains(checks.fifo, f"{self.victim} was handed messages of {self.speaker.peer[:6]} out of order")
        self.complains(checks.no_silent_loss, f"{self.victim} was handed bundle 3 of")
        self.content(checks.integrity, checks.validity)

    def drop_second(self, peer: SimPeer) -> None:
        """The second of the bundles to come is not handed over."""
        seen: list[Deliver] = []

        def drop(told: Deliver) -> list[Deliver]:
            seen.append(told)
            return [] if len(seen) == 2 else [told]

        altered(peer, drop)

    def test_dropped(self) -> None:
        """A message that is missing amid others is a silent loss, and breaks validity."""
        self.drop_second(self.victim)
        self.talk()
        self.complains(checks.no_silent_loss, f"{self.victim} was handed bundle 4 of {self.speaker.peer[:6]}, not 3")
        self.complains(checks.validity, f"{self.victim} lacks 1 of {self.speaker}")
        self.content(checks.integrity, checks.fifo, checks.positions_equal)

    def test_last_dropped(self) -> None:
        """A message that is missing at the end is found, too, though nothing came after it."""
        altered(self.victim, lambda told: [])
        self.talk(1)
        self.content(checks.no_silent_loss)
        self.complains(checks.validity, f"{self.victim} lacks 1 of {self.speaker}")

    def test_dropped_of_a_dead_origin(self) -> None:
        """What one member has of an origin that is dead every member must have, by agreement."""
        altered(self.victim, lambda told: [])
        say([self.speaker])
        self.world.run(1)
        self.speaker.kill()
        self.world.run(1)
        self.content(checks.validity)
        self.complains(checks.agreement, f"{self.victim} lacks 1 of {self.speaker}")

    def test_seq_used_again(self) -> None:
        """A speaker that forgets its own position and numbers its bundles anew is not heard, and that is found."""
        self.speaker.core.positions.move(self.speaker.core.spread.own, 1)
        self.talk(1)
        self.complains(checks.validity, f"lacks 1 of {self.speaker}")
        self.speaker.is_old_copy = True
        self.content(checks.validity)

    def test_not_joined(self) -> None:
        """A peer that never gets in counts as one that lacks everything."""
        self.world.newcomer(address=("10.9.9.9", 1))
        self.complains(checks.validity, "has not joined")

    def test_lost_fact(self) -> None:
        """A directory that lacks a member is found."""
        del self.victim.core.membership.entries[self.other.peer]
        self.complains(checks.directories_equal, f"{self.victim} lacks {self.other.name}")

    def test_facts_not_merged(self) -> None:
        """A peer that takes no facts in does not learn of a newcomer, and that is found."""
        for kind in (wire.JoinedInNetwork, wire.NodesInNetwork):
            self.victim.core._routes[kind] = lambda link, frame: None
        self.victim.core._opened = lambda link: None  # type: ignore[method-assign]  # the fault that is to be found
        newcomer = self.world.newcomer(self.members[0])
        self.world.run_until(lambda: newcomer.member_since is not None, 5)
        missing = [peer.name for peer in self.members if newcomer.peer not in peer.core.membership.entries]
        self.world.run(0.1)
        self.assertIn(self.victim.name, missing)
        self.complains(checks.directories_equal, f"{self.victim} lacks {newcomer.name}", "not all are equal")

    def test_ghost(self) -> None:
        """A dead peer that is still listed as alive is found."""
        self.speaker.kill()
        self.complains(checks.directories_equal, f"{self.victim} believes in 1 that are not there")

    def test_one_directory_newer(self) -> None:
        """Directories that name the same peers, but at different addresses, are not equal."""
        membership = self.victim.core.membership
        membership.introduce("10.3.3.3", 5050, above=membership.own.incarnation)
        self.complains(checks.directories_equal, "not all are equal")

    def test_one_sided_neighbour(self) -> None:
        """A neighbour that does not know of it is found, from both sides' views."""
        other = next(iter(self.victim.core.overlay.active))
        peer = next(peer for peer in self.members if peer.peer == other)
        del peer.core.overlay.active[self.victim.peer]
        self.complains(checks.views_symmetric, f"{self.victim} has the neighbour {other[:6]}, who does not have it")

    def test_too_few_and_too_many_neighbours(self) -> None:
        """A view that is too small, or larger than it may be, is found."""
        active = self.victim.core.overlay.active
        link = next(iter(active.values()))
        kept = dict(active)
        active.clear()
        self.complains(checks.views_symmetric, f"{self.victim} has 0 neighbours")
        active.update(kept | {f"{number:064x}": link for number in range(9)})
        self.complains(checks.views_symmetric, f"{self.victim} has {len(kept) + 9} neighbours")

    def test_in_pieces(self) -> None:
        """Two networks that know nothing of each other are not one."""
        again = self.world.genesis()
        for _ in range(4):
            self.world.newcomer(again)
        self.world.run(10)
        self.assertGreater(min(len(peer.core.overlay.active) for peer in self.world.running), 2)
        self.complains(checks.views_symmetric, "the overlay is in pieces")

    def test_tree_one_sided(self) -> None:
        """A link that is eager at one end only is found."""
        flow = next(flow for flow in self.victim.core.spread.flows.values() if flow.eager)
        flow.eager = False
        self.complains(checks.links_agreed, "for whom it is lazy")

    def test_tree_cut(self) -> None:
        """So is a tree that does not reach everybody."""
        for peer in self.members:
            for flow in peer.core.spread.flows.values():
                if self.victim.peer in (peer.peer, flow.link.peer):
                    flow.eager = False
        self.complains(checks.tree_whole, "in pieces")

    def test_left_over(self) -> None:
        """Whatever a peer should have done away with is found, each by its name."""
        core, stream = self.victim.core, self.speaker.core.spread.own
        flow = next(iter(core.spread.flows.values()))
        core.catchup.wants[stream] = Want(0.0)
        core.spread.early.count = 1
        flow.owed[stream] = None
        flow.cursor[stream] = 1
        flow.live = False
        flow.moved[stream] = None
        core.detection.suspicions[self.other.peer] = Suspicion(1)
        for _ in range(100):
            core.turn.timers.after(1000, lambda: None)
        self.complains(
            checks.nothing_left,
            "1 early bundles",
            "1 streams that it wants",
            "1 streams that it owes",
            "1 streams on which a link is not level",
            "1 neighbour links that carry nothing yet",
            "1 positions that it has not told",
            "1 suspicions",
            "deadlines too many",
        )

    def test_every_check_counts(self) -> None:
        """The verdict on a world is that of all its checks."""
        self.drop_second(self.victim)
        self.talk()
        self.victim.core.catchup.wants[self.speaker.core.spread.own] = Want(0.0)
        found = checks.violations(self.world)
        self.assertEqual({text.split(":")[0] for text in found}, {"silent loss", "validity", "agreement", "left over"})


def run(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    """Run the simulator's command line in another process."""
    root = str(Path(twisted_p2p.__file__).parents[1])
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": root}
    command = [sys.executable, "-m", "twisted_p2p.sim", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)


class RepeatTests(SynchronousTestCase):
    """A run can be repeated."""

    def test_hash_seeds(self) -> None:
        """A run does not depend on the order of Python's hashes, so whoever repeats it sees the same."""
        for name in ("churn", "third-dies"):
            one = run("run", name, "--peers", "10", "--seed", "4", hash_seed="1")
            two = run("run", name, "--peers", "10", "--seed", "4", hash_seed="2")
            self.assertEqual((one.returncode, two.returncode), (0, 0), one.stderr + two.stderr)
            self.assertIn("fingerprint", one.stdout)
            self.assertEqual(one.stdout, two.stdout)

    def test_seeds_differ(self) -> None:
        """Two seeds give two runs; one seed gives one."""
        prints = [fingerprint(play("everyone-talks", 5, seed).world) for seed in (0, 0, 1)]
        self.assertEqual(prints[0], prints[1])
        self.assertNotEqual(prints[0], prints[2])


class CommandLineTests(SynchronousTestCase):
    """python -m twisted_p2p.sim"""

    def call(self, *arguments: str) -> tuple[Any, str]:
        """Its exit code, and what it prints."""
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(io.StringIO()):
            try:
                code: Any = main(arguments)
            except SystemExit as error:
                code = error.code
        return code, out.getvalue()

    def test_list(self) -> None:
        """`list` prints the names of all scenarios."""
        code, out = self.call("list")
        self.assertEqual((code, out.split()), (0, list(SCENARIOS)))

    def test_run(self) -> None:
        """`run` says what happened, and exits with 0 where the contract holds; `--seeds` plays several."""
        code, out = self.call("run", "everyone-talks", "--peers", "5", "--seed", "3", "--seeds", "2")
        self.assertEqual(code, 0)
        self.assertIn("everyone-talks, 5 peers, seed 3: Every peer says ten things", out)
        self.assertIn("everyone-talks, 5 peers, seed 4:", out)
        self.assertEqual(out.count("the contract holds"), 2)

    def test_violated(self) -> None:
        """Where the contract is violated the exit code is 1, and the command that repeats it is printed."""

        def broken(world: World, peers: int) -> float:
            """A peer hands nothing over."""
            members = build(world, peers)
            altered(members[1], lambda told: [])
            say(members[:1])
            return 3

        SCENARIOS["broken"] = broken
        self.addCleanup(SCENARIOS.pop, "broken")
        code, out = self.call("run", "broken", "--peers", "5", "--seed", "3")
        self.assertEqual(code, 1)
        self.assertIn("VIOLATED validity", out)
        self.assertIn("repeat it: python -m twisted_p2p.sim run broken --peers 5 --seed 3\n", out)
        self.assertNotIn("the contract holds", out)

    def test_not_built(self) -> None:
        """Where the network to begin with does not come about, that is a violation."""

        def barren(world: World, peers: int) -> float:
            """The genesis does not answer."""
            world.add().start()
            world.cut(world.peers[0], world.add())
            world.peers[1].start()
            world.peers[1].join([world.peers[0].address])
            build(world, peers)
            return 3

        SCENARIOS["barren"] = barren
        self.addCleanup(SCENARIOS.pop, "barren")
        code, out = self.call("run", "barren", "--peers", "4")
        self.assertEqual(code, 1)
        self.assertIn("VIOLATED", out)

    def test_usage(self) -> None:
        """An unknown scenario, too few peers and no command at all are mistakes in the call: exit code 2."""
        self.assertEqual(self.call("run", "nothing")[0], 2)
        self.assertEqual(self.call("run", "churn", "--peers", "3")[0], 2)
        self.assertEqual(self.call()[0], 2)
