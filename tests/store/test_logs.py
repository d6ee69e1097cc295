"""Both logs: what they keep, for how long, and what they serve."""

from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.store.model import STREAMS, NaiveLog, lives
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.interfaces import Entry, IMessageLog, Saved, Stream
from twisted_p2p.store.sqlitelog import SqliteLog

A, B, C = ("a" * 64, 1), ("b" * 64, 1), ("c" * 64, 1)
MUCH = 1 << 30


def filled(log: Any, stream: Stream, first: int, last: int, now: float = 0.0, size: int = 10) -> Any:
    """A log with such bundles in it, too, a turn for each."""
    for seq in range(first, last + 1):
        log.append(stream, seq, f"{seq}".encode().rjust(size, b"."), now)
        log.commit()
    return log


def seqs(log: Any, stream: Stream, seq: int, max_bytes: int = MUCH) -> list[int]:
    """What is read from there on."""
    return [int(line.strip(b".")) for line in log.read(stream, seq, max_bytes)]


def told(log: Any, after: int = 0, max_bytes: int = MUCH) -> list[tuple[int, int]]:
    """(number, seq) of the entries after that."""
    return [(entry.number, entry.seq) for entry in log.entries(after, max_bytes)]


class LogSuite:
    """What every log does."""

    is_durable: bool

    def make(self, config: Config = LAN) -> Any:
        """A new log that is open."""
        raise NotImplementedError

    def again(self, log: Any) -> tuple[Any, Saved]:
        """The same log in the next life of its holder."""
        raise NotImplementedError

    # --- reading

    def test_interface(self) -> None:
        """It is a message log like any other."""
        self.assertTrue(verifyObject(IMessageLog, self.make()))

    def test_from_anywhere(self) -> None:
        """A stream is served from any seq that is held, in order, and not beyond."""
        log = filled(self.make(), A, 1, 5)
        self.assertEqual(seqs(log, A, 1), [1, 2, 3, 4, 5])
        self.assertEqual(seqs(log, A, 4), [4, 5])
        self.assertEqual(seqs(log, A, 6), [])
        self.assertEqual(seqs(log, A, 0), [])
        self.assertEqual(seqs(log, B, 1), [])
        self.assertEqual((log.floor(A), log.floor(B)), (1, 0))

    def test_bounded(self) -> None:
        """So many bytes at a time are served, but one bundle at least, however long it is."""
        log = filled(self.make(), A, 1, 5, size=10)
        self.assertEqual(seqs(log, A, 1, 30), [1, 2, 3])
        self.assertEqual(seqs(log, A, 1, 29), [1, 2])
        self.assertEqual(seqs(log, A, 2, 1), [2])
        self.assertEqual(seqs(log, A, 2, 0), [2])

    def test_in_the_turn(self) -> None:
        """What a turn has appended can be read back in that turn."""
        log = self.make()
        self.assertEqual([log.append(A, seq, b"%d" % seq, 0.0) for seq in (1, 2)], [1, 2])
        self.assertEqual((log.floor(A), seqs(log, A, 1), told(log)), (1, [1, 2], [(1, 1), (2, 2)]))
        log.append(A, 3, b"3", 0.0)
        self.assertEqual((seqs(log, A, 2), log.history(0.0, None, 1)), ([2, 3], {A: 3}))

    def test_streams_apart(self) -> None:
        """One stream's bundles are not another's, nor those of the same peer's other epoch."""
        log = filled(self.make(), A, 1, 2)
        filled(log, (A[0], 2), 1, 1)
        filled(log, B, 7, 8)
        self.assertEqual(seqs(log, A, 1), [1, 2])
        self.assertEqual(seqs(log, (A[0], 2), 1), [1])
        self.assertEqual(seqs(log, B, 7), [7, 8])
        self.assertEqual(log.floor(B), 7)

    def test_after_a_gap(self) -> None:
        """A stream that goes on after a gap is held from there on only: nobody is served a hole."""
        log = filled(self.make(), A, 1, 3)
        filled(log, A, 10, 12)
        self.assertEqual(log.floor(A), 10)
        self.assertEqual((seqs(log, A, 1), seqs(log, A, 3), seqs(log, A, 10)), ([], [], [10, 11, 12]))
        self.assertEqual((len(log), log.size), (6, 60) if self.is_durable else (3, 30))

    def test_many(self) -> None:
        """A long stream of which the old part was dropped, again and again, serves what it holds."""
        log = self.make(attrs.evolve(LAN, retention_count=100))
        filled(log, A, 1, 5000)
        self.assertEqual(seqs(log, A, log.floor(A)), list(range(4901, 5001)))
        self.assertEqual(seqs(log, A, 4950, 20), [4950, 4951])
        self.assertEqual((log.first, log.last, told(log, 0, 10)), (4901, 5000, [(4901, 4901)]))

    # --- entries

    def test_entries(self) -> None:
        """Entries of all streams come in the order of their arrival, from any number on, so many bytes at a time."""
        log = self.make()
        log.append(A, 1, b"a1", 1.0)
        log.append(B, 1, b"b1", 1.0, replayed=True)
        log.skip(A, 2, 5, 2.0)
        log.append(A, 6, b"a6", 2.0)
        log.commit()
        before = [Entry(1, A, 1, b"a1")] if self.is_durable else []
        self.assertEqual(
            list(log.entries(0, MUCH)),
            [*before, Entry(2, B, 1, b"b1", 0, True), Entry(3, A, 2, None, 5), Entry(4, A, 6, b"a6")],
        )
        self.assertEqual(log.first, 1 if self.is_durable else 2)
        self.assertEqual((told(log, 2), told(log, 4), told(log, 99)), ([(3, 2), (4, 6)], [], []))
        self.assertEqual((told(log, 1, 3), told(log, 1, 0)), ([(2, 1), (3, 2)], [(2, 1)]))

    def test_gap_keeps_the_stream(self) -> None:
        """What is before a gap is served until the stream goes on after it."""
        log = filled(self.make(), A, 1, 3)
        log.skip(A, 4, 9, 0.0)
        self.assertEqual((log.floor(A), seqs(log, A, 1)), (1, [1, 2, 3]))
        filled(log, A, 10, 10)
        self.assertEqual((log.floor(A), seqs(log, A, 1)), (10, []))

    def test_withdrawn(self) -> None:
        """What was withdrawn is held no more, nor told to readers; its numbers are not used again."""
        log = filled(filled(self.make(), A, 1, 3), B, 1, 1)
        log.withdraw(A, 2)
        log.commit()
        self.assertEqual((log.floor(A), seqs(log, A, 1), len(log)), (1, [1], 2))
        filled(log, A, 2, 2)
        self.assertEqual(told(log), [(1, 1), (4, 1), (5, 2)])
        log.withdraw(A, 1)
        log.commit()
        self.assertEqual((log.floor(A), told(log), log.last), (0, [(4, 1)], 5))
        self.assertEqual(filled(log, A, 1, 1).last, 6)

    def test_withdrawn_newest(self) -> None:
        """The numbers of the newest entries are not used again, when they are withdrawn, nor in the next life."""
        log = filled(self.make(), A, 1, 3)
        log.withdraw(A, 2)
        log.commit()
        log, _ = self.again(log)
        self.assertEqual((log.last, log.append(A, 2, b"2", 0.0)), (3, 4))

    def test_withdrawn_none_of_the_spared(self) -> None:
        """Withdrawing what is not there leaves alone what age has spared."""
        log = filled(self.make(attrs.evolve(LAN, retention_count=2)), A, 1, 3)
        log.expire(1e9)
        log.withdraw(A, 4)
        log.commit()
        self.assertEqual(seqs(log, A, 3), [3])
        filled(log, A, 4, 4, 1e9)
        self.assertEqual((log.floor(A), len(log)), (4, 1))

    def test_history(self) -> None:
        """History begins where a stream is among the newest, by age or by number, and never below its floor."""
        log = self.make()
        for now, stream, seq in [(0, A, 1), (10, B, 1), (20, A, 2), (30, A, 4), (40, B, 2), (50, A, 5)]:
            filled(log, stream, seq, seq, float(now))
        self.assertEqual(log.history(50.0, None, None), {A: 4, B: 1})
        self.assertEqual(log.history(50.0, 40.0, None), {A: 4, B: 1})
        self.assertEqual(log.history(50.0, 39.0, None), {A: 4, B: 2})
        self.assertEqual(log.history(50.0, 5.0, None), {A: 5})
        self.assertEqual(log.history(60.0, 5.0, None), {})
        self.assertEqual(log.history(50.0, None, 1), {A: 5})
        self.assertEqual(log.history(50.0, None, 3), {A: 4, B: 2})
        self.assertEqual(log.history(50.0, None, 99), {A: 4, B: 1})
        self.assertEqual(log.history(50.0, 15.0, 99), {A: 5, B: 2})
        self.assertEqual(log.history(50.0, 99.0, 0), {})

    def test_history_after_withdrawal(self) -> None:
        """What was withdrawn does not end history."""
        log = filled(filled(self.make(), A, 1, 2, 100.0), B, 1, 1, 100.0)
        log.withdraw(B, 1)
        log.commit()
        self.assertEqual(log.history(100.0, 5.0, None), {A: 1})

    # --- retention

    def test_age(self) -> None:
        """A bundle is kept for so many seconds from its arrival."""
        log = self.make(attrs.evolve(LAN, retention_age=100.0))
        for seq, now in [(1, 0.0), (2, 50.0), (3, 90.0)]:
            filled(log, A, seq, seq, now)
        self.assertFalse(log.expire(100.0))
        self.assertEqual(log.floor(A), 1)
        self.assertFalse(log.expire(100.1))
        self.assertEqual((log.floor(A), log.first), (2, 2))

    def test_newest_spared(self) -> None:
        """The newest bundle of a stream is kept, however old: it proves how far the stream went. The next ends that."""
        log = filled(self.make(), A, 1, 3)
        log.expire(1e9)
        self.assertEqual((log.floor(A), seqs(log, A, 3), len(log)), (3, [3], 1))
        self.assertEqual((told(log), log.first), ([], 4))
        filled(log, A, 4, 4, 1e9)
        self.assertEqual((log.floor(A), seqs(log, A, 4), len(log)), (4, [4], 1))

    def test_spared_are_bounded(self) -> None:
        """But not beyond number and bytes; the one that has been kept longest goes first."""
        log = self.make(attrs.evolve(LAN, retention_count=3))
        filled(log, A, 1, 1)
        filled(log, B, 1, 1)
        log.expire(1e9)
        filled(log, C, 1, 3, 1e9)
        self.assertEqual((log.floor(A), log.floor(B), log.floor(C), len(log)), (1, 1, 3, 3))
        filled(log, (A[0], 9), 1, 1, 1e9)
        self.assertEqual((log.floor(A), log.floor(B), log.floor(C), len(log)), (0, 1, 3, 3))

    def test_forgotten(self) -> None:
        """A stream is forgotten, spared or not, and may begin anew."""
        log = filled(filled(self.make(), A, 1, 3), B, 1, 2)
        log.expire(1e9)
        log.forget(A)
        log.forget(A)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (0, 2, 1))
        log.forget(B)
        self.assertEqual((len(log), log.size), (0, 0))
        log.commit()
        filled(log, A, 7, 8)
        self.assertEqual(log.floor(A), 7)

    def test_after_all_is_gone(self) -> None:
        """A stream of which nothing is held any more goes on where it was."""
        log = filled(self.make(), A, 1, 3)
        log.forget(A)
        filled(log, A, 4, 5, 1e9)
        self.assertEqual((log.floor(A), seqs(log, A, 4)), (4, [4, 5]))

    def test_count(self) -> None:
        """Of all streams together so many are kept: the oldest arrivals go first."""
        log = self.make(attrs.evolve(LAN, retention_count=4, retention_share=1.0))
        filled(log, A, 1, 2)
        filled(log, B, 1, 2)
        filled(log, A, 3, 3)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (2, 1, 4))
        filled(log, B, 3, 5)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (3, 3, 4))

    def test_bytes(self) -> None:
        """Of all streams together so many bytes are kept."""
        log = self.make(attrs.evolve(LAN, retention_bytes=100))
        filled(log, A, 1, 5, size=20)
        self.assertEqual((log.floor(A), log.size), (1, 100))
        filled(log, B, 1, 1, size=30)
        self.assertEqual((log.floor(A), log.floor(B), log.size), (3, 1, 90))

    def test_one_too_big(self) -> None:
        """A bundle longer than the whole log pushes out the others, and itself."""
        log = self.make(attrs.evolve(LAN, retention_bytes=100))
        filled(log, A, 1, 3)
        filled(log, A, 4, 4, size=101)
        self.assertEqual((log.floor(A), len(log), log.size), (0, 0, 0))
        filled(log, A, 5, 5)
        self.assertEqual(seqs(log, A, 5), [5])
        self.assertEqual(log.last, 5)

    # --- shares

    def test_flood(self) -> None:
        """Of a full log an origin that has more than half pays first, eldest first; the others keep all."""
        log = filled(self.make(attrs.evolve(LAN, retention_count=8)), A, 1, 3)
        filled(log, B, 1, 4)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (1, 1, 7))
        filled(log, B, 5, 5)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (1, 1, 8))
        filled(log, B, 6, 6)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (1, 2, 8))
        filled(log, B, 7, 50)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (1, 46, 8))
        self.assertEqual((seqs(log, A, 1), seqs(log, B, 46)), ([1, 2, 3], [46, 47, 48, 49, 50]))

    def test_share(self) -> None:
        """Who has no more than its share pays as all do, by age of arrival."""
        log = filled(self.make(attrs.evolve(LAN, retention_count=8)), A, 1, 4)
        filled(log, B, 1, 4)
        filled(log, C, 1, 1)
        self.assertEqual((log.floor(A), log.floor(B), log.floor(C), len(log)), (2, 1, 1, 8))

    def test_share_of_bytes(self) -> None:
        """The share is of bytes, too, where it is by them that the log is full."""
        log = filled(self.make(attrs.evolve(LAN, retention_bytes=100)), A, 1, 5)
        filled(log, B, 1, 1, size=60)
        self.assertEqual((log.floor(A), log.floor(B), log.size), (2, 1, 100))
        filled(log, B, 2, 2, size=20)
        self.assertEqual((log.floor(A), log.floor(B), log.size), (2, 2, 60))

    def test_streams_share(self) -> None:
        """The streams of an origin are counted together, and pay in the order of their arrival, but for the newest."""
        streams = [(B[0], epoch) for epoch in (3, 1, 2)]
        log = filled(self.make(attrs.evolve(LAN, retention_count=8)), A, 1, 3)
        for stream in streams:
            filled(log, stream, 1, 2)
        self.assertEqual(([log.floor(stream) for stream in (A, *streams)], len(log)), ([1, 2, 1, 1], 8))
        filled(log, streams[0], 3, 3)
        self.assertEqual(([log.floor(stream) for stream in (A, *streams)], len(log)), ([1, 3, 1, 1], 8))
        filled(log, streams[0], 4, 5)
        self.assertEqual(([log.floor(stream) for stream in (A, *streams)], len(log)), ([1, 3, 2, 2], 8))
        filled(log, streams[0], 6, 9)
        self.assertEqual(([log.floor(stream) for stream in (A, *streams)], len(log)), ([1, 7, 2, 2], 8))

    def test_only_newest(self) -> None:
        """Where an origin has nothing but the newest of each stream, all pay, and the newest last."""
        log = filled(self.make(attrs.evolve(LAN, retention_count=4)), A, 1, 2)
        for epoch in (1, 2, 3):
            filled(log, (B[0], epoch), 1, 1)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (2, 1, 4))
        filled(log, (B[0], 4), 1, 1)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (0, 1, 4))

    def test_readers_are_told(self) -> None:
        """Who reads the entries is told what of which stream was taken, as far as it has not had it."""
        log = filled(self.make(attrs.evolve(LAN, retention_count=6)), A, 1, 1)
        filled(log, B, 1, 3)
        filled(log, A, 2, 2)
        filled(log, B, 4, 9)
        held = [Entry(number, B, number - 2, b"%d" % (number - 2)) for number in (8, 9, 10, 11)]
        for after, first in [(0, 1), (1, 1), (2, 2), (3, 3)]:
            entries = [entry for entry in log.entries(after, MUCH) if entry.number <= 4]
            self.assertEqual(entries[-1:], [Entry(4, B, first, None, 3)])
        self.assertEqual([entry.seq for entry in log.entries(4, MUCH)], [2, 4, 6, 7, 8, 9])
        self.assertEqual(log.entries(4, MUCH)[1], Entry(7, B, 4, None, 5))
        self.assertEqual(log.entries(6, MUCH)[0], Entry(7, B, 5, None, 5))
        self.assertEqual([attrs.evolve(entry, line=entry.line.strip(b".")) for entry in log.entries(7, MUCH)], held)
        self.assertEqual((log.first, log.last), (1, 11))

    def test_readers_of_many(self) -> None:
        """Where those that were taken are of several streams, nobody remembers which, but that they were so many."""
        log = filled(self.make(attrs.evolve(LAN, retention_count=5)), A, 1, 1)
        for seq in (1, 2, 3, 4):
            filled(log, B, seq, seq)
            filled(log, (B[0], 2), seq, seq)
        self.assertEqual(log.entries(1, MUCH)[0], Entry(5, ("", 0), 2, None, 5))
        self.assertEqual(log.entries(3, MUCH)[0], Entry(5, ("", 0), 4, None, 5))
        self.assertEqual(told(log, 5), [(6, 3), (7, 3), (8, 4), (9, 4)])

    def test_taken_first(self) -> None:
        """What was taken before the eldest entry that is left is gone like all before it."""
        log = filled(self.make(attrs.evolve(LAN, retention_count=4)), B, 1, 4)
        filled(log, A, 1, 1)
        self.assertEqual((log.first, log.entries(0, MUCH)[0].number), (2, 2))
        filled(log, A, 2, 2)
        filled(log, B, 5, 9, 1e5)
        self.assertEqual((log.first, [entry.number for entry in log.entries(0, MUCH)]), (9, [9, 10, 11]))

    def test_history_of_what_is_left(self) -> None:
        """History begins with what is left of a flood."""
        log = filled(self.make(attrs.evolve(LAN, retention_count=6)), A, 1, 2, 10.0)
        filled(log, B, 1, 20, 20.0)
        filled(log, A, 3, 3, 30.0)
        self.assertEqual(log.history(30.0, None, None), {A: 1, B: 18})
        self.assertEqual(log.history(30.0, 15.0, None), {A: 3, B: 18})
        self.assertEqual(log.history(30.0, 25.0, None), {A: 1, B: 18})
        self.assertEqual(log.history(30.0, None, 3), {A: 3, B: 19})

    def test_shares_in_the_next_life(self) -> None:
        """Who has how much is known in the next life, too, and after a turn that is rolled back."""
        log = filled(self.make(attrs.evolve(LAN, retention_count=8)), A, 1, 3)
        filled(log, B, 1, 5)
        log, _ = self.again(log)
        log.append(B, 6, b"6", 0.0)
        log.append(A, 4, b"4", 0.0)
        log.rollback()
        filled(log, B, 6, 7)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (1, 3, 8))
        log, _ = self.again(log)
        self.assertEqual(log.entries(3, MUCH)[0], Entry(5, B, 1, None, 2))

    # --- turns and lives

    def test_kept(self) -> None:
        """Positions, peers and numbers are there in the next life, as they were kept last."""
        log = filled(self.make(), A, 1, 2)
        log.move(A, 3)
        log.move(B, 7)
        log.move(A, 4)
        log.keep_peer("p", b"record", None, 1.5)
        log.keep_peer("q", b"record", b"claim", 2.5)
        log.keep_peer("r", b"other", None, 3.5)
        log.forget_peer("q")
        log.forget_peer("nobody")
        log.keep_peer("p", b"newer", b"claim", 4.5)
        log.keep("epoch", 2**52)
        log.keep("nothing", 1)
        log.keep("nothing", None)
        log.commit()
        log, saved = self.again(log)
        self.assertEqual(saved.positions, {A: 4, B: 7})
        self.assertEqual(sorted(saved.peers), [(b"newer", b"claim", 4.5), (b"other", None, 3.5)])
        self.assertEqual((saved.values, saved.is_whole), ({"epoch": 2**52}, True))
        self.assertEqual((log.floor(A), seqs(log, A, 1), len(log), log.size), (1, [1, 2], 2, 20))
        log.forget(A)
        log.keep("epoch", None)
        log.commit()
        saved = self.again(log)[1]
        self.assertEqual((saved.positions, saved.values), ({B: 7}, {}))

    def test_uncommitted(self) -> None:
        """What was not committed is not there in the next life."""
        log = filled(self.make(), A, 1, 2)
        log.move(A, 3)
        log.commit()
        log.append(A, 3, b"3", 0.0)
        log.move(A, 4)
        log.keep("epoch", 5)
        log.keep_peer("p", b"record", None, 1.5)
        log, saved = self.again(log)
        self.assertEqual((saved.positions, saved.peers, saved.values), ({A: 3}, [], {}))
        self.assertEqual((seqs(log, A, 1), log.last, len(log), log.size), ([1, 2], 2, 2, 20))

    def test_rolled_back(self) -> None:
        """A turn that is rolled back has not been; the next one may say the same again."""
        log = filled(self.make(), A, 1, 2)
        log.move(A, 3)
        log.commit()
        for _ in range(2):
            self.assertEqual(log.append(A, 3, b"3", 0.0), 3)
            self.assertEqual(log.append(B, 1, b"b1", 0.0), 4)
            log.skip(B, 2, 5, 0.0)
            log.move(A, 4)
            log.move(B, 6)
            log.keep("epoch", 5)
            log.keep_peer("p", b"record", None, 1.5)
            self.assertEqual(seqs(log, A, 1), [1, 2, 3])
            log.rollback()
            self.assertEqual((seqs(log, A, 1), log.floor(B), len(log), log.size), ([1, 2], 0, 2, 20))
            self.assertEqual((log.last, told(log)), (2, [(1, 1), (2, 2)]))
        log.commit()
        saved = self.again(log)[1]
        self.assertEqual((saved.positions, saved.peers, saved.values), ({A: 3}, [], {}))

    def test_rolled_back_when_full(self) -> None:
        """Of a turn that is rolled back nothing stays, also when it was too much for the log."""
        log = self.make(attrs.evolve(LAN, retention_count=1))
        log.append(A, 1, b"a", 0.0)
        log.append(B, 1, b"b", 0.0)
        log.rollback()
        self.assertEqual((log.floor(A), log.floor(B), len(log), log.size), (0, 0, 0, 0))

    def like_the_model(self, turns: list[Any], count: int, size: int, share: float, max_bytes: int) -> None:
        """Play turns to the log and to a slow one, and compare what they say."""
        bounds = {"retention_count": count, "retention_bytes": size, "retention_share": share}
        config = attrs.evolve(LAN, retention_age=60.0, **bounds)
        log, model = self.make(config), NaiveLog(config, self.is_durable)
        now, nexts = 0.0, dict.fromkeys(STREAMS, 1)
        for operations, end in turns:
            before = dict(nexts)
            for operation in operations:
                now = self.say(operation, log, model, nexts, now)
                self.assertEqual((len(log), log.size, log.last), (len(model.lines), model.size, model.kept.last))
                for stream, following in nexts.items():
                    self.assertEqual(log.floor(stream), model.floor(stream))
                    for start in {1, following - 1, max(1, following - 3), model.floor(stream)}:
                        self.assertEqual(list(log.read(stream, start, max_bytes)), model.read(stream, start, max_bytes))
            if end == "commit":
                log.commit()
                model.commit()
            else:
                nexts = before
                model.rollback()
                if end == "rollback":
                    log.rollback()
                else:
                    log, saved = self.again(log)
                    kept = model.kept
                    self.assertEqual((saved.positions, saved.values), (kept.positions, kept.values))
                    self.assertCountEqual(saved.peers, kept.peers.values())
            self.assertEqual((len(log), log.size, log.last), (len(model.lines), model.size, model.kept.last))
            self.assertEqual(log.first, model.kept.first)
            for after in (max(0, model.kept.last - back) for back in (1, 7, 12)):
                for most in (max_bytes, MUCH):
                    self.assertEqual(list(log.entries(after, most)), model.entries(after, most))
            self.assertEqual(list(log.entries(0, MUCH)), model.entries(0, MUCH))
            for age, newest in [(None, None), (30.0, None), (None, 3), (30.0, 3)]:
                self.assertEqual(log.history(now, age, newest), model.history(now, age, newest))

    def say(self, operation: Any, log: Any, model: NaiveLog, nexts: dict[Stream, int], now: float) -> float:
        """Say one thing to both; what time it is then."""
        name, *words = operation
        if name == "append":
            stream, hole, length, pause, replayed = words
            now += pause
            seq = nexts[stream] + hole
            words = [stream, seq, f"{seq}".encode().rjust(length, b"."), now, replayed]
            nexts[stream] = seq + 1
        elif name == "skip":
            stream, length = words
            first = nexts[stream]
            nexts[stream] += length
            words = [stream, first, first + length - 1, now]
        elif name == "withdraw":
            stream, back = words
            nexts[stream] = max(1, nexts[stream] - back)
            words = [stream, nexts[stream]]
        elif name == "expire":
            now += words[0]
            while log.expire(now):
                pass
            model.expire(now)
            return now
        elif name == "keep_peer":
            words = [words[0], b"record", b"claim" if words[1] % 2 else None, float(words[1])]
        self.assertEqual(getattr(log, name)(*words), getattr(model, name)(*words))
        return now


