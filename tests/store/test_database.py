"""The file of the durable log: its versions."""

import contextlib
import sqlite3
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.store.test_logs import MUCH, A, B
from twisted_p2p.core.config import LAN
from twisted_p2p.errors import LogError
from twisted_p2p.interfaces import Entry
from twisted_p2p.store.database import CHECKPOINT_BYTES, PAGE_BYTES, STEPS, connect, migrate
from twisted_p2p.store.life import kernel_boot_id
from twisted_p2p.store.sqlitelog import SqliteLog


class VersionTests(SynchronousTestCase):
    """Files of other versions of this program."""

    def setUp(self) -> None:
        """A file in its first version, with something in it."""
        self.path = Path(self.mktemp()).absolute()
        self.database = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(self.database.close)
        self.database.executescript(STEPS[0])
        self.database.executescript(
            f"""
            PRAGMA user_version = 1;
            INSERT INTO streams VALUES (1, '{A[0]}', {A[1]}, 8, 7, 8, 5);
            INSERT INTO entries VALUES (5, 1, 7, 0, 1.5, 1, x'6c696e65');
            INSERT INTO kept VALUES ('epoch', 3);
            UPDATE state SET last = 5, first = 5, count = 1, size = 4;
            """
        )

    def version(self) -> int:
        """What the file says."""
        found: int = self.database.execute("PRAGMA user_version").fetchone()[0]
        return found

    def test_older(self) -> None:
        """A log of an older version is brought to the present one, with all that is in it."""
        log = SqliteLog(self.path, LAN)
        saved = log.load()
        self.addCleanup(log.close)
        self.assertEqual((saved.positions, saved.values, saved.is_whole), ({A: 8}, {"epoch": 3}, True))
        self.assertEqual(list(log.entries(0, MUCH)), [Entry(5, A, 7, b"line", 0, True)])
        self.assertEqual((log.append(A, 8, b"8", 2.0), list(log.read(A, 7, MUCH))), (6, [b"line", b"8"]))
        log.commit()
        self.assertEqual(self.version(), len(STEPS))

    def test_without_shares(self) -> None:
        """A log of the version before there were shares knows how much each origin has, with what is before a hole."""
        self.database.executescript(
            f"""
            BEGIN; {STEPS[1]} PRAGMA user_version = 2; COMMIT;
            INSERT INTO streams VALUES (2, '{B[0]}', {B[1]}, 9, 8, 9, 9), (3, '{B[0]}', 5, 1, 0, 0, 0);
            INSERT INTO entries VALUES (6, 2, 1, 0, 1.5, 0, x'6262'), (7, 2, 2, 5, 1.5, 0, NULL),
                (8, 2, 6, 0, 1.5, 0, x'62'), (9, 2, 8, 0, 1.5, 0, x'626262');
            UPDATE state SET last = 9, count = 4, size = 10;
            """
        )
        log = SqliteLog(self.path, attrs.evolve(LAN, retention_count=4))
        log.load()
        self.addCleanup(log.close)
        found = {stream: (held.count, held.size) for stream, held in log._holdings.streams.items()}
        self.assertEqual(found, {A: (1, 4), B: (3, 6), (B[0], 5): (0, 0)})
        log.append(A, 8, b"8", 2.0)
        log.commit()
        self.assertEqual([entry.number for entry in log.entries(0, MUCH)], [5, 6, 7, 8, 9, 10])
        self.assertEqual(log.entries(0, MUCH)[1], Entry(6, B, 1, None, 1))
        self.assertEqual(self.version(), len(STEPS))

    def test_newer(self) -> None:
        """A log of a newer version is left alone, and the user is told."""
        self.database.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
        before = self.path.read_bytes()
        error = self.assertRaises(LogError, SqliteLog(self.path, LAN).load)
        self.assertIn(f"{self.path} was written by a newer version", str(error))
        self.assertIn(f"(format {len(STEPS) + 1}, we know {len(STEPS)})", str(error))
        self.assertEqual(self.path.read_bytes(), before)

    def test_failed_step(self) -> None:
        """A step that fails is as if it had not been begun; those before it are done."""
        steps = (*STEPS, "CREATE TABLE more (x); INSERT INTO missing VALUES (1);")
        self.assertRaises(sqlite3.Error, migrate, self.database, self.path, steps)
        self.database.execute("ROLLBACK")
        self.assertEqual(self.version(), len(STEPS))
        found = self.database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone()
        self.assertEqual(found[0], 0)

    def test_boot_id(self) -> None:
        """A start of the machine has one name, where the system gives it any."""
        self.assertEqual(kernel_boot_id(), kernel_boot_id())


class PageTests(SynchronousTestCase):
    """Pages, and how many of them wait to be moved into the file."""

    def check(self, path: Path, page: int) -> None:
        """The file has such pages, and as many bytes wait as ever."""
        with contextlib.closing(connect(path)) as database:
            found = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "wal_autocheckpoint")]
        self.assertEqual(found, [page, CHECKPOINT_BYTES // page])

    def test_new(self) -> None:
        """A new file has ours, also when it is opened again."""
        path = Path(self.mktemp())
        self.check(path, PAGE_BYTES)
        self.check(path, PAGE_BYTES)

    def test_older(self) -> None:
        """One that was made with others keeps them."""
        path = Path(self.mktemp())
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA page_size = 4096")
            database.execute("PRAGMA journal_mode = WAL")
            migrate(database, path)
        self.check(path, 4096)
