"""What arrives on a connection is cut into lines, within a bound, however it is cut into reads."""

import itertools
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.net.memory import Transport
from twisted_p2p.core.config import Config
from twisted_p2p.net.link import IGNORED_MAX, LineSplitter, LinkFactory, LinkProtocol

LIMIT = 8
HELLO = 5

ends = st.sampled_from([b"\n", b"\r\n"])
contents = st.text("ab", max_size=LIMIT + 3).map(str.encode)
streams = st.lists(st.tuples(contents, ends).map(b"".join), max_size=6).map(b"".join)


def expected(stream: bytes, limit: int) -> tuple[list[bytes], bool]:
    """The lines of a stream up to the first that is too long, and whether there is one."""
    *lines, rest = stream.split(b"\n")
    for number, line in enumerate(lines):
        if len(line.removesuffix(b"\r")) > limit:
            return lines[:number], True
    return lines, len(rest.removesuffix(b"\r")) > limit


def fed(splitter: LineSplitter, *reads: bytes) -> list[bytes]:
    """The lines that come of these reads."""
    return [line for read in reads for line in splitter.feed(read)]


class LineSplitterTests(SynchronousTestCase):
    """Lines, whatever the network did to them."""

    @given(streams, contents, st.lists(st.integers(0, 80), max_size=8))
    def test_any_cut(self, stream: bytes, rest: bytes, cuts: list[int]) -> None:
        """However a stream is cut into reads, the same lines come out of it."""
        stream = stream + rest
        places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        reads = [stream[begin:end] for begin, end in itertools.pairwise(places)]
        splitter = LineSplitter(LIMIT)
        lines = fed(splitter, *reads)
        self.assertEqual((lines, splitter.overflowed), expected(stream, LIMIT))

    @given(streams, contents)
    def test_one_byte_a_read(self, stream: bytes, rest: bytes) -> None:
        """One byte a read gives the same lines as one read."""
        stream += rest
        splitter = LineSplitter(LIMIT)
        lines = fed(splitter, *(stream[n : n + 1] for n in range(len(stream))))
        self.assertEqual((lines, splitter.overflowed), expected(stream, LIMIT))

    def test_around_the_limit(self) -> None:
        """A line of the greatest length is taken, one byte more is not, at every cut and with both line ends."""
        for size in (LIMIT - 1, LIMIT, LIMIT + 1):
            for end in (b"", b"\r"):
                stream = b"first\n" + b"x" * size + end + b"\n" + b"after\n"
                for cut in range(len(stream) + 1):
                    for again in range(cut, len(stream) + 1):
                        splitter = LineSplitter(LIMIT)
                        lines = fed(splitter, stream[:cut], stream[cut:again], stream[again:])
                        if size > LIMIT:
                            self.assertEqual((lines, splitter.overflowed), ([b"first"], True), (size, end, cut, again))
                        else:
                            whole = [b"first", b"x" * size + end, b"after"]
                            self.assertEqual((lines, splitter.overflowed), (whole, False), (size, end, cut, again))

    def test_nothing_after(self) -> None:
        """After a line that was too long nothing is delivered, in the same read or later."""
        splitter = LineSplitter(LIMIT)
        self.assertEqual(splitter.feed(b"one\n" + b"x" * (LIMIT + 1) + b"\ntwo\n"), [b"one"])
        self.assertTrue(splitter.overflowed)
        self.assertEqual(fed(splitter, b"three\n", b"\n", b"four"), [])

    def test_endless_line(self) -> None:
        """A line without an end is given up as soon as it is longer than the limit, not when it ends."""
        splitter = LineSplitter(LIMIT)
        splitter.feed(b"x" * LIMIT)
        self.assertFalse(splitter.overflowed)
        splitter.feed(b"x")
        self.assertTrue(splitter.overflowed)

    def test_carriage_return_at_the_limit(self) -> None:
        """A carriage return after a line of the greatest length is waited for; anything but a newline then is not."""
        splitter = LineSplitter(LIMIT)
        splitter.feed(b"x" * LIMIT + b"\r")
        self.assertFalse(splitter.overflowed)
        splitter.feed(b"\r")
        self.assertTrue(splitter.overflowed)

    def test_memory(self) -> None:
        """64 MiB without a newline take the memory of one line, and not their own."""
        limit, read = 1 << 20, b"x" * (1 << 16)
        splitter = LineSplitter(limit)
        tracemalloc.start()
        try:
            for _ in range(1024):
                splitter.feed(read)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertTrue(splitter.overflowed)
        self.assertLess(peak, 3 * limit)

    def test_empty_lines(self) -> None:
        """Empty lines are lines, and an empty read is nothing."""
        self.assertEqual(fed(LineSplitter(LIMIT), b"", b"\n\n", b"", b"\r\n"), [b"", b"", b"\r"])

    def test_long_lines_in_small_reads_are_cheap(self) -> None:
        """A line in many small reads is copied once at its end, and not at each of them."""
        splitter = LineSplitter(1 << 23)
        grown = splitter._tail
        for _ in range(100):
            splitter.feed(b"x" * 1448)
            self.assertIs(splitter._tail, grown)
        self.assertEqual(list(map(len, splitter.feed(b"\n"))), [144_800])


