"""The command line, and the service that it makes."""

import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.reflect import namedAny
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p import tap
from twisted_p2p.core.actions import Changed, Kind
from twisted_p2p.core.wire import History
from twisted_p2p.errors import AccessError, BadAddress, CannotListen, NotRunning
from twisted_p2p.tap import (
    CannotStart,
    Options,
    PeerProcess,
    Signals,
    banner,
    makeService,
    parse_address,
)

A, B = "a" * 64, "b" * 64


def parsed(*arguments: str, parent: dict[str, Any] | None = None) -> Options:
    options = Options()
    options.parent = parent
    options.parseOptions(list(arguments))
    return options


def twistd(**settings: Any) -> dict[str, Any]:
    """The part of twistd's own options that matters."""
    return {"nodaemon": 1, "debug": False, "pidfile": "twistd.pid", "logfile": None, "logger": None} | settings


class AddressTests(SynchronousTestCase):
    """How addresses are written."""

    def test_good(self) -> None:
        """Names, IPv4, and IPv6 in brackets."""
        self.assertEqual(parse_address("localhost:5050"), ("localhost", 5050))
        self.assertEqual(parse_address("10.0.0.1:1"), ("10.0.0.1", 1))
        self.assertEqual(parse_address("[::1]:65535"), ("::1", 65535))

    def test_bad(self) -> None:
        """Everything else is refused with a word on how it is written."""
        for text in (
            "", ":", "host", "host:", ":5050", "host:0", "host:65536", "host:x", "host:-1", "host:5 ", "host:٣",
            "::1:5050", "[::1]", "[::1]:", "[host]:1", "[]:1", "a b:1", "a/b:1", "user@host:1", "a\n:1", "[[::1]]:1",
        ):  # fmt: skip
            error = self.assertRaises(BadAddress, parse_address, text)
            self.assertIn("HOST:PORT", str(error))

    def test_without_port(self) -> None:
        """Where the port is optional it may be left out, also behind IPv6."""
        for text, address in (
            ("host", ("host", None)),
            ("[::1]", ("::1", None)),
            ("[::1]:7", ("::1", 7)),
            ("host:7", ("host", 7)),
        ):
            self.assertEqual(parse_address(text, port_needed=False), address)
        for text in ("", "::1", "host:", "host:x", "[host]", "a b"):
            self.assertRaises(BadAddress, parse_address, text, port_needed=False)

    @settings(deadline=None)
    @given(st.text(max_size=20), st.booleans())
    def test_any(self, text: str, port_needed: bool) -> None:
        """Whatever is typed, it is an address or refused as one."""
        try:
            host, port = parse_address(text, port_needed)
        except BadAddress:
            return
        self.assertTrue(host)
        self.assertTrue(port is None or 1 <= port <= 65535)


