"""The durable log: what it keeps through crashes, and what it says when its disk fails."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.store.disk import Disk
from tests.store.test_logs import MUCH, A, B, filled, seqs, told
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.streamlog import ROOM
from twisted_p2p.errors import LogError
from twisted_p2p.interfaces import Entry
from twisted_p2p.store.life import JUMP
from twisted_p2p.store.sqlitelog import SLICE, SLICE_BYTES, SqliteLog

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, resource, signal, sys
from tests.store.test_logs import A, B, filled, seqs
from twisted_p2p.core.config import LAN
from twisted_p2p.errors import LogError
from twisted_p2p.store.sqlitelog import SqliteLog
log = SqliteLog(sys.argv[1], LAN)
"""


class Case(SynchronousTestCase):
    """Logs in files."""

    def setUp(self) -> None:
        """A folder for them."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.path = self.folder / "messages.sqlite"

    def opened(self, config: Config = LAN, path: Path | None = None, **settings: Any) -> SqliteLog:
        """A log, open."""
        log = SqliteLog(path or self.path, config, **settings)
        log.load()
        self.addCleanup(log.close)
        return log

    def fails(self, call: Callable[..., object], *words: str) -> None:
        """The call raises a LogError of one line that names the file, and has these words."""
        error = self.assertRaises(LogError, call)
        for word in (str(self.folder), *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))

    def run_program(self, text: str) -> str:
        """Run a program of its own; what it prints."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PROGRAM + text, str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
        self.assertEqual(done.stderr, "")
        return done.stdout


class FileTests(Case):
    """The file, and who may read it."""

    def test_made_by_load(self) -> None:
        """Only opening a log makes its file, and for its owner alone, whatever the umask."""
        log = SqliteLog(self.path, LAN)
        self.assertEqual(os.listdir(self.folder), [])
        self.fails(lambda: log.entries(0, 1), "is not open")
        for umask in (0o000, 0o777):
            self.addCleanup(os.umask, os.umask(umask))
            log = filled(self.opened(path=self.folder / f"{umask}"), A, 1, 2)
            files = [path for path in self.folder.iterdir() if path.name.startswith(f"{umask}")]
            self.assertEqual([path.stat().st_mode & 0o777 for path in files], [0o600] * 3)

    def test_made_private(self) -> None:
        """A file that others could read is taken from them."""
        self.opened().close()
        self.path.chmod(0o644)
        self.opened()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_closed(self) -> None:
        """After it is closed there is one file, and it answers no more; closing it again does no harm."""
        log = filled(self.opened(), A, 1, 2)
        log.close()
        log.close()
        self.assertEqual(os.listdir(self.folder), ["messages.sqlite"])
        self.fails(lambda: log.entries(0, 1), "is not open")
        self.fails(lambda: filled(log, A, 3, 3), "is not open")

    def test_never_opened(self) -> None:
        """A log that was not opened can be closed."""
        SqliteLog(self.path, LAN).close()
        self.assertEqual(os.listdir(self.folder), [])

    def test_bad_setting(self) -> None:
        """Only what SQLite knows can be said of how it waits for the disk."""
        self.assertRaises(ValueError, SqliteLog, self.path, LAN, "SOMETIMES")


