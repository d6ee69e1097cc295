"""From any JSON value to what travels, and back."""

import json
import math
import tracemalloc
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.frames import json_values
from twisted_p2p.core.actions import CURSOR_BITS, ENTRY_END, Bundle
from twisted_p2p.core.wire import MESSAGES_MAX
from twisted_p2p.errors import MessageTooBig, NotJSON, P2PError
from twisted_p2p.messages import AROUND, DEPTH, Encoder, check_json, decode

ORIGIN = "ab" * 32
LIMIT = 2_000
ROOM = 1_000


def encoded(value: Any) -> bytes:
    """What travels of a value alone."""
    encoder = Encoder(1_000_000, ROOM)
    [group] = encoder.groups([encoder.prepare(value, 1.5)])
    return group


def bundle(*parts: bytes) -> Bundle:
    """A bundle with these groups of messages."""
    return Bundle(ORIGIN, 7, 3, msgspec.Raw(b"[" + b",".join(parts) + b"]"))


def part(*values: bytes, identity: str = "0" * 64, time: bytes = b"1.5") -> bytes:
    """A group of messages as it travels, of values that are encoded already."""
    return b'{"id":"%b","time":%b,"values":[%b]}' % (identity.encode(), time, b",".join(values))


def nested(depth: int) -> list[Any]:
    """So many lists in one another."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


class EncodeTests(SynchronousTestCase):
    """A value becomes a message."""

    def setUp(self) -> None:
        self.encoder = Encoder(LIMIT, ROOM)

    @given(st.lists(json_values, max_size=5))
    def test_round_trip(self, values: list[Any]) -> None:
        """Whatever JSON can express arrives as it was broadcast, with the id that its origin was told."""
        encoder = Encoder(1_000_000, ROOM)
        prepared = [encoder.prepare(value, 1.5) for value in values]
        messages = decode(bundle(*encoder.groups(prepared)))
        self.assertEqual([message.id for message in messages], [each.id for each in prepared])
        self.assertEqual({(message.title, message.time) for message in messages} - {("#BROADCAST", 1.5)}, set())
        received = [message.message for message in messages]
        self.assertEqual(received, values)
        self.assertEqual(json.dumps(received, sort_keys=True), json.dumps(values, sort_keys=True))

    def test_fields(self) -> None:
        """What travels has the documented three fields, on one line."""
        prepared = [self.encoder.prepare(value, 1617555967.12) for value in ("Hello\nworld", 2)]
        [group] = self.encoder.groups(prepared)
        self.assertNotIn(b"\n", group)
        identity = prepared[0].id
        self.assertEqual(
            [*json.loads(group).items()], [("id", identity), ("time", 1617555967.12), ("values", ["Hello\nworld", 2])]
        )

    def test_groups(self) -> None:
        """Messages that follow each other and have one time share a group, as far as there is room."""
        self.assertEqual(self.encoder.groups([]), [])
        early, other, late = (self.encoder.prepare(name, time) for name, time in (("a", 1.5), ("b", 1.5), ("c", 2.0)))
        groups = [json.loads(group) for group in self.encoder.groups([early, other, late])]
        self.assertEqual([(group["time"], group["values"]) for group in groups], [(1.5, ["a", "b"]), (2.0, ["c"])])
        groups = [json.loads(group) for group in self.encoder.groups([other, early, late])]
        self.assertEqual([group["values"] for group in groups], [["b"], ["a"], ["c"]])
        self.assertEqual([group["id"] for group in groups], [each.id for each in (other, early, late)])

    def test_group_size(self) -> None:
        """A group of several has at most so many bytes; a message that has more travels alone, and none is lost."""
        for size in (1, 7, 100, ROOM // 2, ROOM, LIMIT - 130):
            prepared = [self.encoder.prepare("x" * size, 1.5) for _ in range(40)]
            groups = self.encoder.groups(prepared)
            messages = decode(bundle(*groups))
            self.assertEqual([message.id for message in messages], [each.id for each in prepared])
            for group in groups:
                count = len(json.loads(group)["values"])
                self.assertTrue(len(group) <= ROOM or count == 1, (size, len(group), count))
        self.assertEqual(len(groups), 40)

    def test_full_group(self) -> None:
        """A group that is full has hardly less than it may have."""
        first, *_ = self.encoder.groups(self.encoder.prepare("x", 1617555967.123) for _ in range(1000))
        self.assertTrue(ROOM - 20 < len(first) <= ROOM, len(first))

    def test_of_two_encoders(self) -> None:
        """Whoever puts messages into groups, each keeps its id."""
        other = Encoder(LIMIT, ROOM)
        prepared = [encoder.prepare("x", 1.5) for encoder in (self.encoder, other, other, self.encoder)]
        groups = other.groups(prepared)
        self.assertEqual([len(json.loads(group)["values"]) for group in groups], [1, 2, 1])
        self.assertEqual([message.id for message in decode(bundle(*groups))], [each.id for each in prepared])

    def test_ids(self) -> None:
        """Equal texts are different messages: every id is new, 64 hex digits, in every encoder."""
        encoders = (self.encoder, Encoder(LIMIT, ROOM))
        ids = [encoder.prepare("same", 1.0).id for encoder in encoders for _ in range(1000)]
        self.assertEqual(len(set(ids)), 2000)
        for identity in ids:
            self.assertRegex(identity, r"^[0-9a-f]{64}\Z")

    def test_size(self) -> None:
        """The greatest message is taken; with one byte more the error says how big it is and what the limit is."""
        room = LIMIT - AROUND - len(b'""')
        [group] = self.encoder.groups([self.encoder.prepare("x" * room, 1617555967.123)])
        self.assertTrue(LIMIT - 20 < len(group) <= LIMIT, len(group))
        error = self.assertRaises(MessageTooBig, self.encoder.prepare, "x" * (room + 1), 1.5)
        self.assertEqual((error.size, error.limit), (LIMIT + 1, LIMIT))
        self.assertIn(f"{LIMIT + 1} bytes", str(error))
        self.assertIn(f"limit is {LIMIT}", str(error))
        self.assertIsInstance(error, ValueError)

    def test_around(self) -> None:
        """A group has no more than that beside its values, whatever the time is."""
        for time in (0.0, 1617555967.123, -1.7976931348623157e308, 5e-324):
            [group] = self.encoder.groups([self.encoder.prepare("x", time)])
            self.assertLessEqual(len(group), AROUND + len(b'"x"'))

    def test_size_is_of_bytes(self) -> None:
        """The limit is of the bytes that travel, and not of letters."""
        self.assertRaises(MessageTooBig, self.encoder.prepare, "€" * (LIMIT // 2), 1.5)

    def test_tuples(self) -> None:
        """A tuple travels as a list."""
        self.assertEqual(self.encoder.prepare((1, (2,)), 1.5).value, b"[1,[2]]")

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
            error = self.assertRaises(NotJSON, self.encoder.prepare, value, 1.5)
            self.assertIsInstance(error, (TypeError, P2PError))
            self.assertGreater(len(str(error)), 10)

    def test_nesting(self) -> None:
        """Lists in one another have a limit, so that every reader can read them; a list in itself is no message."""
        self.assertEqual(json.loads(self.encoder.prepare(nested(DEPTH), 1.5).value), nested(DEPTH))
        self.assertRaises(NotJSON, self.encoder.prepare, nested(DEPTH + 1), 1.5)
        endless: list[Any] = []
        endless.append(endless)
        self.assertRaises(NotJSON, self.encoder.prepare, endless, 1.5)
        dicts: dict[str, Any] = {}
        for _ in range(DEPTH):
            dicts = {"a": dicts}
        self.assertRaises(NotJSON, self.encoder.prepare, dicts, 1.5)

    def test_refused_uses_no_harm(self) -> None:
        """After a refusal the next message goes as ever."""
        self.assertRaises(NotJSON, self.encoder.prepare, b"x", 1.5)
        self.assertEqual(self.encoder.prepare("x", 1.5).value, b'"x"')

    def test_check_json(self) -> None:
        """Plain values pass."""
        for value in ("x", 1, 1.5, True, None, [], {}, (), {"a": [1, {"b": None}]}):
            self.assertIsNone(check_json(value))


class DecodeTests(SynchronousTestCase):
    """A bundle becomes messages, as far as it can be read."""

    def test_equal(self) -> None:
        """Two are equal if what their origin has said is; where they are in a log of ours does not count."""
        one, *_ = decode(Bundle("a" * 64, 1, 1, msgspec.Raw(b"[%b]" % encoded("x")), 7))
        elsewhere = msgspec.structs.replace(one, cursor=one.cursor + 1, replayed=True)
        self.assertEqual((elsewhere, hash(elsewhere)), (one, hash(one)))
        for name, value in {
            "message": "y",
            "time": 2.0,
            "origin": "",
            "epoch": 2,
            "seq": 2,
            "group": "0" * 64,
            "place": 1,
        }.items():
            self.assertNotEqual(msgspec.structs.replace(one, **{name: value}), one)
        self.assertNotEqual(one, "x")

    def test_everything(self) -> None:
        """A message says what, when, who, and in which place."""
        [one, two] = decode(bundle(part(b'"a"'), part(b"{}", identity="1" * 64, time=b"2")))
        self.assertEqual((one.id, one.message, one.time), ("0" * 64, "a", 1.5))
        self.assertEqual((two.id, two.message, two.time), ("1" * 64, {}, 2.0))
        self.assertEqual((one.origin, one.epoch, one.seq), (ORIGIN, 7, 3))

    def test_ids_count_up(self) -> None:
        """In a group the last 16 digits count up, as far as they go, and then from 0 on."""
        messages = decode(bundle(part(b"1", b"2", b"3", identity="a" * 48 + "f" * 15 + "e")))
        tails = ["f" * 15 + "e", "f" * 16, "0" * 16]
        self.assertEqual([message.id for message in messages], ["a" * 48 + tail for tail in tails])

    def test_cursors(self) -> None:
        """They count up through all groups of a bundle; the last one is that of the whole entry."""
        body = bundle(part(b"1", b"2"), part(b"3"), part(b"4", b"5"))
        messages = decode(Bundle(ORIGIN, 7, 3, body.messages, number=9))
        entry = 9 << CURSOR_BITS
        self.assertEqual([message.cursor - entry for message in messages], [1, 2, 3, 4, ENTRY_END])

    def test_too_many(self) -> None:
        """Of more messages than a bundle may have the first are handed over."""
        most = part(*[b"1"] * (MESSAGES_MAX - 1))
        self.assertEqual(len(decode(bundle(most, part(b"2")))), MESSAGES_MAX)
        messages = decode(bundle(most, part(b"2", b"3")))
        self.assertEqual((len(messages), messages[-1].message), (MESSAGES_MAX, 2))

    def test_more_fields(self) -> None:
        """Fields of a later version are ignored."""
        [message] = decode(bundle(part(b"1")[:-1] + b',"index":5}'))
        self.assertEqual(message.message, 1)

    def test_empty(self) -> None:
        """A bundle may be empty, and so may a group."""
        self.assertEqual(decode(bundle()), [])
        self.assertEqual(decode(bundle(part(), part())), [])

    def test_unreadable_part(self) -> None:
        """What can't be read is left out; what stands beside it is handed over."""
        for bad in (
            b"5",
            b"null",
            b"[]",
            b"{}",
            part(b"1", identity="short"),
            part(b"1", identity="0" * 63 + "A"),
            part(b"1", identity="0" * 64 + "\\n"),
            b'{"id":"%b","time":1.5}' % (b"0" * 64),
            b'{"id":"%b","time":1.5,"values":1}' % (b"0" * 64),
            b'{"id":"%b","values":[1]}' % (b"0" * 64),
            part(b"1", time=b'"now"'),
            part(b"1", time=b"null"),
            part(b"1e400"),
            part(b"1", time=b"1e400"),
        ):
            messages = decode(bundle(part(b'"before"'), bad, part(b'"after"')))
            self.assertEqual([message.message for message in messages], ["before", "after"], bad)

    def test_unreadable_value(self) -> None:
        """So is it within a group; the others keep their ids."""
        messages = decode(bundle(part(b'"a"', b"1e400", b"[-1e400]", b'"b"'), part(b'"c"')))
        self.assertEqual(
            [(m.message, m.id[-1], m.time) for m in messages], [("a", "0", 1.5), ("b", "3", 1.5), ("c", "0", 1.5)]
        )

    def test_many_of_little(self) -> None:
        """A bundle of half a million values, or groups, takes no more memory than what is read of it, and its bytes."""
        many = 500_000
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for values in ([b"1e400"] + [b"1"] * many, [b"1e400"] + [b"[]"] * (many // 2), [b"1"] * many):
            messages = decode(bundle(part(*values)))
            self.assertTrue(MESSAGES_MAX - 1 <= len(messages) <= MESSAGES_MAX, len(messages))
            self.assertIn(messages[0].id[-1], "01")
        for groups in ([b"1"] * many, [b"{}"] * (many // 2)):
            self.assertEqual(decode(bundle(*groups, part(b"2"))), [])
        self.assertLess(tracemalloc.get_traced_memory()[1], 64 * 2**20)

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
            [message] = decode(bundle(encoded([value])))
            self.assertEqual(message.message, [value])
            self.assertIs(type(message.message[0]), int)

    def test_no_number_is_infinite(self) -> None:
        """No application meets a number that is none."""
        for message in decode(bundle(part(b"1e308"), part(b"-1e400"), part(b"[1e999]"))):
            self.assertTrue(math.isfinite(message.message))
        self.assertEqual(len(decode(bundle(part(b"1e308"), part(b"-1e400"), part(b"[1e999]")))), 1)