class OptionsTests(SynchronousTestCase):
    """What may be said after `twistd -n p2p`."""

    def test_nothing(self) -> None:
        """Without options: any free port, on this machine only, joining the usual genesis."""
        options = parsed()
        self.assertEqual(options["port"], 0)
        self.assertEqual(options["interface"], "127.0.0.1")
        self.assertEqual(options["join"], [("127.0.0.1", 5050)])
        self.assertEqual(options["network"], "p2p")
        self.assertIsNone(options["advertise"])
        self.assertIsNone(options["events"])
        self.assertFalse(options["genesis"])

    def test_genesis(self) -> None:
        """A genesis listens at the usual port, and joins only whom it is told to."""
        self.assertEqual(parsed("-g")["port"], 5050)
        self.assertEqual(parsed("--genesis")["join"], [])
        self.assertEqual(parsed("-g", "-p", "0", "--join", "h:1")["join"], [("h", 1)])
        self.assertEqual(parsed("-g", "-p", "0")["port"], 0)

    def test_all(self) -> None:
        """Every option has its effect; --join adds up."""
        options = parsed(
            *("--join", "[::1]:1", "--join", "name:2", "--port", "7", "--interface", "[::]", "--network", "chat"),
            *("--advertise", "peer.example:9", "--events", "file", "--no-console"),
        )
        self.assertEqual(options["join"], [("::1", 1), ("name", 2)])
        self.assertEqual(options["port"], 7)
        self.assertEqual(options["interface"], "::")
        self.assertEqual(options["advertise"], ("peer.example", 9))
        self.assertEqual(options["network"], "chat")
        self.assertEqual(options["events"], os.path.abspath("file"))
        self.assertTrue(options["no-console"])
        self.assertEqual((options["max-known"], parsed("--max-known", "50")["max-known"]), (0, 50))
        self.assertEqual(parsed("--advertise", "[::1]")["advertise"], ("::1", None))

    def test_data_dir(self) -> None:
        """Who has a port keeps its things in a folder of that port and network, unless told otherwise."""
        self.patch(os, "environ", {**os.environ, "XDG_STATE_HOME": "/state"})
        for arguments, expected in (
            ([], None),
            (["-g"], "/state/twisted-p2p/p2p-5050"),
            (["-p", "7", "--network", "chat"], "/state/twisted-p2p/chat-7"),
            (["-g", "--ephemeral"], None),
            (["-g", "--data-dir", "x"], os.path.abspath("x")),
            (["--data-dir", "/y"], "/y"),
            (["--data-dir", "~/z"], os.path.expanduser("~/z")),
        ):
            self.assertEqual(parsed(*arguments)["data-dir"], expected)

    def test_access(self) -> None:
        """Files that say who may join are found from any folder."""
        for name in ("network-key-file", "allow", "deny"):
            self.assertEqual(parsed(f"--{name}", "x")[name], os.path.abspath("x"))
            self.assertEqual(parsed(f"--{name}", "~/x")[name], os.path.expanduser("~/x"))
            self.assertIsNone(parsed()[name])

    def test_history(self) -> None:
        """A time, a number of bundles, or all."""
        for text, history in (
            ("90s", History(age=90.0)),
            ("5m", History(age=300.0)),
            ("1h", History(age=3600.0)),
            ("2d", History(age=172_800.0)),
            ("1000", History(count=1000)),
            ("0", History(count=0)),
            ("all", History()),
        ):
            self.assertEqual(parsed("--history", text)["history"], history)
        self.assertIsNone(parsed()["history"])
        self.assertEqual(parsed("--synchronous", "full")["synchronous"], "FULL")

    def test_wrong(self) -> None:
        """What is wrong is named, with the option, in one line."""
        for arguments, words in (
            (["--port", "x"], "--port: 'x' is no port"),
            (["--port", "65536"], "--port: '65536' is no port"),
            (["--port", "9" * 5000], "9' is no port"),
            (["--max-known", "9" * 5000], "9' is neither 0 nor a number"),
            (["--join", f"host:{'9' * 5000}"], "9' is no address"),
            (["--port", "-1"], "no port"),
            (["--port", "٣"], "no port"),
            (["--join", "host"], "--join: 'host' is no address"),
            (["--advertise", "a b"], "--advertise: 'a b' is no address"),
            (["--network", ""], "--network"),
            (["--network", "a b"], "no spaces"),
            (["--network", "é"], "ASCII"),
            (["--network", "x" * 65], "64"),
            (["--max-known", "15"], "neither 0 nor a number from 16 to 20000"),
            (["--max-known", "-1"], "--max-known"),
            (["--max-known", "x"], "'x' is neither"),
            (["--interface", ""], "--interface"),
            (["--interface", "0.0.0.0"], "add --advertise"),
            (["--interface", "::"], "add --advertise"),
            (["--advertise", "0.0.0.0:1"], "add --advertise"),
            (["--data-dir", ""], "--data-dir"),
            (["--network-key-file", ""], "--network-key-file: the name of a file"),
            (["--allow", ""], "--allow: the name of a file"),
            (["--deny", ""], "--deny: the name of a file"),
            (["--data-dir", "x", "--ephemeral"], "contradict each other"),
            (["--synchronous", "maybe"], "--synchronous: 'maybe' is not one of"),
            (["--history", "1y"], "--history: '1y' is neither"),
            (["--history", "-1"], "neither"),
            (["--history", ""], "neither"),
            (["--history", "1.5h"], "neither"),
            (["--history", "9999999999"], "neither"),
            (["--what"], "--what"),
            (["extra\x1b"], "'extra' is not expected"),
        ):
            text = str(self.assertRaises(UsageError, parsed, *arguments))
            self.assertIn(words, text)
            self.assertNotIn("\n", text)

    def test_wrong_as_a_command(self) -> None:
        """As a command of twistd or twist, that line is all that is printed, and the exit code is 1."""
        for parent in (twistd(), {"logFile": None}):
            error = self.assertRaises(SystemExit, parsed, "--port", "x", parent=parent)
            # Python prints a code that is a text to standard error, and exits with 1.
            self.assertIn("p2p: --port: 'x' is no port", str(error.code))

    def test_version(self) -> None:
        """The version is ours, not Twisted's."""
        stdout, sys.stdout = sys.stdout, io.StringIO()
        try:
            error = self.assertRaises(SystemExit, parsed, "--version")
            text = sys.stdout.getvalue()
        finally:
            sys.stdout = stdout
        self.assertEqual(error.code, 0)
        self.assertTrue(text.startswith("twisted_p2p version: "))

    def test_help(self) -> None:
        """Every option is explained."""
        text = str(Options())
        for name in (
            "genesis", "port", "interface", "advertise", "join", "network", "max-known", "events", "no-console",
            "version", "network-key-file", "allow", "deny",
        ):  # fmt: skip
            self.assertIn(f"--{name}", text)


