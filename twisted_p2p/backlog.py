"""What happens at a node, for those who may be slower than it: a bounded queue with a thread behind it."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import msgspec
from twisted.logger import Logger

from twisted_p2p.core.actions import Changed, Fork, Gap

if TYPE_CHECKING:
    from twisted_p2p.messages import Message

QUEUED_MAX = 100_000
"""Messages that wait for a slow listener: a quarter of a minute of a busy network."""
QUEUED_BYTES = 64 * 1024 * 1024
"""The same in bytes of JSON, where messages are big."""
_NEWS_MAX = 100_000
"""Other entries that wait: more than a directory has peers, several times."""


@attrs.frozen
class Place:
    """Nothing up to this cursor is still to come."""

    cursor: int


if TYPE_CHECKING:
    Item = list[Message] | Gap | Fork | Changed | Place | str
    Entry = tuple[float, Item]


class Backlog:
    """A bounded queue with a thread behind it, which hands on what happens at a node.

    A node can't wait for its listeners. While the queue is full, messages are not kept; the listener then gets, in
    their place in each stream, the Gap that they leave. `dropped` counts them.
    """

    log = Logger()

    def __init__(
        self,
        consume: Callable[[list[Entry]], object],
        seconds: Callable[[], float],
        name: str,
        batch: int = 64,
        limit: int = QUEUED_MAX,
        limit_bytes: int = QUEUED_BYTES,
    ) -> None:
        """Make the queue; `start` starts its thread.

        Args:
            consume: called in the thread with up to `batch` entries, each an item and when it was put.
            seconds: the time since 1970.
            name: what the thread does, for the log and for debuggers.
            limit: messages queued or being consumed; a turn's messages stay together.
        """
        self._consume = consume
        self._seconds = seconds
        self._name = name
        self._batch = batch
        self._limit, self._limit_bytes = limit, limit_bytes
        self._entries: collections.deque[tuple[Entry, int, int]] = collections.deque()
        self._held = self._bytes = self._news = 0
        self._lost: dict[tuple[str, int], Gap] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.abandoned = False
        """Nobody waits for this queue any more: `consume` should return soon."""

    def start(self) -> None:
        """Begin to hand on. Not before a fork: no thread survives it, nor, from 3.13 on, one that was only made."""
        self._thread = threading.Thread(target=self._run, name=f"p2p {self._name}", daemon=True)
        self._thread.start()

    def messages(self, messages: list[Message]) -> None:
        """Queue a turn's messages, or note the gap that they leave."""
        size = len(msgspec.json.encode([message.message for message in messages]))
        with self._changed:
            if self._lost or self._is_full():
                self._drop(messages)
            else:
                self._append(messages, len(messages), size)

    @property
    def is_full(self) -> bool:
        """Whether it would drop what is put now."""
        with self._changed:
            return bool(self._lost) or self._is_full() or self._news >= _NEWS_MAX

    def _is_full(self) -> bool:
        return self._held >= self._limit or self._bytes >= self._limit_bytes

    def put(self, item: Gap | Fork | Changed | Place | str) -> None:
        """Queue something rare."""
        with self._changed:
            if self._news < _NEWS_MAX:
                self._append(item, 0, 0)
            else:
                self.dropped += 1

    def close(self, timeout: float) -> int:
        """Hand on what is queued, for at most `timeout` seconds, and end the thread.

        Called by the listener itself, in the thread, it does not wait, and drops what is queued.

        Returns:
            How many messages were dropped.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        thread = self._thread
        if thread is not None and threading.current_thread() is not thread:
            thread.join(timeout)
        with self._changed:
            self.abandoned = thread is not None and thread.is_alive()
            left = sum(count for _, count, _ in self._entries)
            self._entries.clear()
            self._lost.clear()
        self.dropped += left
        return left

    def _append(self, item: Item, count: int, size: int) -> None:
        self._entries.append(((self._seconds(), item), count, size))
        self._held += count
        self._bytes += size
        self._news += not count
        self._changed.notify()

    def _drop(self, messages: list[Message]) -> None:
        if not self._lost:
            self.log.critical("The {name} are too slow: messages are being dropped.", name=self._name)
        self.dropped += len(messages)
        for message in messages:
            stream = (message.origin, message.epoch)
            known = self._lost.get(stream)
            first = known.first if known is not None else message.seq
            self._lost[stream] = Gap(message.origin, message.epoch, first, message.seq)

    def _run(self) -> None:
        while True:
            taken = self._take()
            if not taken:
                return
            self._consume([entry for entry, _, _ in taken])
            with self._changed:
                for _, count, size in taken:
                    self._held -= count
                    self._bytes -= size
                    self._news -= not count

    def _take(self) -> list[tuple[Entry, int, int]]:
        """The next entries, as soon as there are any; none: the queue is closed and empty."""
        with self._changed:
            while not (self._entries or self._lost or self._closed):
                self._changed.wait()
            if not self._entries:
                # Everything older has been handed on: this is the place of the gaps.
                for gap in self._lost.values():
                    self._append(gap, 0, 0)
                self._lost.clear()
            return [self._entries.popleft() for _ in range(min(self._batch, len(self._entries)))]
