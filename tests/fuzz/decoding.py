"""From a line to a frame: against Python's own JSON reader, and against its own spelling."""

from __future__ import annotations

import json

import msgspec

from tests.fuzz.sizes import memory
from twisted_p2p.core import wire

FACTOR, CONSTANT = 24, 4096
"""A decoded frame takes at most so many bytes for a byte of its line, and so many beside."""


def fuzz_decoding(data: bytes) -> None:
    """A line: it is a frame, or ignored, or a BadFrame; never anything else."""
    line = data.removesuffix(b"\r")
    if not line or b"\n" in line:
        return
    try:
        frame = wire.decode(line)
    except wire.BadFrame:
        return
    if frame is None:
        check_ignored(line)
        return
    size = memory(frame)
    assert size <= FACTOR * len(line) + CONSTANT, f"{size} bytes from {len(line)}"
    if isinstance(frame, wire.Broadcast):
        check_bundle(frame, line)
    else:
        check_frame(frame, line)


def check_ignored(line: bytes) -> None:
    """What is ignored has a title that is none of ours, or is a bundle that is too deep."""
    if line.startswith(b'{"title":"#BROADCAST",'):
        return
    title = msgspec.json.decode(line, type=dict[str, msgspec.Raw])["title"]
    assert msgspec.json.decode(title) not in wire._titles, line


def check_frame(frame: wire.Frame, line: bytes) -> None:
    """It means to Python's reader what it means to ours, and its own spelling means the same."""
    again = wire.encode(frame)
    assert b"\n" not in again
    assert wire.decode(again) == frame
    assert wire.encode(wire.decode(again)) == again  # type: ignore[arg-type]
    theirs, ours = json.loads(line), json.loads(again)
    assert theirs["title"] == ours["title"]
    for name, value in ours.items():
        if name in theirs:
            _same(theirs[name], value)


def _same(theirs: object, ours: object) -> None:
    """Whether the two readers agree on what we have read; fields that we ignore are theirs alone."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            if name in theirs:
                _same(theirs[name], value)
    elif isinstance(ours, list) and isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(theirs, ours, strict=True):
            _same(one, other)
    elif isinstance(ours, float) and isinstance(theirs, int):
        # Where any number may stand, a whole one is read as the nearest that a float can be.
        assert float(theirs) == ours, (theirs, ours)
    else:
        assert theirs == ours, (theirs, ours)


def check_bundle(frame: wire.Broadcast, line: bytes) -> None:
    """One that has the one spelling is read from it again, as it is."""
    messages = bytes(frame.messages)
    spelling = wire.bundle_line(frame.origin, frame.epoch, frame.seq, frame.sig, messages)
    assert frame.is_canonical(line) == (spelling == line)
    if spelling == line:
        again = wire.read_bundle(line)
        assert (again.stream, again.seq, again.sig) == (frame.stream, frame.seq, frame.sig)
        assert bytes(again.messages) == messages
