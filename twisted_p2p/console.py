"""A line typed or piped is broadcast; what arrives is shown."""

from __future__ import annotations

import collections
import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import attrs
import msgspec
from twisted.internet import defer
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_p2p.backlog import Backlog
from twisted_p2p.core.actions import Changed, Fork, Gap, Kind
from twisted_p2p.errors import MessageTooBig, NotRunning
from twisted_p2p.events import Output

if TYPE_CHECKING:
    from twisted_p2p.backlog import Entry, Item
    from twisted_p2p.messages import Message
    from twisted_p2p.node import Node

CHUNK = 16 * 1024
"""Bytes of standard input that are read, and broadcast, before more is read."""
_BACKGROUND_PAUSE = 1.0
"""Seconds between looks whether a program in the background has come to the foreground."""
_EACH_MAX = 10
"""Peers that join, leave or fail in one turn: up to so many are named, more are counted."""


# --- words


def address_text(host: str, port: int) -> str:
    """HOST:PORT, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _marks() -> dict[int, str | None]:
    """What is shown in place of a character that could control the terminal or reorder its line."""
    dropped = [*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F)]
    marks: dict[int, str | None] = dict.fromkeys([*dropped, *range(0x2066, 0x206A)])
    return marks | {ord("\t"): " ", ord("\n"): "⏎", 0x2028: "⏎", 0x2029: "⏎"}


_MARKS = _marks()


def readable(text: str) -> str:
    """Text from the network on one line, without anything that could take control of a terminal or a log."""
    return text if text.isprintable() else text.translate(_MARKS)


_WHY = {
    "unreachable": "Nobody answers at {address}; is the genesis running?",
    "no-resources": "This process can open no connection to {address}: too many are open; see ulimit -n.",
    "wrong-network": "The peer at {address} is not in the network {network}, but in another one; check the name.",
    "wrong-version": "The peer at {address} speaks another version of the protocol; update the older one.",
    "own-address": "{address} is this peer's own address; give the address of another one.",
    "handshake-timeout": "What answers at {address} does not speak as a peer does; is it the right port?",
    "bad-frame": "What answers at {address} does not speak as a peer does; is it the right port?",
    "wrong-clock": "The clock of one of the two, this peer or the one at {address}, is wrong by more than a day.",
    "other-directory": "This peer or the one at {address} knows only a sample; use --max-known for both, or none.",
    "not-admitted": "The peer at {address} does not admit this one, or this one does not admit it; check "
    "--network-key-file, and the --allow and --deny lists of both.",
    "no-tls": "The peer at {address} and this one do not agree on encryption; use --plaintext for both, or for none.",
    "not-joined-yet": "The peer at {address} has not joined the network {network} itself yet.",
    "too-many-links": "The peer at {address} has no room for another connection.",
}


def why_not_joined(address: str, reason: str, network: str) -> str:
    """The sentence that tells a user why the network could not be joined.

    Args:
        address: whom we asked, as HOST:PORT.
        reason: from Changed of the kind RETRY.
    """
    text = _WHY.get(reason, "The network could not be joined through {address}: {reason}.")
    return text.format(address=readable(address), reason=readable(reason), network=network)


class News:
    """Who joined, left or failed, a line each; where many did in one turn, how many."""

    def __init__(self, clock: IReactorTime, own: str, tell: Callable[[str], object]) -> None:
        """Args:
        own: our own id, about which nothing is told.
        tell: called with each line.
        """
        self._clock = clock
        self._own = own
        self._tell = tell
        self._changes: list[Changed] = []
        self._addresses: dict[str, str] = {}

    def change(self, changed: Changed) -> None:
        """Something has changed; it is told at the end of the turn."""
        if changed.kind not in (Kind.JOINED, Kind.LEFT, Kind.FAILED) or changed.peer == self._own:
            return
        if not self._changes:
            self._clock.callLater(0, self.flush)
        self._changes.append(changed)

    def flush(self) -> None:
        """Tell what is known so far."""
        changes, self._changes = self._changes, []
        counts = collections.Counter(changed.kind for changed in changes)
        for changed in changes:
            if changed.kind is Kind.JOINED:
                self._addresses[changed.peer] = address_text(changed.ip_addr, changed.port)
            address = self._addresses.get(changed.peer, "address unknown")
            if changed.kind is not Kind.JOINED:
                self._addresses.pop(changed.peer, None)
            if counts[changed.kind] <= _EACH_MAX:
                self._tell(f"{changed.peer[:8]} {changed.kind.value} ({readable(address)})")
        for kind, count in counts.items():
            if count > _EACH_MAX:
                self._tell(f"{count} peers {kind.value}")


# --- input


class Lines:
    """Cuts what is typed into lines, of which none is longer than `limit` bytes."""

    def __init__(self, limit: int, too_long: Callable[[], object]) -> None:
        """Args:
        too_long: called once for each longer line, which is dropped.
        """
        self._limit = limit
        self._too_long = too_long
        self._tail = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` ends, without the empty ones; no data is the end, and ends the last line."""
        *ends, rest = data.split(b"\n") if data else [b"", b""]
        lines = [line for end in ends for line in self._end(end)]
        if not self._skipping:
            self._tail += rest
            if len(self._tail) > self._limit:
                self._tail, self._skipping = b"", True
                self._too_long()
        return lines

    def _end(self, end: bytes) -> list[str]:
        if self._skipping:
            self._skipping = False
            return []
        line, self._tail = self._tail + end, b""
        if len(line) > self._limit:
            self._too_long()
            return []
        text = line.removesuffix(b"\r").decode("utf-8", "replace")
        return [text] if text else []


