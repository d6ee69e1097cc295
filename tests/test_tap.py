"""The service that the command line makes."""

import io
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.test_options import parsed, twistd
from twisted_p2p.core.actions import Changed, Kind
from twisted_p2p.core.wire import History
from twisted_p2p.errors import AccessError, CannotListen, NotRunning
from twisted_p2p.tap import CannotStart, PeerProcess, banner, makeService

A, B = "a" * 64, "b" * 64


class BannerTests(SynchronousTestCase):
    """What a peer says when it starts."""

    def banner(self, address: tuple[str, int], *arguments: str) -> str:
        return "\n".join(banner(A, address, parsed(*arguments)))

    def test_genesis(self) -> None:
        """The usual genesis: id, address, and the shortest command that joins it."""
        text = self.banner(("127.0.0.1", 5050), "-g")
        self.assertIn(A, text)
        self.assertIn("127.0.0.1:5050, in the network p2p, as a genesis.", text)
        self.assertIn("on this machine: twistd -n p2p\n", text)
        self.assertIn("Only this machine can reach it", text)
        self.assertIn("--interface", text)

    def test_other(self) -> None:
        """Another port and name are in the command."""
        text = self.banner(("127.0.0.1", 7), "--network", "chat", "--max-known", "50")
        self.assertIn(": twistd -n p2p --join 127.0.0.1:7 --network chat --max-known 50\n", text)

    def test_key_file(self) -> None:
        """Another peer of this network needs its key, and the command says where that is."""
        text = self.banner(("127.0.0.1", 5050), "--network-key-file", "/a key")
        self.assertIn(": twistd -n p2p --network-key-file '/a key'\n", text)

    def test_reachable(self) -> None:
        """Where others can come from elsewhere, the next peer can be reached from there too."""
        text = self.banner(("10.0.0.1", 7), "--interface", "10.0.0.1")
        self.assertIn(": twistd -n p2p --join 10.0.0.1:7 --interface 10.0.0.1\n", text)
        self.assertNotIn("Only this machine", text)
        text = self.banner(("::2", 7), "--interface", "::", "--advertise", "[::2]")
        self.assertIn(": twistd -n p2p --join [::2]:7 --interface :: --advertise [::2]\n", text)

    def test_command_is_right(self) -> None:
        """What the banner says can be typed."""
        for arguments in ([], ["--interface", "::", "--advertise", "[::2]:9"], ["--interface", "::1"]):
            (line,) = [line for line in banner(A, ("::2", 7), parsed(*arguments)) if "twistd -n p2p" in line]
            options = parsed(*line.partition("twistd -n p2p ")[2].split())
            self.assertEqual(options["join"], [("::2", 7)])


class FakeNode:
    """A node that notes what is done with it."""

    peer = A
    knows_all = True
    address = ("127.0.0.1", 7)
    nodes_in_network = ({"peer": A}, {"peer": B})

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps
        self.joined: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()
        self.change: list[Any] = []
        self.error: Exception | None = None

    def reload(self) -> None:
        self.steps.append("node reloads")
        if self.error is not None:
            raise self.error

    def privilegedStartService(self) -> None:
        if self.error is not None:
            raise self.error
        self.steps.append("listen")

    def startService(self) -> None:
        if self.error is not None:
            raise self.error
        self.steps.append("node starts")

    def stopService(self) -> Deferred[None]:
        self.steps.append("node stops")
        return self.stopped

    def when_ready(self) -> Deferred[None]:
        return self.joined

    def on_change(self, callback: Any) -> None:
        self.change.append(callback)


class FakePart:
    """A console or events file that notes what is done with it."""

    def __init__(self, name: str, steps: list[str]) -> None:
        self.name, self.steps = name, steps
        self.error: Exception | None = None

    def __getattr__(self, step: str) -> Any:
        def note() -> None:
            if self.error is not None:
                raise self.error
            self.steps.append(f"{self.name} {step}")

        return note


