"""Whether the end of a log can be missing: what a log notes when its holder opens and closes it.

Without FULL a commit reaches the operating system, not yet the disk: it outlives the process, but not the machine. So
the end can be missing only if the machine has started anew meanwhile, and nobody had closed the log before. What is
noted here waits for the disk: if it were lost, nobody would know that the end may be.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twisted_p2p.store.database import state

JUMP = 1_000_000
"""Numbers left out where the end of the log may be lost: none of a lost entry is given to another one."""


def begin(database: sqlite3.Connection, boot: str | None, synchronous: str) -> bool:
    """Note that a life begins; whether all is there of those before it."""
    before, was, clean, whole = state(database, "boot, synchronous, clean, whole")
    survived = clean or was == "FULL" or (boot is not None and boot == before)
    # A life that has written nothing has not yet dealt with it that something may be missing.
    is_whole = bool(whole and survived)
    database.execute(
        "UPDATE state SET boot = ?, synchronous = ?, clean = 0, whole = ?, last = last + ?",
        (boot, synchronous, is_whole, 0 if survived else JUMP),
    )
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return is_whole


def end(database: sqlite3.Connection) -> None:
    """Note that a life ends as it should."""
    database.execute("PRAGMA synchronous = FULL")
    database.execute("UPDATE state SET clean = 1")


def kernel_boot_id() -> str | None:
    """What differs after each start of this machine; None where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        return None
