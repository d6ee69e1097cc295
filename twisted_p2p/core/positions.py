"""Positions: of each stream the next seq wanted. They outlive the bundles, or one would be delivered twice."""

from __future__ import annotations

from collections.abc import Container, Mapping

import attrs

from twisted_p2p.core.digest import BucketDigest, bucket_of
from twisted_p2p.interfaces import Stream


def _new_digest(positions: Positions) -> BucketDigest[Stream]:
    return BucketDigest(lambda stream: f"{stream[0]} {stream[1]} {positions.of(stream)}")


@attrs.define(eq=False)
class Positions:
    """The positions of one peer. A stream that it has never heard of is at 1."""

    moved: dict[Stream, None] = attrs.field(factory=dict)
    """Streams whose positions are to be kept."""

    _at: dict[Stream, int] = attrs.field(factory=dict)
    _epochs: dict[str, dict[int, None]] = attrs.field(factory=dict)
    _idle: dict[Stream, tuple[int, float]] = attrs.field(factory=dict)
    """Streams of unknown origins: where they stood at some housekeeping, and when."""
    digest: BucketDigest[Stream] = attrs.field(default=attrs.Factory(_new_digest, takes_self=True))

    def of(self, stream: Stream) -> int:
        """The next seq wanted."""
        return self._at.get(stream, 1)

    def move(self, stream: Stream, position: int) -> None:
        """From now on `position` is wanted next."""
        if stream not in self._at:
            self._epochs.setdefault(stream[0], {})[stream[1]] = None
        self._at[stream] = position
        self.moved[stream] = None
        self.digest.touch(bucket_of(stream[0]), stream)

    def restore(self, positions: Mapping[Stream, int]) -> None:
        """Go on from what was kept."""
        for stream, position in positions.items():
            self.move(stream, position)
        self.moved.clear()

    def epochs(self, origin: str) -> int:
        """How many streams of this origin have been heard of."""
        return len(self._epochs.get(origin, ()))

    def has_later(self, stream: Stream) -> bool:
        """Whether its origin has begun a stream after this one."""
        origin, epoch = stream
        return any(other > epoch for other in self._epochs.get(origin, ()))

    def knows(self, stream: Stream) -> bool:
        """Whether it has ever been heard of."""
        return stream in self._at

    def expire(self, known: Container[str], now: float, age: float) -> list[Stream]:
        """Forget streams; which.

        Streams that have not moved for `age` seconds, and whose origin is not `known` any more, are told to nobody.

        After as long again they are forgotten: by then nobody is left who would tell us of them as something new.
        """
        forgotten = list[Stream]()
        for stream, position in list(self._at.items()):
            if stream[0] in known:
                if self._idle.pop(stream, None) is not None:
                    self.digest.touch(bucket_of(stream[0]), stream)
                continue
            stood, since = self._idle.setdefault(stream, (position, now))
            if stood != position:
                self._idle[stream] = (position, now)
            elif now - since > age:
                self.digest.drop(bucket_of(stream[0]), stream)
                if now - since > 2 * age:
                    self._forget(stream)
                    forgotten.append(stream)
        return forgotten

    def _forget(self, stream: Stream) -> None:
        del self._at[stream], self._idle[stream]
        self.moved.pop(stream, None)
        epochs = self._epochs[stream[0]]
        del epochs[stream[1]]
        if not epochs:
            del self._epochs[stream[0]]

    def in_bucket(self, bucket: int) -> list[tuple[str, int, int]]:
        """(origin, epoch, position) of the streams of one bucket."""
        return [(*stream, self._at[stream]) for stream in self.digest.keys(bucket)]

    def streams(self) -> list[Stream]:
        """All streams heard of."""
        return list(self._at)

    def __len__(self) -> int:
        return len(self._at)