class PeerProcessTests(SynchronousTestCase):
    """The life of a `twistd -n p2p`."""

    def setUp(self) -> None:
        self.steps: list[str] = []
        self.node = FakeNode(self.steps)
        self.console = FakePart("console", self.steps)
        self.events_file = FakePart("events", self.steps)
        self.stderr = io.StringIO()
        self.clock = Clock()
        self.clock.callWhenRunning = lambda call: None  # type: ignore[attr-defined]  # a reactor has it
        self.log: list[Any] = []
        globalLogPublisher.addObserver(self.log.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.log.append)

    def service(self, *arguments: str, console: bool = True, parent: dict[str, Any] | None = None) -> PeerProcess:
        parts = (self.console if console else None, self.events_file)
        return PeerProcess(self.node, self.clock, parsed(*arguments, parent=parent), *parts, self.stderr)  # type: ignore[arg-type]  # fakes

    def started(self, *arguments: str, console: bool = True) -> PeerProcess:
        service = self.service(*arguments, console=console)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def texts(self) -> list[str]:
        return [event["log_format"].format(**event) for event in self.log]

    def test_life(self) -> None:
        """What was typed is sent before the node leaves; what happens until then is shown and written."""
        service = self.service()
        service.privilegedStartService()
        service.startService()
        self.node.joined.callback(None)
        self.assertEqual(self.steps, ["listen", "events open", "node starts", "console start", "events ready"])
        del self.steps[:]
        stopped = service.stopService()
        self.assertEqual(self.steps, ["console stop_reading", "node stops"])
        self.assertNoResult(stopped)
        self.node.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.steps[2:], ["console close", "events close"])

    def test_banner(self) -> None:
        """The banner is in the log, and then that we have joined."""
        self.started()
        self.assertIn("twistd -n p2p --join 127.0.0.1:7", "\n".join(self.texts()))
        del self.log[:]
        self.node.joined.callback(None)
        self.assertEqual(self.texts(), ["Joined the network p2p: 2 peers, this one included."])

    def test_retry(self) -> None:
        """Each attempt to join that failed is told, with the reason and when it is tried again."""
        self.started()
        del self.log[:]
        for after in (1.26, 0.0):
            self.node.change[0](Changed(Kind.RETRY, "", "::1", 5, "unreachable", after))
        self.assertEqual(
            self.texts(),
            [
                "Nobody answers at [::1]:5; is the genesis running? Trying again in 1.3 s.",
                "Nobody answers at [::1]:5; is the genesis running? Trying again with the next address.",
            ],
        )

    def test_reload(self) -> None:
        """On SIGHUP the node reads its files again, in a turn of its own; what is wrong with one is logged."""
        service = self.service("--deny", "x")
        calls: list[Any] = []
        self.clock.callFromThread = calls.append  # type: ignore[attr-defined]  # a reactor has it
        del self.log[:]
        assert service._signals._reload is not None
        service._signals._reload()
        self.assertEqual((len(calls), self.steps), (1, []))
        calls[0]()
        self.assertEqual(self.texts(), ["SIGHUP: who may join, and who is banned, was read again."])
        for error, texts in (
            (
                AccessError("The file x can't be read."),
                ["SIGHUP: The file x can't be read. Who may join stays as it was."],
            ),
            (NotRunning(), []),
        ):
            del self.log[:]
            self.node.error = error
            calls[0]()
            self.assertEqual(self.texts(), texts)
        self.assertIsNone(self.service()._signals._reload)

    def test_news_without_console(self) -> None:
        """Without a console, who joins and leaves is in the log."""
        self.started(console=False)
        del self.log[:]
        for change in self.node.change:
            change(Changed(Kind.JOINED, B, "10.0.0.1", 5))
        self.clock.advance(0)
        self.assertEqual(self.texts(), ["bbbbbbbb joined (10.0.0.1:5)"])

    def test_taken_port(self) -> None:
        """A taken port is one line and exit code 1, whichever way the service is started."""
        self.node.error = CannotListen("Cannot listen on port 7.")
        service = self.service()
        for start in (service.privilegedStartService, service.startService):
            error = self.assertRaises(CannotStart, start)
            # SystemExit for Python, Exception for twistd's own tidying up.
            self.assertIsInstance(error, SystemExit)
            self.assertIsInstance(error, Exception)
            self.assertEqual(error.code, 1)
            self.assertEqual(str(error), "Cannot listen on port 7.")
        self.assertEqual(self.stderr.getvalue(), "p2p: Cannot listen on port 7.\n" * 2)

    def test_taken_port_of_a_daemon(self) -> None:
        """A daemon says it in its log; twistd says it on the terminal."""
        self.node.error = CannotListen("Cannot listen on port 7.")
        self.assertRaises(CannotStart, self.service(parent=twistd(nodaemon=0)).privilegedStartService)
        self.assertEqual(self.texts(), ["Cannot listen on port 7."])
        self.assertEqual(self.stderr.getvalue(), "")

    def test_events_file(self) -> None:
        """An events file that can't be opened is one line, too."""
        self.events_file.error = FileNotFoundError(2, "No such file or directory", "/x/y")
        self.assertRaises(CannotStart, self.service().startService)
        self.assertEqual(self.stderr.getvalue(), "p2p: Can't write events to /x/y: No such file or directory.\n")


class MakeServiceTests(SynchronousTestCase):
    """From options to a service, of which nothing runs yet."""

    def test_node(self) -> None:
        """The options reach the node."""
        folder = self.mktemp()
        options = ["-g", "--network", "chat", "--port", "7", "--interface", "127.0.0.2", "--data-dir", folder]
        service = makeService(parsed(*options, "--events", "x", "--history", "9", "--synchronous", "off"))
        self.assertTrue(service.node.genesis)
        self.assertEqual(service.node.address, ("127.0.0.2", 7))
        settings = service.node.shell.settings
        self.assertEqual(settings.data_dir, os.path.abspath(folder))
        self.assertEqual((settings.history, settings.synchronous), (History(count=9), "OFF"))
        deny = Path(self.mktemp()).absolute()
        deny.write_text("peer.example\n")
        error = self.assertRaises(SystemExit, makeService, parsed("--deny", str(deny)))
        self.assertTrue(str(error.code).startswith(f"p2p: {deny}, line 1: 'peer.example' is no peer's id"))
        # A second one can't have it, and says so in one line.
        error = self.assertRaises(SystemExit, makeService, parsed(*options))
        self.assertIn(f"is in use by another peer (process {os.getpid()})", str(error.code))

    def test_console(self) -> None:
        """Only a foreground process whose standard output is its own has a console."""
        for arguments, parent, expected in (
            ([], twistd(), True),
            ([], {"logFile": None}, True),
            (["--no-console"], twistd(), False),
            (["--events", "-"], twistd(), False),
            (["--events", "file"], twistd(), True),
            ([], twistd(nodaemon=0), False),
        ):
            self.assertEqual(makeService(parsed(*arguments, parent=parent))._console is not None, expected)
