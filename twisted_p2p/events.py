"""The file that --events writes: what happens at a node, for other programs."""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_p2p.backlog import Backlog, Place
from twisted_p2p.core.actions import Changed, Fork, Gap, Kind
from twisted_p2p.eventsfile import last_cursor, whole_size

if TYPE_CHECKING:
    from twisted_p2p.backlog import Entry, Item
    from twisted_p2p.messages import Message
    from twisted_p2p.node import Node
    from twisted_p2p.reader import Item as Read
    from twisted_p2p.reader import MessageReader

_AHEAD_MAX, _AHEAD_BYTES = 10_000, 8 * 1024 * 1024
"""The same for what is read from the log, which keeps the rest."""
_PAUSE = 0.02
"""Seconds until it is seen whether a full queue has room again."""
_RETRY = 0.5
"""Seconds until a full disk is tried again."""

STDOUT = "-"
"""The --events FILE that means standard output."""

_TOLD = (Kind.JOINED, Kind.LEFT, Kind.FAILED, Kind.FORGOTTEN, Kind.LINK_UP, Kind.LINK_DOWN)


class Output:
    """Whole lines to a descriptor. What can't be written is lost; that is logged once, until it works again."""

    log = Logger()

    def __init__(self, fd: int, name: str, gives_up: Callable[[], bool] = lambda: True) -> None:
        """Args:
        gives_up: asked when something can't be written: whether it is lost. If not, it is tried again.
        """
        self._fd = fd
        self._name = name
        self._gives_up = gives_up
        self._cut = self._failing = False
        self._lost = 0

    def write(self, data: bytes) -> None:
        """Write all of `data`, which ends with a newline; waits where the reader does not read. Never raises."""
        lines = data.count(b"\n")
        rest = memoryview(b"\n" + data if self._cut else data)
        while rest:
            try:
                rest = rest[self._write_some(rest) :]
                self._cut = bool(rest)
            except OSError as error:
                is_lost = self._gives_up()
                self._fail(error, is_lost)
                if is_lost:
                    self._lost += lines
                    return
                time.sleep(_RETRY)
        if self._failing:
            self.log.info("Writing to {name} again; {n} lines were lost.", name=self._name, n=self._lost)
            self._failing, self._lost = False, 0

    def _fail(self, error: OSError, is_lost: bool) -> None:
        if not self._failing:
            then = "Its lines are lost until this changes." if is_lost else "It is tried again and again."
            self.log.error("Can't write to {name}: {error}. {then}", name=self._name, error=error.strerror, then=then)
        self._failing = True

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            # Somebody who shares the descriptor has made it non-blocking.
            waiter = select.poll()
            waiter.register(self._fd, select.POLLOUT)
            waiter.poll()
            return 0