class ParentTests(SynchronousTestCase):
    """What becomes of twistd's and twist's own options."""

    def test_pidfile(self) -> None:
        """Several peers run in one folder: without a pid file in the foreground, with one for each port as daemons."""
        parent = twistd()
        parsed(parent=parent)
        self.assertEqual(parent["pidfile"], "")
        parent = twistd(nodaemon=0)
        options = parsed("-g", parent=parent)
        self.assertEqual(parent["pidfile"], "twistd-p2p-5050.pid")
        self.assertTrue(options.is_daemon)
        parent = twistd(nodaemon=0, debug=True)
        self.assertFalse(parsed(parent=parent).is_daemon)
        self.assertEqual(parent["pidfile"], "")

    def test_own_pidfile(self) -> None:
        """A pid file that was asked for is respected."""
        parent = twistd(pidfile="my.pid")
        parsed(parent=parent)
        self.assertEqual(parent["pidfile"], "my.pid")

    def test_twist(self) -> None:
        """twist has no pid file, and no daemons."""
        parent = {"logFile": sys.stderr}
        self.assertFalse(parsed(parent=parent).is_daemon)
        self.assertEqual(parent, {"logFile": sys.stderr})

    def test_events_on_stdout(self) -> None:
        """Events on standard output send the log to standard error."""
        for logfile in (None, "-"):
            parent = twistd(logfile=logfile)
            parsed("--events", "-", parent=parent)
            self.assertTrue(callable(namedAny(parent["logger"])()))
        other: dict[str, Any] = {"logFile": sys.stdout}
        parsed("--events", "-", parent=other)
        self.assertIs(other["logFile"], sys.stderr)

    def test_events_on_stdout_own_log(self) -> None:
        """A log that goes elsewhere stays there."""
        for parent in (twistd(logfile="file"), twistd(logger="my.logger")):
            before = dict(parent, pidfile="")
            parsed("--events", "-", parent=parent)
            self.assertEqual(parent, before)

    def test_events_of_a_daemon(self) -> None:
        """A daemon has no standard output."""
        error = self.assertRaises(SystemExit, parsed, "--events", "-", parent=twistd(nodaemon=0))
        self.assertIn("daemon", str(error.code))


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


class SignalsTests(SynchronousTestCase):
    """Signals that would otherwise end the process without a word to the others."""

    def test_restored(self) -> None:
        """Handlers are there while the service runs, and as before afterwards."""
        before = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGQUIT)]
        signals = Signals()
        signals.install()
        self.addCleanup(signals.restore)
        during = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGQUIT)]
        self.assertTrue(all(map(callable, during)) or before != [signal.SIG_DFL] * 2)
        signals.restore()
        self.assertEqual([signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGQUIT)], before)

    def test_leave(self) -> None:
        """SIGQUIT, and a terminal's hang-up, are what SIGTERM is: the reactor stops the services."""
        seen: list[int] = []
        old = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
        self.addCleanup(signal.signal, signal.SIGTERM, old)
        Signals()._leave(signal.SIGQUIT, None)
        self.assertEqual(seen, [signal.SIGTERM])

    def test_end_once(self) -> None:
        """Who presses Ctrl-C twice, or presses it and sends SIGTERM, stops the reactor once."""
        seen: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            old = signal.signal(number, lambda number, frame: seen.append(number))
            self.addCleanup(signal.signal, number, old)
        Signals().end_once()
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        self.assertEqual(seen, [signal.SIGINT])

    def test_end_once_ignored(self) -> None:
        """What is ignored, as by a shell for what it starts in the background, stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self.addCleanup(signal.signal, number, signal.signal(number, signal.SIG_IGN))
        Signals().end_once()
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        signal.raise_signal(signal.SIGTERM)

    def test_ignored(self) -> None:
        """What was ignored, as by nohup, stays ignored."""
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_IGN))
        signals = Signals()
        signals.install()
        self.addCleanup(signals.restore)
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_ignored_and_reloading(self) -> None:
        """Where there are files to read again nohup only means that a terminal's hang-up ends nothing."""
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_IGN))
        reloads: list[int] = []
        signals = Signals(lambda: reloads.append(1))
        signals.install()
        self.addCleanup(signals.restore)
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(reloads, [1])
        signals.restore()
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_terminal(self) -> None:
        """While there is a terminal SIGHUP means to read again; if it is gone, to leave."""
        steps: list[str] = []
        signals = Signals(lambda: steps.append("reload"))
        signals._leave = lambda number, frame: steps.append("leave")  # type: ignore[method-assign]  # it would end us
        for has_terminal in (True, False):
            self.patch(tap, "_has_terminal", lambda has=has_terminal: has)
            signals._hung_up(signal.SIGHUP, None)
        self.assertEqual(steps, ["reload", "leave"])


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
