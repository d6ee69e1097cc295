"""Finding entries in the file of a log without going through all of it."""

from __future__ import annotations

import sqlite3


def first_since(database: sqlite3.Connection, oldest: float, first: int, last: int) -> int:
    """The number, among `first` to `last`, of the first entry that arrived then or later; or one after them all."""
    low, high = first, last + 1
    while low < high:
        middle = (low + high) // 2
        wanted = "SELECT number, arrived FROM entries WHERE number >= ? ORDER BY number LIMIT 1"
        found = database.execute(wanted, (middle,)).fetchone()
        if found is None or found[1] >= oldest:
            high = middle
        else:
            low = found[0] + 1
    return low


def lowest_seq(database: sqlite3.Connection, stream: int, seqs: range, first: int) -> int:
    """The lowest of the seqs, all held, whose number is not below `first`; the last one if there is no other."""
    low, high = seqs[0], seqs[-1]
    while low < high:
        middle = (low + high) // 2
        if number_of(database, stream, middle) >= first:
            high = middle
        else:
            low = middle + 1
    return low


def number_of(database: sqlite3.Connection, stream: int, seq: int) -> int:
    """The number of a bundle that is held."""
    wanted = "SELECT number FROM entries WHERE stream = ? AND seq = ?"
    found: tuple[int] | None = database.execute(wanted, (stream, seq)).fetchone()
    if found is None:
        raise sqlite3.DatabaseError("malformed: an entry is missing")
    return found[0]