class EventsWriter:
    """Writes what happens at a node for other programs: one JSON object a line, appended to a file.

    Messages and gaps come from the node's callbacks or, to a file that is resumed, from its log: from the last cursor
    in the file on, so that each is there once, whenever the process ends. A new file begins where the log ends.
    """

    log = Logger()

    def __init__(self, node: Node, clock: IReactorTime, path: str, resume: bool = False) -> None:
        """Args:
        path: the file, or "-" for standard output.
        resume: the log is durable: go on where the file ends.
        """
        self._node = node
        self._clock = clock
        self._path = path
        self._reads = resume and path != STDOUT
        self._fd = -1
        self._output: Output | None = None
        self._following: defer.Deferred[None] | None = None
        self._reader: MessageReader | None = None
        self._queued = 0
        """The cursor of what was queued last."""
        self._is_level = True
        """Whether all that the reader has given is queued."""
        limits = {"limit": _AHEAD_MAX, "limit_bytes": _AHEAD_BYTES} if self._reads else {}
        self._backlog = Backlog(self._write, clock.seconds, "events", **limits)
        if not self._reads:
            node.on_messages(self._backlog.messages)
            node.on_gap(self._backlog.put)
        node.on_fork(self._backlog.put)
        node.on_change(self._change)

    def open(self) -> None:
        """Open the file and begin to write to it. Raises OSError where it can't be opened."""
        if self._path == STDOUT:
            if sys.__stdout__ is None:
                raise OSError(errno.EBADF, "standard output is closed")
            self._fd = os.dup(1)
        else:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        name = "standard output" if self._path == STDOUT else self._path
        # A pipe, or a terminal, has no end that could be read.
        if self._reads and stat.S_ISREG(os.fstat(self._fd).st_mode):
            self._output = Output(self._fd, name, lambda: self._backlog.abandoned)
            after = self._find_end()
        else:
            self._output, after = Output(self._fd, name), None
        self._backlog.start()
        if self._reads:
            self._following = defer.Deferred.fromCoroutine(self._follow(after)).addErrback(self._failed)

    def _find_end(self) -> int | None:
        """Cut off what is no whole line; the last cursor in the file."""
        with open(self._path, "rb") as file:
            fd = file.fileno()
            end, size = whole_size(fd), os.fstat(fd).st_size
            if end < size:
                self.log.warn("{path} ended in the middle of a line, which is cut off.", path=self._path)
                os.ftruncate(self._fd, end)
            return last_cursor(fd, end)

    async def _follow(self, after: int | None) -> None:
        """Queue what the log has, no faster than it is written."""
        await self._node.when_listening()
        reader = self._reader = self._node.messages(after=after)
        if after is None or reader.cursor < after:
            # A crash before the first message must not lose the place.
            self._backlog.put(Place(reader.cursor))
        self._queued = reader.cursor
        while items := await reader.next_batch():
            self._is_level = False
            for item in _together(items):
                while self._backlog.is_full:
                    await deferLater(self._clock, _PAUSE)
                if isinstance(item, list):
                    self._backlog.messages(item)
                else:
                    self._backlog.put(item)
            self._queued, self._is_level = items[-1].cursor, True

    def _note_place(self) -> None:
        """Our own broadcasts, which are not written, are not to look like a gap once retention has taken them."""
        reader, self._reader = self._reader, None
        if reader is not None and self._is_level and reader.cursor > self._queued:
            self._backlog.put(Place(reader.cursor))

    def _failed(self, failure: Failure) -> None:
        if not failure.check(defer.CancelledError):
            self.log.failure("Messages are no longer written to {path}", failure, path=self._path)

    def ready(self) -> None:
        """The node has joined its network, or listens and is a genesis."""
        self._backlog.put(Changed(Kind.READY, self._node.peer, port=self._node.port))

    def close(self, timeout: float = 2.0) -> None:
        """Write what has happened so far, for at most `timeout` seconds, and close the file."""
        if self._following is not None:
            self._note_place()
            self._following.cancel()
        if self._output is not None:
            self._backlog.close(timeout)
            if not self._backlog.abandoned:
                os.close(self._fd)
            self._output = None

    def _change(self, changed: Changed) -> None:
        if changed.kind in _TOLD and changed.peer != self._node.peer:
            self._backlog.put(changed)

    def _write(self, entries: list[Entry]) -> None:
        output = self._output
        if output is not None:
            lines = [event for at, item in entries for event in events_of(at, item)]
            output.write(encode_lines(lines))


def _together(items: list[Read]) -> Iterator[list[Message] | Gap]:
    """Messages without a gap between them, and gaps."""
    messages: list[Message] = []
    for item in items:
        if isinstance(item, Gap):
            if messages:
                yield messages
            yield item
            messages = []
        else:
            messages.append(item)
    if messages:
        yield messages


_ENCODER = msgspec.json.Encoder()
_CONTROLS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def encode_lines(events: list[dict[str, Any]]) -> bytes:
    """The events as JSON, one a line.

    Characters that JSON allows as they are, but that take control of a terminal or end a line for some readers, are
    escaped, too.
    """
    lines = _ENCODER.encode_lines(events)
    if lines.isascii() and b"\x7f" not in lines:
        return lines
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", lines.decode()).encode()


def events_of(at: float, item: Item) -> list[dict[str, Any]]:
    """The objects that say what happened `at`, in seconds since 1970."""
    if isinstance(item, list):
        return [_message_event(at, message) for message in item]
    if isinstance(item, Gap):
        gap = {"event": "gap", "at": at, "peer": item.origin, "epoch": item.epoch}
        gap |= {"first": item.first, "last": item.last}
        return [gap | ({"cursor": item.cursor} if item.number else {})]
    if isinstance(item, Fork):
        return [{"event": "fork", "at": at, "peer": item.origin, "epoch": item.epoch, "seq": item.seq}]
    if isinstance(item, Place):
        return [{"event": "cursor", "at": at, "cursor": item.cursor}]
    if isinstance(item, Changed):
        event = {"event": item.kind.value, "at": at, "peer": item.peer}
        if item.kind is Kind.JOINED:
            event |= {"ip_addr": item.ip_addr, "port": item.port}
        elif item.kind is Kind.READY:
            event |= {"port": item.port}
        elif item.kind is Kind.LINK_DOWN:
            event |= {"reason": item.reason}
        return [event]
    return []


def _message_event(at: float, message: Message) -> dict[str, Any]:
    event = {
        "event": "message",
        "at": at,
        "peer": message.origin,
        "epoch": message.epoch,
        "seq": message.seq,
        "id": message.id,
        "title": message.title,
        "message": message.message,
        "time": message.time,
    }
    if message.cursor:
        event["cursor"] = message.cursor
    if message.replayed:
        event["replayed"] = True
    return event
