"""The bare relay: the least that peers of the same libraries have to do, and so the limit for ours.

A tree that is laid down beforehand, in which everybody passes on each line to all neighbours but the one that it came
from. The lines of a chunk are written together; the messages of a turn share a line, and a signature, which everybody
checks; the lines of a chunk are one transaction of the log. There is no protocol: nobody joins, is missed or replaced,
nothing that is lost comes back, and whoever is slow is buffered for without bound.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from twisted_p2p.identity import Ed25519Signer, Ed25519Verifier
from twisted_p2p.net.tls import Credentials, TLSFactory

CHILDREN = 3
"""Of each in the tree: a peer of ours has about as many links that it pushes on."""
PAUSE = 0.001
"""Seconds until a publisher whose links are full tries again."""


class Line(msgspec.Struct):
    """Some texts of one publisher."""

    origin: str
    seq: int
    sig: str
    texts: msgspec.Raw


_decode = msgspec.json.Decoder(Line).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_encode = msgspec.json.Encoder().encode


class Log:
    """The lines in one table of a SQLite file, without anything by which they could be found or dropped."""

    def __init__(self, path: Path, synchronous: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(f"PRAGMA synchronous = {synchronous}")
        self._database.execute("CREATE TABLE entries (number INTEGER PRIMARY KEY, line BLOB)")

    def append(self, lines: Sequence[bytes]) -> None:
        """Keep them, and commit."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO entries (line) VALUES (?)", [(line,) for line in lines])
        self._database.execute("COMMIT")


class Link(Protocol):
    """One connection."""

    transport: Any

    def __init__(self, relay: BareRelay) -> None:
        self.relay, self.tail, self.paused = relay, b"", False

    def connectionMade(self) -> None:
        """Count it."""
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.relay.linked(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        self.relay.links.pop(self, None)

    def pauseProducing(self) -> None:
        """Full."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Empty."""
        self.paused = False

    def stopProducing(self) -> None:
        """About to end."""

    def dataReceived(self, data: bytes) -> None:
        """Hand over whole lines."""
        lines = (self.tail + data).split(b"\n")
        self.tail = lines.pop()
        if lines:
            self.relay.receive(lines, self)


class BareRelay:
    """A peer of the bare relay.

    Args:
        number: its place in the tree.
        took: called with a publisher and its texts.
        tls, signed: whether its lines are encrypted, and signed and checked.
        synchronous: of its log at `path`; None: it keeps nothing.
    """

    def __init__(
        self,
        reactor: Any,
        number: int,
        took: Callable[[str, list[str]], object],
        *,
        tls: bool,
        signed: bool,
        synchronous: str | None,
        path: Path,
    ) -> None:
        self.reactor, self.number, self.took, self.signed = reactor, number, took, signed
        self.links: dict[Link, None] = {}
        self.bundles = self.frames = 0
        self.duplicates = 0
        self._signer, self._verifier = Ed25519Signer(), Ed25519Verifier()
        self._credentials = Credentials(self._signer) if tls else None
        self._log = None if synchronous is None else Log(path, synchronous)
        self._seq = 0
        self._wanted = -1
        """So many links it has once all have joined; -1: it was not told to join."""
        self._joined: Deferred[None] = Deferred()
        self.port: int = reactor.listenTCP(0, self._factory(False), interface="127.0.0.1").getHost().port

    def _factory(self, dials: bool) -> Any:
        factory: Any = Factory.forProtocol(lambda: Link(self))  # type: ignore[arg-type]  # Twisted calls it, no more
        factory.noisy = False
        if self._credentials is None:
            return factory
        return TLSFactory(self.reactor, self._credentials, dials, factory, print)

    def join(self, ports: Sequence[int]) -> Deferred[Any]:
        """Connect with the parent, and wait for the children."""
        dials = [ports[(self.number - 1) // CHILDREN]] if self.number else []
        first = CHILDREN * self.number + 1
        self._wanted = len(dials) + len(range(first, min(first + CHILDREN, len(ports))))
        made = [TCP4ClientEndpoint(self.reactor, "127.0.0.1", port).connect(self._factory(True)) for port in dials]
        self._check_joined()
        return gatherResults([*made, self._joined])

    def linked(self, link: Link) -> None:
        """A connection is there."""
        self.links[link] = None
        self._check_joined()

    def _check_joined(self) -> None:
        if len(self.links) == self._wanted and not self._joined.called:
            self._joined.callback(None)

    def receive(self, lines: list[bytes], source: Link) -> None:
        """Check, keep, pass on, hand over."""
        taken: list[tuple[str, list[str]]] = []
        for line in lines:
            frame = _decode(line)
            if self.signed:
                data = b"%b %d %b" % (frame.origin.encode(), frame.seq, bytes(frame.texts))
                if not self._verifier.verify(frame.origin, data, frame.sig):
                    raise ValueError("a bad signature")
            taken.append((frame.origin, _decode_texts(frame.texts)))
        self._pass_on(lines, source)
        self.bundles += len(lines)
        self.frames += len(lines)
        for origin, texts in taken:
            self.took(origin, texts)

    def _pass_on(self, lines: list[bytes], source: Link | None) -> None:
        if self._log is not None:
            self._log.append(lines)
        data = b"\n".join([*lines, b""])
        for link in self.links:
            if link is not source:
                link.transport.write(data)

    def broadcast(self, texts: list[str]) -> Deferred[Any]:
        """Publish them in one line; fires in the next turn, or once the links take more."""
        raw, origin = _encode(texts), self._signer.peer
        self._seq += 1
        sig = self._signer.sign(b"%b %d %b" % (origin.encode(), self._seq, raw)) if self.signed else ""
        self._pass_on([_encode(Line(origin, self._seq, sig, msgspec.Raw(raw)))], None)
        return deferLater(self.reactor, 0, self._when_room)

    def _when_room(self) -> Deferred[Any] | None:
        if any(link.paused for link in self.links):
            return deferLater(self.reactor, PAUSE, self._when_room)
        return None
