"""The data directory: one peer at a time, its key, its version."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.store.disk import Disk
from tests.store.test_logs import A, filled, seqs
from twisted_p2p.core.config import LAN
from twisted_p2p.errors import DataDirError
from twisted_p2p.identity import Ed25519Verifier
from twisted_p2p.store.datadir import DataDir, default_data_dir

ROOT = Path(__file__).resolve().parents[2]
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)


class Case(SynchronousTestCase):
    """Data directories."""

    def setUp(self) -> None:
        """Where they are."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.path = self.folder / "deep" / "data"

    def opened(self, path: Path | None = None) -> DataDir:
        """One that is open."""
        found = DataDir.open(path or self.path)
        self.addCleanup(found.close)
        return found

    def fails(self, *words: str, path: Path | None = None, call: Callable[[], object] | None = None) -> None:
        """It does not open, and a DataDirError of one line says why."""
        error = self.assertRaises(DataDirError, call or (lambda: DataDir.open(path or self.path)))
        for word in (str(self.folder), *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))


class OpenTests(Case):
    """What is in it, and what is kept."""

    def test_new(self) -> None:
        """A new directory is for its owner alone, as is the key, whatever the umask."""
        for umask in (0o000, 0o277):
            self.addCleanup(os.umask, os.umask(umask))
            path = self.folder / f"{umask}"
            self.opened(path)
            self.assertEqual(path.stat().st_mode & 0o777, 0o700)
            self.assertEqual(sorted(os.listdir(path)), ["key", "lock", "version"])
            self.assertEqual((path / "key").stat().st_mode & 0o777, 0o600)

    def test_same_peer(self) -> None:
        """Who opens it again is the same peer, and has the same log."""
        first = self.opened()
        log = first.log(LAN)
        log.load()
        filled(log, A, 1, 3).close()
        first.close()
        second = self.opened()
        self.assertEqual(second.signer.peer, first.signer.peer)
        self.assertTrue(Ed25519Verifier().verify(first.signer.peer, b"x", second.signer.sign(b"x")))
        log = second.log(LAN, "FULL")
        log.load()
        self.addCleanup(log.close)
        self.assertEqual((seqs(log, A, 1), log.path), ([1, 2, 3], self.path / "messages.sqlite"))
        self.assertNotEqual(self.opened(self.folder / "other").signer.peer, first.signer.peer)

    def test_begun(self) -> None:
        """A directory whose making was interrupted is made to its end."""
        self.path.mkdir(parents=True)
        for name in ("lock", "version.new", "key.new"):
            (self.path / name).write_text("rubbish")
        self.opened()
        self.assertEqual(sorted(os.listdir(self.path)), ["key", "lock", "version"])

    def test_home(self) -> None:
        """A tilde is the user's home."""
        self.addCleanup(os.environ.__setitem__, "HOME", os.environ["HOME"])
        os.environ["HOME"] = str(self.folder)
        self.assertEqual(self.opened(Path("~/data")).path, self.folder / "data")


class RefusedTests(Case):
    """What is wrong, where, and what to do."""

    def test_key_for_others(self) -> None:
        """A key that others can read is not used, and the user is told how to mend that."""
        self.opened().close()
        for mode in (0o640, 0o604):
            (self.path / "key").chmod(mode)
            self.fails("Others can read the key", f"chmod 600 '{self.path / 'key'}'")
        (self.path / "key").chmod(0o400)
        self.opened()

    def test_damaged_key(self) -> None:
        """A damaged key is no key, and is not replaced."""
        self.opened().close()
        for text in (b"", b"\n", b"00" * 31, b"00" * 33, b"x" * 64, b"\xff" * 64):
            (self.path / "key").write_bytes(text)
            self.fails(f"The key {self.path / 'key'} is damaged", "put back a copy")
            self.assertEqual((self.path / "key").read_bytes(), text)

    def test_file_in_its_place(self) -> None:
        """A file is no directory, nor is there one in a file."""
        self.path.parent.mkdir()
        self.path.write_text("")
        self.fails("a file is in its place")
        self.fails("a file is in its place", path=self.path / "deeper")

    def test_other_things(self) -> None:
        """A directory of something else is left alone."""
        self.path.mkdir(parents=True)
        (self.path / "letter.txt").write_text("Dear")
        self.fails("is no data directory", "letter.txt")

    def test_read_only_disk(self) -> None:
        """On a read-only disk it says so."""
        disk = Disk(self.folder / "disk", 256)
        self.addCleanup(disk.remove)
        self.opened(disk.path / "old").close()
        disk.make_read_only()
        for name in ("old", "new"):
            self.fails("read-only disk", path=disk.path / name)

    def test_full_disk(self) -> None:
        """On a full disk it says so, and goes on when there is room; the key is whole or not there."""
        disk = Disk(self.folder / "disk", 256)
        self.addCleanup(disk.remove)
        disk.fill()
        self.fails("disk is full", path=disk.path / "data")
        disk.make_room()
        self.opened(disk.path / "data")

    def test_not_ours(self) -> None:
        """A directory of another user is not used, and the error says so."""
        if os.geteuid() == 0:
            self.path.mkdir(parents=True)
            self.path.chmod(0o700)
            said = self.run_as_nobody()
            self.assertIn(f"The data directory {self.path} may not be used by this program", said)

    def run_as_nobody(self) -> str:
        """What a process of another user is told."""
        there, back = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setuid(65534)
                DataDir.open(self.path)
            except DataDirError as error:
                os.write(back, str(error).encode())
            finally:
                os._exit(0)
        os.close(back)
        os.waitpid(child, 0)
        with open(there, encoding="utf-8") as said:
            return said.read()


