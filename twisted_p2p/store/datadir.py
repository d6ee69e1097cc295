"""The data directory of one peer: its key, its log, and the lock that keeps it to one process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from string import ascii_lowercase, digits

import attrs
from platformdirs import user_state_path

from twisted_p2p.core.config import Config
from twisted_p2p.errors import DataDirError
from twisted_p2p.identity import Ed25519Signer
from twisted_p2p.store.sqlitelog import SqliteLog

Step = Callable[[Path], None]

STEPS: tuple[Step, ...] = ()
"""Step n makes version n + 2 of version n + 1."""

_PLAIN = frozenset(ascii_lowercase + digits + "-_.")
_MEANWHILE = ".new"
_OURS = frozenset(["lock", "version", "key", "version" + _MEANWHILE, "key" + _MEANWHILE, "lost+found"])
"""What may be there before there is a version."""
_SEED_BYTES = 32
_DIGITS = 9
"""Of a version at most; Python refuses to read a number of thousands."""


def default_data_dir(network: str, port: int) -> Path:
    """Where a peer of this network on this port keeps its things, if it is not told otherwise.

    Different networks have different directories, also where a disk takes capitals and small letters for the same.
    """
    name = "".join(letter if letter in _PLAIN else f"%{ord(letter):02x}" for letter in network)
    if name.startswith("."):
        name = "%2e" + name[1:]
    return user_state_path("twisted-p2p", appauthor=False) / f"{name}-{port}"


@attrs.define(eq=False)
class DataDir:
    """A directory that this process, and no other, has open.

    The lock goes with the process and those that it is forked into: who kills them all has released it.
    """

    path: Path
    signer: Ed25519Signer
    _lock: int

    @classmethod
    def open(cls, path: str | os.PathLike[str], steps: Sequence[Step] = STEPS) -> DataDir:
        """Open the directory, or make it. Raises DataDirError.

        Args:
            steps: from each version to the next; a new directory needs none of them.
        """
        folder = Path(path).expanduser().absolute()
        with ours(folder):
            _make(folder)
            lock = _locked(folder)
            try:
                _migrate(folder, steps)
                return cls(folder, Ed25519Signer.from_seed(_seed(folder / "key")), lock)
            except BaseException:
                os.close(lock)
                raise

    def log(self, config: Config, synchronous: str = "NORMAL") -> SqliteLog:
        """The log in it, not yet open."""
        return SqliteLog(self.path / "messages.sqlite", config, synchronous)

    @staticmethod
    def bans_in(folder: str | os.PathLike[str]) -> Path:
        """The file in a data directory of who is banned (`store.bans`)."""
        return Path(folder) / "bans"

    def say_pid(self) -> None:
        """Note which process has it, for the message to any other: it may have been forked since it took the lock."""
        with ours(self.path):
            _say_pid(self._lock)

    def close(self) -> None:
        """Let others have it."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            # Closing would leave it locked while a process that was forked from us lives.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[None]:
    """Make a DataDirError of what the operating system complains of."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"The disk is full: make room for the data directory {folder}."
        elif error.errno in (errno.EEXIST, errno.ENOTDIR):
            text = f"The data directory {folder} can't be made, a file is in its place: give another one."
        elif error.errno == errno.EROFS:
            text = f"The data directory {folder} is on a read-only disk: give another one."
        elif error.errno in (errno.EACCES, errno.EPERM):
            text = f"The data directory {folder} may not be used by this program: let it read and write there."
        else:
            text = (
                f"The data directory {folder} can't be used ({error.strerror}): give another one, or see to its disk."
            )
        raise DataDirError(text) from error


def _make(folder: Path) -> None:
    """Make the directory, for nobody but its owner, if it is not there."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)


def _locked(folder: Path) -> int:
    """Take the lock; the descriptor that holds it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _say_pid(lock)
    except BlockingIOError as error:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        os.close(lock)
        by = f" (process {holder})" if holder.isdigit() else ""
        raise DataDirError(
            f"The data directory {folder} is in use by another peer{by}: end that one, or give another directory."
        ) from error
    except BaseException:
        os.close(lock)
        raise
    return lock


def holder_of(folder: Path) -> int:
    """The process that has a data directory open; 0 if none has."""
    with contextlib.suppress(OSError), open(folder / "lock", "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = lock.read(20).strip()
            return int(text) if text.isdigit() else 0
    return 0


def _say_pid(lock: int) -> None:
    """Write into the lock who holds it, for those who find it taken."""
    text = b"%d\n" % os.getpid()
    os.pwrite(lock, text, 0)
    os.ftruncate(lock, len(text))


def _migrate(folder: Path, steps: Sequence[Step]) -> None:
    """Bring what is there to the present version."""
    known = len(steps) + 1
    file = folder / "version"
    if not file.exists():
        others = sorted(entry.name for entry in folder.iterdir() if entry.name not in _OURS)
        if others:
            raise DataDirError(
                f"{folder} is no data directory, it has other things in it ({others[0]}): give an empty or a new one."
            )
        write_file(file, f"{known}\n", 0o644)
        return
    text = file.read_bytes().decode("ascii", "replace").strip()
    if not text.isdigit() or len(text) > _DIGITS or not int(text):
        raise DataDirError(f"The file {file} is damaged: write {known} into it, if this program wrote it last.")
    version = int(text)
    if version > known:
        raise DataDirError(
            f"The data directory {folder} is of a newer version of this program (format {version}, we know {known}):"
            " use that version, or give another directory."
        )
    for number in range(version, known):
        steps[number - 1](folder)
        write_file(file, f"{number + 1}\n", 0o644)


def _seed(file: Path) -> bytes:
    """The seed of the key, made anew if there is none."""
    if not file.exists():
        signer = Ed25519Signer()
        write_file(file, f"{signer.seed.hex()}\n", 0o600)
        return signer.seed
    if file.stat().st_mode & 0o077:
        raise DataDirError(f"Others can read the key {file}: make it yours alone, by: chmod 600 '{file}'")
    with contextlib.suppress(ValueError):
        seed = bytes.fromhex(file.read_text(encoding="ascii"))
        if len(seed) == _SEED_BYTES:
            return seed
    raise DataDirError(
        f"The key {file} is damaged: put back a copy of it, or remove it, and this peer gets a new identity."
    )


def write_file(file: Path, text: str, mode: int) -> None:
    """Write a file as a whole, or not at all, and wait until it is on the disk."""
    meanwhile = file.with_name(file.name + _MEANWHILE)
    meanwhile.unlink(missing_ok=True)
    with os.fdopen(os.open(meanwhile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="ascii") as out:
        os.fchmod(out.fileno(), mode)
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    meanwhile.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
