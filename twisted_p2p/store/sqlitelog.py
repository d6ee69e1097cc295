"""The durable log: bundles, positions and the directory in one SQLite file."""

from __future__ import annotations

import contextlib
import heapq
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path

import attrs
import msgspec
from zope.interface import implementer

from twisted_p2p.core.config import Config
from twisted_p2p.core.runs import NOBODY
from twisted_p2p.core.shares import Part
from twisted_p2p.core.streamlog import ROOM
from twisted_p2p.errors import LogError
from twisted_p2p.interfaces import Entry, IMessageLog, Saved, Stream
from twisted_p2p.store import life, taken
from twisted_p2p.store.database import connect, ours, state
from twisted_p2p.store.holdings import Held, Holdings, StreamRow, Totals
from twisted_p2p.store.lookup import first_since, lowest_seq, number_of

SLICE = 2_000
"""Entries that one turn drops at most."""
SLICE_BYTES = 1_048_576
"""Of what it drops; to drop a big bundle takes longer."""
_PAGE = 10_000
_PeerRow = tuple[bytes, bytes | None, float]


@attrs.define
class _Slice:
    """What one turn may still drop: so many entries, and bytes until no more than `least` are held."""

    least: int
    entries: int = SLICE

    def is_used_up(self, size: int) -> bool:
        """Take one entry from it; whether there is none, or only `size` bytes are held."""
        self.entries -= 1
        return self.entries < 0 or size <= self.least


def _totals_of(database: sqlite3.Connection) -> Totals:
    found = state(database, "last, first, count, size")
    return Totals(*msgspec.convert(found, tuple[int, int, int, int]))