class LockTests(Case):
    """One process at a time."""

    def test_twice(self) -> None:
        """A directory that is in use is refused at once, with the process that has it; closing gives it back."""
        first = self.opened()
        self.fails(f"in use by another peer (process {os.getpid()})")
        first.close()
        first.close()
        self.opened()

    def test_other_process(self) -> None:
        """Another process is named; when it was killed the directory is free."""
        program = "import sys; from twisted_p2p.store.datadir import DataDir; data = DataDir.open(sys.argv[1]);"
        child = subprocess.Popen(
            [sys.executable, "-c", program + "print('open', flush=True); sys.stdin.read()", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        assert child.stdout is not None
        self.assertEqual(child.stdout.readline(), b"open\n")
        self.fails(f"(process {child.pid})")
        child.send_signal(signal.SIGKILL)
        child.wait()
        self.opened()

    def test_daemon(self) -> None:
        """A process forked after the opening keeps the directory when its parent ends, and is the one named."""
        said, say = os.pipe()
        end, go_on = os.pipe()
        parent = os.fork()
        if parent == 0:
            try:
                os.close(go_on)
                data = DataDir.open(self.path)
                if os.fork() == 0:
                    data.say_pid()
                    os.write(say, b"%d\n" % os.getpid())
                    os.read(end, 1)
            finally:
                os._exit(0)
        os.close(say)
        os.close(end)
        os.waitpid(parent, 0)
        with open(said, encoding="ascii") as answer:
            daemon = int(answer.readline())
            self.fails(f"(process {daemon})")
            os.kill(daemon, signal.SIGKILL)
            # Its end of the pipe is closed when it is gone, or is just going.
            self.assertEqual(answer.read(), "")
        os.close(go_on)
        for _ in range(1000):
            with contextlib.suppress(DataDirError):
                self.opened()
                return
            threading.Event().wait(0.005)
        self.opened()


class VersionTests(Case):
    """Directories of other versions of this program."""

    def test_newer(self) -> None:
        """A directory of a newer version is left alone, and is free for that one."""
        self.opened().close()
        (self.path / "version").write_text("2\n")
        for _ in range(2):
            self.fails("is of a newer version of this program (format 2, we know 1)")

    def test_damaged(self) -> None:
        """A version that is none is not guessed."""
        self.opened().close()
        for text in ("", "0", "one", "1.5", "9" * 5000):
            (self.path / "version").write_text(text)
            self.fails(f"The file {self.path / 'version'} is damaged")

    def test_older(self) -> None:
        """A directory of an older version is brought to the present one, once."""
        peer = self.opened()
        peer.close()
        taken: list[tuple[int, Path]] = []
        steps = [lambda folder: taken.append((1, folder)), lambda folder: taken.append((2, folder))]
        for _ in range(2):
            again = DataDir.open(self.path, steps)
            self.assertEqual(again.signer.peer, peer.signer.peer)
            again.close()
        self.assertEqual(taken, [(1, self.path), (2, self.path)])
        self.assertEqual((self.path / "version").read_text(), "3\n")

    def test_new_takes_no_steps(self) -> None:
        """A new directory is of the present version."""
        DataDir.open(self.path, [lambda folder: self.fail("a step")]).close()
        self.assertEqual((self.path / "version").read_text(), "2\n")

    def test_failed_step(self) -> None:
        """If a step fails, the directory is free, and what was done is not done again."""
        self.opened().close()
        taken: list[int] = []

        def fail(folder: Path) -> None:
            taken.append(2)
            if len(taken) < 3:
                raise OSError(28, "No space left on device")

        steps = [lambda folder: taken.append(1), fail]
        self.fails("disk is full", call=lambda: DataDir.open(self.path, steps))
        self.assertEqual((self.path / "version").read_text(), "2\n")
        DataDir.open(self.path, steps).close()
        self.assertEqual(taken, [1, 2, 2])


class DefaultTests(SynchronousTestCase):
    """Where it is if the user does not say."""

    def test_place(self) -> None:
        """It is among the user's state, by network and port."""
        self.addCleanup(os.environ.pop, "XDG_STATE_HOME", None)
        if "XDG_STATE_HOME" in os.environ:
            self.addCleanup(os.environ.__setitem__, "XDG_STATE_HOME", os.environ["XDG_STATE_HOME"])
        os.environ["XDG_STATE_HOME"] = "/state"
        self.assertEqual(default_data_dir("p2p", 5050), Path("/state/twisted-p2p/p2p-5050"))
        self.assertEqual(default_data_dir("../a.b/C%", 0).name, "%2e.%2fa.b%2f%43%25-0")
        self.assertEqual(default_data_dir(".", 1).name, "%2e-1")

    @given(st.lists(st.tuples(NAMES, st.integers(0, 65535)), min_size=2, max_size=2, unique=True))
    def test_apart(self, peers: list[tuple[str, int]]) -> None:
        """Two networks, or ports, never share a directory, and each has one right in that place."""
        one, two = (default_data_dir(*peer) for peer in peers)
        self.assertNotEqual(str(one).lower(), str(two).lower())
        for path in (one, two):
            self.assertEqual(path.parent, default_data_dir("p2p", 1).parent)
            self.assertLess(len(path.name), 256)

    def test_alike(self) -> None:
        """Names that look alike are told apart: capitals, what is escaped, and where the name ends."""
        names = [("a", 1), ("A", 1), ("%41", 1), ("a-1", 1), ("a-", 11), ("a-1-1", 1), (".a", 1), ("%2ea", 1)]
        paths = {str(default_data_dir(*peer)).lower() for peer in names}
        self.assertEqual(len(paths), len(names))
