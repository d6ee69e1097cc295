"""The log in memory: what it keeps, for how long, and what it serves."""

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.interfaces import IMessageLog, Stream

A, B, C = ("a" * 64, 1), ("b" * 64, 1), ("c" * 64, 1)
MUCH = 1 << 30


def filled(log: MemoryLog, stream: Stream, first: int, last: int, now: float = 0.0, size: int = 10) -> MemoryLog:
    """A log with such bundles in it, too."""
    for seq in range(first, last + 1):
        log.append(stream, seq, f"{seq}".encode().rjust(size, b"."), now)
    return log


def seqs(log: MemoryLog, stream: Stream, seq: int, max_bytes: int = MUCH) -> list[int]:
    """What is read from there on."""
    return [int(line.strip(b".")) for line in log.read(stream, seq, max_bytes)]


class ReadTests(SynchronousTestCase):
    """Who delivered a bundle can serve it."""

    def test_interface(self) -> None:
        """It is a message log like any other."""
        self.assertTrue(verifyObject(IMessageLog, MemoryLog(LAN)))

    def test_from_anywhere(self) -> None:
        """A stream is served from any seq that is held, in order, and not beyond."""
        log = filled(MemoryLog(LAN), A, 1, 5)
        self.assertEqual(seqs(log, A, 1), [1, 2, 3, 4, 5])
        self.assertEqual(seqs(log, A, 4), [4, 5])
        self.assertEqual(seqs(log, A, 6), [])
        self.assertEqual(seqs(log, A, 0), [])
        self.assertEqual(seqs(log, B, 1), [])
        self.assertEqual((log.floor(A), log.floor(B)), (1, 0))

    def test_bounded(self) -> None:
        """So many bytes at a time are served, but one bundle at least, however long it is."""
        log = filled(MemoryLog(LAN), A, 1, 5, size=10)
        self.assertEqual(seqs(log, A, 1, 30), [1, 2, 3])
        self.assertEqual(seqs(log, A, 1, 29), [1, 2])
        self.assertEqual(seqs(log, A, 2, 1), [2])
        self.assertEqual(seqs(log, A, 2, 0), [2])

    def test_streams_apart(self) -> None:
        """One stream's bundles are not another's, nor those of the same peer's other epoch."""
        log = filled(MemoryLog(LAN), A, 1, 2)
        filled(log, (A[0], 2), 1, 1)
        filled(log, B, 7, 8)
        self.assertEqual(seqs(log, A, 1), [1, 2])
        self.assertEqual(seqs(log, (A[0], 2), 1), [1])
        self.assertEqual(seqs(log, B, 7), [7, 8])
        self.assertEqual(log.floor(B), 7)

    def test_after_a_gap(self) -> None:
        """A stream that goes on after a gap is held from there on only: nobody is served a hole."""
        log = filled(MemoryLog(LAN), A, 1, 3)
        filled(log, A, 10, 12)
        self.assertEqual(log.floor(A), 10)
        self.assertEqual((seqs(log, A, 1), seqs(log, A, 10)), ([], [10, 11, 12]))
        self.assertEqual((len(log), log.size), (3, 30))

    def test_many(self) -> None:
        """A long stream of which the old part was dropped, again and again, serves what it holds."""
        log = MemoryLog(attrs.evolve(LAN, retention_count=100))
        filled(log, A, 1, 5000)
        self.assertEqual(seqs(log, A, log.floor(A)), list(range(4901, 5001)))
        self.assertEqual(seqs(log, A, 4950, 20), [4950, 4951])