# Its arguments are checked once; to run converters and validators whenever a turn sets something costs too much.
@implementer(IMessageLog)
@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class SqliteLog:
    """Bundles by stream and seq in a file, with retention by age, number and bytes; used in one thread.

    What a turn appends is gathered, and written when somebody reads, or at its commit: one transaction a turn. After a
    hole what was held before it is served to nobody, but stays for the readers of `entries` until retention takes it.
    Retention by number and bytes comes with the commit; an origin that has more than its share pays first. Age and
    shares spare the newest bundle of a stream: without it nobody could prove how far the stream went. Those that are
    spared by age lie before `first`.

    With NORMAL a commit does not wait for the disk: after a power failure the newest turns may be missing, and `load`
    says so, until something is committed. One commit in some hundreds waits for a checkpoint. With FULL each one waits.
    With OFF none does, and a power failure may damage the file.

    A message of 100 bytes, alone in its bundle, takes some 530 bytes on disk: 490 are its line. The file never shrinks:
    what is dropped makes room in it for what comes.

    Args:
        path: of the file; it is made by `load`.
        config: for the retention.
        synchronous: SQLite's setting: OFF, NORMAL or FULL.
        boot_id: tells one start of the machine from another.
    """

    path: Path = attrs.field(converter=Path)
    config: Config
    synchronous: str = attrs.field(default="NORMAL", validator=attrs.validators.in_(("OFF", "NORMAL", "FULL")))
    boot_id: Callable[[], str | None] = life.kernel_boot_id
    _database: sqlite3.Connection | None = None
    _is_open: bool = False
    _is_whole: bool = True
    _holdings: Holdings = attrs.field(factory=Holdings)
    _has_runs: bool = True
    """Whether there may be any of `taken`."""
    # What this turn has said.
    _rows: list[tuple[int, int, int, int, float, bool, bytes | None]] = attrs.field(factory=list)
    _peers: dict[str, tuple[bytes, bytes | None, float] | None] = attrs.field(factory=dict)
    _values: dict[str, int | None] = attrs.field(factory=dict)
    _failure: LogError | None = None
    """Why it can't be committed any more."""
    _now: float = 0.0

    @property
    def last(self) -> int:
        """The number of the newest entry there has been."""
        return self._holdings.totals.last

    @property
    def first(self) -> int:
        """The number from which on all entries are held."""
        return self._holdings.totals.first

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._holdings.totals.size

    def __len__(self) -> int:
        return self._holdings.totals.count

    # --- opening and closing

    def load(self) -> Saved:
        """Open it, or open it again after a failure: what was not committed is gone."""
        self._let_go()
        try:
            with ours(self.path):
                self._database = connect(self.path)
                _totals_of(self._database)  # before anything is noted in a file that is damaged
                if not self._is_open:
                    self._is_whole = life.begin(self._database, self.boot_id(), self.synchronous)
                self._is_open = True
                self._recover(self._database)
                self._database.execute(f"PRAGMA synchronous = {self.synchronous}")
                return self._saved(self._database)
        except LogError:
            self._let_go()
            raise

    def _recover(self, database: sqlite3.Connection) -> None:
        """Read what is kept in memory."""
        wanted = "SELECT origin, epoch, id, position, floor, next, newest, count, size FROM streams"
        rows = msgspec.convert(database.execute(wanted).fetchall(), list[StreamRow])
        self._holdings.restore(_totals_of(database), rows)

    def _saved(self, database: sqlite3.Connection) -> Saved:
        return Saved(
            {stream: held.position for stream, held in self._holdings.streams.items() if held.position is not None},
            msgspec.convert(database.execute("SELECT record, claim, since FROM peers").fetchall(), list[_PeerRow]),
            msgspec.convert(dict(database.execute("SELECT name, value FROM kept")), dict[str, int]),
            self._is_whole,
        )

    def close(self) -> None:
        """Let go of the file; what was not committed is lost."""
        if self._database is not None and self._is_open:
            # If this fails, the log will be taken for one that was not closed, which is safe.
            with contextlib.suppress(sqlite3.Error):
                self._undo(self._database)
                life.end(self._database)
        self._let_go()
        self._holdings = Holdings()
        self._is_open = False

    def _let_go(self) -> None:
        """Close the file, and forget what was read from it, but for the totals: readers go by `last` meanwhile."""
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()
        self._holdings.clear()
        self._has_runs = True
        self._end_turn()

    # --- turns

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The database, for one operation; if that fails, so does the turn."""
        if self._failure is not None:
            raise self._failure
        if self._database is None:
            self.rollback()
            raise LogError(f"The log {self.path} is not open.")
        try:
            with ours(self.path):
                yield self._database
        except LogError as error:
            is_changed = self._is_changed
            self.rollback()
            self._failure = error if is_changed else None
            raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The same, in the transaction of this turn, after all that was appended."""
        with self._open() as database:
            if not database.in_transaction:
                database.execute("BEGIN IMMEDIATE")
            if self._rows:
                database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", self._rows)
                self._rows.clear()
            yield database

    def _reading(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        return self._writing() if self._rows else self._open()

    @property
    def _is_changed(self) -> bool:
        return bool(self._rows or self._peers or self._values) or self._holdings.is_changed

    def commit(self) -> None:
        """Make this turn lasting."""
        if self._failure is not None:
            failure = self._failure
            self.rollback()
            raise failure
        if not self._is_changed:
            return
        try:
            if self._is_full():
                self.expire(self._now)
            with self._writing() as database:
                self._write_rest(database)
                database.execute("COMMIT")
        except LogError:
            self._failure = None
            raise
        self._is_whole = True
        self._end_turn()

    def _write_rest(self, database: sqlite3.Connection) -> None:
        """Write all of this turn but the entries."""
        database.executemany(
            "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (h.id, *stream, h.position, h.floor, h.next, h.newest, h.count, h.size)
                for stream, h in self._holdings.touched()
            ],
        )
        for peer, known in self._peers.items():
            if known is None:
                database.execute("DELETE FROM peers WHERE peer = ?", (peer,))
            else:
                database.execute("INSERT OR REPLACE INTO peers VALUES (?, ?, ?, ?)", (peer, *known))
        for name, value in self._values.items():
            if value is None:
                database.execute("DELETE FROM kept WHERE name = ?", (name,))
            else:
                database.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (name, value))
        totals = self._holdings.totals
        database.execute(
            "UPDATE state SET last = ?, first = ?, count = ?, size = ?, whole = 1",
            (totals.last, totals.first, totals.count, totals.size),
        )

    def rollback(self) -> None:
        """Undo this turn, also what it has dropped."""
        if self._database is not None:
            try:
                self._undo(self._database)
            except sqlite3.Error:
                # It cannot be trusted with another turn; `load` opens it again.
                self._let_go()
                return
        self._holdings.undo_turn()
        self._has_runs = True
        self._end_turn()

    def _undo(self, database: sqlite3.Connection) -> None:
        if database.in_transaction:
            database.execute("ROLLBACK")

    def _end_turn(self) -> None:
        self._holdings.end_turn()
        self._failure = None
        for said in (self._rows, self._peers, self._values):
            said.clear()

    # --- bundles

    def append(self, stream: Stream, seq: int, line: bytes, now: float, replayed: bool = False) -> int:
        """Keep `line`."""
        held = self._holdings.touch(stream)
        if seq < held.next:
            self.withdraw(stream, seq)
        if held.floor and held.newest < self._holdings.totals.first:
            self._drop_spared(stream, held)
        if not held.floor or seq != held.next:
            held.floor = seq
        held.next = seq + 1
        held.newest = self._add(held, seq, 0, line, now, replayed)
        self._holdings.take(held, len(line))
        return held.newest

    def skip(self, stream: Stream, first: int, last: int, now: float) -> int:
        """Keep that these were told as a gap."""
        return self._add(self._holdings.touch(stream), first, last, None, now, False)

    def _add(self, held: Held, seq: int, last: int, line: bytes | None, now: float, replayed: bool) -> int:
        self._now = now
        self._holdings.totals.last += 1
        self._rows.append((self._holdings.totals.last, held.id, seq, last, now, replayed, line))
        return self._holdings.totals.last

    def withdraw(self, stream: Stream, seq: int) -> None:
        """Drop what was never sent."""
        if stream not in self._holdings.streams:
            return
        held = self._holdings.touch(stream)
        with self._writing() as database:
            self._drop(database, stream, "stream = ? AND seq >= ?", (held.id, seq))
            if held.floor >= seq:
                held.floor = 0
            if held.next > seq:
                held.next = seq
            if held.floor:
                held.newest = number_of(database, held.id, held.next - 1)

    def read(self, stream: Stream, seq: int, max_bytes: int) -> Sequence[bytes]:
        """Lines from `seq` on; none where `seq` is not held."""
        held = self._holdings.streams.get(stream)
        if held is None or not held.floor or not held.floor <= seq < held.next:
            return []
        lines: list[bytes] = []
        size = 0
        with self._reading() as database:
            wanted = "SELECT line FROM entries WHERE stream = ? AND seq >= ? AND seq < ? ORDER BY seq"
            with contextlib.closing(database.execute(wanted, (held.id, seq, held.next))) as found:
                for (line,) in found:
                    size += len(line)
                    if lines and size > max_bytes:
                        break
                    lines.append(line)
        return lines

    def floor(self, stream: Stream) -> int:
        """The oldest seq held; 0 where none is."""
        held = self._holdings.streams.get(stream)
        return held.floor if held is not None else 0

    def entries(self, after: int, max_bytes: int) -> Sequence[Entry]:
        """What arrived after that; not more than some thousands at a time."""
        found: list[Entry] = []
        size = 0
        with self._reading() as database:
            wanted = (
                "SELECT number, stream, seq, last, replayed, line, number FROM entries WHERE number >= ?1 "
                "UNION ALL SELECT last, stream, seq, seq + last - first, 0, NULL, first FROM runs WHERE last >= ?1 "
                "ORDER BY 1 LIMIT ?2"
            )
            start = max(after + 1, self._holdings.totals.first)
            with contextlib.closing(database.execute(wanted, (start, _PAGE))) as rows:
                for number, name, seq, last, replayed, line, first in rows:
                    size += len(line or b"")
                    if found and size > max_bytes:
                        break
                    stream = self._holdings.name(name) if name else NOBODY
                    found.append(Entry(number, stream, seq + max(0, start - first), line, last, bool(replayed)))
        return found

    def history(self, now: float, age: float | None, count: int | None) -> dict[Stream, int]:
        """The lowest seq of each stream among the newest."""
        if age is None and count is None:
            return {stream: held.floor for stream, held in self._holdings.streams.items() if held.floor}
        with self._reading() as database:
            first = (
                self._holdings.totals.first
                if age is None
                else first_since(database, now - age, self._holdings.totals.first, self.last)
            )
            if count is not None and count < len(self):
                return self._newest(database, first, count)
            return {
                stream: lowest_seq(database, held.id, range(held.floor, held.next), first)
                for stream, held in self._holdings.streams.items()
                if held.floor and held.newest >= first
            }

    def _newest(self, database: sqlite3.Connection, first: int, count: int) -> dict[Stream, int]:
        """The lowest seqs among the newest bundles, so many of them, but none with a number below `first`."""
        found = dict[Stream, int]()
        wanted = "SELECT stream, seq FROM entries WHERE number >= ? AND last = 0 ORDER BY number DESC"
        with contextlib.closing(database.execute(wanted, (first,))) as rows:
            for name, seq in rows:
                if count <= 0:
                    break
                stream = self._holdings.name(name)
                held = self._holdings.streams[stream]
                if held.floor and held.floor <= seq:
                    found[stream] = seq
                    count -= 1
        return found

    # --- retention

    def expire(self, now: float) -> bool:
        """Drop what retention no longer keeps, but so many at a time only.

        First what is too old, then of those who have more than their share, then the oldest arrivals of all.
        """
        oldest = now - self.config.retention_age
        count, size = self.config.retention_count, self.config.retention_bytes
        if self._is_full():
            count, size = count - count // ROOM, size - size // ROOM
        totals, first = self._holdings.totals, self._holdings.totals.first
        portion = _Slice(totals.size - SLICE_BYTES)
        is_more = False
        if payers := self._holdings.shares.payers(self.config) if self._is_full() else []:
            is_more = self._expire_oldest(portion, lambda arrived: arrived < oldest) or self._expire_shares(
                portion, payers, count, size
            )
        is_more = is_more or self._expire_oldest(
            portion, lambda arrived: arrived < oldest or totals.count > count or totals.size > size
        )
        if totals.first > first and self._has_runs:
            self._pass_runs()
        return is_more or (self._is_full() and self._expire_spared())

    def _expire_oldest(self, portion: _Slice, is_due: Callable[[float], bool]) -> bool:
        """Drop the oldest arrivals as long as they are due; whether some are that this turn may not drop."""
        dropped: list[tuple[int]] = []
        is_more = False
        with self._reading() as database:
            columns = "number, stream, seq, arrived, length(line)"
            wanted = f"SELECT {columns} FROM entries WHERE number >= ? ORDER BY number"
            with contextlib.closing(database.execute(wanted, (self._holdings.totals.first,))) as rows:
                for number, name, seq, arrived, length in rows:
                    if not is_due(arrived):
                        break
                    is_more = portion.is_used_up(self._holdings.totals.size)
                    if is_more:
                        break
                    self._holdings.totals.first = number + 1
                    stream = self._holdings.name(name)
                    if self._pass(stream, number, seq, length):
                        dropped.append((number,))
        self._delete(dropped)
        return is_more

    def _expire_shares(self, portion: _Slice, payers: list[Part], count: int, size: int) -> bool:
        """Drop the eldest bundles of those who have more than their share; as `_expire_oldest`."""
        totals = self._holdings.totals
        dropped: list[tuple[int, Stream, int]] = []
        is_more = False
        with self._reading() as database:
            for payer in payers:
                with contextlib.closing(self._eldest(database, payer.streams)) as rows:
                    for number, stream, seq, length in rows:
                        if not payer.is_over(self.config, totals.count > count, totals.size > size):
                            break
                        is_more = portion.is_used_up(totals.size)
                        if is_more:
                            break
                        if self._pass(stream, number, seq, length):
                            dropped.append((number, stream, seq))
        if dropped:
            self._delete([(number,) for number, _, _ in dropped])
            with self._writing() as database:
                taken.add(
                    database, sorted(dropped), lambda stream: self._holdings.streams[stream].id, self._holdings.name
                )
            self._pass_runs()
        return is_more

    def _pass_runs(self) -> None:
        """What was taken before the first entry that is left is gone like all before it."""
        with self._writing() as database:
            self._holdings.totals.first = taken.pass_front(database, self._holdings.totals.first)
            self._has_runs = taken.is_any(database)

    def _eldest(
        self, database: sqlite3.Connection, streams: Iterable[Stream]
    ) -> Generator[tuple[int, Stream, int, int], None, None]:
        """The bundles of some streams, in the order of their arrival."""
        wanted = "SELECT number, seq, length(line) FROM entries WHERE stream = ? AND last = 0 ORDER BY seq"
        with contextlib.ExitStack() as open_ones:
            found = []
            for stream in streams:
                rows = database.execute(wanted, (self._holdings.streams[stream].id,))
                open_ones.enter_context(contextlib.closing(rows))
                found.append(_named(rows, stream))
            yield from heapq.merge(*found)

    def _pass(self, stream: Stream, number: int, seq: int, length: int | None) -> bool:
        """Whether an entry goes, since it is not the newest bundle of its stream. The stream then begins after it."""
        held = self._holdings.streams[stream]
        if held.floor and held.newest == number:
            return False
        held = self._holdings.touch(stream)
        if held.floor == seq:
            held.floor += 1
        if length is not None:
            self._holdings.lose(held, 1, length)
        return True

    def _delete(self, numbers: list[tuple[int]]) -> None:
        if numbers:
            with self._writing() as database:
                database.executemany("DELETE FROM entries WHERE number = ?", numbers)

    def _expire_spared(self) -> bool:
        """Drop what age has spared, too."""
        with self._writing() as database:
            wanted = "SELECT number, stream, length(line) FROM entries WHERE number < ? ORDER BY number LIMIT ?"
            rows = database.execute(wanted, (self._holdings.totals.first, SLICE)).fetchall()
            least = self._holdings.totals.size - SLICE_BYTES
            for number, name, size in rows:
                if not self._is_full() or self._holdings.totals.size <= least:
                    break
                stream = self._holdings.name(name)
                held = self._holdings.touch(stream)
                held.floor = 0
                self._holdings.lose(held, 1, size)
                database.execute("DELETE FROM entries WHERE number = ?", (number,))
        return bool(rows) and self._is_full()

    def _drop_spared(self, stream: Stream, held: Held) -> None:
        """Drop what age has spared of a stream, now that it goes on."""
        with self._writing() as database:
            self._drop(database, stream, "number = ?", (held.newest,))
        held.floor = 0

    def _drop(self, database: sqlite3.Connection, stream: Stream, which: str, values: tuple[int, ...]) -> None:
        """Drop entries of a stream, with their part in the totals."""
        count, size = database.execute(
            f"SELECT count(line), coalesce(sum(length(line)), 0) FROM entries WHERE {which}", values
        ).fetchone()
        database.execute(f"DELETE FROM entries WHERE {which}", values)
        self._holdings.lose(self._holdings.touch(stream), count, size)

    def _is_full(self) -> bool:
        return (
            self._holdings.totals.count > self.config.retention_count
            or self._holdings.totals.size > self.config.retention_bytes
        )

    # --- all else

    def move(self, stream: Stream, position: int) -> None:
        """Keep a position."""
        self._holdings.touch(stream).position = position

    def forget(self, stream: Stream) -> None:
        """Drop a stream with its position."""
        if stream not in self._holdings.streams:
            return
        held = self._holdings.touch(stream)
        with self._writing() as database:
            self._drop(database, stream, "stream = ?", (held.id,))
            taken.forget(database, held.id)
            database.execute("DELETE FROM streams WHERE id = ?", (held.id,))
        self._holdings.remove(stream)

    def keep_peer(self, peer: str, record: bytes, claim: bytes | None, since: float) -> None:
        """Keep what is known of a peer."""
        self._peers[peer] = (record, claim, since)

    def forget_peer(self, peer: str) -> None:
        """Drop what is known of a peer."""
        self._peers[peer] = None

    def keep(self, name: str, value: int | None) -> None:
        """Keep a number under a name."""
        self._values[name] = value


def _named(rows: Iterable[tuple[int, int, int]], stream: Stream) -> Iterator[tuple[int, Stream, int, int]]:
    """The same rows, with the stream of which they are."""
    for number, seq, length in rows:
        yield number, stream, seq, length
