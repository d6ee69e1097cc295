"""What a peer reads from its own disk, after anybody or anything has written there."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.core.puppet import OWN
from tests.fuzz.choices import Choices
from tests.fuzz.values import HOSTS
from twisted_p2p.accessfiles import AccessFiles
from twisted_p2p.core.access import KEYS_MAX
from twisted_p2p.errors import AccessError, DataDirError
from twisted_p2p.eventsfile import last_cursor, lines_backwards, whole_size
from twisted_p2p.store.bans import BansFile
from twisted_p2p.store.datadir import DataDir

NAMES = ("version", "key", "lock", "version.new", "key.new", "messages.sqlite", "other")
_SHARED_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder, in memory where that can be, for one input."""
    where = str(_SHARED_MEMORY) if os.access(_SHARED_MEMORY, os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="p2p-fuzz-", dir=where)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder)


def fuzz_data_dir(data: bytes) -> None:
    """Files of a data directory: it opens, or a DataDirError of one line says what to do."""
    choices = Choices(data)
    with scratch() as folder:
        while choices.left:
            name, size, times = choices.pick(NAMES), choices.byte(), choices.pick((1, 1, 1, 1, 40, 400))
            file = folder / name
            file.write_bytes(choices.take(size) * times)
            file.chmod(choices.pick((0o600, 0o600, 0o600, 0o644, 0o400)))
        try:
            opened = DataDir.open(folder)
        except DataDirError as error:
            assert str(folder) in str(error) and str(error).isprintable(), str(error)
            return
        assert len(opened.signer.peer) == 64
        opened.close()
        again = DataDir.open(folder)
        assert again.signer.peer == opened.signer.peer
        again.close()


def fuzz_bans_file(data: bytes) -> None:
    """The file of bans: it is read and written as it was, or a DataDirError of one line says which line is none."""
    with scratch() as folder:
        file = BansFile(folder / "bans")
        file.path.write_bytes(data)
        try:
            bans = file.read()
            file.write(bans)
        except DataDirError as error:
            assert str(error).isprintable(), str(error)
            return
        again = file.read()
        assert [(ban.subject, ban.reason) for ban in again] == [(ban.subject, ban.reason) for ban in bans]
        for ban in again:
            assert file.lift(ban.subject) or ban.subject in {other.subject for other in again}
        assert file.read() == []


def fuzz_access_files(data: bytes) -> None:
    """The network's keys, or a list of peers: it is read, or an AccessError of one line says what is wrong.

    Of a key that line says nothing.
    """
    choices = Choices(data)
    is_key, times, content = choices.chance(2), choices.pick((1, 1, 1, 400)), choices.rest()
    with scratch() as folder:
        file = folder / "file"
        file.write_bytes(content * times)
        file.chmod(0o600)
        try:
            access = (AccessFiles(network_key=file) if is_key else AccessFiles(allow=file, deny=file)).read("p2p")
        except AccessError as error:
            told = str(error)
            assert str(file) in told and told.isprintable(), told
            assert not is_key or not any(line.decode("latin-1") in told for line in content.split() if len(line) > 15)
            return
    assert is_key == bool(access.keys) and len(access.keys) <= KEYS_MAX
    for peer in ("", OWN):
        for host in HOSTS:
            assert not (access.may_meet(peer, host) and access.deny.names(peer, host))
            access.listed_against(peer, host)


def fuzz_events_file(data: bytes) -> None:
    """The end of a file of events, against a model that has all of it."""
    choices = Choices(data)
    block_size = choices.byte() + 1
    line_max = block_size + choices.byte()
    content = choices.rest()
    with _in_memory(content) as fd:
        end = whole_size(fd, block_size)
        assert end == content.rfind(b"\n") + 1
        lines = [line for line in reversed(content[:end].split(b"\n")) if len(line) <= line_max]
        assert [*lines_backwards(fd, end, block_size, line_max)] == lines
        assert last_cursor(fd, end) == _last_cursor(content[:end])


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    fd = os.memfd_create("p2p-fuzz")
    try:
        os.write(fd, content)
        yield fd
    finally:
        os.close(fd)


def _last_cursor(content: bytes) -> int | None:
    for line in reversed(content.split(b"\n")):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            cursor = msgspec.json.decode(line, type=dict[str, object]).get("cursor") if b'"cursor":' in line else None
            if type(cursor) is int and cursor > 0:
                return cursor
    return None