class MemoryLogTests(LogSuite, SynchronousTestCase):
    """The log in memory."""

    is_durable = False

    def make(self, config: Config = LAN) -> Any:
        """A log."""
        return MemoryLog(config)

    def again(self, log: Any) -> tuple[Any, Saved]:
        """It outlives its holder as long as the process lives."""
        log.close()
        return log, log.load()

    @lives
    def test_like_the_model(self, turns: list[Any], count: int, size: int, share: float, max_bytes: int) -> None:
        """Whatever happens to it: it holds, serves and drops just what its words say."""
        self.like_the_model(turns, count, size, share, max_bytes)


class SqliteLogTests(LogSuite, SynchronousTestCase):
    """The log in a file."""

    is_durable = True
    made = 0

    def setUp(self) -> None:
        """A folder for its files."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)

    def make(self, config: Config = LAN) -> Any:
        """A log in a new file."""
        self.made += 1
        log = SqliteLog(self.folder / f"{self.made}.sqlite", config, "OFF")
        log.load()
        self.addCleanup(log.close)
        return log

    def again(self, log: Any) -> tuple[Any, Saved]:
        """The process of the log ends, and another one opens it."""
        log.close()
        log = SqliteLog(log.path, log.config, "OFF")
        self.addCleanup(log.close)
        return log, log.load()

    @lives
    def test_like_the_model(self, turns: list[Any], count: int, size: int, share: float, max_bytes: int) -> None:
        """Whatever happens to it: it holds, serves and drops just what its words say."""
        self.like_the_model(turns, count, size, share, max_bytes)
