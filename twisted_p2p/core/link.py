"""One connection, as the core sees it: why it was made, who is at its other end, and how it stands."""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs

from twisted_p2p.core.actions import Reason
from twisted_p2p.core.pace import Pace
from twisted_p2p.core.timers import Timer
from twisted_p2p.core.wire import Record

Address = tuple[str, int]


class Purpose(enum.Enum):
    """Why a link was made."""

    INBOUND = enum.auto()
    GENESIS = enum.auto()  # join steps 1 and 2
    CONTACT = enum.auto()  # join step 3
    NEIGHBOUR = enum.auto()
    PROBE = enum.auto()


@attrs.define(eq=False)
class Attempt:
    """A dial that has not ended yet. `peer`: who is expected there, if anybody in particular. `began`: when."""

    purpose: Purpose
    address: Address
    peer: str = ""
    began: float = 0.0


@attrs.define(eq=False)
class Link:
    """One connection. `peer`: who is at its other end, as soon as HELLO says so; proven once `is_open`."""

    id: int
    attempt: Attempt
    nonce: str
    host: str
    """The address at its other end; "" if the shell does not know it."""
    peer: str = ""
    proven: str = ""
    """Whose key the other end holds, if the connection itself has proven that: then nobody needs to say #PROOF."""
    key: bytes = attrs.field(default=b"", repr=False)
    """The network key that the other end has proven; b"" in an open network."""
    record: Record | None = None
    baseline: bool = False
    """Whether the other end can give a baseline of positions."""
    is_open: bool = False
    is_neighbour: bool = False
    is_drawn: bool = False
    """A neighbour that we have asked, and that was drawn by its address range."""
    is_asked: bool = False
    """We have asked the other end to be our neighbour, on this link."""
    congested: bool = False
    payload: int = 0
    """Bytes of bundles written, and bytes received, since it last answered a ping: what may delay its next answer."""
    end: Reason | None = None
    """Why it ended, once somebody has decided that."""
    pace: Pace | None = None
    """What it has sent lately; None before it has sent anything."""
    answered_at: float = float("-inf")
    """When it last answered a ping."""
    rests_until: float = 0.0
    """Nothing is read from it before."""
    _their_nonce: str = ""
    _binding: str = attrs.field(default="", repr=False)
    """What only this connection has, where the connection itself has brought that about."""
    _deadline: Timer | None = None
    _ping: Timer | None = None
    _linger: Timer | None = None
    _unread: int = 0
    """Bytes of control frames that it may not have read yet."""
    _pinged: int = 0
    _answered: int = 0
    _was_congested: bool = False
    _heard: bool = False
    _on_pong: dict[int, Callable[[], None]] = attrs.field(factory=dict)

    @property
    def purpose(self) -> Purpose:
        """Why it was made."""
        return self.attempt.purpose

    @property
    def binding(self) -> str:
        """What only this connection has: both ends know it, and no other connection will have the same."""
        if self._binding:
            return self._binding
        nonces = (self._their_nonce, self.nonce) if self.purpose is Purpose.INBOUND else (self.nonce, self._their_nonce)
        return "nonces {} {}".format(*nonces)

    def has_answered(self, reason: Reason) -> bool:
        """Whether it ended since one of the two does not admit the other: then whom we expected there is there.

        Where the connection does not prove who it is nobody else may be taken to be there.
        """
        return reason is Reason.NOT_ADMITTED and self.proven in ("", self.attempt.peer)
