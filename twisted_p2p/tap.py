"""`twistd -n p2p` and `twist p2p`: the options, and the service that they make."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, TextIO

import attrs
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, Logger, textFileLogObserver
from twisted.python import usage

from twisted_p2p.console import Console, News, Stdin, Style, address_text, readable, why_not_joined
from twisted_p2p.core.actions import Changed, Kind
from twisted_p2p.core.config import LAN
from twisted_p2p.core.wire import History
from twisted_p2p.errors import AccessError, BadAddress, CannotListen, DataDirError, LogError, NotRunning, P2PError
from twisted_p2p.events import STDOUT, EventsWriter, Output
from twisted_p2p.node import Node
from twisted_p2p.store.datadir import default_data_dir

PORT = 5050
GENESIS = ("127.0.0.1", PORT)
NETWORK = "p2p"
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_ANY_HOST = ("0.0.0.0", "::")  # noqa: S104  # refused without --advertise, not bound
_ACCESS = ("network-key-file", "allow", "deny")
"""Options with files that are read again on SIGHUP."""
_PIDFILE = "twistd.pid"  # twistd's own default

_log = Logger(namespace="p2p")


def _number(text: str) -> int:
    """A number of up to nine digits; -1 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1


def parse_address(text: str, port_needed: bool = True) -> tuple[str, int | None]:
    """Read HOST:PORT, where an IPv6 host is in brackets. Raises BadAddress."""
    host, colon, port = text.rpartition(":")
    if not port_needed and (not colon or text.endswith("]")):
        host, port = text, str(PORT)
        colon = ""
    bracketed = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if bracketed else host
    good = bracketed == (":" in name) and name and name.isprintable() and not set(name) & set(" []/@")
    if not good or not 1 <= _number(port) <= 65535:
        raise BadAddress(f"{readable(text)!r} is no address: {BadAddress()}")
    return name, int(port) if colon else None


