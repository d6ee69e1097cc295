"""The file of a durable log: how it is opened, what is in it, and what a failure of it means."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from twisted_p2p.errors import LogError

BUSY_TIMEOUT = 1.0
"""For another program to let go of the file, in seconds. It holds up the reactor."""
CACHE_KIB = 16_384
PAGE_BYTES = 8_192
"""Of a new file. Bundles of 24 KB take a sixth less CPU than with SQLite's 4,096, small ones alone a tenth more."""
CHECKPOINT_BYTES = 8_192_000
"""In the write-ahead log before they are moved into the file. The commit that does so waits for the disk."""
JOURNAL_BYTES = 16_777_216
"""What the write-ahead log is cut back to after it had to grow."""

_FIRST = """
CREATE TABLE entries (
    number INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL, last INTEGER NOT NULL,
    arrived REAL NOT NULL, replayed INTEGER NOT NULL, line BLOB
);
CREATE UNIQUE INDEX by_seq ON entries (stream, seq);
CREATE TABLE streams (
    id INTEGER PRIMARY KEY, origin TEXT NOT NULL, epoch INTEGER NOT NULL, position INTEGER,
    floor INTEGER NOT NULL, next INTEGER NOT NULL, newest INTEGER NOT NULL
);
CREATE TABLE peers (peer TEXT PRIMARY KEY, record BLOB NOT NULL, claim BLOB, since REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE kept (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE state (
    last INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, size INTEGER NOT NULL,
    boot TEXT, synchronous TEXT NOT NULL, clean INTEGER NOT NULL
);
INSERT INTO state VALUES (0, 1, 0, 0, NULL, 'FULL', 1);
"""
_LOSS_IS_TOLD = "ALTER TABLE state ADD COLUMN whole INTEGER NOT NULL DEFAULT 1;"
_SHARES = """
ALTER TABLE streams ADD COLUMN count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
UPDATE streams SET (count, size) =
    (SELECT count(line), coalesce(sum(length(line)), 0) FROM entries WHERE stream = streams.id);
CREATE TABLE runs (
    last INTEGER PRIMARY KEY, first INTEGER NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL
);
"""

STEPS = (_FIRST, _LOSS_IS_TOLD, _SHARES)
"""Step n makes version n + 1 of version n; a new file takes them all."""

_ADVICE = (
    ("disk is full", "The disk is full: make room for the log {path}."),
    ("readonly database", "The log {path} is read-only: let this program write it, and the folder that it is in."),
    ("is locked", "Another program holds the log {path}: end that program."),
    ("malformed", "The log {path} is damaged: move it and its -wal file away, and a new one is begun."),
    ("decode to UTF-8", "The log {path} is damaged: move it and its -wal file away, and a new one is begun."),
    ("not a database", "The log {path} is damaged or no log: move it away, and a new one is begun."),
    ("disk I/O error", "The log {path} can't be read or written: see to the disk that it is on."),
    (
        "unable to open",
        "The log {path} can't be opened: see that its folder is there, and that this program may use it.",
    ),
)
_WORDS = {
    errno.ENOSPC: "disk is full",
    errno.EDQUOT: "disk is full",
    errno.EROFS: "readonly database",
    errno.EACCES: "unable to open",
    errno.EPERM: "unable to open",
    errno.ENOENT: "unable to open",
    errno.ENOTDIR: "unable to open",
    errno.EIO: "disk I/O error",
}
"""SQLite's words for what the operating system says by number."""


@contextlib.contextmanager
def ours(path: Path) -> Iterator[None]:
    """Make a LogError of what the database or the operating system complains of."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        text = f"The log {{path}} fails ({error}): see to the disk that it is on."
        said = _WORDS.get(error.errno or 0, "") if isinstance(error, OSError) else str(error)
        for words, advice in _ADVICE:
            if words in said:
                text = advice
                break
        raise LogError(text.replace("{path}", str(path))) from error
    except (TypeError, ValueError, IndexError, OverflowError, msgspec.MsgspecError) as error:
        # SQLite holds columns to no type: what is damaged may come out as a value of another one.
        raise LogError(f"The log {path} is damaged: move it and its -wal file away, and a new one is begun.") from error


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, or make it, and bring it to the present version. What it returns commits nothing by itself."""
    _make_private(path)
    database = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        migrate(database, path)
        if database.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise LogError(f"The log {path} is on a disk that can't be used: give a data directory on a local one.")
        # Whatever the log runs with, opening and closing it are lasting: they say whether anything can be missing.
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        page = database.execute("PRAGMA page_size").fetchone()[0]
        database.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // page}")
        database.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    except BaseException:
        database.close()
        raise
    return database


def migrate(database: sqlite3.Connection, path: Path, steps: tuple[str, ...] = STEPS) -> None:
    """Take the steps that the file has not taken yet, each as a whole."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > len(steps):
        raise LogError(
            f"The log {path} was written by a newer version of this program (format {version}, we know {len(steps)}):"
            " use that version, or another data directory."
        )
    for number in range(version, len(steps)):
        database.executescript(f"BEGIN IMMEDIATE; {steps[number]} PRAGMA user_version = {number + 1}; COMMIT;")


def _make_private(path: Path) -> None:
    """See that nobody else can read the file; those beside it get the same mode."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        # SQLite would only say that it can't be opened.
        if not os.access(path, os.W_OK):
            raise OSError(errno.EROFS, "may not be written") from None
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    else:
        # The umask may have taken away even what the owner needs.
        os.fchmod(file, 0o600)
        os.close(file)


def state(database: sqlite3.Connection, columns: str) -> tuple[Any, ...]:
    """What the log has noted of itself."""
    found: tuple[Any, ...] | None = database.execute(f"SELECT {columns} FROM state").fetchone()
    if found is None:
        raise sqlite3.DatabaseError("malformed: the table of its state is empty")
    return found
