"""What a person types, and what a person sees."""

import fcntl
import os
import queue
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.console import (
    Console,
    Lines,
    News,
    Stdin,
    Style,
    address_text,
    readable,
    why_not_joined,
)
from twisted_p2p.core.actions import Changed, Fork, Gap, Kind, Reason
from twisted_p2p.errors import MessageTooBig, NotRunning
from twisted_p2p.messages import Message, Prepared

A, B = "a1b2c3d4" * 8, "00112233" * 8
PATIENCE = 20.0  # seconds for a thread to answer: what hangs must fail


def message(value: Any, origin: str = A, time: float = 0.0) -> Message:
    return Message(value, time, origin, 1, 1, "0" * 64)


class ReadableTests(SynchronousTestCase):
    """Text from the network can't do anything to a terminal or a log."""

    def test_plain(self) -> None:
        """Ordinary text of any language stays as it is."""
        for text in ("", "hello", "naïve – 漢字", "שלום", "🙂"):
            self.assertEqual(readable(text), text)

    def test_marks(self) -> None:
        """Line ends can be seen, tabs are spaces, and what could control or reorder is gone."""
        self.assertEqual(readable("a\nb\tc"), "a⏎b c")
        self.assertEqual(readable("\x1b[31mred\x07\x7f\x9b2J\r"), "[31mred2J")
        self.assertEqual(readable("a\u202eb\u2066c\u2028d\u200fe"), "abc⏎de")

    @settings(deadline=None)
    @given(st.text())
    def test_any(self, text: str) -> None:
        """Whatever comes, no control character, line end or change of direction is left."""
        for character in readable(text):
            self.assertNotIn(unicodedata.category(character), ("Cc", "Zl", "Zp"))
            self.assertNotIn(unicodedata.bidirectional(character), ("LRO", "RLO", "LRE", "RLE", "PDF", "LRI", "RLI"))


class WordsTests(SynchronousTestCase):
    """Addresses, and why one could not join."""

    def test_address(self) -> None:
        """IPv6 hosts are in brackets."""
        self.assertEqual(address_text("127.0.0.1", 5050), "127.0.0.1:5050")
        self.assertEqual(address_text("::1", 5050), "[::1]:5050")

    def test_why(self) -> None:
        """The usual reasons have a sentence that says what to do; the others are named."""
        for reason, words in (
            (Reason.UNREACHABLE, "Nobody answers at h:1; is the genesis running?"),
            (Reason.NO_RESOURCES, "see ulimit -n"),
            (Reason.WRONG_NETWORK, "not in the network mine, but in another one"),
            (Reason.WRONG_VERSION, "another version"),
            (Reason.OWN_ADDRESS, "this peer's own address"),
            (Reason.HANDSHAKE_TIMEOUT, "is it the right port?"),
            (Reason.NOT_READY, "has not joined"),
            (Reason.TOO_MANY, "no room"),
            (Reason.OTHER_DIRECTORY, "--max-known for both, or none"),
            (Reason.CLOSED, "could not be joined through h:1: closed."),
        ):
            self.assertIn(words, why_not_joined("h:1", reason.value, "mine"))

    def test_why_from_the_network(self) -> None:
        """A reason that a stranger made up can't control the terminal."""
        self.assertNotIn("\x1b", why_not_joined("h:1", "\x1b[2J{address.__class__}", "mine"))


class NewsTests(SynchronousTestCase):
    """Who comes and goes."""

    def setUp(self) -> None:
        self.lines: list[str] = []
        self.clock = Clock()
        self.news = News(self.clock, B, self.lines.append)

    def test_each(self) -> None:
        """A line for each, with short id and address, which is remembered for those who go."""
        self.news.change(Changed(Kind.JOINED, A, "::1", 5))
        self.news.change(Changed(Kind.LINK_UP, A))
        self.assertEqual(self.lines, [])
        self.clock.advance(0)
        self.news.change(Changed(Kind.FAILED, A))
        self.clock.advance(0)
        self.news.change(Changed(Kind.LEFT, A))
        self.clock.advance(0)
        self.assertEqual(
            self.lines, ["a1b2c3d4 joined ([::1]:5)", "a1b2c3d4 failed ([::1]:5)", "a1b2c3d4 left (address unknown)"]
        )

    def test_ourselves(self) -> None:
        """Nothing is told about ourselves."""
        self.news.change(Changed(Kind.JOINED, B, "::1", 5))
        self.clock.advance(0)
        self.assertEqual(self.lines, [])

    def test_many(self) -> None:
        """Who joins a big network is told how many there are."""
        for number in range(1000):
            self.news.change(Changed(Kind.JOINED, f"{number:064x}", "h", 5))
        self.news.change(Changed(Kind.FAILED, f"{7:064x}"))
        self.clock.advance(0)
        self.assertEqual(self.lines, ["00000000 failed (h:5)", "1000 peers joined"])


