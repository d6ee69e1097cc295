"""The files that say who may join: what they may hold, and what is said of one that is wrong."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.accessfiles import AccessFiles, read_keys, read_list
from twisted_p2p.core.access import KEYS_MAX, derive_key
from twisted_p2p.errors import AccessError

A, B = "a1" * 32, "b2" * 32
SECRET = b"0123456789abcdef" * 4


class FileCase(SynchronousTestCase):
    """What the tests of files have in common."""

    def file(self, data: bytes, mode: int = 0o600) -> Path:
        """A file with this in it."""
        path = Path(self.mktemp()).absolute()
        path.write_bytes(data)
        path.chmod(mode)
        return path

    def check_wrong(self, read: object, path: Path, *words: str, secret: bytes = b"") -> None:
        """It is refused in one line, with these words and the file's name, and without what it holds."""
        assert callable(read)
        error = self.assertRaises(AccessError, read, path)
        for word in (str(path), *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        if secret:
            self.assertNotIn(secret.decode("latin-1"), str(error))


class KeyFileTests(FileCase):
    """A file of keys."""

    def test_good(self) -> None:
        """One key a line, the first first; comments, empty lines and line ends of any kind are nothing."""
        for data, keys in (
            (SECRET, [SECRET]),
            (SECRET + b"\n", [SECRET]),
            (b"# ours\r\n\r\n  " + SECRET + b" \r\n" + SECRET[::-1] + b"\r\n", [SECRET, SECRET[::-1]]),
            (b"a pass phrase # of many words", [b"a pass phrase # of many words"]),
            (b"x" * 16, [b"x" * 16]),
            (b"\n".join(b"%032d" % n for n in range(KEYS_MAX)), [b"%032d" % n for n in range(KEYS_MAX)]),
        ):
            self.assertEqual(read_keys(self.file(data)), keys)

    def test_wrong(self) -> None:
        """Keys that are too short or none, too many, or with characters that nobody sees."""
        for data, *words in (
            (b"", "no key", "openssl rand -hex 32"),
            (b"# only this\n\n", "no key"),
            (b"\n" + b"x" * 15, "line 2", "16 characters", "openssl rand -hex 32"),
            (SECRET + b"\n\xef\xbb\xbf" + SECRET, "line 2", "printable ASCII"),
            (SECRET + b"\0", "line 1", "printable ASCII"),
            ("geheime Schlüssel sind lang".encode(), "line 1", "printable ASCII"),
            (b"\n".join([SECRET] * (KEYS_MAX + 1)), f"{KEYS_MAX + 1} keys", f"{KEYS_MAX}"),
        ):
            self.check_wrong(read_keys, self.file(data), *words, secret=data.strip()[:12])

    def test_readable_by_others(self) -> None:
        """A key that others can read is no secret; how to make it one is said."""
        for mode in (0o604, 0o640, 0o620, 0o601, 0o777):
            path = self.file(SECRET, mode)
            self.check_wrong(read_keys, path, "Others can read", f"chmod 600 '{path}'")
        for mode in (0o600, 0o400):
            self.assertEqual(read_keys(self.file(SECRET, mode)), [SECRET])

    def test_unreadable(self) -> None:
        """A file that is not there, or is none, is said to be so."""
        missing = Path(self.mktemp()).absolute()
        self.check_wrong(read_keys, missing, "No such file")
        missing.mkdir()
        self.check_wrong(read_keys, missing, "Is a directory")


class ListFileTests(FileCase):
    """A file of peers and addresses."""

    def test_good(self) -> None:
        """Ids, addresses and ranges, of both kinds of IP; a comment may follow."""
        path = self.file(
            f"# friends\n{A}\n {B.upper()} # Bob\n\n192.0.2.7\n198.51.100.0/24\n2001:db8::/32 #\n::1\nfe80::1\n"
            "::ffff:203.0.113.0/120\n".encode(),
            mode=0o644,
        )
        found = read_list(path)
        for peer, host in (
            (A, ""),
            (B, "10.0.0.1"),
            ("", "192.0.2.7"),
            ("", "::ffff:192.0.2.7"),
            ("", "198.51.100.255"),
            ("", "2001:db8:1::2"),
            ("", "2001:db8::1%eth0"),
            ("", "::1"),
            ("", "203.0.113.9"),
            ("", "fe80::1%eth0"),
        ):
            self.assertTrue(found.names(peer, host), (peer, host))
        for peer, host in (
            ("c3" * 32, "192.0.2.8"),
            ("", "198.51.101.0"),
            ("", "2001:db9::"),
            ("", "203.0.114.0"),
            ("", "peer.example"),
            ("", ""),
        ):
            self.assertFalse(found.names(peer, host), (peer, host))

    def test_empty(self) -> None:
        """A file without anybody in it is a list of nobody."""
        self.assertFalse(read_list(self.file(b"# nobody\n")).names(A, "192.0.2.1"))

    def test_wrong(self) -> None:
        """A line that is nothing of the kind is named by its number, and can't control a terminal."""
        for line in (b"peer.example", b"192.0.2.7/24", b"192.0.2.256", b"a1" * 31, b"10.0.0.1, ::1"):
            self.check_wrong(read_list, self.file(b"# x\n" + line), "line 2", line.decode(), "64 hex digits")
        error = self.assertRaises(AccessError, read_list, self.file(b"\x1b[2J\xff\r\x85" + b"x" * 500))
        self.assertTrue(str(error).isprintable())
        self.assertLess(len(str(error)), 400)


class AccessFilesTests(FileCase):
    """What the three files say together."""

    def test_nothing(self) -> None:
        """Without any of them everybody is admitted."""
        files = AccessFiles()
        self.assertFalse(files)
        access = files.read("p2p")
        self.assertEqual((access.keys, access.allow, access.is_listed), ((), None, False))
        self.assertTrue(access.may_meet("", "192.0.2.1"))

    def test_all(self) -> None:
        """Keys are those of this network; an empty allow file admits nobody."""
        files = AccessFiles(self.file(SECRET), self.file(b""), os.fspath(self.file(A.encode())))
        self.assertTrue(files)
        access = files.read("p2p")
        self.assertEqual(access.keys, (derive_key(SECRET, "p2p"),))
        self.assertFalse(access.may_meet("", "192.0.2.1"))
        self.assertTrue(access.deny.names(A, ""))
        self.assertNotIn(SECRET.decode(), repr(files) + repr(access))
