"""What applications broadcast: from any JSON value to what travels in a bundle, and back."""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any, ClassVar, NamedTuple

import msgspec
from twisted.logger import Logger

from twisted_p2p.core.actions import CURSOR_BITS, ENTRY_END, Bundle
from twisted_p2p.core.wire import MESSAGES_MAX, Group
from twisted_p2p.errors import MessageTooBig, NotJSON

AROUND = 120
"""Bytes that a group has beside its values, or some less."""
DEPTH = 200
"""Lists and dicts in one another that a message may have; every JSON reader takes so many."""


# Made for each message at each peer: with attrs that took 0.33 us of some 3.8 that a delivery takes, so it takes 0.07.
class Message(msgspec.Struct, frozen=True, eq=False):
    """What a peer has broadcast. Two are equal if all is but `cursor` and `replayed`, which are this peer's.

    Attributes:
        message: any JSON value.
        time: seconds since 1970, by the origin's clock, to the millisecond.
        origin: the id of the peer that broadcast it.
        epoch: the stream of that peer; it has a new one after each start that lost its log.
        seq: the bundle of that stream; messages broadcast in one turn share it.
        group, place: of which its id is made. Messages broadcast together are a group: the id of the first, and the
            place of this one, from 0 on.
        cursor: its place in this peer's log, a number below 2**53. What comes later at this peer has a higher one.
            Store it with your own state, and `messages(after=cursor)` goes on behind it.
        replayed: whether it was broadcast before this peer joined.
        id: 64 hex digits, its own.
        title: "#BROADCAST".
    """

    message: Any
    time: float
    origin: str
    epoch: int
    seq: int
    group: str
    place: int = 0
    cursor: int = 0
    replayed: bool = False
    title: ClassVar[str] = "#BROADCAST"

    # Not made before somebody asks: that takes as long as all the rest.
    @property
    def id(self) -> str:
        """64 hex digits, its own."""
        return identity(self.group, self.place)

    def _key(self) -> tuple[Any, ...]:
        return self.id, self.message, self.time, self.origin, self.epoch, self.seq

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Message) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


def identity(group: str, place: int) -> str:
    """The id of the message at a place of a group: its last 16 digits count up."""
    return f"{group[:48]}{(int(group[48:], 16) + place) % 16**16:016x}"


_encode = msgspec.json.Encoder().encode
_decode_all = msgspec.json.Decoder(list[Group[Any]]).decode
_decode_group = msgspec.json.Decoder(Group[Any]).decode
_decode_raw = msgspec.json.Decoder(Group[msgspec.Raw]).decode
_decode_value = msgspec.json.Decoder().decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_log = Logger()


class Prepared(NamedTuple):
    """A message that is to be broadcast: the two parts of its id, its time, and its value as JSON."""

    prefix: str
    number: int
    time: float
    value: bytes

    @property
    def id(self) -> str:
        """64 hex digits."""
        return f"{self.prefix}{self.number:016x}"

    @property
    def size(self) -> int:
        """Bytes that it counts as, wherever there is a bound: those that it has in a group by itself, or some more."""
        return len(self.value) + AROUND


class Encoder:
    """Gives messages their ids, and makes the groups in which they travel. May be used in any thread.

    An id is 48 random digits of this encoder, and a number of 16: two equal texts are two messages.

    Args:
        limit: bytes of the longest message, with what is around it.
        room: bytes of the longest group of several messages.
    """

    def __init__(self, limit: int, room: int) -> None:
        self._limit, self._room = limit, room
        self._prefix, self._numbers = secrets.token_hex(24), count()

    def prepare(self, value: Any, time: float) -> Prepared:
        """A message of this value, which was broadcast at that time.

        Raises:
            MessageTooBig, NotJSON
        """
        if type(value) is not str:
            check_json(value)
        try:
            encoded = _encode(value)
        except UnicodeEncodeError as error:
            raise NotJSON(f"The text has a character that UTF-8 can't express: {error.reason}.") from None
        except ValueError:
            raise NotJSON("A number has more digits than Python writes out.") from None
        message = Prepared(self._prefix, next(self._numbers), time, encoded)
        if message.size > self._limit:
            raise MessageTooBig(message.size, self._limit)
        return message

    def groups(self, messages: Iterable[Prepared]) -> list[bytes]:
        """What travels of these messages, in this order: groups of those that have one time and follow each other."""
        groups: list[bytes] = []
        values: list[bytes] = []
        first: Prepared | None = None
        fits, size = None, 0
        for message in messages:
            prefix, number, time, value = message
            size += len(value) + 1
            if (prefix, number, time) != fits or size > self._room:
                if first is not None:
                    groups.append(_group(first, values))
                first, values, size = message, [], message.size
            values.append(value)
            fits = prefix, number + 1, time
        if first is not None:
            groups.append(_group(first, values))
        return groups


def _group(first: Prepared, values: list[bytes]) -> bytes:
    head = f'{{"id":"{first.id}","time":{first.time!r},"values":['
    return b"%b%b]}" % (head.encode(), b",".join(values))


def decode(bundle: Bundle) -> list[Message]:
    """The messages of a bundle, as far as they can be read: beneath a valid signature, faults are the origin's."""
    origin, epoch, seq, replayed = bundle.origin, bundle.epoch, bundle.seq, bundle.replayed
    try:
        groups = _decode_all(bundle.messages)
    except _UNREADABLE:
        groups = _decode_readable(bundle)
    cursor = bundle.number << CURSOR_BITS
    messages: list[Message] = []
    for group in groups:
        name, time, first = group.id, group.time, cursor + 1 + len(messages)
        messages += [
            Message(value, time, origin, epoch, seq, name, place, first + place, replayed)
            for place, value in enumerate(group.values[: MESSAGES_MAX - len(messages)])
        ]
    if len(messages) == MESSAGES_MAX < sum(len(group.values) for group in groups):
        _log_unreadable(bundle)
    if messages:
        # The last one has the cursor of the whole entry: who has it needs nothing further of that.
        messages[-1] = msgspec.structs.replace(messages[-1], cursor=cursor + ENTRY_END)
    return messages


def _decode_readable(bundle: Bundle) -> list[Group[Any]]:
    try:
        parts = _split(bundle.messages)
    except _UNREADABLE:
        parts = []
    _log_unreadable(bundle)
    # Each one that can't be read costs us a few microseconds, so it counts, too.
    return [*islice((group for part in parts[:MESSAGES_MAX] for group in _readable_of(part)), MESSAGES_MAX)]


def _readable_of(part: msgspec.Raw) -> Iterator[Group[Any]]:
    """A group; if that can't be read, groups of each value that can."""
    try:
        yield _decode_group(part)
        return
    except _UNREADABLE:
        pass
    try:
        raw = _decode_raw(part)
    except _UNREADABLE:
        return
    for place, value in enumerate(raw.values[:MESSAGES_MAX]):
        with contextlib.suppress(*_UNREADABLE):
            yield Group(identity(raw.id, place), raw.time, [_decode_value(value)])


def _log_unreadable(bundle: Bundle) -> None:
    _log.warn("Some of what {peer} broadcast can't be read, in bundle {seq}", peer=bundle.origin, seq=bundle.seq)


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