class CrashTests(Case):
    """What a process leaves that is killed."""

    def test_killed(self) -> None:
        """All that was committed is there after kill -9, and nothing of the turn that was not, written or not."""
        for last_words in ("", "; assert seqs(log, A, 1) == [1, 2, 3, 4]"):
            self.run_program(
                "log.load(); filled(log, A, len(seqs(log, A, 1)) + 1, 3); log.move(A, 4); log.commit();"
                f"log.append(A, 4, b'4', 0.0); log.move(A, 5); log.append(B, 1, b'1', 0.0) {last_words}\n"
                "os.kill(os.getpid(), signal.SIGKILL)"
            )
            log = SqliteLog(self.path, LAN)
            saved = log.load()
            self.assertEqual((saved.positions, saved.is_whole), ({A: 4}, True))
            self.assertEqual((seqs(log, A, 1), log.floor(B), len(log), log.last), ([1, 2, 3], 0, 3, 3))
            log.close()

    def test_numbers_after_dropping(self) -> None:
        """The numbers of entries that retention took are not used again in the next life."""
        config = attrs.evolve(LAN, retention_bytes=100)
        log = filled(filled(self.opened(config), A, 1, 3), A, 4, 4, size=101)
        self.assertEqual((len(log), log.last), (0, 4))
        log.close()
        log = self.opened(config)
        self.assertEqual((log.first, log.append(A, 5, b"5", 0.0)), (5, 5))

    def test_loaded_again(self) -> None:
        """Opening an open log anew undoes what was not committed, and is no new life."""
        log = self.opened(boot_id=lambda: None)
        filled(log, A, 1, 2)
        log.append(A, 3, b"3", 0.0)
        self.assertEqual(seqs(log, A, 1), [1, 2, 3])
        saved = log.load()
        self.assertEqual((saved.is_whole, seqs(log, A, 1), log.last), (True, [1, 2], 2))
        self.assertEqual(filled(log, A, 3, 3).last, 3)

    def test_not_loaded_again(self) -> None:
        """While it can't be opened anew it knows how far it was: who begins to read then is not to begin at 0."""
        log = filled(self.opened(Config(retention_count=2)), A, 1, 3)
        log.append(A, 4, b"4", 0.0)
        self.path.rename(self.folder / "elsewhere")
        self.path.mkdir()
        self.fails(log.load)
        self.assertEqual((log.last, log.first), (3, 2))
        self.fails(lambda: log.entries(0, MUCH), "is not open")
        self.path.rmdir()
        (self.folder / "elsewhere").rename(self.path)
        log.load()
        self.assertEqual((log.last, seqs(log, A, 2)), (3, [2, 3]))
        log.close()
        self.assertEqual((log.last, log.first), (0, 1))


class LossTests(Case):
    """Whether the end can be missing."""

    def survivor(self, boot: str | None, synchronous: str = "NORMAL", clean: bool = False) -> SqliteLog:
        """A log of three entries, as the next start of the machine finds its files; they were five once."""
        log = filled(self.opened(boot_id=lambda: boot, synchronous=synchronous), A, 1, 3)
        if clean:
            log.close()
        there = self.folder / "survivor"
        there.mkdir()
        for file in self.folder.glob("messages*"):
            shutil.copy(file, there)
        if not clean:
            filled(log, A, 4, 5)
        return SqliteLog(there / self.path.name, LAN, boot_id=lambda: "another start")

    def test_other_start(self) -> None:
        """After another start of the machine the end may be missing; what comes then has numbers that no entry had."""
        log = self.survivor("one start")
        self.assertFalse(log.load().is_whole)
        self.assertEqual((seqs(log, A, 1), log.last), ([1, 2, 3], 3 + JUMP))
        filled(log, A, 4, 5)
        cursor_of_a_reader = 5
        self.assertEqual(told(log, cursor_of_a_reader), [(4 + JUMP, 4), (5 + JUMP, 5)])
        self.assertEqual([seq for _, seq in told(log)], [1, 2, 3, 4, 5])
        log.close()

    def test_same_start(self) -> None:
        """Who was killed while the machine went on has lost nothing."""
        log = self.survivor("another start")
        self.assertTrue(log.load().is_whole)
        self.assertEqual(log.last, 3)
        log.close()

    def test_unknown_start(self) -> None:
        """Where the system does not tell of its starts, only who has closed the log has lost nothing."""
        log = self.survivor(None)
        log.boot_id = lambda: None
        self.assertFalse(log.load().is_whole)
        filled(log, A, 4, 4)
        log.close()
        self.assertTrue(log.load().is_whole)
        log.close()

    def test_closed(self) -> None:
        """A log that was closed before the machine went down is whole."""
        log = self.survivor("one start", clean=True)
        self.assertTrue(log.load().is_whole)
        self.assertEqual(log.last, 3)
        log.close()

    def test_full(self) -> None:
        """A log that waited for the disk at each commit is whole."""
        log = self.survivor("one start", "FULL")
        self.assertTrue(log.load().is_whole)
        log.close()

    def test_told_until_something_is_written(self) -> None:
        """A loss is told again to the next life, if this one ends before it has written anything."""
        log = self.survivor("one start")
        self.assertFalse(log.load().is_whole)
        self.assertFalse(log.load().is_whole)
        log.close()
        self.assertFalse(log.load().is_whole)
        self.assertEqual(log.last, 3 + JUMP)
        log.keep("epoch", 2)
        log.commit()
        self.assertTrue(log.load().is_whole)
        log.close()
        self.assertTrue(log.load().is_whole)
        log.close()

    def test_new(self) -> None:
        """A new log is whole."""
        self.assertTrue(SqliteLog(self.path, LAN).load().is_whole)


