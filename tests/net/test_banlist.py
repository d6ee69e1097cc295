"""Who is banned, in memory and in a file."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.actions import Banned
from twisted_p2p.errors import DataDirError
from twisted_p2p.net.banlist import BanList
from twisted_p2p.store.bans import BansFile

A, B, C = (Banned(letter * 64, until, "FLOODING") for letter, until in (("a", 10.0), ("b", 20.0), ("c", 30.0)))


class BanListTests(SynchronousTestCase):
    """A list that begins with what is in its file."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = BansFile(self.folder / "bans")

    def test_in_memory(self) -> None:
        """Without a file there are those that were added, as long as the core holds them."""
        bans = BanList(None, 2)
        for ban in (A, B, C):
            bans.add(ban, (B.subject, ban.subject), 0.0)
        self.assertEqual(bans.times(), {B.subject: 20.0, C.subject: 30.0})
        self.assertEqual(bans.standing(25.0), [C])
        self.assertEqual(bans.read(), [B, C])
        self.assertTrue(bans.lift(B.subject))
        self.assertFalse(bans.lift(B.subject))
        self.assertEqual(bans.standing(0.0), [C])

    def test_next_life(self) -> None:
        """What is in the file stands in the next life, and what was lifted does not."""
        bans = BanList(self.file, 9)
        for ban in (A, B):
            bans.add(ban, (A.subject, B.subject), 0.0)
        self.assertTrue(bans.lift(A.subject))
        self.assertEqual(BanList(self.file, 9).standing(0.0), [B])

    def test_most(self) -> None:
        """The file keeps so many, and of the others those that last longest."""
        bans = BanList(self.file, 2)
        for ban in (A, C, B):
            bans.add(ban, (), 0.0)
        self.assertEqual({ban.subject for ban in self.file.read()}, {B.subject, C.subject})

    def test_read_again(self) -> None:
        """What the user has taken out of the file goes once it is read, and used."""
        bans = BanList(self.file, 9)
        for ban in (A, B):
            bans.add(ban, (A.subject, B.subject), 0.0)
        self.file.write([B])
        self.assertEqual(bans.standing(0.0), [A, B])
        bans.use(bans.read())
        self.assertEqual(bans.standing(0.0), [B])

    def test_no_file(self) -> None:
        """A file that can't be written is no reason to let somebody in: the ban stands until the process ends."""
        bans = BanList(BansFile(self.folder / "gone" / "bans"), 9)
        bans.add(A, (A.subject,), 0.0)
        self.assertEqual(bans.standing(0.0), [A])

    def test_damaged(self) -> None:
        """A file that can't be read is said at once."""
        self.file.path.write_text("nonsense\n")
        error = self.assertRaises(DataDirError, BanList, self.file, 9)
        self.assertIn("Line 1 of", str(error))
