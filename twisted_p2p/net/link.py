"""The protocol on a connection: line-delimited JSON, cut from chunks within a bound, and back-pressure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_p2p.net.stranger import what_it_spoke
from twisted_p2p.net.tls import WholeReads, binding, is_no_tls, proven_peer

if TYPE_CHECKING:
    from twisted_p2p.net.service import PeerService


IGNORED_MAX = 4 * 2**20
"""Bytes that are read from somebody who was hung up on, so that he hears why; some seconds of an honest peer's line."""


class LineSplitter:
    """Cuts a byte stream into lines, however it arrives, in linear time and with memory for one line.

    Twisted's line receivers take quadratic time for long lines in small reads, and deliver lines after one that was
    too long.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.overflowed = False
        """A line was longer than `limit`, its end excluded; nothing after it is delivered."""
        self._tail = bytearray()

    @property
    def waiting(self) -> int:
        """Bytes of a line whose end has not come."""
        return len(self._tail)

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their newlines."""
        if self.overflowed:
            return []
        if b"\n" not in data:
            self._tail += data
            self._check_tail()
            return []
        if self._tail:
            self._tail += data
            data = bytes(self._tail)
        lines = data.split(b"\n")
        self._tail = bytearray(lines.pop())
        if len(data) > self.limit:
            for number, line in enumerate(lines):
                if self._is_too_long(line):
                    self._overflow()
                    return lines[:number]
            self._check_tail()
        return lines

    def clear(self) -> None:
        """Drop what is left of a line."""
        self._tail = bytearray()

    def _is_too_long(self, line: bytes | bytearray) -> bool:
        return len(line) - line.endswith(b"\r") > self.limit

    def _check_tail(self) -> None:
        if self._is_too_long(self._tail):
            self._overflow()

    def _overflow(self) -> None:
        self.overflowed = True
        self.clear()


@implementer(IPushProducer, IHandshakeListener)
class LinkProtocol(WholeReads):
    """One connection. It decides nothing: lines, pauses and the end go to the PeerService."""

    transport: ITCPTransport

    def __init__(self, service: PeerService, dial: int | None) -> None:
        self.service, self.dial = service, dial
        self.number = 0
        self.hung_up = False
        self.aborting: IDelayedCall | None = None
        """Ends a connection that takes too long to close."""
        self._splitter = LineSplitter(service.config.line_max)
        self._has_spoken = self._is_open = False
        self._ignored = 0
        self._resting: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Small frames go out at once, and a full buffer is told to the core."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        IConsumer(self.transport).registerProducer(self, True)
        self.service.link_made(self)

    def handshakeCompleted(self) -> None:
        """TLS has proven who is at the other end."""
        self.service.link_secured(self, proven_peer(self.transport), binding(self.transport))

    def readReceived(self, data: bytes) -> None:
        """Hand over the whole lines."""
        if self.hung_up:
            self._ignored += len(data)
            if self._ignored > IGNORED_MAX:
                self.transport.abortConnection()
            return
        if not self._has_spoken:
            self._has_spoken = True
            spoke = what_it_spoke(data)
            if spoke:
                self.service.stranger(self, spoke)
                return
        lines = self._splitter.feed(data)
        if lines:
            self.service.lines_received(self, lines)
        if self._splitter.overflowed or self._is_long_for_a_stranger():
            self.service.line_too_long(self)

    def _is_long_for_a_stranger(self) -> bool:
        """Whether it keeps us waiting for the end of a long line, though nobody knows yet who it is."""
        if self._is_open or self._splitter.waiting <= self.service.config.hello_max:
            return False
        self._is_open = self.service.is_open(self)
        return not self._is_open

    def rest(self, seconds: float) -> None:
        """Read nothing for so long: what comes meanwhile waits at the other end, once the kernel's buffers are full."""
        if self._resting is not None:
            self._resting.reset(seconds)
            return
        IPushProducer(self.transport).pauseProducing()
        self._resting = self.service.clock.callLater(seconds, self._read_on)

    def _read_on(self) -> None:
        self._resting = None
        IPushProducer(self.transport).resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Gone, for whatever reason. What waits to be read or written is freed at once, not with the next garbage:
        somebody may leave megabytes in each of hundreds of connections before that is collected."""
        self.end_read()
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        self.service.link_lost(self, is_no_tls=is_no_tls(reason))
        self._splitter.clear()
        del self.transport

    def pauseProducing(self) -> None:
        """The buffer is full: the other end reads slowly."""
        self.service.congested(self)

    def resumeProducing(self) -> None:
        """The buffer is empty again."""
        self.service.drained(self)

    def stopProducing(self) -> None:
        """The connection is about to be lost; `connectionLost` tells."""


class LinkFactory(Factory):
    """Builds LinkProtocols: for whoever connects to us, or for one `dial` of ours."""

    noisy = False

    def __init__(self, service: PeerService, dial: int | None = None) -> None:
        self.service, self.dial = service, dial

    def buildProtocol(self, addr: IAddress | None) -> LinkProtocol | None:
        """A protocol for one new connection; None, and it is closed, for an address that may not connect to us."""
        if self.dial is None and not self.service.may_connect(getattr(addr, "host", "")):
            return None
        protocol = LinkProtocol(self.service, self.dial)
        protocol.factory = self
        return protocol