class RetentionTests(Case):
    """Dropping in slices."""

    def test_slices(self) -> None:
        """So many entries are dropped at a time; what is asked for meanwhile is what is left."""
        log = self.opened()
        for seq in range(1, 2 * SLICE + 11):
            log.append(A, seq, b"x", 0.0)
        log.commit()
        self.assertTrue(log.expire(1e9))
        self.assertEqual((log.floor(A), log.first, len(log)), (SLICE + 1, SLICE + 1, SLICE + 10))
        log.commit()
        self.assertTrue(log.expire(1e9))
        self.assertFalse(log.expire(1e9))
        self.assertEqual((log.floor(A), log.first, len(log)), (2 * SLICE + 10, 2 * SLICE + 11, 1))
        log.rollback()
        self.assertEqual((log.floor(A), log.first, len(log)), (SLICE + 1, SLICE + 1, SLICE + 10))

    def test_room(self) -> None:
        """A log that is full makes room for some bundles at once, not for each one that comes."""
        log = self.opened(attrs.evolve(LAN, retention_count=4 * ROOM))
        seq, held = 4 * ROOM, list[int]()
        filled(log, A, 1, seq)
        for _ in range(7):
            seq += 1
            filled(log, A, seq, seq)
            held.append(4 * ROOM - len(log))
        self.assertEqual(held, [4, 3, 2, 1, 0, 4, 3])

    def test_slices_of_big_bundles(self) -> None:
        """Of big bundles fewer are dropped at a time, by age and by size."""
        line = bytes(SLICE_BYTES // 8)
        log = self.opened(attrs.evolve(LAN, retention_bytes=20 * len(line)))
        for seq in range(1, 21):
            log.append(A, seq, line, 0.0)
        log.commit()
        self.assertTrue(log.expire(1e9))
        self.assertEqual((log.floor(A), len(log)), (9, 12))
        log.commit()
        log.config = attrs.evolve(LAN, retention_bytes=5 * len(line) // 2)
        self.assertTrue(log.expire(0.0))
        self.assertEqual((log.floor(A), len(log)), (17, 4))
        log.commit()
        self.assertFalse(log.expire(0.0))
        self.assertEqual((log.floor(A), len(log)), (19, 2))

    def test_just_a_slice(self) -> None:
        """There is no more to drop where the rest is not due."""
        log = self.opened(attrs.evolve(LAN, retention_age=10.0))
        for seq in range(1, SLICE + 11):
            log.append(A, seq, b"x", 0.0 if seq <= SLICE else 100.0)
        log.commit()
        self.assertFalse(log.expire(50.0))
        self.assertEqual(log.floor(A), SLICE + 1)

    def test_slices_of_a_share(self) -> None:
        """Of who has too much so many bundles are dropped at a time, too; the next life goes on with it."""
        log = filled(self.opened(), A, 1, 3)
        for seq in range(1, 2 * SLICE + 101):
            log.append(B, seq, b"x", 0.0)
        log.commit()
        log.config = config = attrs.evolve(LAN, retention_count=100)
        log.keep("epoch", 1)
        log.commit()
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (1, SLICE + 1, SLICE + 103))
        self.assertEqual(log.entries(3, MUCH)[0], Entry(SLICE + 3, B, 1, None, SLICE))
        log.close()
        log = self.opened(config)
        self.assertTrue(log.expire(0.0))
        self.assertEqual(log.floor(B), 2 * SLICE + 1)
        log.rollback()
        self.assertEqual((log.floor(B), len(log)), (SLICE + 1, SLICE + 103))
        self.assertTrue(log.expire(0.0))
        self.assertFalse(log.expire(0.0))
        log.commit()
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (1, 2 * SLICE + 4, 100))
        self.assertEqual(log.entries(3, MUCH)[0], Entry(2 * SLICE + 6, B, 1, None, 2 * SLICE + 3))

    def test_share_of_big_bundles(self) -> None:
        """Of big bundles fewer are dropped at a time."""
        line = bytes(SLICE_BYTES // 8)
        log = filled(self.opened(), A, 1, 3)
        for seq in range(1, 21):
            log.append(B, seq, line, 0.0)
        log.commit()
        log.config = attrs.evolve(LAN, retention_bytes=2 * len(line))
        self.assertTrue(log.expire(0.0))
        self.assertEqual((log.floor(A), log.floor(B)), (1, 9))

    def test_before_a_hole_pays(self) -> None:
        """What an origin has before a hole counts and pays, though nobody is served it."""
        log = filled(self.opened(attrs.evolve(LAN, retention_count=6)), A, 1, 2)
        filled(filled(log, B, 1, 3), B, 10, 11)
        self.assertEqual((log.floor(B), told(log)), (10, [(1, 1), (2, 2), (3, 1), (4, 2), (5, 3), (6, 10), (7, 11)]))
        self.assertEqual((log.entries(2, MUCH)[0], len(log)), (Entry(3, B, 1, None, 1), 6))

    def test_shares_after_a_kill(self) -> None:
        """Who has how much, and what was taken, is known after kill -9, as it was committed."""
        self.run_program(
            "import attrs; log.config = attrs.evolve(LAN, retention_count=8); log.load()\n"
            "filled(filled(log, A, 1, 3), B, 1, 9); log.append(B, 10, b'10', 0.0)\n"
            "log.expire(0.0); log.entries(0, 1 << 20); os.kill(os.getpid(), signal.SIGKILL)"
        )
        log = self.opened(attrs.evolve(LAN, retention_count=8))
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (1, 5, 8))
        self.assertEqual(log.entries(3, MUCH)[0], Entry(7, B, 1, None, 4))
        filled(log, B, 10, 10)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (1, 6, 8))

    def test_taken_of_a_forgotten_stream(self) -> None:
        """What was taken of a stream that is forgotten is told without its name."""
        log = filled(self.opened(attrs.evolve(LAN, retention_count=4)), A, 1, 1)
        filled(filled(log, B, 1, 6), A, 2, 2)
        self.assertEqual(log.entries(1, MUCH)[0], Entry(5, B, 1, None, 4))
        log.forget(B)
        log.commit()
        self.assertEqual([*log.entries(1, MUCH)], [Entry(5, ("", 0), 2, None, 5), Entry(8, A, 2, b".........2")])

    def test_spared_in_the_next_life(self) -> None:
        """What age has spared is served in the next life, and makes place there, too."""
        config = attrs.evolve(LAN, retention_count=2)
        log = filled(filled(self.opened(config), A, 1, 1), B, 1, 1)
        log.expire(1e9)
        log.commit()
        log.close()
        log = self.opened(config)
        self.assertEqual((seqs(log, A, 1), seqs(log, B, 1), told(log)), ([1], [1], []))
        filled(log, B, 2, 3, 1e9)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (1, 3, 2))

    def test_before_a_hole(self) -> None:
        """What was held before a hole is there for readers of entries until retention takes it."""
        log = filled(filled(self.opened(attrs.evolve(LAN, retention_count=4)), A, 1, 3), A, 10, 11)
        self.assertEqual(log.entries(0, MUCH)[0].line, b".........2")
        self.assertEqual((log.floor(A), told(log)), (10, [(2, 2), (3, 3), (4, 10), (5, 11)]))

    def test_going_back(self) -> None:
        """What is appended below what is held takes its place."""
        log = filled(self.opened(), A, 1, 5)
        filled(log, A, 3, 3)
        self.assertEqual((seqs(log, A, 1), told(log)), ([1, 2, 3], [(1, 1), (2, 2), (6, 3)]))
        log.skip(B, 5, 9, 0.0)
        filled(log, B, 5, 5)
        self.assertEqual(seqs(log, B, 5), [5])


