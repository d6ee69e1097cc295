"""What a program that follows events reads, however slow it is."""

import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any

import attrs
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.test_backlog import PATIENCE, A, logged, message, texts
from tests.test_reader import ReaderCase
from twisted_p2p.backlog import Place
from twisted_p2p.core.actions import Changed, Fork, Gap, Kind
from twisted_p2p.core.config import LAN
from twisted_p2p.events import EventsWriter, Output, encode_lines, events_of
from twisted_p2p.testing import MemoryNetwork


class OutputTests(SynchronousTestCase):
    """Lines to a descriptor that may fail."""

    def setUp(self) -> None:
        self.events = logged(self)

    def texts(self) -> list[str]:
        return texts(self.events)

    def test_disk_full(self) -> None:
        """A full disk is told once; once there is room, writing goes on, and what is missing is counted."""
        fd = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, fd)
        output = Output(fd, "events.json")
        output.write(b"1\n2\n")
        output.write(b"3\n")
        (text,) = self.texts()
        self.assertIn("Can't write to events.json: No space left on device", text)
        path = self.mktemp()
        with open(path, "wb") as file:
            os.dup2(file.fileno(), fd)
        output.write(b"4\n")
        self.assertEqual(Path(path).read_bytes(), b"4\n")
        self.assertIn("Writing to events.json again; 3 lines were lost.", self.texts()[1])

    def test_disk_full_but_nothing_lost(self) -> None:
        """Where lines may not be lost they are tried again until there is room, and are not cut."""
        fd = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, fd)
        tried = threading.Event()

        def gives_up() -> bool:
            tried.set()
            return False

        output = Output(fd, "events.json", gives_up)
        writer = threading.Thread(target=output.write, args=(b"1\n2\n",))
        writer.start()
        self.assertTrue(tried.wait(PATIENCE))
        path = self.mktemp()
        with open(path, "wb") as file:
            os.dup2(file.fileno(), fd)
        writer.join(PATIENCE)
        self.assertEqual(Path(path).read_bytes(), b"1\n2\n")
        self.assertIn("It is tried again and again.", self.texts()[0])
        self.assertIn("0 lines were lost", self.texts()[1])

    def test_closed_pipe(self) -> None:
        """A reader that has gone away stops nothing."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        os.close(reading)
        output = Output(writing, "standard output")
        output.write(b"1\n")
        output.write(b"2\n")
        (text,) = self.texts()
        self.assertIn("Broken pipe", text)

    def test_slow_reader(self) -> None:
        """A pipe that somebody else made non-blocking takes everything all the same, in time."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
        data = b"x" * 999_999 + b"\n"
        got: list[bytes] = []

        def read() -> None:
            with open(reading, "rb") as file:
                got.append(file.read(len(data)))

        reader = threading.Thread(target=read)
        reader.start()
        Output(writing, "standard output").write(data)
        reader.join(PATIENCE)
        self.assertEqual(got, [data])
        self.assertEqual(self.texts(), [])

    def test_cut_line(self) -> None:
        """A line that was cut by an error does not spoil the next one."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        output = Output(writing, "events")
        fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
        writer = threading.Thread(target=output.write, args=(b"x" * 1_000_000 + b"\n",))
        writer.start()
        self.assertEqual(os.read(reading, 10), b"x" * 10)
        os.close(reading)
        writer.join(PATIENCE)
        path = self.mktemp()
        with open(path, "wb") as file:
            os.dup2(file.fileno(), writing)
        output.write(b"next\n")
        self.assertEqual(Path(path).read_bytes(), b"\nnext\n")


class EventsOfTests(SynchronousTestCase):
    """The objects that say what happened."""

    def test_message(self) -> None:
        """A message has all its fields; `peer` is its origin."""
        (event,) = events_of(9.5, [message(3, value=[None, "é"])])
        self.assertEqual(
            event,
            {
                "event": "message",
                "at": 9.5,
                "peer": A,
                "epoch": 7,
                "seq": 3,
                "id": "0" * 64,
                "title": "#BROADCAST",
                "message": [None, "é"],
                "time": 1.5,
            },
        )

    def test_changes(self) -> None:
        """Who joined has an address, a link that ended a reason, and readiness our own port."""
        for changed, more in (
            (Changed(Kind.JOINED, A, "10.0.0.1", 5), {"ip_addr": "10.0.0.1", "port": 5}),
            (Changed(Kind.LEFT, A), {}),
            (Changed(Kind.FAILED, A), {}),
            (Changed(Kind.FORGOTTEN, A), {}),
            (Changed(Kind.LINK_UP, A), {}),
            (Changed(Kind.LINK_DOWN, A, reason="closed"), {"reason": "closed"}),
            (Changed(Kind.READY, A, port=5050), {"port": 5050}),
        ):
            expected = {"event": changed.kind.value, "at": 9.5, "peer": A} | more
            self.assertEqual(events_of(9.5, changed), [expected])

    def test_gap(self) -> None:
        """A gap says which bundles of which stream."""
        expected = {"event": "gap", "at": 9.5, "peer": A, "epoch": 7, "first": 2, "last": 4}
        self.assertEqual(events_of(9.5, Gap(A, 7, 2, 4)), [expected])

    def test_cursors(self) -> None:
        """A message and a gap have their place in the log, if they have one; what is old says so."""
        (event,) = events_of(9.5, [msgspec.structs.replace(message(3), cursor=5, replayed=True)])
        self.assertEqual((event["cursor"], event["replayed"]), (5, True))
        (event,) = events_of(9.5, Gap(A, 7, 2, 4, 3))
        self.assertEqual(event["cursor"], (4 << 20) - 1)

    def test_fork(self) -> None:
        """A fork says whose stream it is, and which bundle."""
        expected = {"event": "fork", "at": 9.5, "peer": A, "epoch": 7, "seq": 3}
        self.assertEqual(events_of(9.5, Fork(A, 7, 3, b"", b"")), [expected])

    def test_place(self) -> None:
        """A file says up to which cursor nothing is still to come."""
        self.assertEqual(events_of(9.5, Place(5)), [{"event": "cursor", "at": 9.5, "cursor": 5}])


class EncodeLinesTests(SynchronousTestCase):
    """One JSON object a line, for any reader."""

    def test_controls(self) -> None:
        """Nothing that a message may contain controls a terminal or ends a line; it is read back as it was."""
        texts = ["\x1b[2J\x07", "\x7f", "\x9b5m", "\x85", "\u2028", "\u202eback", '\\\x9b"', "grüße 🎉", "plain"]
        data = encode_lines([{"message": text} for text in texts]).decode()
        self.assertEqual([json.loads(line)["message"] for line in data.splitlines()], texts)
        self.assertFalse(set(data) & set("\x1b\x07\x7f\x9b\x85\u2028\u202e"))
        self.assertIn("grüße 🎉", data)


class EventsWriterTests(SynchronousTestCase):
    """The file of --events, for a node in a network in memory."""

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.other = self.network.node()
        self.node = self.network.node(start=False)
        self.path = self.mktemp()

    def follow(self) -> EventsWriter:
        writer = EventsWriter(self.node, self.network.world, self.path)
        writer.open()
        self.node.when_ready().addCallback(lambda _: writer.ready())
        self.node.startService()
        self.network.settle()
        return writer

    def events(self) -> list[Any]:
        lines = Path(self.path).read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def test_life(self) -> None:
        """A follower reads who joined, that we are ready, the link, messages of others, and who left."""
        writer = self.follow()
        self.other.broadcast("hello")
        self.node.broadcast("ours")
        self.network.settle()
        self.network.result(self.other.stopService())
        self.network.advance(1.0)
        writer.close(PATIENCE)
        events = self.events()
        kinds = [event["event"] for event in events]
        self.assertEqual(sorted(kinds), sorted(["joined", "link-up", "ready", "message", "link-down", "left"]))
        self.assertLess(kinds.index("ready"), kinds.index("message"))
        by_kind = {event["event"]: event for event in events}
        self.assertEqual(by_kind["joined"]["peer"], self.other.peer)
        self.assertEqual(by_kind["joined"]["port"], self.other.port)
        self.assertEqual(by_kind["ready"]["peer"], self.node.peer)
        self.assertEqual(by_kind["ready"]["port"], self.node.port)
        self.assertEqual(by_kind["message"]["message"], "hello")
        self.assertTrue(all(isinstance(event["at"], float) for event in events))

    def test_appends(self) -> None:
        """What is in the file stays."""
        Path(self.path).write_text('{"event":"old"}\n')
        self.follow().close(PATIENCE)
        self.assertEqual(self.events()[0], {"event": "old"})
        self.assertGreater(len(self.events()), 1)

    def test_no_such_folder(self) -> None:
        """A file that can't be opened is an error at the start."""
        writer = EventsWriter(self.node, self.network.world, "/nonexistent/file")
        self.assertRaises(OSError, writer.open)
        writer.close(PATIENCE)