class LinesTests(SynchronousTestCase):
    """From bytes to lines."""

    def setUp(self) -> None:
        self.too_long = 0
        self.lines = Lines(10, self.count)

    def count(self) -> None:
        self.too_long += 1

    def test_lines(self) -> None:
        """Each line is a text, whatever its end; empty ones are nothing."""
        self.assertEqual(self.lines.feed(b"one\ntw"), ["one"])
        self.assertEqual(self.lines.feed(b"o\r\n\n\r\n 5\n"), ["two", " 5"])

    def test_end(self) -> None:
        """The last line counts, also without an end."""
        self.assertEqual(self.lines.feed(b"one\ntwo"), ["one"])
        self.assertEqual(self.lines.feed(b""), ["two"])
        self.assertEqual(self.lines.feed(b""), [])

    def test_invalid(self) -> None:
        """Bytes that are no UTF-8 are replaced, and characters may be cut anywhere."""
        self.assertEqual(self.lines.feed(b"a\xffb\n\xc3"), ["a\ufffdb"])
        self.assertEqual(self.lines.feed(b"\xa9\n"), ["é"])

    def test_too_long(self) -> None:
        """A line over the limit is told once, however it arrives, and the next one counts."""
        self.assertEqual(self.lines.feed(b"0123456789\n01234567890\nok\n"), ["0123456789", "ok"])
        self.assertEqual(self.too_long, 1)
        for _ in range(100):
            self.assertEqual(self.lines.feed(b"x" * 9), [])
        self.assertEqual(self.too_long, 2)
        self.assertEqual(self.lines.feed(b"x\nok\n"), ["ok"])
        self.assertEqual(self.too_long, 2)

    def test_too_long_at_the_end(self) -> None:
        """Nothing is made of the rest of such a line."""
        self.assertEqual(self.lines.feed(b"01234567890"), [])
        self.assertEqual(self.lines.feed(b""), [])
        self.assertEqual(self.too_long, 1)

    @settings(deadline=None)
    @given(st.binary(max_size=60).map(lambda data: data.replace(b"x", b"\n")), st.lists(st.integers(0, 60)))
    def test_any_cut(self, data: bytes, cuts: list[int]) -> None:
        """However the bytes are cut, they are the same lines."""
        edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        chunks = [data[start:end] for start, end in pairwise(edges)]
        whole, cut = Lines(10, self.count), Lines(10, self.count)
        expected = (whole.feed(data) if data else []) + whole.feed(b"")
        self.assertEqual([line for chunk in [*chunks, b""] for line in cut.feed(chunk)], expected)


