"""Digests of maps: equal for equal maps, and different just where the maps are."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.digest import BUCKETS, BucketDigest, bucket_of, differing

Map = dict[str, int]

keys = st.builds(lambda bucket, rest: f"{bucket:02x}{rest:02x}", st.integers(0, 5), st.integers(0, 5))
maps = st.dictionaries(keys, st.integers(0, 3), max_size=12)
orders = st.randoms(use_true_random=False)


def digest_of(entries: Map, order: list[str] | None = None) -> tuple[BucketDigest[str], Map]:
    """The digest of a map, and the map that it looks into."""
    live: Map = {}
    digest = BucketDigest[str](lambda key: f"{key} {live[key]}")
    for key in order or entries:
        live[key] = entries[key]
        digest.touch(bucket_of(key), key)
    return digest, live


class DigestTests(SynchronousTestCase):
    """Two peers compare what they have by a few hashes."""

    @given(maps, orders)
    def test_order(self, entries: Map, rng) -> None:  # type: ignore[no-untyped-def]
        """In whatever order two peers learned the same, they see that it is the same."""
        order = list(entries)
        rng.shuffle(order)
        one, _ = digest_of(entries)
        two, _ = digest_of(entries, order)
        self.assertEqual(one.root(), two.root())
        self.assertEqual(one.hashes(), two.hashes())
        self.assertEqual(list(one.hashes()), list(two.hashes()))

    @given(maps, maps)
    def test_equal_maps_only(self, mine: Map, theirs: Map) -> None:
        """Roots are equal if and only if the maps are; hashes differ in just the buckets in which the maps do."""
        one, _ = digest_of(mine)
        two, _ = digest_of(theirs)
        self.assertEqual(one.root() == two.root(), mine == theirs)
        changed = {bucket_of(key) for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)}
        self.assertEqual(differing(one.hashes(), two.hashes()), sorted(changed))

    @given(maps, st.lists(st.tuples(keys, st.none() | st.integers(0, 3)), max_size=10))
    def test_history(self, entries: Map, changes: list[tuple[str, int | None]]) -> None:
        """After any changes the digest is that of a map which has always been so; each look in between is right."""
        digest, live = digest_of(entries)
        for key, value in changes:
            if value is None:
                live.pop(key, None)
                digest.drop(bucket_of(key), key)
            else:
                live[key] = value
                digest.touch(bucket_of(key), key)
            fresh, _ = digest_of(live)
            self.assertEqual(digest.root(), fresh.root())
            self.assertEqual(digest.hashes(), fresh.hashes())
            kept = {key for bucket in range(BUCKETS) for key in digest.keys(bucket)}
            self.assertEqual(kept, set(live))

    def test_empty(self) -> None:
        """An empty map has no hashes; one that has become empty is like one that always was."""
        digest, live = digest_of({"0001": 1})
        empty, _ = digest_of({})
        self.assertNotEqual(digest.root(), empty.root())
        del live["0001"]
        digest.drop(0, "0001")
        self.assertEqual((digest.root(), digest.hashes()), (empty.root(), {}))

    def test_one_entry(self) -> None:
        """A changed entry changes the root and the hash of its bucket, and no other."""
        digest, live = digest_of({"0001": 1, "0002": 1, "ff01": 1})
        before, root = digest.hashes(), digest.root()
        live["ff01"] = 2
        digest.touch(255, "ff01")
        self.assertEqual(differing(before, digest.hashes()), [255])
        self.assertEqual(digest.hashes()[0], before[0])
        self.assertNotEqual(digest.root(), root)

    def test_earlier_hashes_stay(self) -> None:
        """Hashes that were handed out do not change in the hands of whoever has them."""
        digest, live = digest_of({"0001": 1})
        before = digest.hashes()
        kept = dict(before)
        live["0001"] = 2
        digest.touch(0, "0001")
        self.assertNotEqual(digest.hashes(), kept)
        self.assertEqual(before, kept)

    def test_entries_do_not_run_together(self) -> None:
        """Two entries are not one whose text is theirs."""
        one = BucketDigest[str](lambda key: key)
        two = BucketDigest[str](lambda key: key)
        one.touch(0, "a")
        one.touch(0, "b")
        two.touch(0, "ab")
        self.assertNotEqual(one.root(), two.root())

    def test_buckets(self) -> None:
        """All that concerns a peer is in one of 256 buckets: its id's first byte."""
        self.assertEqual(bucket_of("00" * 32), 0)
        self.assertEqual(bucket_of("7f" + "ff" * 31), 127)
        self.assertEqual(bucket_of("ff" * 32), BUCKETS - 1)
