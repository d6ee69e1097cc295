"""Bundles before their elders: what is held back has a bound, of which each neighbour has its share."""

import random
from collections import Counter
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import Line, Puppet
from tests.core.test_broadcast import SpreadCase
from twisted_p2p.core import wire
from twisted_p2p.core.config import LAN
from twisted_p2p.core.early import Early
from twisted_p2p.core.turn import Turn

MAX = 8
SIZE = len(Puppet(0x10).bundle(10))


class ShareTests(SpreadCase):
    """Alice sends what nobody can take; Bob and Carol are honest."""

    def early(self, puppet: Puppet) -> list[int]:
        """The seqs that are held back of a neighbour's stream."""
        return sorted(self.stage.core.spread.early.streams.get(puppet.stream, ()))

    def fill(self, line: Line, last: int) -> None:
        """A neighbour sends early bundles 10 to `last` of its own."""
        line.send_lines(*(line.puppet.bundle(seq) for seq in range(10, last + 1)))

    @property
    def dropped(self) -> int:
        """How many were dropped for want of room."""
        return self.stage.counts["early_dropped"]

    def test_bound(self) -> None:
        """One neighbour alone may take all the room, up to the bound and not beyond."""
        for bound in ({"early_max": MAX}, {"early_bytes": MAX * SIZE}):
            self.begin(attrs.evolve(LAN, **bound))
            self.fill(self.to_alice, 9 + MAX - 1)
            self.assertEqual((len(self.early(self.alice)), self.dropped), (MAX - 1, 0))
            self.to_alice.send_lines(self.alice.bundle(90))
            self.assertEqual((self.early(self.alice), self.dropped), ([*range(10, 9 + MAX), 90], 0))
            self.to_alice.send_lines(self.alice.bundle(91))
            self.assertEqual((self.early(self.alice), self.dropped), ([*range(10, 9 + MAX), 90], 1))

    def test_others_find_room(self) -> None:
        """Where one neighbour has filled it, its newest give way to the bundles of others, until all have as many."""
        for bound in ({"early_max": MAX}, {"early_bytes": MAX * SIZE}):
            self.begin(attrs.evolve(LAN, **bound))
            self.fill(self.to_alice, 9 + MAX)
            self.fill(self.to_bob, 12)
            self.assertEqual((self.early(self.alice), self.early(self.bob)), ([10, 11, 12, 13, 14], [10, 11, 12]))
            self.fill(self.to_bob, 15)
            self.assertEqual((self.early(self.alice), self.early(self.bob)), ([10, 11, 12, 13], [10, 11, 12, 13]))
            self.fill(self.to_carol, 15)
            self.assertEqual([len(self.early(each)) for each in (self.alice, self.bob, self.carol)], [3, 3, 2])

    def test_honest_are_not_delayed(self) -> None:
        """What an honest neighbour sends in the wrong order is handed over at once, however much another one sends."""
        self.begin(attrs.evolve(LAN, early_max=MAX))
        self.fill(self.to_alice, 100)
        self.to_bob.send_lines(self.bob.bundle(2), self.bob.bundle(3))
        self.fill(self.to_alice, 100)
        self.to_carol.send_lines(self.bob.bundle(1))
        self.assertEqual(self.stage.seqs(self.bob.stream), [1, 2, 3])
        self.assertEqual(self.stage.core.spread.early.count, MAX - 2)

    def test_many_small_for_a_big_one(self) -> None:
        """A big bundle makes several of the one who takes most give way, but not more than would be left to it."""
        self.begin(attrs.evolve(LAN, early_bytes=MAX * SIZE))
        self.fill(self.to_alice, 9 + MAX)
        text = "x" * (2 * SIZE)
        self.to_bob.send_lines(self.bob.bundle(2, text))
        self.assertEqual((len(self.early(self.alice)), self.early(self.bob)), (MAX - 3, [2]))
        self.to_bob.send_lines(self.bob.bundle(3, text))
        self.assertEqual(self.early(self.bob), [2])

    def test_gone_link(self) -> None:
        """What only a neighbour that is gone could have completed leaves its room to others."""
        self.begin(attrs.evolve(LAN, early_max=MAX))
        self.fill(self.to_alice, 9 + MAX)
        self.to_alice.close()
        self.fill(self.to_bob, 12)
        self.assertEqual((len(self.early(self.alice)), len(self.early(self.bob))), (0, 3))

    def test_given_way(self) -> None:
        """What has given way is asked for like anything else that is missing."""
        self.begin(attrs.evolve(LAN, early_max=2))
        self.fill(self.to_alice, 11)
        self.fill(self.to_bob, 10)
        self.stage.pass_time(2 * LAN.graft_timeout)
        asked = [
            streams
            for line in self.lines
            for f in line.take_all()
            if isinstance(f, wire.Graft)
            for streams in f.streams
        ]
        self.assertIn((*self.alice.stream, 1), asked)


FRAMES = {
    (puppet, seq): wire.decode(puppet.bundle(seq, "x" * (seq % 5) * 100))
    for puppet in (Puppet(0x10), Puppet(0x20))
    for seq in range(2, 12)
}


class AnyOrderTests(SynchronousTestCase):
    """Whatever is held back and let go."""

    @given(
        st.lists(st.tuples(st.sampled_from(["add"] * 6 + ["take", "drop"]), st.integers(0, 3), st.integers(0, 19))),
        st.integers(0, 9),
        st.integers(0, 3_000),
    )
    def test_totals(self, operations: list[tuple[str, int, int]], most: int, size: int) -> None:
        """The totals are those of what is held, never over a bound, and nobody with less gives way to one with more."""
        config = attrs.evolve(LAN, early_max=most, early_bytes=size)
        early = Early(Turn(config, random.Random(1)))
        frames: list[Any] = list(FRAMES.values())
        for name, link, place in operations:
            frame = frames[place]
            is_held = frame.seq in early.streams.get(frame.stream, {})
            before = self.shares(early)
            if name == "add" and not is_held:
                early.add(link, frame, bytes(100 * (1 + place % 5)))
                for other, (count, bytes_) in before.items():
                    there = self.shares(early)
                    if other != link and there.get(other, (0, 0)) != (count, bytes_):
                        mine = there.get(link, (0, 0))
                        self.assertTrue(count >= mine[0] or bytes_ >= mine[1], (before, there))
            elif name == "take" and is_held:
                self.assertIs(early.take(frame.stream, frame.seq).frame, frame)
            elif name == "drop":
                early.drop(frame.stream)
                self.assertIs(early.earliest(frame.stream), None)
            held = [each for stream in early.streams.values() for each in stream.values()]
            self.assertEqual((early.count, early.size), (len(held), sum(len(each.line) for each in held)))
            self.assertLessEqual(early.count, most)
            self.assertLessEqual(early.size, size)
            counts = Counter(each.link for each in held)
            self.assertEqual({link: len(b.bundles) for link, b in early._links.items()}, dict(counts))

    def shares(self, early: Early) -> dict[int, tuple[int, int]]:
        """Bundles and bytes of each link."""
        found: dict[int, tuple[int, int]] = {}
        for stream in early.streams.values():
            for held in stream.values():
                count, size = found.get(held.link, (0, 0))
                found[held.link] = count + 1, size + len(held.line)
        return found
