"""Frames from decisions: any that the wire format allows, with values that mean something to the peer that reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import msgspec
from msgspec import inspect

from tests.core.puppet import FIRST, NETWORK, OWN, message, peer_id
from tests.fuzz.choices import Choices
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Reason
from twisted_p2p.interfaces import Stream
from twisted_p2p.sim.signing import cheap_signature

PEERS = [*(peer_id(number) for number in (0x10, 0x20, 0x30, 0x81, 0x90, 0xA0, 0xF0)), OWN]
"""Those who have connections, and the peer under test."""
NUMBERS = [0, 1, 2, 3, 5, 7, 100, FIRST, FIRST + 1, FIRST + 2, FIRST + 60_000, 2**32, 2**52 - 1, 2**52, 2**53 - 1]
NETWORKS = [NETWORK] * 7 + ["other"]
HOSTS = ["10.0.0.1", "10.0.1.16", "10.0.1.32", "10.0.1.48", "10.0.2.1", "127.0.0.1", "::1", "name"]
PORTS = [5050, 5050, 1, 65535]
WORDS = [*(reason.value for reason in Reason), "unheard-of"]
LENGTHS = [0, 1, 1, 1, 2, 2, 3, 5, 8, 100]

_types = {kind.__struct_config__.tag: kind for kind in wire.Frame.__args__}
TITLES = sorted(str(title) for title in _types)


@attrs.define(eq=False)
class Values:
    """Makes frames of decisions; what was invented once comes again.

    Attributes:
        hashes: those that the peer under test has told, so that some are right.
    """

    choices: Choices
    hashes: list[str] = attrs.field(factory=lambda: ["0" * 16])
    said: dict[Stream, int] = attrs.field(factory=dict)
    """The newest seq of each stream."""
    invented: int = 0

    def frame(self, title: str) -> wire.Frame:
        """A frame with this title; most of its signatures are good."""
        kind = _types[title]
        if kind is wire.Broadcast:
            return wire.read_bundle(self.bundle())
        made: wire.Frame = self._struct(inspect.type_info(kind))
        return made

    def bundle(self) -> bytes:
        """A bundle, as it travels."""
        choices = self.choices
        origin, epoch = self.peer(), choices.pick([7, 7, 7, 7, 8, 9, FIRST, 2**53 - 1])
        seq = self._seq((origin, epoch))
        body = b"[%b]" % choices.pick([b"", message(f"{seq}"), message("x" * 200), b"7", b'{"id":1}', b"[[[]]]"])
        sig = cheap_signature(origin, wire.bundle_bytes(NETWORK, origin, epoch, seq, body))
        return wire.bundle_line(origin, epoch, seq, self._perhaps_bad(sig), body)

    def _seq(self, stream: Stream) -> int:
        """Mostly the next one, or one near it."""
        following, way = self.said.get(stream, 0) + 1, self.choices.byte()
        if way >= 240:
            return self.choices.pick([2**31, 2**52 - 2, 2**52 - 1])
        if way < 160:
            self.said[stream] = following
            return following
        return max(1, following + way % 16 - 8)

    def peer(self) -> str:
        """An id; one in eight is of somebody whom nobody has ever heard of."""
        if self.choices.chance(8):
            self.invented += 1
            return f"{self.choices.byte():02x}{self.invented:062x}"
        return self.choices.pick(PEERS)

    def record(self, peer: str, life: int = 1, host: str = "10.0.1.16", port: int = 5050) -> wire.Record:
        """A good record of a peer that lives."""
        data = wire.record_bytes(NETWORK, peer, FIRST + life, "alive", host, port, "")
        return wire.Record(peer, FIRST + life, "alive", host, port, cheap_signature(peer, data))

    def _perhaps_bad(self, sig: str) -> str:
        return "0" * 128 if self.choices.chance(32) else sig

    def _struct(self, info: inspect.Type) -> Any:
        assert isinstance(info, inspect.StructType)
        fields = {field.name: self._value(field.type) for field in info.fields if self._is_given(field)}
        made = info.cls(**fields)
        if isinstance(made, wire.Record):
            sig = cheap_signature(made.peer, made.signed_bytes(NETWORK))
        elif isinstance(made, wire.Claim):
            sig = cheap_signature(made.accuser, made.signed_bytes(NETWORK))
        else:
            return made
        return msgspec.structs.replace(made, sig=self._perhaps_bad(sig))

    def _is_given(self, field: inspect.Field) -> bool:
        return field.required or not self.choices.chance(3)

    def _value(self, info: inspect.Type) -> Any:
        return _MAKERS[type(info)](self, info)

    def _text(self, info: inspect.StrType) -> str:
        maker = _TEXTS.get(info.pattern or "")
        if maker is not None:
            return maker(self)
        return str(self.choices.byte())

    def _number(self, info: inspect.IntType) -> int:
        low = info.ge if info.ge is not None else 0
        high = info.le if info.le is not None else 2**53 - 1 if info.lt is None else info.lt - 1
        if high == 65535:
            return self.choices.pick(PORTS)
        value = self.choices.byte()
        if value >= 128:
            value = self.choices.pick(NUMBERS)
        return max(low, min(value, high))

    def _list(self, info: inspect.ListType) -> list[Any]:
        return [self._value(info.item_type) for _ in range(min(self.choices.pick(LENGTHS), info.max_length or 100))]

    def _dict(self, info: inspect.DictType) -> dict[Any, Any]:
        size = self.choices.pick(LENGTHS)
        return {self._value(info.key_type): self._value(info.value_type) for _ in range(size)}

    def _hash(self) -> str:
        return self.choices.pick(self.hashes)

    def _more(self) -> str:
        return self.choices.pick(["", "", "", "text", "x" * 512])


_TEXTS: dict[str, Callable[[Values], str]] = {
    r"^[0-9a-f]{64}\Z": Values.peer,
    r"^(?:[0-9a-f]{64})?\Z": lambda values: values.peer() if values.choices.chance(4) else "",
    r"^[0-9a-f]{128}\Z": lambda values: "0" * 128,
    r"^[0-9a-f]{32}\Z": lambda values: f"{values.choices.byte():032x}",
    r"^[0-9A-Za-z._:%-]{1,253}\Z": lambda values: values.choices.pick(HOSTS),
    r"^[a-z0-9-]{1,40}\Z": lambda values: values.choices.pick(WORDS),
    r"^[0-9a-f]{16}\Z": Values._hash,
    r"^[!-~]{1,64}\Z": lambda values: values.choices.pick(NETWORKS),
    r"^[ !#-\[\]-~]{0,512}\Z": Values._more,
}
"""By the pattern of the type."""

_MAKERS: dict[type, Callable[[Values, Any], Any]] = {
    inspect.StrType: Values._text,
    inspect.IntType: Values._number,
    inspect.FloatType: lambda values, info: values.choices.pick([0.0, 1.0, 3600.0, 1e300]),
    inspect.BoolType: lambda values, info: values.choices.chance(2),
    inspect.NoneType: lambda values, info: None,
    inspect.ListType: Values._list,
    inspect.VarTupleType: Values._list,
    inspect.DictType: Values._dict,
    inspect.TupleType: lambda values, info: tuple(values._value(item) for item in info.item_types),
    inspect.LiteralType: lambda values, info: values.choices.pick(info.values),
    inspect.UnionType: lambda values, info: values._value(values.choices.pick(info.types)),
    inspect.StructType: Values._struct,
}
"""By the kind of the type."""