class Calls:
    """A reactor's `callFromThread`, whose calls wait until the test runs them."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], None]] = queue.Queue()

    def callFromThread(self, call: Callable[[], None]) -> None:
        self.calls.put(call)

    def run_one(self) -> None:
        self.calls.get(timeout=PATIENCE)()


class StdinTests(SynchronousTestCase):
    """Standard input, of any kind."""

    def setUp(self) -> None:
        self.reactor = Calls()
        self.chunks: list[bytes] = []

    def stdin(self, fd: int) -> Stdin:
        stdin = Stdin(self.reactor, fd)  # type: ignore[arg-type]  # it needs callFromThread only
        stdin.start(self.chunks.append)
        self.addCleanup(stdin.stop)
        return stdin

    def pipe(self) -> tuple[int, int]:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        return reading, writing

    def test_pipe(self) -> None:
        """A pipe is read when wanted, chunk by chunk, up to its end."""
        reading, writing = self.pipe()
        stdin = self.stdin(reading)
        os.write(writing, b"one\n")
        stdin.want()
        self.reactor.run_one()
        os.write(writing, b"two\n")
        os.close(writing)
        stdin.want()
        self.reactor.run_one()
        stdin.want()
        self.reactor.run_one()
        self.assertEqual(self.chunks, [b"one\n", b"two\n", b""])

    def test_file(self) -> None:
        """A file, which no reactor can wait for, is read as well."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"x" * 20_000)
        with open(path, "rb") as file:
            stdin = self.stdin(file.fileno())
            while b"" not in self.chunks:
                stdin.want()
                self.reactor.run_one()
        self.assertEqual(len(b"".join(self.chunks)), 20_000)
        self.assertLess(max(map(len, self.chunks)), 20_000)

    def test_null(self) -> None:
        """A service's /dev/null is at its end at once."""
        with open("/dev/null", "rb") as file:
            self.stdin(file.fileno()).want()
            self.reactor.run_one()
        self.assertEqual(self.chunks, [b""])

    def test_unreadable(self) -> None:
        """A descriptor that can't be read is at its end."""
        fd = os.open(self.mktemp(), os.O_WRONLY | os.O_CREAT)
        self.addCleanup(os.close, fd)
        self.stdin(fd).want()
        self.reactor.run_one()
        self.assertEqual(self.chunks, [b""])

    def test_flags(self) -> None:
        """The descriptor's flags, which other programs share, stay as they are, and either kind works."""
        reading, writing = self.pipe()
        self.addCleanup(os.close, writing)
        for flags in (0, os.O_NONBLOCK):
            fcntl.fcntl(reading, fcntl.F_SETFL, flags)
            stdin = self.stdin(reading)
            stdin.want()
            os.write(writing, b"text\n")
            self.reactor.run_one()
            stdin.stop()
            self.assertEqual(fcntl.fcntl(reading, fcntl.F_GETFL) & os.O_NONBLOCK, flags)
        self.assertEqual(self.chunks, [b"text\n"] * 2)

    def test_stop_waiting(self) -> None:
        """It stops at once, whether it waits to be wanted or for input."""
        reading, writing = self.pipe()
        self.addCleanup(os.close, writing)
        self.assertEqual(self.stdin(reading).stop(), [])
        stdin = self.stdin(reading)
        stdin.want()
        self.assertEqual(stdin.stop(), [])
        self.assertEqual(stdin.stop(), [])

    def test_stop_with_input(self) -> None:
        """What was said just before the stop is not lost, and given only once."""
        reading, writing = self.pipe()
        self.addCleanup(os.close, writing)
        stdin = self.stdin(reading)
        os.write(writing, b"last words\n")
        stdin.want()
        self.assertEqual(stdin.stop(), [b"last words\n"])
        self.reactor.run_one()
        self.assertEqual(self.chunks, [])


