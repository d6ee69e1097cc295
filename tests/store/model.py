"""A log as its words have it, slowly, and what may happen to one."""

from __future__ import annotations

import copy

import attrs
from hypothesis import given
from hypothesis import strategies as st

from twisted_p2p.core.config import Config
from twisted_p2p.interfaces import Entry, Stream

NOBODY = ("", 0)
STREAMS = ("a" * 64, 1), ("b" * 64, 1), ("a" * 64, 2)
_STREAM, _NAME = st.sampled_from(STREAMS), st.sampled_from(["x", "y"])
_PAUSE, _NUMBER = st.floats(0, 30, width=16), st.integers(0, 1000)
_OPERATION = st.one_of(
    *[
        st.tuples(
            st.just("append"),
            _STREAM,
            st.sampled_from([0, 0, 0, 0, 0, 0, 4]),
            st.integers(1, 60),
            _PAUSE,
            st.booleans(),
        )
    ]
    * 5,
    st.tuples(st.just("skip"), _STREAM, st.integers(1, 5)),
    st.tuples(st.just("withdraw"), _STREAM, st.integers(0, 4)),
    st.tuples(st.just("forget"), _STREAM),
    st.tuples(st.just("move"), _STREAM, _NUMBER),
    st.tuples(st.just("keep_peer"), _NAME, _NUMBER),
    st.tuples(st.just("forget_peer"), _NAME),
    st.tuples(st.just("keep"), _NAME, st.none() | _NUMBER),
    st.tuples(st.just("expire"), _PAUSE),
)
_TURN = st.tuples(
    st.lists(_OPERATION, max_size=8), st.sampled_from(["commit", "commit", "commit", "rollback", "reopen"])
)

lives = given(
    st.lists(_TURN, max_size=12),
    st.integers(1, 20),
    st.integers(50, 500),
    st.sampled_from([0.0, 0.3, 0.5, 0.5, 1.0]),
    st.integers(0, 200),
)
"""Turns, and the bounds of the log: bundles, bytes, share of one origin, and bytes in one answer."""


@attrs.define(eq=False)
class Row:
    """One entry, and whether it can be served."""

    number: int
    now: float
    stream: Stream
    seq: int
    last: int
    line: bytes | None
    replayed: bool
    is_held: bool


@attrs.define(eq=False)
class Lost:
    """Entries that were dropped while elder ones stayed, as readers are told of them."""

    first: int
    last: int
    stream: Stream
    seq: int


@attrs.define(eq=False)
class Kept:
    """All that the log is to know."""

    rows: list[Row] = attrs.field(factory=list)
    lost: list[Lost] = attrs.field(factory=list)
    first: int = 1
    last: int = 0
    positions: dict[Stream, int] = attrs.field(factory=dict)
    peers: dict[str, tuple[bytes, bytes | None, float]] = attrs.field(factory=dict)
    values: dict[str, int] = attrs.field(factory=dict)


