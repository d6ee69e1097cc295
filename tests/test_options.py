"""The options of the command line."""

import io
import os
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.python.reflect import namedAny
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.wire import History
from twisted_p2p.errors import BadAddress
from twisted_p2p.options import Options, parse_address


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
