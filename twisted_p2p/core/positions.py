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
    rested: dict[Stream, None] = attrs.field(factory=dict)
    """Streams of which it is to be kept since when they rest."""

    _at: dict[Stream, int] = attrs.field(factory=dict)
    _epochs: dict[str, dict[int, None]] = attrs.field(factory=dict)
    _idle: dict[Stream, float] = attrs.field(factory=dict)
    """Streams of unknown origins: since when they rest."""
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
        self._wake(stream)
        self.digest.touch(bucket_of(stream[0]), stream)

    def restore(self, positions: Mapping[Stream, int], resting: Mapping[Stream, float]) -> None:
        """Go on from what was kept. The times of rest go on as well, or we would tell of what others have forgotten."""
        for stream, position in positions.items():
            self.move(stream, position)
        self._idle = {stream: since for stream, since in resting.items() if stream in positions}
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

    def rests_since(self, stream: Stream) -> float | None:
        """Since when a stream of an unknown origin has not moved; None where that is not so, or was not seen yet."""
        return self._idle.get(stream)

    def _wake(self, stream: Stream) -> bool:
        """A stream rests no more; whether it did."""
        if self._idle.pop(stream, None) is None:
            return False
        self.rested[stream] = None
        return True

    def expire(
        self, known: Container[str], now: float, age: float, gone: Mapping[str, float], epochs: int
    ) -> list[Stream]:
        """Forget streams; which.

        Streams that have not moved for `age` seconds, and whose origin is not `known` any more, are told to nobody. Of
        an origin that is known it is so with all but its newest `epochs`: else it could begin only so many.

        After as long again they are forgotten: by then nobody is left who would tell us of them as something new.

        Args:
            gone: origins that have just been forgotten, and when that was due: earlier, if we were not there then.
        """
        forgotten = list[Stream]()
        for stream in list(self._at):
            if stream[0] in known and not self._is_over(stream, epochs):
                if self._wake(stream):
                    self.digest.touch(bucket_of(stream[0]), stream)
                continue
            if stream not in self._idle:
                self._idle[stream] = gone.get(stream[0], now)
                self.rested[stream] = None
            since = self._idle[stream]
            if now - since > age:
                self.digest.drop(bucket_of(stream[0]), stream)
                if now - since > 2 * age:
                    self._forget(stream)
                    forgotten.append(stream)
        return forgotten

    def _is_over(self, stream: Stream, epochs: int) -> bool:
        """Whether its origin has begun so many after this one."""
        begun = self._epochs[stream[0]]
        return len(begun) > epochs and stream[1] < sorted(begun)[-epochs]

    def _forget(self, stream: Stream) -> None:
        del self._at[stream]
        self._wake(stream)
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
