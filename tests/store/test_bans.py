"""The file of bans, and the command that shows it."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.bans import main
from twisted_p2p.core.actions import Banned
from twisted_p2p.errors import DataDirError
from twisted_p2p.store.bans import BansFile
from twisted_p2p.store.datadir import DataDir

PEER = "ab" * 32
FAR = 4_000_000_000.0


class FileCase(SynchronousTestCase):
    """A data directory."""

    def setUp(self) -> None:
        """That no peer has open."""
        self.folder = Path(self.mktemp())
        DataDir.open(self.folder).close()
        self.file = BansFile(self.folder / "bans")


class FileTests(FileCase):
    """What is written is read."""

    def test_none(self) -> None:
        """Without a file nobody is banned."""
        self.assertEqual(self.file.read(), [])

    def test_add(self) -> None:
        """One more; a later ban of the same one takes its place, and who has served its time goes out."""
        self.file.add(Banned(PEER, 1000.5, "flooding"), 0.0, 1000)
        self.file.add(Banned("2001:db8::1", 2000.0, "bad-frame"), 0.0, 1000)
        self.assertEqual(
            self.file.read(), [Banned(PEER, 1001.0, "flooding"), Banned("2001:db8::1", 2000.0, "bad-frame")]
        )
        self.file.add(Banned(PEER, 3000.0, "bad-frame"), 2500.0, 1000)
        self.assertEqual(self.file.read(), [Banned(PEER, 3000.0, "bad-frame")])
        self.assertEqual(self.file.path.stat().st_mode & 0o777, 0o600)

    def test_bounded(self) -> None:
        """So many are kept: those that last longest, and the new one."""
        for number in (5.0, 3.0, 4.0, 1.0):
            self.file.add(Banned(f"192.0.2.{number:.0f}", number, "flooding"), 0.0, 3)
        self.assertEqual([ban.until for ban in self.file.read()], [4.0, 5.0, 1.0])

    def test_lift(self) -> None:
        """One is taken out, and the others stay."""
        self.file.write([Banned(PEER, FAR, "flooding"), Banned("192.0.2.1", FAR, "bad-frame")])
        self.assertTrue(self.file.lift(PEER))
        self.assertFalse(self.file.lift(PEER))
        self.assertEqual([ban.subject for ban in self.file.read()], ["192.0.2.1"])

    def test_by_hand(self) -> None:
        """What a user has written: empty lines and comments are skipped, what is no ban is told with its line."""
        self.file.path.write_text(f"# mine\n\n{PEER} 2096-10-02T07:06:40+00:00 manual\n")
        self.assertEqual(self.file.read(), [Banned(PEER, FAR, "manual")])
        last, foreign = f"{PEER} 9999-12-31T23:59:59-14:00 flooding", "é 2096-10-02T07:06:40+00:00 manual"
        wrong = ("x", "a b c", f"{PEER} tomorrow flooding", f"{PEER} 9999-99-99 flooding", "\xff \xff \xff")
        for line in (*wrong, last, foreign):
            self.file.path.write_text(f"# mine\n{line}\n", encoding="utf-8")
            error = self.assertRaises(DataDirError, self.file.read)
            self.assertIn("Line 2 of ", str(error))

    def test_unreadable(self) -> None:
        """A directory in its place is one clear line."""
        self.file.path.mkdir()
        self.assertRaises(DataDirError, self.file.read)
        self.assertRaises(DataDirError, self.file.add, Banned(PEER, FAR, "flooding"), 0.0, 1000)


class CommandTests(FileCase):
    """python -m twisted_p2p.bans."""

    def run_it(self, *arguments: str) -> tuple[int, str, str]:
        """Its exit code, and what it writes."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(self.folder), *arguments])
        return code, out.getvalue(), err.getvalue()

    def test_show(self) -> None:
        """Who is banned now, a line each."""
        self.file.write([Banned(PEER, FAR, "flooding"), Banned("192.0.2.1", 5.0, "bad-frame")])
        self.assertEqual(self.run_it(), (0, f"{PEER} 2096-10-02T07:06:40+00:00 flooding\n", ""))

    def test_lift(self) -> None:
        """Who was not banned is told, and makes the exit code 1."""
        self.file.write([Banned(PEER, FAR, "flooding")])
        self.assertEqual(self.run_it("--lift", PEER), (0, "", ""))
        self.assertEqual(self.run_it("--lift", PEER), (1, "", f"{PEER} is not banned.\n"))
        self.assertEqual(self.file.read(), [])

    def test_running(self) -> None:
        """If the peer runs the user is told how to have it look."""
        self.file.write([Banned(PEER, FAR, "flooding")])
        with contextlib.closing(DataDir.open(self.folder)):
            code, out, _ = self.run_it("--lift", PEER)
        self.assertEqual(
            (code, out), (0, f"The peer is running: it takes this in at once by: kill -HUP {os.getpid()}\n")
        )

    def test_errors(self) -> None:
        """A folder that is no data directory, and a damaged file: one line each."""
        self.file.path.write_text("x\n")
        code, _, err = self.run_it()
        self.assertEqual((code, err), (1, f"Line 1 of {self.file.path} is no ban: take it out, or mend it.\n"))
        self.folder = Path(self.mktemp())
        code, _, err = self.run_it()
        self.assertEqual((code, err), (1, f"{self.folder} is no data directory: give that of a peer.\n"))
