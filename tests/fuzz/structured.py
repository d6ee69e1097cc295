"""Frames and bundles that were right before something was changed in them."""

from __future__ import annotations

from tests.core.puppet import message
from tests.fuzz.bodies import fuzz_bodies
from tests.fuzz.choices import Choices
from tests.fuzz.decoding import fuzz_decoding
from tests.fuzz.mutation import mutated
from tests.fuzz.values import TITLES, Values
from twisted_p2p.core import wire

_ID = b'"' + b"0" * 64 + b'"'
TEXTS = (
    b"null",
    b"[]",
    b"{}",
    b"0",
    b"-0.0",
    b"1e308",
    b"1" * 400,
    b'"\\u001b[2J"',
    b'"\\u0007\\r\\n\\t\\u0085\\u009b31m"',
    '"\u009b2J\u202e\u2066\u2028\u2029\u200f\u061c"'.encode(),
    '"漢字 🙂 \u0301\ufeff\U000e0041"'.encode(),
    b'{"\\u001b]0;title\\u0007":"\\u202e"}',
    b"[" * 300 + b"]" * 300,
    b'"x"',
)
"""Values of messages: what JSON can say, and what a terminal would obey."""


def fuzz_frames(data: bytes) -> None:
    """A frame, changed, and read."""
    choices = Choices(data)
    values = Values(choices)
    title = choices.pick(TITLES)
    line = values.bundle() if title == "#BROADCAST" else wire.encode(values.frame(title))
    fuzz_decoding(line)
    fuzz_decoding(mutated(line, choices))


def fuzz_messages(data: bytes) -> None:
    """Messages of an application, changed, and shown."""
    choices = Choices(data)
    texts = list[bytes]()
    while choices.left and len(texts) < 20:
        way = choices.below(8)
        value = b'"%b"' % choices.take(choices.byte() % 16) if way == 0 else choices.pick(TEXTS)
        time = choices.pick((b"1.5", b"1e300", b"-1e300", b"0"))
        values = b",".join([value] * (1 + choices.below(3)))
        texts.append(b'{"id":%b,"time":%b,"values":[%b]}' % (_ID, time, values))
    body = b"[%b]" % b",".join(texts or [message("x")])
    fuzz_bodies(mutated(body, choices) if choices.chance(2) else body)
