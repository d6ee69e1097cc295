"""What the layers ask of one another."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from zope.interface import Attribute, Interface

Stream = tuple[str, int]
"""(origin, epoch): all that one peer broadcasts in one life of its log."""


class ISigner(Interface):
    """Signs for one peer."""

    peer: str = Attribute("The peer's id: its public key, 64 hex digits.")

    def sign(data: bytes) -> str:
        """Sign `data`; 128 hex digits."""


class IVerifier(Interface):
    """Checks signatures of any peer."""

    def verify(peer: str, data: bytes, signature: str) -> bool:
        """Whether `signature` over `data` was made by `peer`. Never raises."""


@attrs.frozen
class Entry:
    """One entry of a log: a bundle, as the line that travelled, or in its place what is not there.

    Attributes:
        number: its place in the order of arrival; what comes later has a higher one.
        line: None where `seq` to `last` of the stream were told as a gap, or were here and are not held any more.
        replayed: whether it is from before its holder joined.
    """

    number: int
    stream: Stream
    seq: int
    line: bytes | None
    last: int = 0
    replayed: bool = False


@attrs.define
class Saved:
    """What a log knows of the lives before this one.

    Attributes:
        positions: of each stream the next seq wanted.
        peers: (record, claim or None, since) of each known peer, as they were kept.
        values: what was kept by name.
        is_whole: whether it has all that was ever committed to it; after a power failure the end may be missing.
    """

    positions: dict[Stream, int] = attrs.field(factory=dict)
    peers: list[tuple[bytes, bytes | None, float]] = attrs.field(factory=list)
    values: dict[str, int] = attrs.field(factory=dict)
    is_whole: bool = True


class IMessageLog(Interface):
    """What a peer must not forget: bundles by stream and seq, as the lines that travelled; positions; the directory.

    All that is said to it between two commits belongs to one turn: it is kept as a whole, or not at all. It can be read
    back at once.
    """

    last: int = Attribute("The number of the newest entry there has been; 0 before the first.")
    first: int = Attribute("The number from which on all entries are held; those before may be gone.")

    def load() -> Saved:
        """Open it; what the lives before this one have left. Raises LogError."""

    def append(stream: Stream, seq: int, line: bytes, now: float, replayed: bool = False) -> int:
        """Keep `line` until retention takes it; its number.

        A stream is appended to in the order of its seqs. It may begin anywhere, and go on after a hole: from then on it
        is served from there.
        """

    def skip(stream: Stream, first: int, last: int, now: float) -> int:
        """Keep that `first` to `last` were told as a gap; the entry's number."""

    def withdraw(stream: Stream, seq: int) -> None:
        """Drop the lines of a stream from `seq` on: they were never sent, and are to be appended anew."""

    def read(stream: Stream, seq: int, max_bytes: int) -> Sequence[bytes]:
        """Lines of `stream` from `seq` on, in order, at least one where held, at most about `max_bytes`."""

    def floor(stream: Stream) -> int:
        """The oldest seq from which on a stream can be read without a hole; 0 where nothing is held."""

    def entries(after: int, max_bytes: int) -> Sequence[Entry]:
        """Entries of all streams after number `after`, in order of arrival, at least one where there is any."""

    def history(now: float, age: float | None, count: int | None) -> dict[Stream, int]:
        """The lowest seq of each stream among what arrived in the last `age` seconds, or the newest `count` bundles.

        All that is held, where both are None. Never below a stream's floor.
        """

    def move(stream: Stream, position: int) -> None:
        """Keep the position of a stream."""

    def forget(stream: Stream) -> None:
        """Drop a stream with its position."""

    def keep_peer(peer: str, record: bytes, claim: bytes | None, since: float) -> None:
        """Keep what is known of a peer."""

    def forget_peer(peer: str) -> None:
        """Drop what is known of a peer."""

    def keep(name: str, value: int | None) -> None:
        """Keep a number under a name; None: keep none any more."""

    def expire(now: float) -> bool:
        """Drop some of what retention no longer keeps, oldest first; whether there is more of it to drop."""

    def commit() -> None:
        """Make lasting what this turn has said. Raises LogError, after which the turn is rolled back."""

    def rollback() -> None:
        """Undo what this turn has said, but for what was dropped."""

    def close() -> None:
        """Let go of it; what was not committed is lost."""