class RetentionTests(SynchronousTestCase):
    """The log keeps what it promises, and its bounds."""

    def test_age(self) -> None:
        """A bundle is kept for so many seconds from its arrival."""
        log = MemoryLog(attrs.evolve(LAN, retention_age=100.0))
        for seq, now in [(1, 0.0), (2, 50.0), (3, 90.0)]:
            filled(log, A, seq, seq, now)
        log.expire(100.0)
        self.assertEqual(log.floor(A), 1)
        log.expire(100.1)
        self.assertEqual(log.floor(A), 2)

    def test_newest_spared(self) -> None:
        """The newest bundle of a stream is kept, however old: it proves how far the stream went. The next ends that."""
        log = filled(MemoryLog(LAN), A, 1, 3)
        log.expire(1e9)
        self.assertEqual((log.floor(A), seqs(log, A, 3), len(log)), (3, [3], 1))
        filled(log, A, 4, 4, 1e9)
        self.assertEqual((log.floor(A), seqs(log, A, 4), len(log)), (4, [4], 1))

    def test_spared_are_bounded(self) -> None:
        """But not beyond number and bytes; the one that has been kept longest goes first."""
        log = MemoryLog(attrs.evolve(LAN, retention_count=3))
        filled(log, A, 1, 1)
        filled(log, B, 1, 1)
        log.expire(1e9)
        filled(log, C, 1, 3, 1e9)
        self.assertEqual((log.floor(A), log.floor(B), log.floor(C), len(log)), (1, 1, 3, 3))
        filled(log, (A[0], 9), 1, 1, 1e9)
        self.assertEqual((log.floor(A), log.floor(B), log.floor(C), len(log)), (0, 1, 3, 3))

    def test_forgotten(self) -> None:
        """A stream is forgotten, spared or not, and may begin anew."""
        log = filled(filled(MemoryLog(LAN), A, 1, 3), B, 1, 2)
        log.expire(1e9)
        log.forget(A)
        log.forget(A)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (0, 2, 1))
        log.forget(B)
        self.assertEqual((len(log), log.size), (0, 0))
        filled(log, A, 7, 8)
        self.assertEqual(log.floor(A), 7)

    def test_after_all_is_gone(self) -> None:
        """A stream of which nothing is held any more goes on where it was."""
        log = filled(MemoryLog(LAN), A, 1, 3)
        log.forget(A)
        filled(log, A, 4, 5, 1e9)
        self.assertEqual((log.floor(A), seqs(log, A, 4)), (4, [4, 5]))

    def test_count(self) -> None:
        """Of all streams together so many are kept: the oldest arrivals go first."""
        log = MemoryLog(attrs.evolve(LAN, retention_count=4))
        filled(log, A, 1, 2)
        filled(log, B, 1, 2)
        filled(log, A, 3, 3)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (2, 1, 4))
        filled(log, B, 3, 5)
        self.assertEqual((log.floor(A), log.floor(B), len(log)), (3, 3, 4))

    def test_bytes(self) -> None:
        """Of all streams together so many bytes are kept."""
        log = MemoryLog(attrs.evolve(LAN, retention_bytes=100))
        filled(log, A, 1, 5, size=20)
        self.assertEqual((log.floor(A), log.size), (1, 100))
        filled(log, B, 1, 1, size=30)
        self.assertEqual((log.floor(A), log.floor(B), log.size), (3, 1, 90))

    def test_one_too_big(self) -> None:
        """A bundle longer than the whole log pushes out the others, and itself."""
        log = MemoryLog(attrs.evolve(LAN, retention_bytes=100))
        filled(log, A, 1, 3)
        filled(log, A, 4, 4, size=101)
        self.assertEqual((log.floor(A), len(log), log.size), (0, 0, 0))
        filled(log, A, 5, 5)
        self.assertEqual(seqs(log, A, 5), [5])


class NaiveLog:
    """The log as its words have it, slowly."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.held: list[tuple[float, Stream, int, bytes]] = []
        self.spared: list[Stream] = []

    def append(self, stream: Stream, seq: int, line: bytes, now: float) -> None:
        """Keep `line`."""
        mine = [entry[2] for entry in self.held if entry[1] == stream]
        if stream in self.spared or (mine and mine[-1] + 1 != seq):
            self.held = [entry for entry in self.held if entry[1] != stream]
            self.spared = [other for other in self.spared if other != stream]
        self.held.append((now, stream, seq, line))
        if self.is_full:
            self.expire(now)

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(len(entry[3]) for entry in self.held)

    @property
    def is_full(self) -> bool:
        """Whether it holds more than it may."""
        return len(self.held) > self.config.retention_count or self.size > self.config.retention_bytes

    def expire(self, now: float) -> None:
        """Drop what retention no longer keeps."""
        for entry in list(self.held):
            if entry[1] in self.spared or not (entry[0] < now - self.config.retention_age or self.is_full):
                continue
            if entry is [other for other in self.held if other[1] == entry[1]][-1]:
                self.spared.append(entry[1])
            else:
                self.held.remove(entry)
        while self.spared and self.is_full:
            stream = self.spared.pop(0)
            self.held = [entry for entry in self.held if entry[1] != stream]

    def read(self, stream: Stream, seq: int, max_bytes: int) -> list[bytes]:
        """Lines from `seq` on."""
        lines: list[bytes] = []
        for _, other, number, line in self.held:
            if other == stream and number >= seq:
                if number != seq + len(lines) or (lines and sum(map(len, lines)) + len(line) > max_bytes):
                    break
                lines.append(line)
        return lines

    def floor(self, stream: Stream) -> int:
        """The oldest seq held."""
        return min((seq for _, other, seq, _ in self.held if other == stream), default=0)


class ModelTests(SynchronousTestCase):
    """The log against a slow one that is plainly right."""

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([A, B, (A[0], 2)]),
                st.sampled_from([1, 1, 1, 1, 1, 1, 5]),
                st.integers(1, 60),
                st.floats(0, 30, width=16),
            ),
            max_size=60,
        ),
        st.integers(1, 20),
        st.integers(50, 500),
        st.integers(0, 200),
    )
    def test_like_the_model(
        self, steps: list[tuple[Stream, int, int, float]], count: int, size: int, max_bytes: int
    ) -> None:
        """Whatever arrives, with holes or without: it holds, serves and drops just what its words say."""
        config = attrs.evolve(LAN, retention_count=count, retention_bytes=size, retention_age=60.0)
        log, model = MemoryLog(config), NaiveLog(config)
        now, ends = 0.0, dict[Stream, int]()
        for stream, skip, length, pause in steps:
            now += pause
            seq = ends[stream] = ends.get(stream, 0) + skip
            line = f"{seq}".encode().rjust(length, b".")
            log.append(stream, seq, line, now)
            model.append(stream, seq, line, now)
            if pause > 20:
                log.expire(now)
                model.expire(now)
            self.assertEqual((len(log), log.size), (len(model.held), model.size))
            for other, end in ends.items():
                self.assertEqual(log.floor(other), model.floor(other))
                for start in {1, end, max(1, end - 3), model.floor(other)}:
                    self.assertEqual(list(log.read(other, start, max_bytes)), model.read(other, start, max_bytes))
