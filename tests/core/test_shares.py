"""Who has more than its share of a log."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.config import LAN
from twisted_p2p.core.shares import Part, Shares

CONFIG = attrs.evolve(LAN, retention_count=10, retention_bytes=100)


class SharesTests(SynchronousTestCase):
    """Parts of several origins."""

    def setUp(self) -> None:
        """Nobody has anything."""
        self.shares = Shares()

    def grow(self, origin: str, count: int, size: int) -> Part:
        """An origin has so much more."""
        part = self.shares.enter((origin, 1))
        part.count += count
        part.size += size
        if not part.has_grown:
            self.shares.grew(part)
        return part

    def payers(self) -> list[str]:
        """Whose parts are to pay."""
        return [part.origin for part in self.shares.payers(CONFIG)]

    def test_bound(self) -> None:
        """A half is still a share, by number and by bytes; one more is not."""
        self.grow("a", 5, 0)
        self.grow("b", 1, 50)
        self.assertEqual(self.payers(), [])
        self.grow("a", 1, 0)
        self.assertEqual(self.payers(), ["a"])
        self.grow("b", 0, 1)
        self.assertEqual(self.payers(), ["b", "a"])
        self.grow("a", -1, 0)
        self.assertEqual(self.payers(), ["b"])

    def test_by_what_it_is_full(self) -> None:
        """Who has many bundles does not pay where there are too many bytes, nor the other way round."""
        many, big = self.grow("a", 6, 0), self.grow("b", 1, 60)
        found = [
            [part.is_over(CONFIG, *full) for full in ((True, False), (False, True), (False, False))]
            for part in (many, big)
        ]
        self.assertEqual(found, [[True, False, False], [False, True, False]])

    def test_of_all_streams(self) -> None:
        """The streams of an origin have one part, until it has none left."""
        one, two = self.shares.enter(("a", 1)), self.shares.enter(("a", 2))
        self.assertIs(one, two)
        self.shares.leave(("a", 1), one)
        self.assertIs(self.shares.enter(("a", 3)), one)
        for epoch in (2, 3):
            self.shares.leave(("a", epoch), one)
        self.assertIsNot(self.shares.enter(("a", 1)), one)

    def test_looked_at_once(self) -> None:
        """Who has no more than its share is not looked at again before it has grown."""
        parts = [self.grow(name, 1, 1) for name in "abc"]
        self.grow("d", 9, 9)
        self.assertEqual((self.payers(), self.payers()), (["d"], ["d"]))
        self.assertEqual([part.has_grown for part in parts], [False] * 3)
        parts[0].count = 9
        self.assertEqual(self.payers(), ["d"])
        self.shares.grew(parts[0])
        self.assertEqual(self.payers(), ["d", "a"])
