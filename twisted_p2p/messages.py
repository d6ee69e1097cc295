"""What applications broadcast: from any JSON value to what travels in a bundle, and back."""

from __future__ import annotations

import math
import secrets
from itertools import count
from typing import Any

import msgspec
from twisted.logger import Logger

from twisted_p2p.core.actions import CURSOR_BITS, ENTRY_END, Bundle
from twisted_p2p.core.wire import WireMessage
from twisted_p2p.errors import MessageTooBig, NotJSON

TITLE = "#BROADCAST"
DEPTH = 200
"""Lists and dicts in one another that a message may have; every JSON reader takes so many."""


# Made for each message at each peer: with attrs that took 0.33 us of some 3.8 that a delivery takes, so it takes 0.07.
class Message(msgspec.Struct, frozen=True, eq=False):
    """What a peer has broadcast. Two are equal if all is but `cursor` and `replayed`, which are this peer's.

    Attributes:
        id: 64 hex digits, its own.
        title: "#BROADCAST".
        message: any JSON value.
        time: seconds since 1970, by the origin's clock.
        origin: the id of the peer that broadcast it.
        epoch: the stream of that peer; it has a new one after each start that lost its log.
        seq: the bundle of that stream; messages broadcast in one turn share it.
        cursor: its place in this peer's log, a number below 2**53. What comes later at this peer has a higher one.
            Store it with your own state, and `messages(after=cursor)` goes on behind it.
        replayed: whether it was broadcast before this peer joined.
    """

    id: str
    title: str
    message: Any
    time: float
    origin: str
    epoch: int
    seq: int
    cursor: int = 0
    replayed: bool = False

    def _key(self) -> tuple[Any, ...]:
        return self.id, self.title, self.message, self.time, self.origin, self.epoch, self.seq

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Message) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


_encode = msgspec.json.Encoder().encode
_decode_all = msgspec.json.Decoder(list[WireMessage]).decode
_decode_one = msgspec.json.Decoder(WireMessage).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_log = Logger()


class Encoder:
    """Gives messages their ids. May be used in any thread.

    An id is 48 random digits of this encoder, and a number of 16: two equal texts are two messages.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._prefix, self._numbers = limit, secrets.token_hex(24), count()

    def encode(self, value: Any, time: float) -> tuple[str, bytes]:
        """(id, what travels) of a value.

        Raises:
            MessageTooBig, NotJSON
        """
        if type(value) is not str:
            check_json(value)
        identity = f"{self._prefix}{next(self._numbers):016x}"
        try:
            encoded = _encode(WireMessage(identity, TITLE, value, time))
        except UnicodeEncodeError as error:
            raise NotJSON(f"The text has a character that UTF-8 can't express: {error.reason}.") from None
        except ValueError:
            raise NotJSON("A number has more digits than Python writes out.") from None
        if len(encoded) > self._limit:
            raise MessageTooBig(len(encoded), self._limit)
        return identity, encoded


def decode(bundle: Bundle) -> list[Message]:
    """The messages of a bundle, as far as they can be read: beneath a valid signature, faults are the origin's."""
    origin, epoch, seq, replayed = bundle.origin, bundle.epoch, bundle.seq, bundle.replayed
    try:
        incoming = _decode_all(bundle.messages)
    except _UNREADABLE:
        incoming = _decode_readable(bundle)
    entry = bundle.number << CURSOR_BITS
    # The last one has the cursor of the whole entry: who has it needs nothing further of that.
    cursors = [*range(entry + 1, entry + len(incoming)), entry + ENTRY_END]
    return [
        Message(m.id, m.title, m.message, m.time, origin, epoch, seq, cursor, replayed)
        for m, cursor in zip(incoming, cursors, strict=False)
    ]


def _decode_readable(bundle: Bundle) -> list[WireMessage]:
    try:
        parts = _split(bundle.messages)
    except _UNREADABLE:
        parts = []
    readable: list[WireMessage] = []
    for part in parts:
        try:
            readable.append(_decode_one(part))
        except _UNREADABLE:
            continue
    if len(readable) < max(1, len(parts)):
        _log.warn("Some of what {peer} broadcast can't be read, in bundle {seq}", peer=bundle.origin, seq=bundle.seq)
    return readable


def check_json(value: Any, depth: int = DEPTH) -> None:
    """See that JSON can express the value, and would not express it as something else.

    Raises:
        NotJSON
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return
    if kind is float:
        if not math.isfinite(value):
            raise NotJSON(f"JSON has no number {value}.")
    elif depth == 0:
        raise NotJSON(f"The value has more than {DEPTH} lists and dicts in one another.")
    elif kind is list or kind is tuple:
        for item in value:
            check_json(item, depth - 1)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise NotJSON(f"A dict has the key {key!r}; JSON's keys are text.")
            check_json(item, depth - 1)
    else:
        raise NotJSON(f"JSON has no {kind.__name__}. {NotJSON.__doc__}")
