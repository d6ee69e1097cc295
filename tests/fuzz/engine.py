"""What makes inputs: changes by chance, without any further library; the same seed makes the same ones."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


def inputs(corpus: Sequence[bytes], length: int, seed: int) -> Iterator[bytes]:
    """Inputs without end: those of the corpus first, then changed ones, and pieces of two put together."""
    rng = random.Random(seed)
    yield from corpus
    while True:
        data = bytearray(rng.choice(corpus) if corpus and rng.random() < 0.9 else rng.randbytes(rng.randrange(length)))
        for _ in range(rng.choice((1, 1, 2, 4, 8, 16))):
            _change(data, corpus, rng)
        yield bytes(data[:length])


def _change(data: bytearray, corpus: Sequence[bytes], rng: random.Random) -> None:
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 8, 32))
    way = rng.randrange(6)
    if way == 0 and at < len(data):
        data[at] = rng.randrange(256)
    elif way == 1 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif way == 2:
        del data[at : at + size]
    elif way == 3:
        data[at:at] = rng.randbytes(size)
    elif way == 4:
        data[at:at] = data[at : at + size]
    elif corpus:
        other = rng.choice(corpus)
        begin = rng.randrange(len(other) + 1)
        data[at : at + size] = other[begin : begin + rng.choice((1, 4, 16, 64))]