class StyleTests(SynchronousTestCase):
    """How lines look."""

    def test_message(self) -> None:
        """Time, sender and text; a value that is no text is shown as JSON."""
        plain = Style()
        self.assertRegex(plain.render(0.0, [message("hello")]).decode(), r"\A\d\d:00:00 a1b2c3d4 hello\n\Z")
        lines = plain.render(0.0, [message({"a": [1, None]}), message("b", B)]).decode().splitlines()
        self.assertEqual([line.split(" ", 1)[1] for line in lines], ['a1b2c3d4 {"a":[1,null]}', "00112233 b"])

    def test_hostile(self) -> None:
        """A message is one line, which can't look like another peer's."""
        text = Style().render(0.0, [message("a\n12:00:00 00112233 b\x1b[2J"), message(["\x1b\u202e"])]).decode()
        self.assertEqual(text.count("\n"), 2)
        self.assertNotIn("\x1b", text)
        self.assertNotIn("\u202e", text)

    def test_times(self) -> None:
        """A sender's clock may say anything."""
        for time in (1e300, -1e300, 1e18):
            self.assertIn(b"--:--:-- a1b2c3d4 x\n", Style().render(0.0, [message("x", time=time)]))

    def test_others(self) -> None:
        """News and gaps are told apart from messages."""
        self.assertRegex(Style().render(0.0, "x joined"), rb"\A\d\d:00:00 -- x joined\n\Z")
        self.assertIn(b" a1b2c3d4 -- its broadcasts 2 to 5 are lost", Style().render(0.0, Gap(A, 1, 2, 5)))
        self.assertIn(b" a1b2c3d4 -- its broadcasts 2 are lost", Style().render(0.0, Gap(A, 1, 2, 2)))
        self.assertIn(b" a1b2c3d4 -- two processes have its key", Style().render(0.0, Fork(A, 1, 2, b"", b"")))

    def test_colour(self) -> None:
        """On a terminal each sender has a colour of its own."""
        lines = Style(colour=True).render(0.0, [message("x"), message("x", B)]).decode().splitlines()
        senders = [line.split(" ")[1] for line in lines]
        self.assertRegex(senders[0], "\\A\x1b\\[3[1-6]ma1b2c3d4\x1b\\[0m\\Z")
        self.assertNotEqual(senders[0][:5], senders[1][:5])

    def test_when_colour(self) -> None:
        """Colour is for terminals only, and for those who have not said no."""
        terminal, other = os.openpty()
        self.addCleanup(os.close, terminal)
        self.addCleanup(os.close, other)
        self.assertTrue(Style.of(other, "utf-8", {"NO_COLOR": ""}).colour)
        self.assertFalse(Style.of(other, "utf-8", {"NO_COLOR": "1"}).colour)
        self.assertFalse(Style.of(other, "utf-8", {"TERM": "dumb"}).colour)
        with open("/dev/null", "wb") as file:
            self.assertFalse(Style.of(file.fileno(), "utf-8", {}).colour)

    def test_encoding(self) -> None:
        """What the terminal can't show is replaced."""
        self.assertIn(b" a1b2c3d4 ? a\n", Style(encoding="ascii").render(0.0, [message("é a")]))


class FakeSource:
    """A standard input in the test's hands."""

    def __init__(self) -> None:
        self.wanted = 0
        self.left: list[bytes] = []

    def start(self, chunk: Callable[[bytes], object]) -> None:
        self.chunk = chunk

    def want(self) -> None:
        self.wanted += 1

    def stop(self) -> list[bytes]:
        return self.left


