"""Bucketed digests: two maps are compared by a hash, then by 256 hashes, then by the entries of a few buckets.

An entry's bucket is the first byte of its peer id. A bucket's hash is BLAKE2b-64 over its entries' texts, sorted, each
ended by a newline; an empty bucket has none. The root is the same over the lines "<bucket> <hash>", in bucket order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from hashlib import blake2b
from typing import Generic, TypeVar

import attrs

BUCKETS = 256

K = TypeVar("K", bound=Hashable)


def bucket_of(peer: str) -> int:
    """The bucket of everything that concerns this peer."""
    return int(peer[:2], 16)


def _hash(lines: Iterable[str]) -> str:
    return blake2b("".join(f"{line}\n" for line in lines).encode(), digest_size=8).hexdigest()


@attrs.define(eq=False)
class BucketDigest(Generic[K]):
    """The digest of a map whose entries `text` spells. Hashes are made again only for buckets that were touched."""

    text: Callable[[K], str]
    _keys: list[dict[K, None]] = attrs.field(factory=lambda: [{} for _ in range(BUCKETS)])
    _hashes: dict[int, str] = attrs.field(factory=dict)
    _stale: dict[int, None] = attrs.field(factory=dict)
    _root: str | None = None

    def touch(self, bucket: int, key: K) -> None:
        """The entry `key` in `bucket` is new or has changed."""
        self._keys[bucket][key] = None
        self._stale[bucket] = None
        self._root = None

    def drop(self, bucket: int, key: K) -> None:
        """The entry is gone."""
        self._keys[bucket].pop(key, None)
        self._stale[bucket] = None
        self._root = None

    def keys(self, bucket: int) -> Iterable[K]:
        """The entries of a bucket."""
        return self._keys[bucket]

    def hashes(self) -> dict[int, str]:
        """The hash of each non-empty bucket; not to be changed, and a new dict whenever it differs."""
        if self._stale:
            fresh = dict(self._hashes)
            for bucket in self._stale:
                keys = self._keys[bucket]
                if keys:
                    fresh[bucket] = _hash(sorted(map(self.text, keys)))
                else:
                    fresh.pop(bucket, None)
            self._hashes = dict(sorted(fresh.items()))
            self._stale = {}
        return self._hashes

    def root(self) -> str:
        """One hash over all."""
        if self._root is None:
            self._root = _hash(f"{bucket} {value}" for bucket, value in self.hashes().items())
        return self._root


def differing(mine: dict[int, str], theirs: dict[int, str]) -> list[int]:
    """The buckets whose hashes are not the same."""
    return [bucket for bucket in range(BUCKETS) if mine.get(bucket) != theirs.get(bucket)]