class Source(Protocol):
    """Where lines come from, a chunk at a time."""

    def start(self, chunk: Callable[[bytes], object]) -> None:
        """Call `chunk`, in the reactor's thread, with what was read after each `want`; b"" is the end."""

    def want(self) -> None:
        """Read the next chunk."""

    def stop(self) -> list[bytes]:
        """Read no more. What was read already, and given to nobody."""


class Stdin:
    """Reads a descriptor in a thread: any kind of it, and its flags, shared with other programs, stay as they are."""

    def __init__(self, reactor: IReactorFromThreads, fd: int = 0) -> None:
        self._reactor = reactor
        self._fd = fd
        self._chunks: collections.deque[bytes] = collections.deque()
        self._wanted = threading.Semaphore(0)
        self._wake: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name="p2p stdin", daemon=True)

    def start(self, chunk: Callable[[bytes], object]) -> None:
        self._give = chunk
        self._wake = os.pipe()
        self._thread.start()

    def want(self) -> None:
        self._wanted.release()

    def stop(self) -> list[bytes]:
        if self._wake is None:
            return []
        os.close(self._wake[1])
        self._wanted.release()
        # It can only be late where another program has read what we were told is there.
        self._thread.join(1.0)
        if not self._thread.is_alive():
            os.close(self._wake[0])
        self._wake = None
        left = [*self._chunks]
        self._chunks.clear()
        return left

    def _run(self) -> None:
        assert self._wake is not None
        wake = self._wake[0]
        data: bytes | None = None
        while data != b"":
            self._wanted.acquire()
            data = self._read(wake)
            if data is None:
                return
            self._chunks.append(data)
            self._reactor.callFromThread(self._hand_over)

    def _read(self, wake: int) -> bytes | None:
        """The next chunk; b"" at the end, None when woken before there is one."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        # No event: what is reported all the same is that its other end was closed.
        poll.register(wake, 0)
        while True:
            ready = dict(poll.poll())
            # In the background, reading from the terminal would stop the whole process (SIGTTIN).
            if self._fd in ready and not self._in_background():
                try:
                    return os.read(self._fd, CHUNK)
                except BlockingIOError:
                    continue
                except OSError:
                    return b""
            if wake in ready or select.select([wake], [], [], _BACKGROUND_PAUSE)[0]:
                return None

    def _in_background(self) -> bool:
        return os.isatty(self._fd) and os.tcgetpgrp(self._fd) != os.getpgrp()

    def _hand_over(self) -> None:
        if self._chunks:
            self._give(self._chunks.popleft())


# --- output


@attrs.frozen
class Style:
    """How lines are shown. `encoding` is the terminal's."""

    colour: bool = False
    encoding: str = "utf-8"

    @classmethod
    def of(cls, fd: int, encoding: str, environ: Mapping[str, str]) -> Style:
        """What suits the descriptor: colour on a terminal, unless NO_COLOR is set."""
        plain = environ.get("NO_COLOR") or environ.get("TERM") == "dumb"
        return cls(os.isatty(fd) and not plain, encoding)

    def render(self, at: float, item: Item) -> bytes:
        """The lines that show what happened `at`, in seconds since 1970."""
        if isinstance(item, list):
            text = "".join(self._message(message) for message in item)
        elif isinstance(item, Gap):
            seqs = f"{item.first} to {item.last}" if item.first != item.last else f"{item.first}"
            text = self._line(at, self._sender(item.origin), f"-- its broadcasts {seqs} are lost for this peer")
        elif isinstance(item, Fork):
            text = self._line(at, self._sender(item.origin), "-- two processes have its key")
        else:
            text = self._line(at, "--", str(item))
        return text.encode(self.encoding, "replace")

    def _message(self, message: Message) -> str:
        value = message.message
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return self._line(message.time, self._sender(message.origin), text)

    def _line(self, at: float, who: str, text: str) -> str:
        return f"{self._paint(_clock_text(at), '2')} {who} {readable(text)}\n"

    def _sender(self, peer: str) -> str:
        """The first digits of a peer's id, in a colour of its own."""
        return self._paint(peer[:8], str(31 + int(peer[:4], 16) % 6))

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


