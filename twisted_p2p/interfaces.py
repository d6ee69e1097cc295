"""What the layers ask of one another."""

from __future__ import annotations

from collections.abc import Sequence

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


class IMessageLog(Interface):
    """Keeps bundles by stream and seq, as the lines that travelled."""

    def append(stream: Stream, seq: int, line: bytes, now: float) -> None:
        """Keep `line`, the next one of `stream`, until retention takes it."""

    def read(stream: Stream, seq: int, max_bytes: int) -> Sequence[bytes]:
        """Lines of `stream` from `seq` on, in order, at least one where held, at most about `max_bytes`."""

    def floor(stream: Stream) -> int:
        """The oldest seq held of `stream`; 0 where none is."""

    def expire(now: float) -> None:
        """Drop what is older than the retention."""

    def forget(stream: Stream) -> None:
        """Drop all that is held of a stream."""

    def commit() -> None:
        """Make lasting what was appended; raises where that fails."""