class Recorder:
    """Stands for the service of a link, and keeps what it is told."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.config = Config(line_max=limit, hello_max=HELLO)
        self.open = False
        self.clock = Clock()
        self.told: list[Any] = []
        self.at_lines: Any = None

    def link_made(self, link: LinkProtocol) -> None:
        """A connection is there."""
        self.told.append("made")

    def may_connect(self, host: str) -> bool:
        """Everybody may."""
        return True

    def link_secured(self, link: LinkProtocol, peer: str, binding: bytes) -> None:
        """TLS has proven who it is."""
        self.told.append(("secured", peer))

    def is_open(self, link: LinkProtocol) -> bool:
        """Whether it has introduced itself."""
        return self.open

    def lines_received(self, link: LinkProtocol, lines: list[bytes]) -> None:
        """Lines came."""
        self.told.append(lines)
        if self.at_lines is not None:
            self.at_lines(link)

    def line_too_long(self, link: LinkProtocol) -> None:
        """The splitter gave up."""
        self.told.append("too long")
        link.hung_up = True

    def congested(self, link: LinkProtocol) -> None:
        """The buffer is full."""
        self.told.append("congested")

    def drained(self, link: LinkProtocol) -> None:
        """The buffer is empty."""
        self.told.append("drained")

    def link_lost(self, link: LinkProtocol, is_no_tls: bool = False) -> None:
        """The connection is gone."""
        self.told.append("lost")


class LinkProtocolTests(SynchronousTestCase):
    """A connection passes on what happens to it, and decides nothing."""

    def setUp(self) -> None:
        self.service, self.transport = Recorder(), Transport()
        self.link = LinkFactory(self.service, 5).buildProtocol(None)  # type: ignore[arg-type]  # only what it calls
        self.link.makeConnection(self.transport)

    def test_made(self) -> None:
        """The service learns of a connection and of the dial that it comes from; small frames do not wait."""
        self.assertEqual(self.service.told, ["made"])
        self.assertEqual(self.link.dial, 5)
        self.assertEqual(self.transport.options, {"no delay": True, "keep alive": True})
        inbound = LinkFactory(self.service).buildProtocol(None)  # type: ignore[arg-type]  # only what it calls
        self.assertIsNone(inbound.dial)
        self.assertIsNot(inbound, self.link)

    def test_lines(self) -> None:
        """All lines of one read come in one call; a part of a line makes none."""
        self.link.dataReceived(b"one\ntwo\nthr")
        self.link.dataReceived(b"e")
        self.link.dataReceived(b"e\n")
        self.assertEqual(self.service.told, ["made", [b"one", b"two"], [b"three"]])

    def test_too_long(self) -> None:
        """A line that is too long is told once, after the lines before it, and ends all reading."""
        self.link.dataReceived(b"one\n" + b"x" * (LIMIT + 1))
        self.link.dataReceived(b"\ntwo\n")
        self.assertEqual(self.service.told, ["made", [b"one"], "too long"])

    def test_nothing_after_hanging_up(self) -> None:
        """What still arrives on a link that was hung up is not read."""
        self.link.hung_up = True
        self.link.dataReceived(b"one\n")
        self.assertEqual(self.service.told, ["made"])

    def test_talks_on_after_hanging_up(self) -> None:
        """Who was hung up on may have some megabytes under way; who goes on after them loses the connection at once."""
        self.link.hung_up = True
        for _ in range(4):
            self.link.dataReceived(b"x" * (IGNORED_MAX // 4))
        self.assertFalse(self.transport.disconnecting)
        self.link.dataReceived(b"x")
        self.assertTrue(self.transport.disconnecting)

    def test_long_line_of_a_stranger(self) -> None:
        """Who has not introduced itself may keep us waiting for the end of a short line only; a whole line is one."""
        self.link.dataReceived(b"x" * HELLO)
        self.link.dataReceived(b"x\n")
        self.link.dataReceived(b"x" * HELLO)
        self.assertEqual(self.service.told, ["made", [b"x" * (HELLO + 1)]])
        self.link.dataReceived(b"x")
        self.assertEqual(self.service.told[2:], ["too long"])

    def test_long_line_of_a_peer(self) -> None:
        """Who has introduced itself may send long lines in as many parts as it likes."""
        self.service.open = True
        for _ in range(LIMIT):
            self.link.dataReceived(b"x")
        self.assertEqual(self.service.told, ["made"])
        self.link.dataReceived(b"x")
        self.assertEqual(self.service.told, ["made", "too long"])

    def test_back_pressure(self) -> None:
        """The transport's full buffer is congestion; its empty one is the end of that."""
        self.assertIs(self.transport.producer, self.link)
        self.assertTrue(self.transport.streaming)
        self.link.pauseProducing()
        self.link.resumeProducing()
        self.link.stopProducing()
        self.assertEqual(self.service.told, ["made", "congested", "drained"])

    def test_one_read(self) -> None:
        """What is of one read is handed over at once, at its end, or at that of the connection."""
        self.link.begin_read()
        for part in (b"one\ntw", b"o\nthree\nfo", b"ur"):
            self.link.dataReceived(part)
        self.assertEqual(self.service.told, ["made"])
        self.link.end_read()
        self.assertEqual(self.service.told, ["made", [b"one", b"two", b"three"]])
        self.link.begin_read()
        self.link.end_read()
        self.link.begin_read()
        self.link.dataReceived(b"\nlast")
        self.link.connectionLost()
        self.link.end_read()
        self.assertEqual(self.service.told[2:], [[b"four"], "lost"])

    def test_rest(self) -> None:
        """While it rests nothing is read; a further rest begins anew, and the end of the connection ends it."""
        self.link.rest(2.0)
        self.assertEqual(self.transport.producerState, "paused")
        self.service.clock.advance(1.5)
        self.link.rest(1.0)
        self.service.clock.advance(0.9)
        self.assertEqual(self.transport.producerState, "paused")
        self.service.clock.advance(0.2)
        self.assertEqual(self.transport.producerState, "producing")
        self.link.rest(1.0)
        self.link.connectionLost()
        self.assertEqual(self.service.clock.getDelayedCalls(), [])

    def test_lost_once(self) -> None:
        """The end of a connection is told once, in the middle of a line too."""
        self.link.dataReceived(b"half")
        self.link.stopProducing()
        self.link.connectionLost()
        self.assertEqual(self.service.told, ["made", "lost"])
