"""How fast a link may talk: at each bound, below and above it."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import Line, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Hangup, Reason
from twisted_p2p.core.buckets import Bucket
from twisted_p2p.core.config import LAN

ALICE, BOB = Puppet(0x10), Puppet(0x20)


class BucketTests(SynchronousTestCase):
    """A token bucket that may be overdrawn."""

    def test_overdrawn(self) -> None:
        """What is missing takes its time to come back, and no more than the burst does."""
        bucket = Bucket(10, 2.0)
        self.assertEqual(bucket.spend(10, 100.0), 0.0)
        self.assertEqual(bucket.spend(3, 100.0), 1.5)
        self.assertEqual(bucket.spend(0, 101.5), 0.0)
        self.assertEqual(bucket.spend(10, 10_000.0), 0.0)
        self.assertEqual(bucket.spend(1, 10_000.0), 0.5)

    @given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 50)), max_size=50))
    def test_rate(self, spent: list[tuple[float, int]]) -> None:
        """Who waits as it is told never has more than the burst and what the rate gives, and one helping over that."""
        bucket, now, total = Bucket(20, 5.0), 0.0, 0
        for after, tokens in spent:
            now += after
            self.assertLess(total, 20 + 5.0 * now + 1e-6)
            total += tokens
            now += bucket.spend(tokens, now)


class PaceCase(SynchronousTestCase):
    """A peer and its neighbour."""

    def befriend(self, **settings: Any) -> tuple[Stage, Line]:
        """The neighbour has sent what it takes to become one; with these settings."""
        stage = Stage(attrs.evolve(LAN, **settings))
        line = stage.befriend(ALICE)
        self.forget(stage, line)
        return stage, line

    def forget(self, stage: Stage, line: Line) -> None:
        """What has been sent so far does not count."""
        stage.core.links.by_id[line.number].pace = None
        stage.pauses.clear()


class SlowedTests(PaceCase):
    """Over a soft bound less is read, and nothing is lost."""

    def check_pause(self, stage: Stage, line: Line, lines: list[bytes], seconds: float) -> None:
        """At the bound nothing happens; a line more, and nothing is read for so long."""
        line.send_lines(*lines[:-1])
        self.assertEqual(stage.pauses, [])
        line.send_lines(lines[-1])
        [pause] = stage.pauses
        self.assertEqual(pause.link, line.number)
        self.assertAlmostEqual(pause.seconds, seconds, places=3)
        self.assertIsNone(line.ended)

    def test_lines(self) -> None:
        """Bundles: so many lines."""
        stage, line = self.befriend(lines_burst=10, lines_rate=4.0)
        self.check_pause(stage, line, [ALICE.bundle(seq) for seq in range(1, 12)], 0.25)
        self.assertEqual(stage.seqs(ALICE.stream), list(range(1, 12)))

    def test_bytes(self) -> None:
        """So many bytes."""
        lines = [ALICE.bundle(seq, "x" * 500) for seq in range(1, 5)]
        size = sum(map(len, lines))
        stage, line = self.befriend(bytes_burst=size - 1, bytes_rate=10.0)
        self.check_pause(stage, line, lines, 0.1)

    def test_control(self) -> None:
        """So many lines that are no bundles; bundles do not count."""
        stage, line = self.befriend(control_burst=10, control_rate=5.0)
        line.send_lines(*(ALICE.bundle(seq) for seq in range(1, 50)))
        self.check_pause(stage, line, [wire.encode(wire.Frontier([]))] * 11, 0.2)

    def test_control_bytes(self) -> None:
        """So many bytes of them."""
        frame = wire.encode(wire.JoinedInNetwork(BOB.record()))
        stage, line = self.befriend(control_bytes_burst=5 * len(frame), control_bytes_rate=float(len(frame)))
        self.check_pause(stage, line, [frame] * 6, 1.0)

    def test_stranger(self) -> None:
        """Of who is no neighbour each line counts as ten."""
        stage = Stage(attrs.evolve(LAN, control_burst=50, control_rate=10.0))
        line = stage.meet(ALICE)
        self.forget(stage, line)
        self.check_pause(stage, line, [wire.encode(wire.Frontier([]))] * 6, 1.0)

    def test_rests_and_answers_late(self) -> None:
        """Who is not read from is not held to be dead meanwhile."""
        stage, line = self.befriend(control_burst=10, control_rate=1.0)
        line.answers = False
        line.send_lines(*[wire.encode(wire.Frontier([]))] * 40)
        stage.pass_time(30)
        self.assertIsNone(line.ended)
        stage.pass_time(LAN.ping_timeout * 3)
        self.assertEqual(line.ended and line.ended.reason, Reason.PING_TIMEOUT)


class FloodingTests(PaceCase):
    """Over the hard bound the link is ended."""

    def test_requests(self) -> None:
        """So many frames that a peer sends for itself."""
        frames = (wire.Ping(1), wire.AskRandomNode(), wire.Graft([]), wire.Roots("0" * 16, "0" * 16))
        for frame in frames:
            _, line = self.befriend(requests_burst=20, requests_rate=1.0)
            line.send(*[frame] * 20)
            self.assertIsNone(line.ended)
            line.send(frame)
            self.assertEqual(line.ended, Hangup(line.number, Reason.FLOODING))

    def test_suspects_and_answers(self) -> None:
        """Who is told of thousands of peers that are not there asks about each, and whoever is asked answers."""
        _, line = self.befriend(requests_burst=20, requests_rate=1.0)
        for frame in (wire.Suspect(BOB.peer, 1), wire.Verdict(BOB.peer, 1, reached=True), wire.Pong(1)):
            line.send(*[frame] * 100)
        self.assertIsNone(line.ended)

    def test_unknown_titles(self) -> None:
        """Frames of a later version count as well."""
        _, line = self.befriend(requests_burst=20, requests_rate=1.0)
        line.send_lines(*[b'{"title":"#LATER"}'] * 21)
        self.assertEqual(line.ended and line.ended.reason, Reason.FLOODING)

    def test_slowly(self) -> None:
        """At the rate it may go on for ever."""
        stage, line = self.befriend(requests_burst=20, requests_rate=1.0)
        for _ in range(100):
            line.send(wire.AskRandomNode())
            stage.pass_time(2.0)
        self.assertIsNone(line.ended)

    def test_floods_of_others(self) -> None:
        """What a neighbour passes on is not held against it, however much it is."""
        _, line = self.befriend(requests_burst=20, requests_rate=1.0)
        line.send(*[wire.JoinedInNetwork(BOB.record())] * 100)
        line.send(*[wire.Frontier([])] * 100)
        self.assertIsNone(line.ended)


class ServiceTests(PaceCase):
    """What is sent again from the log."""

    def graft(self, stage: Stage, line: Line, position: int) -> list[int]:
        """It asks for a stream from there on; the seqs that it gets."""
        line.take()
        line.send(wire.Graft([(*BOB.stream, position)]))
        stage.pass_time(0.1)
        return line.take_seqs()

    def test_again(self) -> None:
        """Who asks for the same again and again gets it so often, and then at the rate (row 86)."""
        stage, line = self.befriend(served_burst=25, served_rate=1.0, grafts_again=10_000)
        stage.befriend(BOB).send_lines(*(BOB.bundle(seq) for seq in range(1, 11)))
        stage.pass_time(1)
        for _ in range(3):
            self.assertEqual(self.graft(stage, line, 1), list(range(1, 11)))
        for _ in range(1000):
            line.send(wire.Graft([(*BOB.stream, 1)]))
        self.assertEqual(self.graft(stage, line, 1), [])
        self.assertEqual(stage.counts["grafts_over_rate"], 1001)
        self.assertIsNone(line.ended)
        stage.pass_time(6)
        self.assertEqual(self.graft(stage, line, 1), list(range(1, 11)))

    def test_others(self) -> None:
        """It is another one's loss in nothing, and new bundles come to it all the same."""
        stage, line = self.befriend(served_burst=5, served_rate=0.001)
        bob = stage.befriend(BOB)
        bob.send_lines(*(BOB.bundle(seq) for seq in range(1, 11)))
        stage.pass_time(1)
        self.graft(stage, line, 1)
        self.assertEqual(self.graft(stage, line, 1), [])
        other = stage.befriend(Puppet(0x30))
        self.assertEqual(self.graft(stage, other, 1), list(range(1, 11)))
        bob.send_lines(BOB.bundle(11))
        self.assertEqual((line.take_seqs(), other.take_seqs()), ([11], [11]))
