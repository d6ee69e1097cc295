"""What the core may ask of its shell. A turn's actions are performed in the order in which they are listed."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs
import msgspec

from twisted_p2p.core.access import Objection

CURSOR_BITS = 20
"""A cursor is the number of an entry in the log, and in so many bits the place of a message in it, from 1."""
ENTRY_END = (1 << CURSOR_BITS) - 1
"""The place of what ends an entry; no bundle has so many messages."""


class Reason(str, enum.Enum):
    """Why a link ended. The value is what users, logs and the wire's #BYE say."""

    CLOSED = "closed"  # the other end closed the connection without a word
    BAD_FRAME = "bad-frame"
    BAD_SIGNATURE = "bad-signature"
    LINE_TOO_LONG = "line-too-long"
    WRONG_VERSION = "wrong-version"
    WRONG_NETWORK = "wrong-network"
    OWN_ADDRESS = "own-address"
    HANDSHAKE_TIMEOUT = "handshake-timeout"
    PING_TIMEOUT = "ping-timeout"
    STUCK = "stuck"
    UNREACHABLE = "unreachable"
    NO_RESOURCES = "no-resources"  # we could not even try: no descriptor, memory or port is left
    DONE = "done"  # a short dial that served its purpose
    DISPLACED = "displaced"
    REPLACED = "replaced"  # another link of the same pair took its place
    LEAVING = "leaving"
    OTHER_DIRECTORY = "other-directory"  # one of the two knows everybody, the other one a sample
    WRONG_CLOCK = "wrong-clock"  # the other end's clock is far ahead of ours
    NOT_READY = "not-joined-yet"  # a newcomer was asked for help by another one
    TOO_MANY = "too-many-links"
    NOT_ADMITTED = "not-admitted"  # it lacks the network's key, or the lists of one of the two leave the other out
    NO_TLS = "no-tls"  # the other end speaks no TLS 1.3, or has a key of another kind
    BROKEN_PROMISE = "broken-promise"  # it told of bundles, and sent none when asked, again and again
    ASKS_AGAIN = "asks-again"  # for what it was sent already, without end
    LOG_FAILED = "log-failed"  # we can't keep what comes, so we take nothing
    FLOODING = "flooding"  # more frames of its own than any peer needs to send
    BANNED = "banned"  # it has broken the rules again and again, and is not let in for a while


@attrs.frozen
class Write:
    """Write `lines` to the link, each to be ended by a newline."""

    link: int
    lines: list[bytes]


@attrs.frozen
class Dial:
    """Connect to (host, port), then call `link_up` with this `dial`, or `dial_failed`."""

    dial: int
    host: str
    port: int
    timeout: float


@attrs.frozen
class Hangup:
    """Close the link once what was written to it has gone out. `abort`: at once."""

    link: int
    reason: Reason
    abort: bool = False


@attrs.frozen
class Pause:
    """Read nothing more from the link for so many seconds."""

    link: int
    seconds: float


@attrs.frozen
class Bundle:
    """What a peer broadcast in one turn.

    Attributes:
        messages: a JSON array, undecoded until somebody listens.
        number: of its entry in our log.
        replayed: whether it was broadcast before we joined.
    """

    origin: str
    epoch: int
    seq: int
    messages: msgspec.Raw
    number: int = 0
    replayed: bool = False


@attrs.frozen
class Deliver:
    """Hand these to the application, in this order."""

    bundles: list[Bundle]


@attrs.frozen
class Gap:
    """Bundles `first` to `last` of a stream can no longer be had from anybody. `number`: of its entry in our log.

    Of a stream that nobody knows any more, where `origin` is "" and `epoch` 0, they are numbers of entries in our log.
    """

    origin: str
    epoch: int
    first: int
    last: int
    number: int = attrs.field(default=0, eq=False)

    @property
    def cursor(self) -> int:
        """Its place in this peer's log, as a message has one: `messages(after=gap.cursor)` goes on behind it."""
        return (self.number << CURSOR_BITS) + ENTRY_END


@attrs.frozen
class Fork:
    """A peer has signed two bundles for one number, so two processes have its key, or it lies. We keep the first.

    Attributes:
        kept, other: the lines, each with its signature; together they prove it. `kept` is b"" where the stream is our
            own, and has one more than we know of: our log is an old copy, or another process has our key. Both are
            b"" where all that has come is a record of ours that we have not made; `seq` is then our next one.
    """

    origin: str
    epoch: int
    seq: int
    kept: bytes
    other: bytes


class Kind(str, enum.Enum):
    """What has changed."""

    JOINED = "joined"
    LEFT = "left"
    FAILED = "failed"
    FORGOTTEN = "forgotten"
    LINK_UP = "link-up"
    LINK_DOWN = "link-down"
    READY = "ready"
    RETRY = "retry"


@attrs.frozen
class Changed:
    """The directory, the active view, or our own standing in the network has changed.

    JOINED has the peer's address; FORGOTTEN says only that the directory, or our sample of it, has no room for it any
    more; LINK_DOWN a reason; READY (we have joined) nothing more; RETRY (we could not, and
    will try again) the address, the reason and, in `after`, the seconds until then.
    """

    kind: Kind
    peer: str = ""
    ip_addr: str = ""
    port: int = 0
    reason: str = ""
    after: float = 0.0


@attrs.frozen
class Banned:
    """Who has broken the rules again and again is not let in for a while.

    Attributes:
        subject: a peer's id, or an IP address.
        until: seconds since 1970.
        reason: of the last link that we ended.
    """

    subject: str
    until: float
    reason: str


@attrs.frozen
class Refused:
    """We have not admitted somebody, or been admitted: for the log of the shell, which may be told so again and again.

    Attributes:
        peer: who it is, or says it is; "" where it was too early to know.
        host: the address at its end; "" if the shell does not know it.
    """

    peer: str
    host: str
    why: Objection


@attrs.frozen
class Finished:
    """We have left; the shell may close everything."""


Action = Write | Dial | Hangup | Pause | Deliver | Gap | Fork | Changed | Banned | Refused | Finished
Actions = Sequence[Action]
