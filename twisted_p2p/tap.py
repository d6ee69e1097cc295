"""The program that `twistd -n p2p` and `twist p2p` run: a service that is made of the options."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

import attrs
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, Logger, textFileLogObserver

from twisted_p2p.console import Console, News, Stdin, Style, address_text, why_not_joined
from twisted_p2p.core.actions import Changed, Kind
from twisted_p2p.core.config import LAN
from twisted_p2p.errors import AccessError, CannotListen, DataDirError, LogError, NotRunning, P2PError
from twisted_p2p.events import STDOUT, EventsWriter, Output
from twisted_p2p.node import Node
from twisted_p2p.options import ACCESS, GENESIS, NETWORK, Options
from twisted_p2p.signals import Signals

__all__ = ["Options", "makeService"]  # what twistd looks for here

_log = Logger(namespace="p2p")


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
        is_reloading = any(options[name] is not None for name in ("data-dir", *ACCESS))
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