def _clock_text(at: float) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        # A sender's clock may say anything.
        return "--:--:--"


class Console:
    """Broadcasts what is typed, and shows who comes and goes and what they say."""

    log = Logger()

    def __init__(
        self,
        node: Node,
        clock: IReactorTime,
        source: Source | None,
        output: Output | None,
        style: Style,
        line_max: int,
    ) -> None:
        """Make it; `start` begins.

        Args:
            source: None where there is no standard input.
            output: None where there is no standard output.
            line_max: bytes that a line may have.
        """
        self._node = node
        self._source = source
        self._output = output
        self._style = style
        self._line_max = line_max
        self._lines = Lines(line_max, self._too_long)
        self._backlog = Backlog(self._show, clock.seconds, "console")
        self._news = News(clock, node.peer, self._backlog.put)
        self._joined: defer.Deferred[None] | None = None
        if output is not None:
            node.on_messages(self._messages)
            node.on_gap(self._backlog.put)
            node.on_fork(self._backlog.put)
            if node.knows_all:
                # Of a sample there would be no end of news.
                node.on_change(self._news.change)

    def start(self) -> None:
        """Show what happens and, as soon as we have joined, broadcast what is typed."""
        self._backlog.start()
        if self._source is not None:
            self._source.start(self._chunk)
            self._joined = self._node.when_ready()
            self._joined.addCallbacks(lambda _: self._want(), lambda _: None)

    def stop_reading(self) -> None:
        """Broadcast the lines that were read, and read no more."""
        source, self._source = self._source, None
        if source is not None:
            for data in source.stop():
                self._broadcast(self._lines.feed(data))
            if self._joined is not None:
                self._joined.cancel()

    def close(self, timeout: float = 2.0) -> None:
        """Show what has happened so far, for at most `timeout` seconds, and end."""
        self._news.flush()
        self._backlog.close(timeout)

    def _want(self) -> None:
        if self._source is not None:
            self._source.want()

    def _chunk(self, data: bytes) -> None:
        sent = self._broadcast(self._lines.feed(data))
        if data:
            sent.addCallback(lambda _: self._want())

    def _broadcast(self, lines: list[str]) -> defer.Deferred[None]:
        """Broadcast each line as a string; fires once the network takes more."""
        prepared = []
        for line in lines:
            try:
                prepared.append(self._node.prepare(line))
            except MessageTooBig as error:
                self._notice(f"Not broadcast: {error}")
        if not prepared:
            return defer.succeed(None)
        try:
            sent = self._node.broadcast_prepared(prepared)
        except NotRunning:
            sent = defer.fail(Failure())
        return sent.addErrback(self._not_sent, len(prepared))

    def _not_sent(self, failure: Failure, count: int) -> None:
        self.log.error("{n} lines were not broadcast: {error}", n=count, error=failure.value)

    def _too_long(self) -> None:
        self._notice(f"Not broadcast: the line has more than {self._line_max} bytes. Send it in smaller parts.")

    def _notice(self, text: str) -> None:
        if self._output is None:
            self.log.warn("{text}", text=text)
        else:
            self._backlog.put(text)

    def _messages(self, messages: list[Message]) -> None:
        self._news.flush()
        self._backlog.messages(messages)

    def _show(self, entries: list[Entry]) -> None:
        if self._output is not None:
            self._output.write(b"".join(self._style.render(at, item) for at, item in entries))