class Options(usage.Options):
    """What may be said after `twistd -n p2p`. It only parses."""

    longdesc = (
        "Runs a peer. The first one of a network is its genesis: twistd -n p2p --genesis. The others join it: "
        "twistd -n p2p. Every line typed or piped in is broadcast, and shown at all the others."
    )
    optFlags = [
        ["genesis", "g", "Be a peer through which others join; needs nobody else to start."],
        ["plaintext", None, "Do not encrypt: everybody on the way reads all. All peers need this option, or none."],
        ["ephemeral", None, "Keep nothing on disk: a new peer at each start."],
        ["no-console", None, "Do not read lines from standard input, nor show messages."],
    ]
    optParameters = [
        ["port", "p", None, "Port to listen on, 0 for any free one. [default: 5050 with --genesis, else 0]"],
        ["interface", None, "127.0.0.1", "Address of this machine to listen on."],
        ["advertise", None, None, "HOST[:PORT] under which others reach this peer. [default: as --interface]"],
        ["network", None, NETWORK, "The network's name; peers of other networks are refused."],
        [
            "max-known",
            None,
            "0",
            "Know a sample of so many other peers; 0: everybody. All peers need this option, or none.",
        ],
        [
            "data-dir",
            None,
            None,
            "DIR for key, log and directory. [default: one of the network and the port; with port 0: --ephemeral]",
        ],
        ["synchronous", None, "normal", "When to wait for the disk: full, normal or off; see docs/durability.md."],
        [
            "history",
            None,
            None,
            "As a newcomer, get what was broadcast before: in the last 90s, 5m, 1h or 2d, the newest 1000, or all.",
        ],
        [
            "network-key-file",
            None,
            None,
            "FILE with the network's key: only peers with it may join. More keys, one a line, are accepted, too.",
        ],
        [
            "allow",
            None,
            None,
            "FILE with the peers that alone may link with this one: an id, IP address or range a line.",
        ],
        ["deny", None, None, "FILE with peers that may not, written likewise. SIGHUP reads all three files again."],
        ["events", None, None, "FILE to which events are appended, as JSON, one a line; - is standard output."],
    ]
    compData = usage.Completions(
        optActions={name: usage.CompleteFiles() for name in ("events", *_ACCESS)} | {"data-dir": usage.CompleteDirs()}
    )

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self["join"] = []

    def opt_join(self, text: str) -> None:
        """HOST:PORT of a genesis, or of any other peer, to join. May be repeated. [default: 127.0.0.1:5050]"""
        with _usage("--join"):
            self["join"].append(parse_address(text))

    def opt_version(self) -> NoReturn:
        """Display the version of twisted_p2p and exit."""
        print("twisted_p2p version:", _version())
        sys.exit(0)

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Parse; as a command of twistd or twist, say what is wrong in one line and exit with 1.

        They themselves print all options first, and twist exits with 64.
        """
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            program = os.path.basename(sys.argv[0])
            sys.exit(f"{program} p2p: {error} (Options: {program} p2p --help)")

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise usage.UsageError(f"{readable(arguments[0])!r} is not expected: there are only options.")

    def postOptions(self) -> None:
        with _usage("--port"):
            self["port"] = _parse_port(self["port"], PORT if self["genesis"] else 0)
        with _usage("--network"):
            _check_network(self["network"])
        with _usage("--max-known"):
            self["max-known"] = _parse_max_known(self["max-known"])
        with _usage("--advertise"):
            self._check_addresses()
        if not self["join"] and not self["genesis"]:
            self["join"] = [GENESIS]
        with _usage("--synchronous"):
            self["synchronous"] = _parse_synchronous(self["synchronous"])
        with _usage("--history"):
            self["history"] = None if self["history"] is None else parse_history(self["history"])
        self._choose_data_dir()
        if self["events"] not in (None, STDOUT):
            # twistd may change its folder before the file is opened.
            self["events"] = os.path.abspath(self["events"])
        for name in _ACCESS:
            if self[name] is not None:
                if not self[name]:
                    raise usage.UsageError(f"--{name}: the name of a file is needed.")
                self[name] = os.path.abspath(os.path.expanduser(self[name]))
        if self.parent is not None:
            self._tell_parent(self.parent)

    def _choose_data_dir(self) -> None:
        """None where nothing is to be kept."""
        if self["data-dir"] is not None:
            if self["ephemeral"]:
                raise usage.UsageError("--data-dir and --ephemeral contradict each other: give one of them.")
            if not self["data-dir"]:
                raise usage.UsageError("--data-dir: the name of a folder is needed.")
            # twistd may change its folder before it is opened.
            self["data-dir"] = os.path.abspath(os.path.expanduser(self["data-dir"]))
        elif self["port"] and not self["ephemeral"]:
            self["data-dir"] = str(default_data_dir(self["network"], self["port"]))

    def _check_addresses(self) -> None:
        if self["advertise"] is not None:
            self["advertise"] = parse_address(self["advertise"], port_needed=False)
        self["interface"] = self["interface"].removeprefix("[").removesuffix("]")
        if not self["interface"]:
            raise usage.UsageError("--interface: an address of this machine is needed.")
        host = self["interface"] if self["advertise"] is None else self["advertise"][0]
        if host in _ANY_HOST:
            raise usage.UsageError(
                f"{host} is no address at which others reach this peer: add --advertise HOST[:PORT] with one."
            )

    @property
    def is_daemon(self) -> bool:
        """Whether twistd will detach the process from its terminal."""
        parent = self.parent
        return parent is not None and "nodaemon" in parent and not (parent["nodaemon"] or parent["debug"])

    def _tell_parent(self, parent: dict[str, Any]) -> None:
        """Adapt twistd's own options, where the user has left them alone."""
        if parent.get("pidfile") == _PIDFILE:
            # The second peer in one folder would be taken for the first.
            parent["pidfile"] = f"twistd-p2p-{self['port']}.pid" if self.is_daemon else ""
        if self["events"] != STDOUT:
            return
        if self.is_daemon:
            raise usage.UsageError("--events -: a daemon has no standard output; use twistd -n, or a file.")
        if parent.get("logfile", "") in (None, "-") and not parent.get("logger"):
            parent["logger"] = "twisted_p2p.tap.log_to_stderr"
        if parent.get("logFile") is sys.stdout:  # twist's
            parent["logFile"] = sys.stderr


