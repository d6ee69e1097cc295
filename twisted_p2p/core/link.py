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
    record: Record | None = None
    baseline: bool = False
    """Whether the other end can give a baseline of positions."""
    is_open: bool = False
    is_neighbour: bool = False
    congested: bool = False
    payload: int = 0
    """Bytes of bundles written, and bytes received, since it last answered a ping: what may delay its next answer."""
    end: Reason | None = None
    """Why it ended, once somebody has decided that."""
    pace: Pace | None = None
    """What it has sent lately; None before it has sent anything."""
    rests_until: float = 0.0
    """Nothing is read from it before."""
    _their_nonce: str = ""
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