class FailureTests(Case):
    """What it says when the disk fails, and that it goes on afterwards."""

    def damaged(self, file: Path, first: int) -> None:
        """Write nonsense over a file, from there on."""
        with open(file, "r+b") as out:
            out.seek(first)
            out.write(b"\x5a" * (file.stat().st_size - first))

    def assert_as_before(self, log: SqliteLog) -> None:
        """It holds A 1 to 3, and goes on."""
        self.assertEqual((seqs(log, A, 1), log.floor(B), len(log), log.size, log.last), ([1, 2, 3], 0, 3, 30, 3))
        log.commit()
        self.assertEqual(filled(log, A, 4, 4).last, 4)
        log.close()
        self.assertEqual(seqs(self.opened(path=log.path), A, 1), [1, 2, 3, 4])

    def test_disk_full(self) -> None:
        """On a full disk the turn is undone, and said again when there is room."""
        disk = Disk(self.folder / "disk", 1024)
        self.addCleanup(disk.remove)
        log = filled(self.opened(path=disk.path / "log"), A, 1, 3)
        disk.fill()
        for _ in range(2):
            log.append(A, 4, bytes(20_000), 0.0)
            log.append(B, 1, b"1", 0.0)
            self.fails(log.commit, "disk is full")
        disk.make_room()
        self.assert_as_before(log)

    def test_full_while_reading(self) -> None:
        """If a turn can't be written when it is read back, it can't be committed either, whatever is said after."""
        log = filled(self.opened(), A, 1, 3)
        assert log._database is not None
        pages = log._database.execute("PRAGMA page_count").fetchone()[0]
        log._database.execute(f"PRAGMA max_page_count = {pages}")
        log.append(A, 4, bytes(20_000), 0.0)
        self.fails(lambda: log.read(A, 4, 1), "disk is full")
        log.append(B, 1, b"1", 0.0)
        self.fails(lambda: log.entries(0, 1), "disk is full")
        self.fails(log.commit, "disk is full")
        log._database.execute(f"PRAGMA max_page_count = {2**30}")
        self.assert_as_before(log)

    def test_failed_and_rolled_back(self) -> None:
        """After a failed reading a roll-back ends the turn, too."""
        log = filled(self.opened(), A, 1, 3)
        assert log._database is not None
        log._database.execute("PRAGMA query_only = ON")
        log.append(B, 1, b"1", 0.0)
        self.fails(lambda: log.read(B, 1, 1), "read-only")
        log.rollback()
        log._database.execute("PRAGMA query_only = OFF")
        self.assert_as_before(log)

    def test_write_error(self) -> None:
        """Where the system lets a process write no more, the turn is undone, and what was committed stays."""
        said = self.run_program(
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); log.load(); filled(log, A, 1, 3)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
            "log.append(A, 4, bytes(100_000), 0.0)\n"
            "try: log.commit()\n"
            "except LogError as error: print(error)\n"
            "print(seqs(log, A, 1), log.last)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)\n"
            "filled(log, A, 4, 4); print(seqs(log, A, 1), log.last)"
        )
        self.assertEqual(
            said.splitlines(),
            [
                f"The log {self.path} can't be read or written: see to the disk that it is on.",
                "[1, 2, 3] 3",
                "[1, 2, 3, 4] 4",
            ],
        )
        self.assertEqual(seqs(self.opened(), A, 1), [1, 2, 3, 4])

    def test_read_only(self) -> None:
        """On a read-only disk it says so, with a log there or without."""
        disk = Disk(self.folder / "disk", 1024)
        self.addCleanup(disk.remove)
        filled(self.opened(path=disk.path / "log"), A, 1, 3).close()
        disk.make_read_only()
        for name in ("log", "new"):
            self.fails(SqliteLog(disk.path / name, LAN).load, "is read-only")

    def test_locked(self) -> None:
        """If another program holds the log, the turn is undone after a second, and said again when it is free."""
        log = filled(self.opened(), A, 1, 3)
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN EXCLUSIVE")
        log.append(B, 1, b"1", 0.0)
        self.fails(log.commit, "Another program holds")
        other.execute("ROLLBACK")
        self.assert_as_before(log)

    def test_locked_at_the_start(self) -> None:
        """If another program holds the log, it does not open, until that program lets go."""
        filled(self.opened(), A, 1, 3).close()
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN EXCLUSIVE")
        log = SqliteLog(self.path, LAN)
        self.fails(log.load, "Another program holds")
        other.execute("ROLLBACK")
        log.load()
        self.assert_as_before(log)

    def test_no_folder(self) -> None:
        """Without its folder it says so."""
        self.fails(SqliteLog(self.folder / "no" / "log", LAN).load, "can't be opened")

    def test_a_folder(self) -> None:
        """A folder is no log."""
        self.fails(SqliteLog(self.folder, LAN).load, "can't be opened")

    def test_no_database(self) -> None:
        """A file that is something else is told from a log, and left alone."""
        self.path.write_text("This is a diary. " * 1000)
        self.fails(SqliteLog(self.path, LAN).load, "is damaged or no log")
        self.assertTrue(self.path.read_text().startswith("This is a diary."))

    def test_damaged(self) -> None:
        """A damaged file is an error, each time."""
        filled(self.opened(), A, 1, 500, size=100).close()
        self.damaged(self.path, 4096)
        for _ in range(2):
            self.fails(SqliteLog(self.path, LAN).load, "is damaged", "move it")

    def test_damaged_values(self) -> None:
        """So is a value of another type, which SQLite does not mind, and text that is none."""
        changes = (
            "UPDATE streams SET floor = 'x'",
            "UPDATE streams SET origin = CAST(x'ff' AS TEXT)",
            "UPDATE state SET last = 'x'",
            "UPDATE state SET boot = CAST(x'ff' AS TEXT)",
            "INSERT INTO kept VALUES ('x', 'y')",
            "INSERT INTO peers VALUES ('x', 7, NULL, 0)",
        )
        for number, change in enumerate(changes):
            path = self.folder / f"{number}"
            filled(self.opened(path=path), A, 1, 5).close()
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.execute(change)
                database.commit()
            for _ in range(2):
                self.fails(SqliteLog(path, LAN).load, "is damaged", "move it")

    def test_damaged_entry(self) -> None:
        """A value of another type that is met later is damage, too."""
        log = filled(self.opened(), A, 1, 5)
        log.close()
        with contextlib.closing(sqlite3.connect(self.path)) as database:
            database.execute("UPDATE entries SET line = 7 WHERE seq = 3")
            database.commit()
        log = self.opened()
        self.fails(lambda: log.read(A, 1, MUCH), "is damaged")
        self.fails(lambda: log.entries(0, MUCH), "is damaged")

    def test_damaged_beneath(self) -> None:
        """Damage that is met later is an error when it is met, each time; what is not concerned goes on."""
        filled(self.opened(), A, 1, 500, size=100).close()
        with open(self.path, "r+b") as out:
            out.seek(out.read().index(b".250") // 4096 * 4096)
            out.write(b"\x5a" * 4096)
        log = self.opened()
        for _ in range(2):
            self.fails(lambda: log.read(A, 1, MUCH), "is damaged")
        self.assertEqual(seqs(log, A, 1, 1), [1])

    def test_nameless(self) -> None:
        """An entry of a stream that is not there is damage."""
        filled(self.opened(), A, 1, 3).close()
        with sqlite3.connect(self.path) as database:
            database.execute("DELETE FROM streams")
        database.close()
        log = self.opened()
        for call in (lambda: log.entries(0, MUCH), lambda: log.expire(1e9), lambda: log.history(0.0, None, 5)):
            self.fails(call, "is damaged")

    def test_no_state(self) -> None:
        """A log whose own notes are gone is damaged."""
        self.opened().close()
        with sqlite3.connect(self.path) as database:
            database.execute("DELETE FROM state")
        database.close()
        self.fails(SqliteLog(self.path, LAN).load, "is damaged")
