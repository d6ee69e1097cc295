"""The end of a file of events, however it ends."""

import json
import os
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.eventsfile import BLOCK, LINE_MAX, last_cursor, lines_backwards, whole_size


class FileCase(SynchronousTestCase):
    """Files with something in them."""

    def open(self, data: bytes) -> int:
        """A descriptor of a file with this in it."""
        path = self.mktemp()
        Path(path).write_bytes(data)
        fd = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        return fd

    def cursor(self, *lines: Any) -> "int | None":
        """The last cursor of a file of these lines."""
        data = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        fd = self.open(data)
        return last_cursor(fd, whole_size(fd))


class LastCursorTests(FileCase):
    """From where a later life goes on."""

    def test_last(self) -> None:
        """The last line that has a cursor counts, whatever follows it."""
        self.assertEqual(self.cursor({"cursor": 5}, {"event": "gap", "cursor": 7}, {"event": "left"}), 7)

    def test_none(self) -> None:
        """An empty file has none, nor has one of other events, or of other things."""
        self.assertIsNone(self.cursor())
        self.assertIsNone(self.cursor({"event": "left"}, {"event": "joined"}))
        self.assertIsNone(self.cursor(b"\n\nsome text\n[5]\n5\n"))

    def test_other_cursors(self) -> None:
        """What others have said is no cursor, nor is a line that can't be read."""
        said = {"event": "left", "message": {"cursor": 9}}
        for line in (said, {"cursor": "9"}, b'{"cursor":9\n', b"\0\0\0\n", {"cursor": 0}):
            self.assertEqual(self.cursor({"cursor": 5}, line), 5)

    def test_torn(self) -> None:
        """A line without its end counts for nothing."""
        self.assertEqual(self.cursor({"cursor": 5}, b'{"cursor":9}'), 5)
        self.assertIsNone(self.cursor(b'{"cursor":9}'))
        for data, size in ((b"", 0), (b"a", 0), (b"a\n", 2), (b"a\nb", 2), (b"\n" + b"x" * 3 * BLOCK, 1)):
            self.assertEqual(whole_size(self.open(data)), size)

    def test_huge(self) -> None:
        """Lines of several blocks are read; one that is too long for a message is passed over."""
        self.assertEqual(self.cursor({"cursor": 3}, {"message": "x" * 3 * BLOCK, "cursor": 5}, {"event": "left"}), 5)
        self.assertEqual(self.cursor({"cursor": 5}, {"message": "x" * LINE_MAX, "cursor": 9}), 5)
        self.assertEqual(self.cursor({"cursor": 5}, b"x" * (LINE_MAX + 2 * BLOCK)), 5)


class LinesTests(FileCase):
    """A file read from its end."""

    @settings(deadline=None)
    @given(lines=st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=9))
    def test_any_cut(self, lines: list[bytes]) -> None:
        """However the blocks cut the lines, they are the same."""
        data = b"\n".join(lines)
        fd = self.open(data)
        expected = [line for line in data.split(b"\n")[::-1] if len(line) <= 6] if data else [b""]
        for block in range(1, 7):
            self.assertEqual([*lines_backwards(fd, len(data), block, 6)], expected)
            self.assertEqual(whole_size(fd, block), data.rfind(b"\n") + 1)
