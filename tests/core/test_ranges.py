"""Peers by address range."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.ranges import Ranges, range_of

HOSTS = [f"{first}.{second}.{third}.1" for first in (20, 66) for second in range(3) for third in range(3)]
changes = st.lists(st.tuples(st.integers(0, 9), st.none() | st.sampled_from([*HOSTS, "a.example", "2001:db8::1"])))


def filled(*hosts: str) -> Ranges:
    """A peer at each of these hosts."""
    ranges = Ranges()
    for number, host in enumerate(hosts):
        ranges.add(f"{number}", host)
    return ranges


class RangesTests(SynchronousTestCase):
    """A set of peers."""

    def test_range(self) -> None:
        """A /16 and a /24 of IPv4, a /32 and a /64 of IPv6; all names are in one range."""
        self.assertEqual(range_of("192.0.2.1"), ("192.0.0.0/16", "192.0.2.0/24"))
        self.assertEqual(range_of("2001:db8:1:2::3"), ("2001:db8::/32", "2001:db8:1:2::/64"))
        self.assertEqual(range_of("one.example"), range_of("another.example"))

    def test_diverse(self) -> None:
        """Two /24 are diverse, two hosts in one or two names are not."""
        for hosts, is_diverse in (
            ((), False),
            (("192.0.2.1", "192.0.2.2"), False),
            (("192.0.2.1", "192.0.3.1"), True),
            (("192.0.2.1", "192.1.2.1"), True),
            (("one.example", "another.example"), False),
            (("one.example", "192.0.2.1"), True),
        ):
            self.assertEqual(filled(*hosts).is_diverse, is_diverse, hosts)

    def test_draw(self) -> None:
        """First one of each /16, then one of each /24, whatever the number of peers there."""
        hosts = ["20.0.0.1", "20.1.0.1", *(f"66.6.{third}.{last}" for third in range(4) for last in range(100))]
        first = Counter[str]()
        for seed in range(300):
            drawn = list(filled(*hosts).draw(random.Random(seed)))
            self.assertEqual(sum(number in ("0", "1") for number in drawn[:3]), 2)
            self.assertEqual(len(drawn), 3 + 6)
            first[drawn[0] if drawn[0] in ("0", "1") else "66"] += 1
        self.assertTrue(all(70 < times < 130 for times in first.values()), first)

    def test_fullest(self) -> None:
        """Of the /16 with the most peers the /24 with the most, though one of another /16 may have more."""
        ranges = filled(*["20.0.0.1"] * 5, *["66.6.1.1"] * 4, *["66.6.2.1"] * 3)
        self.assertEqual(set(ranges.fullest()), {"5", "6", "7", "8"})

    def test_crowd(self) -> None:
        """A /24 over the bound, or else a /16 over it, or else nobody."""
        ranges = filled(*["20.0.0.1"] * 5, *["66.6.1.1"] * 4, *["66.6.2.1"] * 3)
        self.assertEqual(len(ranges.crowd(3)), 4)
        self.assertEqual(len(ranges.crowd(6)), 7)
        self.assertEqual(ranges.crowd(7), [])
        self.assertEqual(Ranges().crowd(0), [])

    @given(changes)
    def test_changes(self, changes: list[tuple[int, str | None]]) -> None:
        """Whoever comes, moves and goes, the set is as if those who are left had come alone."""
        ranges, left = Ranges(), dict[str, str]()
        for number, host in changes:
            if host is None:
                ranges.discard(f"{number}")
                left.pop(f"{number}", None)
            else:
                ranges.add(f"{number}", host)
                left[f"{number}"] = host
        fresh = Ranges()
        for peer, host in left.items():
            fresh.add(peer, host)
        self.assertEqual(len(ranges), len(left))
        self.assertTrue(all(peer in ranges for peer in left))
        self.assertEqual(ranges.is_diverse, fresh.is_diverse)
        self.assertEqual(set(ranges.draw(random.Random(1))) - set(left), set())
        if left:
            self.assertEqual(set(ranges.fullest()), set(fresh.fullest()))
