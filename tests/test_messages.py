"""From any JSON value to what travels, and back."""

import json
import math
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.frames import json_values
from twisted_p2p.core.actions import Bundle
from twisted_p2p.errors import MessageTooBig, NotJSON, P2PError
from twisted_p2p.messages import DEPTH, Encoder, check_json, decode

ORIGIN = "ab" * 32
LIMIT = 2_000


def bundle(*parts: bytes) -> Bundle:
    """A bundle with these messages."""
    return Bundle(ORIGIN, 7, 3, msgspec.Raw(b"[" + b",".join(parts) + b"]"))


def part(message: bytes, identity: str = "0" * 64, time: bytes = b"1.5") -> bytes:
    """One message as it travels, its value already encoded."""
    return b'{"id":"%b","title":"#BROADCAST","message":%b,"time":%b}' % (identity.encode(), message, time)


def nested(depth: int) -> list[Any]:
    """So many lists in one another."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


class EncodeTests(SynchronousTestCase):
    """A value becomes a message."""

    def setUp(self) -> None:
        self.encoder = Encoder(LIMIT)

    @given(json_values)
    def test_round_trip(self, value: Any) -> None:
        """Whatever JSON can express arrives as it was broadcast."""
        identity, encoded = Encoder(1_000_000).encode(value, 1.5)
        [message] = decode(bundle(encoded))
        self.assertEqual((message.id, message.title, message.time), (identity, "#BROADCAST", 1.5))
        self.assertEqual(message.message, value)
        self.assertEqual(json.dumps(message.message, sort_keys=True), json.dumps(value, sort_keys=True))

    def test_fields(self) -> None:
        """What travels has the documented four fields, on one line."""
        identity, encoded = self.encoder.encode("Hello\nworld", 1617555967.1199386)
        self.assertNotIn(b"\n", encoded)
        expected = {"id": identity, "title": "#BROADCAST", "message": "Hello\nworld", "time": 1617555967.1199386}
        self.assertEqual(json.loads(encoded), expected)

    def test_ids(self) -> None:
        """Equal texts are different messages: every id is new, 64 hex digits, in every encoder."""
        ids = [encoder.encode("same", 1.0)[0] for encoder in (self.encoder, Encoder(LIMIT)) for _ in range(1000)]
        self.assertEqual(len(set(ids)), 2000)
        for identity in ids:
            self.assertRegex(identity, r"^[0-9a-f]{64}\Z")

    def test_size(self) -> None:
        """The greatest message is taken; with one byte more the error says how big it is and what the limit is."""
        room = LIMIT - len(self.encoder.encode("", 1.5)[1])
        self.assertEqual(len(self.encoder.encode("x" * room, 1.5)[1]), LIMIT)
        error = self.assertRaises(MessageTooBig, self.encoder.encode, "x" * (room + 1), 1.5)
        self.assertEqual((error.size, error.limit), (LIMIT + 1, LIMIT))
        self.assertIn(f"{LIMIT + 1} bytes", str(error))
        self.assertIn(f"limit is {LIMIT}", str(error))
        self.assertIsInstance(error, ValueError)

    def test_size_is_of_bytes(self) -> None:
        """The limit is of the bytes that travel, and not of letters."""
        self.assertRaises(MessageTooBig, self.encoder.encode, "€" * (LIMIT // 2), 1.5)

    def test_tuples(self) -> None:
        """A tuple travels as a list."""
        self.assertEqual(json.loads(self.encoder.encode((1, (2,)), 1.5)[1])["message"], [1, [2]])

    def test_not_json(self) -> None:
        """What JSON can't express, or would express as something else, is refused by an error that says why."""
        for value in (
            b"bytes",
            {1, 2},
            object(),
            {1: "x"},
            {None: 1},
            {("a",): 1},
            math.nan,
            math.inf,
            -math.inf,
            [1, {"a": [math.nan]}],
            {"a": b"x"},
            1j,
            "\ud800",
            {"\udfff": 1},
        ):
            error = self.assertRaises(NotJSON, self.encoder.encode, value, 1.5)
            self.assertIsInstance(error, (TypeError, P2PError))
            self.assertGreater(len(str(error)), 10)

    def test_nesting(self) -> None:
        """Lists in one another have a limit, so that every reader can read them; a list in itself is no message."""
        self.assertEqual(json.loads(self.encoder.encode(nested(DEPTH), 1.5)[1])["message"], nested(DEPTH))
        self.assertRaises(NotJSON, self.encoder.encode, nested(DEPTH + 1), 1.5)
        endless: list[Any] = []
        endless.append(endless)
        self.assertRaises(NotJSON, self.encoder.encode, endless, 1.5)
        dicts: dict[str, Any] = {}
        for _ in range(DEPTH):
            dicts = {"a": dicts}
        self.assertRaises(NotJSON, self.encoder.encode, dicts, 1.5)

    def test_refused_uses_no_harm(self) -> None:
        """After a refusal the next message goes as ever."""
        self.assertRaises(NotJSON, self.encoder.encode, b"x", 1.5)
        self.assertEqual(json.loads(self.encoder.encode("x", 1.5)[1])["message"], "x")

    def test_check_json(self) -> None:
        """Plain values pass."""
        for value in ("x", 1, 1.5, True, None, [], {}, (), {"a": [1, {"b": None}]}):
            self.assertIsNone(check_json(value))


