"""What a log has dropped while it keeps elder entries, in its file: `core.runs`, with streams by their ids."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from twisted_p2p.core.runs import NOBODY, Run
from twisted_p2p.interfaces import Stream

_NOBODY = 0
"""The id that no stream has."""


def add(
    database: sqlite3.Connection,
    taken: Iterable[tuple[int, Stream, int]],
    id_of: Callable[[Stream], int],
    name_of: Callable[[int], Stream],
) -> None:
    """These entries were dropped; of each its number, stream and seq, in the order of their numbers."""
    runs = list[Run]()
    for number, stream, seq in taken:
        run = Run(number, number, stream, seq)
        if runs and runs[-1].last == number - 1:
            run = runs.pop().joined(run)
        runs.append(run)
    for run in runs:
        wanted = "SELECT first, last, stream, seq FROM runs WHERE last >= ? ORDER BY last LIMIT 2"
        for first, last, name, seq in database.execute(wanted, (run.first - 1,)).fetchall():
            other = Run(first, last, name_of(name) if name != _NOBODY else NOBODY, seq)
            if last == run.first - 1:
                run = other.joined(run)
            elif first == run.last + 1:
                run = run.joined(other)
            else:
                break
            database.execute("DELETE FROM runs WHERE last = ?", (last,))
        name = id_of(run.stream) if run.stream != NOBODY else _NOBODY
        database.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", (run.last, run.first, name, run.seq))


def pass_front(database: sqlite3.Connection, first: int) -> int:
    """Forget those before the first entry there is, and one that begins with it; which one is the first, then."""
    database.execute("DELETE FROM runs WHERE last < ?", (first,))
    found = database.execute("SELECT first, last FROM runs ORDER BY last LIMIT 1").fetchone()
    if found is None or found[0] > first:
        return first
    database.execute("DELETE FROM runs WHERE last = ?", (found[1],))
    passed: int = found[1] + 1
    return passed


def is_any(database: sqlite3.Connection) -> bool:
    """Whether there are any."""
    return database.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is not None


def forget(database: sqlite3.Connection, stream: int) -> None:
    """The stream with this id has no name any more."""
    database.execute("UPDATE runs SET stream = ?, seq = first WHERE stream = ?", (_NOBODY, stream))
