"""The options of `twistd -n p2p` and `twist p2p`. Here they are only read; `tap` makes a peer of them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from twisted.python import usage

from twisted_p2p.console import readable
from twisted_p2p.core.config import LAN
from twisted_p2p.core.wire import History
from twisted_p2p.errors import BadAddress
from twisted_p2p.events import STDOUT
from twisted_p2p.store.datadir import default_data_dir

PORT = 5050
GENESIS = ("127.0.0.1", PORT)
NETWORK = "p2p"
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_ANY_HOST = ("0.0.0.0", "::")  # noqa: S104  # refused without --advertise, not bound
ACCESS = ("network-key-file", "allow", "deny")
"""Options with files that are read again on SIGHUP."""
_PIDFILE = "twistd.pid"  # twistd's own default


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
        optActions={name: usage.CompleteFiles() for name in ("events", *ACCESS)} | {"data-dir": usage.CompleteDirs()}
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
        for name in ACCESS:
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