class ResumeTests(ReaderCase):
    """The file of --events where the log is durable: each message once, whenever the process ends."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())
        self.log = logged(self)

    def open(self) -> EventsWriter:
        """Begin to write."""
        writer = EventsWriter(self.two, self.world, str(self.path), resume=True)
        writer.open()
        self.addCleanup(writer.close, 0.0)
        self.world.run(1)
        return writer

    def write(self, *messages: Any) -> None:
        """A life of the writer, in which these are said."""
        writer = self.open()
        self.say(*messages)
        writer.close(PATIENCE)

    def events(self, *kinds: str) -> list[Any]:
        # The last line may be just being written.
        whole = self.path.read_bytes().rpartition(b"\n")[0]
        events = [json.loads(line) for line in whole.splitlines()]
        return [event for event in events if event["event"] in kinds]

    def said(self) -> list[Any]:
        return [event["message"] for event in self.events("message")]

    def test_lives(self) -> None:
        """What was said while nobody wrote is written by the next life; nothing is there twice."""
        self.write("a", "b")
        self.say("c")
        self.write()
        self.write("d")
        self.assertEqual(self.said(), ["a", "b", "c", "d"])
        cursors = [event["cursor"] for event in self.events("cursor", "message")]
        self.assertEqual(cursors, sorted(set(cursors)))
        self.assertEqual([event.get("replayed") for event in self.events("message")], [None] * 4)
        self.assertEqual(len(self.events("cursor")), 1)

    def test_restarts(self) -> None:
        """The same holds when the whole peer is killed, twice, and the writer is opened before its node."""
        self.open()
        self.say("a")
        for text in ("b", "c"):
            self.restart_two()
            writer = EventsWriter(self.two, self.world, str(self.path), resume=True)
            writer.open()
            self.two.startService()
            self.world.run(3)
            self.say(text)
            writer.close(PATIENCE)
        self.assertEqual(self.said(), ["a", "b", "c"])

    def test_new_file(self) -> None:
        """A new file begins with this life, and says where: a crash before the first message loses none."""
        self.say("before")
        writer = self.open()
        writer.close(PATIENCE)
        self.assertEqual([*self.events("cursor")[0]], ["event", "at", "cursor"])
        self.say("a")
        self.write("b")
        self.assertEqual(self.said(), ["a", "b"])

    def test_other_events(self) -> None:
        """A file with other events only begins as a new one does, and what is in it stays."""
        self.say("before")
        self.path.write_bytes(b'{"event":"left"}\n')
        self.write("a")
        self.assertEqual(self.said(), ["a"])
        self.assertEqual(len(self.events("left")), 1)

    def test_killed_anywhere(self) -> None:
        """Cut anywhere, as by a kill during a write, it is made whole again: each message once, in order."""
        writer = self.open()
        self.one.broadcast_all(["a", "b"])
        self.say({"cursor": 7}, "\x9b" * 3000, "e")
        writer.close(PATIENCE)
        whole, said = self.path.read_bytes(), self.said()
        begins = whole.index(b"\n") + 1
        ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
        cuts = {cut + step for cut in (*ends, *range(begins, len(whole), 997)) for step in (-1, 0, 1)}
        for cut in sorted(cut for cut in cuts if begins <= cut <= len(whole)):
            self.path.write_bytes(whole[:cut])
            self.write()
            self.assertEqual(self.said(), said, cut)
            self.assertEqual(
                self.path.read_bytes()[: max(end for end in ends if end <= cut)],
                whole[: max(e for e in ends if e <= cut)],
            )
        cut_off = [text for text in texts(self.log) if "cut off" in text]
        self.assertTrue(cut_off)
        for nothing in (b"", whole[: begins - 1]):
            self.path.write_bytes(nothing)
            self.write("new")
            self.assertEqual(self.said(), ["new"])

    def test_gaps(self) -> None:
        """What retention took before it was written is a gap, after which it goes on in the next life too."""
        self.begin(attrs.evolve(LAN, retention_count=5))
        self.write("a")
        self.say(*range(10))
        self.write()
        [gap] = self.events("gap")
        self.assertEqual((gap["peer"], gap["epoch"], gap["first"], gap["last"]), ("", 0, 2, 6))
        self.assertEqual(self.said(), ["a", *range(5, 10)])
        self.path.write_bytes(b"".join(self.path.read_bytes().splitlines(True)[:3]))
        self.assertEqual(self.events("message", "gap")[-1], gap)
        self.write()
        self.assertEqual(self.said(), ["a", *range(5, 10)])

    def test_own(self) -> None:
        """Our own broadcasts are not written, and no gap once they are gone; that is noted at the end, once."""
        self.begin(attrs.evolve(LAN, retention_count=5))
        self.write("a")
        writer = self.open()
        for number in range(20):
            self.two.broadcast(number)
            self.world.run(0.1)
        writer.close(PATIENCE)
        for number in range(3):
            self.two.broadcast(number)
            self.world.run(0.1)
        self.write("b")
        self.write()
        self.assertEqual((self.said(), self.events("gap")), (["a", "b"], []))
        self.assertEqual(len(self.events("cursor")), 2)

    def test_other_log(self) -> None:
        """A cursor beyond the log is warned of; it goes on from the end of the log, also after a crash."""
        self.say("before")
        self.path.write_bytes(b'{"event":"gap","cursor":%d}\n' % (99 << 20))
        self.open().close(PATIENCE)
        self.say("a")
        self.write("b")
        self.assertEqual(self.said(), ["a", "b"])
        self.assertEqual(len([text for text in texts(self.log) if "beyond this peer's log" in text]), 1)

    def test_slow_disk(self) -> None:
        """While nothing is written nothing is read: no message is dropped, and few wait in memory."""
        writer = self.open()
        output, may_write = writer._output, threading.Event()
        assert output is not None

        class Slow:
            """An output that waits."""

            def write(self, data: bytes) -> None:
                may_write.wait(PATIENCE)
                output.write(data)

        writer._output = Slow()  # type: ignore[assignment]  # it need not be one
        writer._backlog._limit = 10
        for number in range(20):
            self.one.broadcast_all(range(number * 50, number * 50 + 50))
            self.world.run(0.2)
        self.assertLess(writer._backlog._held, 200 + 50)
        may_write.set()
        for _ in range(2000):
            written = self.path.read_bytes()
            # It may be read while a line is being written.
            if written.endswith(b"\n") and written.count(b'"event":"message"') == 1000:
                break
            threading.Event().wait(0.005)
            self.world.run(0.05)
        self.assertEqual(self.said(), list(range(1000)))
        self.assertEqual(writer._backlog.dropped, 0)
        writer.close(PATIENCE)

    def test_no_file(self) -> None:
        """What is no file has no end: it begins with this life."""
        self.say("before")
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        writer = EventsWriter(self.two, self.world, f"/dev/fd/{writing}", resume=True)
        writer.open()
        os.close(writing)
        self.say("a")
        writer.close(PATIENCE)
        with open(os.dup(reading), "rb") as file:
            events = [json.loads(line) for line in file]
        self.assertEqual([event["message"] for event in events if event["event"] == "message"], ["a"])

    def test_unreadable_log(self) -> None:
        """The other way: to standard output, and where the log is not durable, callbacks have it, with cursors."""
        writer = EventsWriter(self.two, self.world, str(self.path))
        writer.open()
        self.say("a", "b")
        writer.close(PATIENCE)
        self.assertEqual(self.said(), ["a", "b"])
        taken = [item.cursor for item in self.take(0).items]
        self.assertEqual([event["cursor"] for event in self.events("message")], taken)