@contextlib.contextmanager
def _usage(option: str) -> Iterator[None]:
    """What is wrong with a value becomes what is wrong with the option."""
    try:
        yield
    except ValueError as error:
        raise usage.UsageError(f"{option}: {error}") from None


def _parse_port(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not 0 <= _number(text) <= 65535:
        raise ValueError(f"{readable(text)!r} is no port: a port is a number from 0 to 65535.")
    return int(text)


def _parse_max_known(text: str) -> int:
    least = 2 * LAN.active_max
    if not (_number(text) == 0 or least <= _number(text) <= LAN.max_peers):
        raise ValueError(f"{readable(text)!r} is neither 0 nor a number from {least} to {LAN.max_peers}.")
    return int(text)


def _parse_synchronous(text: str) -> str:
    if text.upper() not in ("FULL", "NORMAL", "OFF"):
        raise ValueError(f"{readable(text)!r} is not one of full, normal and off.")
    return text.upper()


def parse_history(text: str) -> History:
    """Read 90s, 5m, 1h, 2d, a number of bundles, or all. Raises ValueError."""
    if text == "all":
        return History()
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _SECONDS else (text, "")
    if _number(number) < 0:
        raise ValueError(f"{readable(text)!r} is neither a time like 90s, 5m, 1h or 2d, nor a number, nor all.")
    return History(age=float(int(number) * _SECONDS[unit])) if unit else History(count=int(number))


def _check_network(name: str) -> None:
    if not (1 <= len(name) <= 64 and all("!" <= character <= "~" for character in name)):
        raise ValueError("a network's name has 1 to 64 printable ASCII characters, and no spaces.")


def _version() -> str:
    try:
        return importlib.metadata.version("twisted_p2p")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"


def log_to_stderr() -> ILogObserver:
    """A log observer for twistd, where standard output is for the events."""
    return textFileLogObserver(sys.stderr)


class CannotStart(SystemExit, Exception):
    """Ends the process with 1 and without a traceback.

    twistd looks for an Exception to remove its pid file, and to tell the command that waits for its daemon; Python
    itself for a SystemExit.
    """

    # twistd quotes 100 characters of a daemon's failure, and the name of the module would be among them.
    __module__ = "builtins"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = 1


class PeerProcess(Service):
    """A node with all that makes it a program: console, events, banner, signals."""

    def __init__(
        self,
        node: Node,
        clock: IReactorTime,
        options: Options,
        console: Console | None = None,
        events: EventsWriter | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.node = node
        self._stderr = stderr
        self._options = options
        self._console = console
        self._events = events
        self._clock: Any = clock
        is_reloading = any(options[name] is not None for name in ("data-dir", *_ACCESS))
        self._signals = Signals(self._reload_soon if is_reloading else None)
        node.on_change(self._change)
        if console is None and node.knows_all:
            node.on_change(News(clock, node.peer, self._tell).change)

    def privilegedStartService(self) -> None:
        """Listen; ends the process where that fails. twist never calls it."""
        super().privilegedStartService()
        with self._or_exit():
            self.node.privilegedStartService()

    def startService(self) -> None:
        """Open the events file, listen unless that is done, and begin; ends the process where that fails."""
        super().startService()
        with self._or_exit():
            if self._events is not None:
                self._events.open()
            self.node.startService()
        for line in banner(self.node.peer, self.node.address, self._options):
            self._tell(line)
        if self._options["plaintext"]:
            _log.warn("NOT ENCRYPTED: whoever sees this peer's connections can read all that it sends and receives.")
        self._joined = self.node.when_ready()
        self._joined.addCallbacks(self._ready, lambda _: None)
        if self._console is not None:
            self._console.start()
        self._signals.install()
        self._clock.callWhenRunning(self._signals.end_once)

    def stopService(self) -> defer.Deferred[None]:
        """Send what was typed, leave, and show and write what has happened until then."""
        super().stopService()
        return defer.Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._joined.cancel()
        if self._console is not None:
            self._console.stop_reading()
        await self.node.stopService()
        if self._console is not None:
            self._console.close()
        if self._events is not None:
            self._events.close()
        self._signals.restore()

    def _ready(self, _: None) -> None:
        if self._events is not None:
            self._events.ready()
        if not self._options["genesis"]:
            count = len(self.node.nodes_in_network)
            self._tell(f"Joined the network {self._options['network']}: {count} peers, this one included.")

    def _change(self, changed: Changed) -> None:
        if changed.kind is Kind.RETRY:
            address = address_text(changed.ip_addr, changed.port)
            why = why_not_joined(address, changed.reason, self._options["network"])
            when = f"in {changed.after:.1f} s" if changed.after else "with the next address"
            _log.warn("{why} Trying again {when}.", why=why, when=when)

    def _reload_soon(self) -> None:
        # A signal comes at any time, also while a turn of the core is under way.
        self._clock.callFromThread(self._reload)

    def _reload(self) -> None:
        try:
            self.node.reload()
        except NotRunning:
            return
        except P2PError as error:
            _log.error("SIGHUP: {error} Who may join stays as it was.", error=error)
        else:
            self._tell("SIGHUP: who may join, and who is banned, was read again.")

    def _tell(self, text: str) -> None:
        _log.info("{text}", text=text)

    @contextlib.contextmanager
    def _or_exit(self) -> Iterator[None]:
        try:
            yield
        except (CannotListen, LogError) as error:
            self._exit(str(error))
        except OSError as error:
            self._exit(f"Can't write events to {error.filename or 'standard output'}: {error.strerror}.")

    def _exit(self, text: str) -> NoReturn:
        if self._options.is_daemon:
            # It has no standard error any more. The command that waits for it quotes only the beginning.
            _log.critical("{text}", text=text)
            text = text.replace(f"{self._options['data-dir']}{os.sep}", "")
        elif self._stderr is not None:
            print(f"p2p: {text}", file=self._stderr, flush=True)
        raise CannotStart(text)


def banner(peer: str, address: tuple[str, int], options: Options) -> list[str]:
    """What a peer says when it starts: who and where it is, and how others join it."""
    network, interface, advertise = options["network"], options["interface"], options["advertise"]
    command = ["twistd -n p2p"]
    if address != GENESIS:
        command.append(f"--join {address_text(*address)}")
    if network != NETWORK:
        command.append(f"--network {network}")
    if options["max-known"]:
        command.append(f"--max-known {options['max-known']}")
    if options["plaintext"]:
        command.append("--plaintext")
    if options["network-key-file"]:
        command.append(f"--network-key-file {shlex.quote(options['network-key-file'])}")
    local = interface == "localhost" or interface == "::1" or interface.startswith("127.")
    if not local:
        command.append(f"--interface {interface}")
        if advertise is not None:
            command.append(f"--advertise {address_text(advertise[0], 0).removesuffix(':0')}")
    lines = [
        f"This peer is {peer}.",
        f"It listens at {address_text(*address)}, in the network {network}{options['genesis'] * ', as a genesis'}.",
        f"It keeps its key and its log in {options['data-dir']}."
        if options["data-dir"]
        else "It keeps nothing on disk: at its next start it will be a new peer.",
        f"To start another peer on this machine: {' '.join(command)}",
    ]
    if local:
        lines.append(
            "Only this machine can reach it; to be reached from elsewhere, start it with --interface ADDRESS, "
            "an address of this machine, or with --interface 0.0.0.0 --advertise HOST."
        )
    else:
        lines.append("On another machine, give that machine's address to --interface.")
    return lines


class Signals:
    """SIGHUP and SIGQUIT would end the process at once, and the others would see it fail. A second Ctrl-C would bring a
    traceback.

    Args:
        reload: reads again what there is to be read on SIGHUP, if there is anything. It is called at any time.
    """

    def __init__(self, reload: Callable[[], object] | None = None) -> None:
        self._reload = reload
        self._old: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Leave properly on SIGQUIT, and on SIGHUP where a terminal has hung up; else read files again, if any."""
        if threading.current_thread() is not threading.main_thread():
            return
        # Whoever started us with nohup does not want to leave with the terminal.
        is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        stays = is_nohup or not _has_terminal()
        if self._reload is not None or not is_nohup:
            self._take(signal.SIGHUP, self._go_on if stays else self._hung_up)
        if signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL:
            self._take(signal.SIGQUIT, self._leave)

    def _take(self, number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN):
            self._old[number] = signal.signal(number, handler)

    def restore(self) -> None:
        """As it was before."""
        while self._old:
            signal.signal(*self._old.popitem())

    def end_once(self) -> None:
        """Once the reactor runs: ignore a second Ctrl-C or SIGTERM, which it would answer by a traceback."""
        if threading.current_thread() is not threading.main_thread():
            return
        ends = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        is_leaving = False

        def end(number: int, frame: FrameType | None) -> None:
            nonlocal is_leaving
            handler = ends[signal.Signals(number)]
            if not is_leaving and callable(handler):
                is_leaving = True
                handler(number, frame)

        for number, handler in ends.items():
            if callable(handler):
                signal.signal(number, end)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        # The reactor stops all services on SIGTERM, and twistd then dies by it.
        signal.raise_signal(signal.SIGTERM)

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        # A terminal that has hung up is gone by now; while it is there somebody has sent the signal on purpose.
        if self._reload is not None and _has_terminal():
            self._reload()
        else:
            self._leave(number, frame)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        if self._reload is not None:
            self._reload()
        else:
            _log.info("SIGHUP: there is nothing to read again; going on.")


def _has_terminal() -> bool:
    """Whether a terminal's hang-up would be told to this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def makeService(options: Options) -> PeerProcess:
    """Build what the options say. Nothing is opened or started yet."""
    from twisted.internet import reactor

    clock: Any = reactor
    node = _make_node(
        clock,
        port=options["port"],
        interface=options["interface"],
        advertise=options["advertise"],
        genesis=bool(options["genesis"]),
        join=options["join"],
        network=options["network"],
        config=attrs.evolve(LAN, max_known=options["max-known"]),
        data_dir=options["data-dir"],
        synchronous=options["synchronous"],
        history=options["history"],
        plaintext=bool(options["plaintext"]),
        network_key_file=options["network-key-file"],
        allow_file=options["allow"],
        deny_file=options["deny"],
    )
    events = None
    if options["events"] is not None:
        events = EventsWriter(node, clock, options["events"], resume=options["data-dir"] is not None)
    console = None
    if not (options["no-console"] or options["events"] == STDOUT or options.is_daemon):
        console = _make_console(node, clock)
    return PeerProcess(node, clock, options, console, events, sys.__stderr__)


def _make_node(clock: Any, **settings: Any) -> Node:
    """Ends the process with one line where the data directory, or a file that says who may join, can't be used."""
    try:
        return Node(clock, **settings)
    except (AccessError, DataDirError) as error:
        sys.exit(f"p2p: {error}")


def _make_console(node: Node, clock: Any) -> Console:
    """A console on the standard descriptors, as far as they were open when Python started.

    twistd replaces `sys.stdout` by its log; the original is what a person reads.
    """
    stdin, stdout = sys.__stdin__, sys.__stdout__
    output, style = None, Style()
    if stdout is not None:
        output = Output(stdout.fileno(), "standard output")
        style = Style.of(stdout.fileno(), stdout.encoding, os.environ)
    source = None if stdin is None else Stdin(clock, stdin.fileno())
    return Console(node, clock, source, output, style, LAN.message_max)
