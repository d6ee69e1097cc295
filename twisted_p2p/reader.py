"""Reads a peer's log from a cursor on, and goes on as messages arrive: what an application needs to lose nothing."""

from __future__ import annotations

from collections import deque

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twisted_p2p.core.actions import CURSOR_BITS, ENTRY_END, Bundle, Gap
from twisted_p2p.core.wire import read_bundle
from twisted_p2p.errors import LogError
from twisted_p2p.interfaces import Entry, IMessageLog
from twisted_p2p.messages import Message, decode
from twisted_p2p.shell import IPeerShell

BATCH = 262_144
"""Bytes that are read in one turn of the event loop."""

Item = Message | Gap


@attrs.define(eq=False)
class Bell:
    """What the readers of one node share: it rings when something was committed.

    Attributes:
        start: the last entry of the log when this life began; None before that.
        is_over: the node has stopped, and nothing is added to the log any more.
    """

    shell: IPeerShell
    start: int | None = None
    is_over: bool = False
    _waiting: list[Deferred[None]] = attrs.field(factory=list)

    @property
    def log(self) -> IMessageLog:
        """The log as it is now: after a failure of the disk it is another one."""
        log: IMessageLog = self.shell.core.log
        return log

    def open(self) -> None:
        """The log can be read."""
        self.start = self.log.last
        self.ring()

    def end(self) -> None:
        """The node has stopped."""
        self.is_over = True
        self.ring()

    def ring(self) -> None:
        """Wake all who wait."""
        waiting, self._waiting = self._waiting, []
        while waiting:
            waiting.pop(0).callback(None)

    def wait(self) -> Deferred[None]:
        """Fires when it rings."""
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter


class MessageReader:
    """Messages and gaps, in the order in which they arrived: what was kept before, then what comes.

        async for item in node.messages(after=cursor):
            if isinstance(item, Gap):
                ...                                     # item.first to item.last can't be had any more
            else:
                ...                                     # item is a Message
            cursor = item.cursor

    In a coroutine that `Deferred.fromCoroutine` runs. It reads the log as fast as you take, so a slow reader costs no
    memory, and ends when the node has stopped.

    A `Gap` is also what retention has taken before it was read. Where not even its stream is known any more, `origin`
    is "", `epoch` is 0, and `first` to `last` are numbers of entries of the log, of which some may have been our own.
    """

    log = Logger()

    def __init__(self, bell: Bell, peer: str, after: int | None, own: bool) -> None:
        """Made by `Node.messages`.

        Args:
            peer: our own id.
        """
        self._bell = bell
        self._skipped = "" if own else peer
        self._after = after
        self._number = -1
        """The last entry that was read; -1: it is not known yet where to begin."""
        self._given = after or 0
        self._items: deque[Item] = deque()
        self._last = bell.log.last if bell.start is not None else None
        """The last entry of the log when this was made, if that could be read."""
        self._closed = self._failed = False
        self._begin()

    @property
    def cursor(self) -> int:
        """Behind all that it has given, and behind what it has left out since: our own broadcasts."""
        if self._items or self._number < 0:
            return self._given
        return max(self._given, (self._number << CURSOR_BITS) + ENTRY_END)

    def close(self) -> None:
        """End it: whoever waits for it gets nothing more."""
        self._closed = True
        self._items.clear()
        self._bell.ring()

    def __aiter__(self) -> MessageReader:
        return self

    async def __anext__(self) -> Item:
        """The next message or gap, as soon as there is one."""
        if not self._items:
            self._items.extend(await self._next())
        if not self._items:
            raise StopAsyncIteration
        item = self._items.popleft()
        self._given = item.cursor
        return item

    async def next_batch(self) -> list[Item]:
        """Some messages and gaps, as soon as there are any; an empty list when the reader was closed or has ended."""
        items = [*self._items] or await self._next()
        self._items.clear()
        if items:
            self._given = items[-1].cursor
        return items

    async def _next(self) -> list[Item]:
        while not self._closed:
            if self._is_at_end():
                if self._bell.is_over:
                    break
                await self._bell.wait()
                self._failed = False
            else:
                # Whoever has much to read leaves a turn to the others after each batch.
                await deferLater(self._bell.shell.clock, 0)
                items = [] if self._closed else self._read()
                if items:
                    return items
        return []

    def _is_at_end(self) -> bool:
        """Whether there is nothing to read for now."""
        self._begin()
        return self._failed or self._number < 0 or self._number >= self._bell.log.last

    def _begin(self) -> None:
        """Find out where to begin, once the log can be read."""
        start = self._bell.start if self._last is None else self._last
        if self._number >= 0 or start is None:
            return
        after = self._after
        if after is None:
            self._number = start
        elif after == 0:
            self._number = max(0, self._bell.log.first - 1)
        elif after >> CURSOR_BITS > start:
            self.log.warn(
                "The cursor {after} is beyond this peer's log: that is an older copy of it, or another one. "
                "Going on from its end.",
                after=after,
            )
            self._number, self._given = start, 0
        else:
            # Of an entry that was not read to its end the rest is still to come.
            self._number = max(0, ((after + 1) >> CURSOR_BITS) - 1)
        self._after = self._given

    def _read(self) -> list[Item]:
        """What follows in the log; nothing, where that is all left out, or the log can't be read."""
        log, items = self._bell.log, list[Item]()
        try:
            entries = log.entries(self._number, BATCH)
        except LogError as error:
            self.log.error("The messages can't be read for now: {error}", error=error)
            self._failed = True
            return items
        for entry in entries:
            self._pass(min(entry.number, log.first) - 1, items)
            items += self._items_of(entry)
            self._number = entry.number
        if not entries:
            self._pass(log.first - 1, items)
            self._number = max(self._number, log.last)
        after, self._after = self._after or 0, 0
        return [item for item in items if item.cursor > after]

    def _pass(self, number: int, items: list[Item]) -> None:
        """What is missing up to this entry was taken by retention."""
        if self._number < number:
            items.append(Gap("", 0, self._number + 1, number, number))
            self._number = number

    def _items_of(self, entry: Entry) -> list[Item]:
        origin, epoch = entry.stream
        if origin == self._skipped:
            return []
        if entry.line is None:
            return [Gap(origin, epoch, entry.seq, entry.last, entry.number)]
        messages = read_bundle(entry.line).messages
        return [*decode(Bundle(origin, epoch, entry.seq, messages, entry.number, entry.replayed))]