class DecodeTests(SynchronousTestCase):
    """A bundle becomes messages, as far as it can be read."""

    def test_equal(self) -> None:
        """Two are equal if what their origin has said is; where they are in a log of ours does not count."""
        one, *_ = decode(Bundle("a" * 64, 1, 1, b"[%b]" % Encoder(1_000).encode("x", 1.0)[1], 7))
        elsewhere = msgspec.structs.replace(one, cursor=one.cursor + 1, replayed=True)
        self.assertEqual((elsewhere, hash(elsewhere)), (one, hash(one)))
        for name, value in {
            "id": "0",
            "title": "",
            "message": "y",
            "time": 2.0,
            "origin": "",
            "epoch": 2,
            "seq": 2,
        }.items():
            self.assertNotEqual(msgspec.structs.replace(one, **{name: value}), one)
        self.assertNotEqual(one, "x")

    def test_everything(self) -> None:
        """A message says what, when, who, and in which place."""
        [one, two] = decode(bundle(part(b'"a"'), part(b"{}", "1" * 64, b"2")))
        self.assertEqual((one.id, one.message, one.time), ("0" * 64, "a", 1.5))
        self.assertEqual((two.id, two.message, two.time), ("1" * 64, {}, 2.0))
        self.assertEqual((one.origin, one.epoch, one.seq), (ORIGIN, 7, 3))

    def test_more_fields(self) -> None:
        """Fields of a later version are ignored."""
        [message] = decode(bundle(part(b"1")[:-1] + b',"index":5}'))
        self.assertEqual(message.message, 1)

    def test_empty(self) -> None:
        """A bundle may be empty."""
        self.assertEqual(decode(bundle()), [])

    def test_unreadable_part(self) -> None:
        """What can't be read is left out; what stands beside it is handed over."""
        for bad in (
            b"5",
            b"null",
            b"[]",
            b"{}",
            b'{"id":"short","title":"#BROADCAST","message":1,"time":1.5}',
            b'{"id":"%b","title":"#BROADCAST","time":1.5}' % (b"0" * 64),
            part(b"1", time=b'"now"'),
            part(b"1", time=b"null"),
            part(b"1e400"),
            part(b"1", time=b"1e400"),
        ):
            messages = decode(bundle(part(b'"before"'), bad, part(b'"after"')))
            self.assertEqual([message.message for message in messages], ["before", "after"], bad)

    def test_too_deep(self) -> None:
        """A message of a hundred thousand lists harms nobody."""
        deep = b"[" * 100_000 + b"]" * 100_000
        self.assertEqual(decode(bundle(part(deep))), [])

    def test_no_list(self) -> None:
        """A bundle whose body is no list has no messages."""
        for body in (b"5", b"null", b'"text"', b"{}", part(b"1")):
            self.assertEqual(decode(Bundle(ORIGIN, 7, 3, msgspec.Raw(body))), [])

    @given(st.lists(json_values, max_size=4))
    def test_any_values(self, values: list[Any]) -> None:
        """Whatever JSON a bundle holds, decoding it never raises."""
        encoded = [json.dumps(value).encode() for value in values]
        messages = decode(bundle(*encoded, part(b'"good"')))
        self.assertEqual([message.message for message in messages], ["good"])

    def test_half_a_character(self) -> None:
        """Text that no UTF-8 can express is never handed over: nobody could broadcast it again."""
        self.assertEqual(decode(bundle(part(b'"\\ud800"'))), [])

    def test_huge_numbers(self) -> None:
        """Whole numbers of any size arrive as they were broadcast."""
        for value in (2**53 + 1, 2**64 - 1, 2**64, -(2**63) - 1, 10**30):
            [message] = decode(bundle(Encoder(LIMIT).encode([value], 1.5)[1]))
            self.assertEqual(message.message, [value])
            self.assertIs(type(message.message[0]), int)

    def test_no_number_is_infinite(self) -> None:
        """No application meets a number that is none."""
        for message in decode(bundle(part(b"1e308"), part(b"-1e400"), part(b"[1e999]"))):
            self.assertTrue(math.isfinite(message.message))
        self.assertEqual(len(decode(bundle(part(b"1e308"), part(b"-1e400"), part(b"[1e999]")))), 1)