class FakeOutput:
    """A standard output that remembers."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


class FakeNode:
    """A node that accepts broadcasts when the test says so."""

    peer = B
    knows_all = True

    def __init__(self) -> None:
        self.joined: Deferred[None] = Deferred()
        self.broadcasts: list[list[str]] = []
        self.accepting: list[Deferred[None]] = []
        self.callbacks: dict[str, Any] = {}
        self.running = True

    def when_ready(self) -> Deferred[None]:
        return self.joined

    def on_messages(self, callback: Any) -> None:
        self.callbacks["messages"] = callback

    def on_change(self, callback: Any) -> None:
        self.callbacks["change"] = callback

    def on_fork(self, callback: Any) -> None:
        self.callbacks["fork"] = callback

    def on_gap(self, callback: Any) -> None:
        self.callbacks["gap"] = callback

    def prepare(self, value: str) -> Prepared:
        if len(value) > 50:
            raise MessageTooBig(len(value), 50)
        return Prepared("0" * 48, 0, 0.0, value.encode())

    def broadcast_prepared(self, messages: list[Prepared]) -> Deferred[None]:
        if not self.running:
            raise NotRunning()
        self.broadcasts.append([message.value.decode() for message in messages])
        self.accepting.append(Deferred())
        return self.accepting[-1]


class ConsoleTests(SynchronousTestCase):
    """Lines to the network, and what happens to the terminal."""

    def setUp(self) -> None:
        self.node, self.clock = FakeNode(), Clock()
        self.source, self.output = FakeSource(), FakeOutput()
        self.console = self.make(self.output)
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def make(self, output: FakeOutput | None) -> Console:
        return Console(self.node, self.clock, self.source, output, Style(), 100)  # type: ignore[arg-type]  # fakes

    def start(self) -> None:
        self.console.start()
        self.node.joined.callback(None)

    def shown(self) -> list[str]:
        """What was shown, up to the console's end, without the times."""
        self.console.close(PATIENCE)
        return [line.split(" ", 1)[1] for line in self.output.data.decode().splitlines()]

    def test_waits_for_the_join(self) -> None:
        """Nothing is read before we have joined, so nothing that was piped in is lost."""
        self.console.start()
        self.assertEqual(self.source.wanted, 0)
        self.node.joined.callback(None)
        self.assertEqual(self.source.wanted, 1)

    def test_lines(self) -> None:
        """Each line is one broadcast, always a text; a chunk's lines go together."""
        self.start()
        self.source.chunk(b"one\n\n2\nthr")
        self.source.chunk(b"ee\n")
        self.assertEqual(self.node.broadcasts, [["one", "2"], ["three"]])

    def test_back_pressure(self) -> None:
        """Reading goes on only when the network has accepted what was read."""
        self.start()
        self.source.chunk(b"one\n")
        self.assertEqual(self.source.wanted, 1)
        self.node.accepting[0].callback(None)
        self.assertEqual(self.source.wanted, 2)
        self.source.chunk(b"no end yet")
        self.assertEqual(self.source.wanted, 3)

    def test_end(self) -> None:
        """At the end of input the last line goes out, and nothing more is read."""
        self.start()
        self.source.chunk(b"last")
        self.source.chunk(b"")
        self.assertEqual(self.node.broadcasts, [["last"]])
        self.node.accepting[0].callback(None)
        self.assertEqual(self.source.wanted, 2)

    def test_stop(self) -> None:
        """What was read, and not yet handed over, is broadcast before we leave; then nothing is read."""
        self.start()
        self.source.chunk(b"one\ntw")
        self.source.left = [b"o\nthree\n", b""]
        self.console.stop_reading()
        self.console.stop_reading()
        self.assertEqual(self.node.broadcasts, [["one"], ["two", "three"]])
        self.node.accepting[0].callback(None)
        self.assertEqual(self.source.wanted, 1)

    def test_stop_before_join(self) -> None:
        """One may stop before having joined."""
        self.console.start()
        self.console.stop_reading()
        self.assertEqual(self.source.wanted, 0)

    def test_too_big(self) -> None:
        """A line that does not fit is told, and the others go out."""
        self.start()
        self.source.chunk(b"one\n" + b"x" * 60 + b"\n" + b"y" * 101 + b"\ntwo\n")
        self.assertEqual(self.node.broadcasts, [["one", "two"]])
        first, second = self.shown()
        self.assertIn("-- Not broadcast: the line has more than 100 bytes", first)
        self.assertIn("-- Not broadcast: The message takes 60 bytes", second)

    def test_not_running(self) -> None:
        """Lines for which it is too late are counted in the log."""
        self.start()
        self.node.running = False
        self.source.chunk(b"one\ntwo\n")
        (event,) = self.events
        self.assertEqual(event["n"], 2)
        self.assertEqual(self.source.wanted, 2)

    def test_shows(self) -> None:
        """Who joins is shown before what they say, and who leaves after it."""
        self.start()
        self.node.callbacks["change"](Changed(Kind.JOINED, A, "10.0.0.1", 7))
        self.node.callbacks["messages"]([message("hi"), message("there")])
        self.node.callbacks["gap"](Gap(A, 1, 3, 4))
        self.node.callbacks["change"](Changed(Kind.LEFT, A))
        self.assertEqual(
            self.shown(),
            [
                "-- a1b2c3d4 joined (10.0.0.1:7)",
                "a1b2c3d4 hi",
                "a1b2c3d4 there",
                "a1b2c3d4 -- its broadcasts 3 to 4 are lost for this peer",
                "-- a1b2c3d4 left (10.0.0.1:7)",
            ],
        )

    def test_no_output(self) -> None:
        """Without standard output lines are broadcast all the same; what must be told goes to the log."""
        self.node.callbacks.clear()
        self.console = self.make(None)
        self.start()
        self.source.chunk(b"one\n" + b"x" * 60 + b"\n")
        self.console.close(PATIENCE)
        self.assertEqual(self.node.broadcasts, [["one"]])
        self.assertEqual(self.node.callbacks, {})
        self.assertIn("Not broadcast", self.events[0]["text"])