class NaiveLog:
    """The log.

    Args:
        is_durable: what is before a hole stays for readers of entries, as what is withdrawn or forgotten does not; a
            roll-back undoes droppings, too; number and bytes are seen to at the commit.
    """

    def __init__(self, config: Config, is_durable: bool) -> None:
        self.config, self.is_durable = config, is_durable
        self.kept, self.before = Kept(), Kept()
        self.now = 0.0

    # --- what is said to it

    def append(self, stream: Stream, seq: int, line: bytes, now: float, replayed: bool = False) -> int:
        """Keep `line`."""
        mine = self.held(stream)
        if mine and (mine[-1].seq + 1 != seq or mine[-1].number < self.kept.first):
            for row in mine:
                row.is_held = False
                if not self.is_durable or row.number < self.kept.first:
                    self._lose(row)
        self._add(stream, seq, 0, line, now, replayed)
        number = self.kept.last
        if not self.is_durable and self.is_full:
            self.expire(now)
        return number

    def skip(self, stream: Stream, first: int, last: int, now: float) -> int:
        """Keep a gap."""
        self._add(stream, first, last, None, now, False)
        return self.kept.last

    def _add(self, stream: Stream, seq: int, last: int, line: bytes | None, now: float, replayed: bool) -> None:
        self.now = now
        self.kept.last += 1
        self.kept.rows.append(Row(self.kept.last, now, stream, seq, last, line, replayed, line is not None))

    def withdraw(self, stream: Stream, seq: int) -> None:
        """As if they had never been."""
        gone = [row for row in self.kept.rows if row.stream == stream and row.seq >= seq]
        for row in gone:
            row.stream, row.line, row.is_held = NOBODY, None, False
        if self.is_durable:
            self.kept.rows = [row for row in self.kept.rows if row not in gone]

    def forget(self, stream: Stream) -> None:
        """Drop a stream."""
        self.kept.positions.pop(stream, None)
        if self.is_durable:
            self.kept.rows = [row for row in self.kept.rows if row.stream != stream]
            for lost in self.kept.lost:
                if lost.stream == stream:
                    lost.stream, lost.seq = NOBODY, lost.first
        for row in self.held(stream):
            self._lose(row)

    def move(self, stream: Stream, position: int) -> None:
        """Keep a position."""
        self.kept.positions[stream] = position

    def keep_peer(self, peer: str, record: bytes, claim: bytes | None, since: float) -> None:
        """Keep a peer."""
        self.kept.peers[peer] = (record, claim, since)

    def forget_peer(self, peer: str) -> None:
        """Drop a peer."""
        self.kept.peers.pop(peer, None)

    def keep(self, name: str, value: int | None) -> None:
        """Keep a number."""
        self.kept.values.pop(name, None)
        if value is not None:
            self.kept.values[name] = value

    def expire(self, now: float) -> None:
        """Drop what retention no longer keeps."""
        while self.rest and self.rest[0].now < now - self.config.retention_age:
            self._pass(self.rest[0])
        origins = {row.stream[0] for row in self.kept.rows if row.line is not None}
        for origin in sorted(origins, key=lambda origin: (-sum(map(len, self.lines_of(origin))), origin)):
            while self.pays(origin):
                self._lose(self.eldest(origin)[0])
        while self.rest and self.is_full:
            self._pass(self.rest[0])
        for row in self.kept.rows:
            if row.number < self.kept.first and row.is_held and self.is_full:
                self._lose(row)
        self._pass_lost()

    def _pass(self, row: Row) -> None:
        """Readers are not told of it any more, and it is dropped, if it is not the newest of its stream."""
        self.kept.first = row.number + 1
        if not self._is_newest(row):
            self._lose(row)

    def _is_newest(self, row: Row) -> bool:
        return row.is_held and row is self.held(row.stream)[-1]

    def _lose(self, row: Row) -> None:
        """Drop what a row holds."""
        if row.number >= self.kept.first and row.line is not None:
            self.kept.rows = [other for other in self.kept.rows if other is not row]
            lost = self.kept.lost
            lost.append(Lost(row.number, row.number, row.stream, row.seq))
            lost.sort(key=lambda each: each.first)
            while pairs := [n for n in range(len(lost) - 1) if lost[n].last + 1 == lost[n + 1].first]:
                one, two = lost[pairs[0]], lost.pop(pairs[0] + 1)
                if one.stream != two.stream or two.seq != one.seq + two.first - one.first:
                    one.stream, one.seq = NOBODY, one.first
                one.last = two.last
            self._pass_lost()
        row.line, row.is_held = None, False

    def _pass_lost(self) -> None:
        """What has nothing before it is no part of the log."""
        while self.kept.lost and self.kept.lost[0].first <= self.kept.first:
            self.kept.first = max(self.kept.first, self.kept.lost.pop(0).last + 1)

    @property
    def rest(self) -> list[Row]:
        """What readers can have."""
        return [row for row in self.kept.rows if row.number >= self.kept.first]

    def lines_of(self, origin: str) -> list[bytes]:
        """What is there of an origin."""
        return [row.line for row in self.kept.rows if row.stream[0] == origin and row.line is not None]

    def eldest(self, origin: str) -> list[Row]:
        """What it can pay with: none is the newest of its stream."""
        mine = [row for row in self.kept.rows if row.stream[0] == origin and row.line is not None]
        return [row for row in mine if not self._is_newest(row)]

    def pays(self, origin: str) -> bool:
        """Whether it has more than its share, and the log too much of that."""
        mine, config = self.lines_of(origin), self.config
        share, size = config.retention_share, sum(map(len, mine))
        is_over = (len(self.lines) > config.retention_count and len(mine) > share * config.retention_count) or (
            self.size > config.retention_bytes and size > share * config.retention_bytes
        )
        return is_over and bool(self.eldest(origin))

    def commit(self) -> None:
        """The end of a turn."""
        if self.is_durable and self.is_full:
            self.expire(self.now)
        self.before = copy.deepcopy(self.kept)

    def rollback(self) -> None:
        """The end of a turn that has not been."""
        if not self.is_durable:
            rows = [row for row in self.kept.rows if row.number <= self.before.last]
            last = max(self.before.last, self.kept.first - 1)
            lost = [attrs.evolve(each, last=min(each.last, last)) for each in self.kept.lost if each.first <= last]
            self.before = attrs.evolve(self.before, rows=rows, lost=lost, first=self.kept.first, last=last)
        self.kept = copy.deepcopy(self.before)

    # --- what it says

    def held(self, stream: Stream) -> list[Row]:
        """What can be served of a stream."""
        return [row for row in self.kept.rows if row.stream == stream and row.is_held]

    @property
    def lines(self) -> list[bytes]:
        """All lines."""
        return [row.line for row in self.kept.rows if row.line is not None]

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(map(len, self.lines))

    @property
    def is_full(self) -> bool:
        """Whether it holds more than it may."""
        return len(self.lines) > self.config.retention_count or self.size > self.config.retention_bytes

    def read(self, stream: Stream, seq: int, max_bytes: int) -> list[bytes]:
        """Lines from `seq` on."""
        mine = {row.seq: row.line or b"" for row in self.held(stream)}
        return _first_of([mine[at] for at in range(seq, seq + len(mine)) if seq in mine and at in mine], max_bytes)

    def floor(self, stream: Stream) -> int:
        """The oldest seq held."""
        return min((row.seq for row in self.held(stream)), default=0)

    def entries(self, after: int, max_bytes: int) -> list[Entry]:
        """All that arrived after that."""
        found = [
            Entry(row.number, row.stream, row.seq, row.line, row.last, row.replayed)
            for row in self.rest
            if row.number > after and row.stream != NOBODY
        ]
        for lost in self.kept.lost:
            had = max(0, after + 1 - lost.first)
            if had <= lost.last - lost.first:
                last = lost.seq + lost.last - lost.first
                found.append(Entry(lost.last, lost.stream, lost.seq + had, None, last))
        found.sort(key=lambda entry: entry.number)
        return found[: len(_first_of([entry.line or b"" for entry in found], max_bytes))]

    def history(self, now: float, age: float | None, count: int | None) -> dict[Stream, int]:
        """The lowest seqs among the newest bundles."""
        if age is None and count is None:
            return {stream: self.floor(stream) for stream in STREAMS if self.floor(stream)}
        rows = [row for row in self.kept.rows if row.is_held and row.number >= self.kept.first]
        if age is not None:
            rows = [row for row in rows if row.now >= now - age]
        rows = rows[max(0, len(rows) - count) :] if count is not None else rows
        return {row.stream: row.seq for row in reversed(rows)}


def _first_of(lines: list[bytes], max_bytes: int) -> list[bytes]:
    """Lines up to so many bytes, but one at least."""
    count = 0
    while count < len(lines) and (count == 0 or sum(map(len, lines[: count + 1])) <= max_bytes):
        count += 1
    return lines[:count]
