"""The file of a durable log, after something was changed in it: a peer goes on with it, or says that it is damaged."""

from __future__ import annotations

import functools
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from tests.core.puppet import BEGINNING, FIRST, NETWORK, OWN, Puppet, message
from tests.fuzz.choices import Choices
from tests.fuzz.files import scratch
from tests.fuzz.shell import SMALL
from twisted_p2p.core.config import Config
from twisted_p2p.core.peer import PeerCore
from twisted_p2p.core.wire import Record
from twisted_p2p.errors import LogError
from twisted_p2p.interfaces import Stream
from twisted_p2p.sim.signing import CheapSigner, CheapVerifier
from twisted_p2p.store.sqlitelog import SqliteLog

COLUMNS = {
    "entries": ("number", "stream", "seq", "last", "arrived", "replayed", "line"),
    "streams": ("id", "origin", "epoch", "position", "floor", "next", "newest"),
    "peers": ("peer", "record", "claim", "since"),
    "kept": ("name", "value"),
    "state": ("last", "first", "count", "size", "boot", "synchronous", "clean", "whole"),
}
VALUES = (None, 0, 1, -1, 2**63 - 1, 0.5, "", "x", "rests x y", b"", b"{}", b"\xff", "80" * 32, "network other")
"""What may stand in any column: SQLite does not hold them to their types."""


def _core(log: SqliteLog, config: Config = SMALL) -> PeerCore:
    signer = CheapSigner(OWN)
    return PeerCore(
        config=config, network=NETWORK, signer=signer, verifier=CheapVerifier(), log=log, rng=random.Random(0)
    )


@functools.cache
def whole_log() -> bytes:
    """The file of a peer that has said and heard something."""
    with scratch() as folder:
        log, alice = SqliteLog(folder / "log", SMALL), Puppet(0x10)
        core = _core(log)
        core.start(("10.0.0.1", 5050), BEGINNING)
        core.join([], BEGINNING, genesis=True)
        records: Sequence[Record] = [Puppet(number).record() for number in (0x10, 0x20, 0x30)]
        core.membership.merge(records, [alice.claim(records[1].peer)])
        for seq in range(1, 6):
            core.broadcast([message(f"{seq}")], BEGINNING + seq)
            log.append(alice.stream, seq, alice.bundle(seq), BEGINNING + seq)
            core.positions.move(alice.stream, seq + 1)
            core.wake(BEGINNING + seq)
            log.commit()
        log.close()
        return (folder / "log").read_bytes()


def fuzz_log_file(data: bytes) -> None:
    """Bytes, or values of some columns, are others; then a peer starts on it, says something, and is asked."""
    choices = Choices(data)
    with scratch() as folder:
        path = folder / "log"
        path.write_bytes(whole_log())
        if choices.chance(2):
            _change_bytes(path, choices)
        else:
            _change_values(path, choices)
        log = SqliteLog(path, SMALL)
        try:
            _use(log)
        except LogError as error:
            assert str(error).isprintable(), str(error)
        finally:
            log.close()


def _use(log: SqliteLog) -> None:
    core = _core(log)
    core.start(("10.0.0.1", 5050), BEGINNING + 10)
    log.commit()
    core.broadcast([message("more")], BEGINNING + 11)
    log.commit()
    streams: list[Stream] = [Puppet(0x10).stream, core.spread.own, (OWN, FIRST)]
    for stream in streams:
        log.read(stream, 1, 1 << 20)
    log.entries(0, 1 << 20)
    log.history(BEGINNING + 12, 5.0, None)
    for second in range(60):
        core.wake(BEGINNING + 12 + second)
        log.commit()


def _change_bytes(path: Path, choices: Choices) -> None:
    content = bytearray(path.read_bytes())
    while choices.left:
        at, new = choices.below(len(content)), choices.take(choices.byte() % 8 + 1)
        content[at : at + len(new)] = new
    path.write_bytes(content)


def _change_values(path: Path, choices: Choices) -> None:
    database = sqlite3.connect(path)
    while choices.left:
        table = choices.pick([*COLUMNS])
        column, value = choices.pick(COLUMNS[table]), choices.pick(VALUES)
        try:
            row = database.execute(f"SELECT {column} FROM {table} LIMIT 1 OFFSET {choices.below(8)}").fetchone()
            if row is not None:
                database.execute(f"UPDATE {table} SET {column} = ? WHERE {column} IS ?", (value, row[0]))
        except sqlite3.IntegrityError:
            continue
    database.commit()
    database.close()
