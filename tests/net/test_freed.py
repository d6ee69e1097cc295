"""Whoever connects and goes, a thousand times, at whatever point: nothing is left of any, and without the collector."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.net.memory import Net, Wire
from twisted_p2p.core import wire
from twisted_p2p.core.config import LAN
from twisted_p2p.identity import Ed25519Signer
from twisted_p2p.net.tls import Credentials, TLSFactory

NETWORK, NONCE = "p2p", "0" * 32
SIGNER = Ed25519Signer()
OTHERS, OTHERS_TLS = 1000, 100
"""Connections in each test. Each one's handshake of TLS takes milliseconds."""


class Guest(Protocol):
    """The other end of a connection: it says what it is told to, and reads."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def say(self, *frames: wire.Frame) -> None:
        """Send these."""
        self.transport.write(b"".join(wire.encode(frame) + b"\n" for frame in frames))

    def hello(self) -> None:
        """Introduce itself."""
        data = wire.record_bytes(NETWORK, SIGNER.peer, 1, "alive", "127.0.0.1", 9, "")
        record = wire.Record(SIGNER.peer, 1, "alive", "127.0.0.1", 9, SIGNER.sign(data))
        self.say(wire.Hello(wire.VERSION, NETWORK, record, NONCE))

    def proof(self) -> None:
        """Prove its key."""
        hello: Any = wire.decode(self.received.split(b"\n")[0])
        data = wire.proof_bytes(NETWORK, SIGNER.peer, hello.record.peer, hello.nonce, NONCE)
        self.say(wire.Proof(SIGNER.sign(data)))


class FreedCase(SynchronousTestCase):
    """A genesis to which others connect."""

    plaintext = True

    def setUp(self) -> None:
        """It is alone, and the garbage collector does not help it."""
        self.net = Net()
        often = attrs.evolve(LAN, arrivals_burst=1_000_000)
        self.service = self.net.service(5050, config=often, plaintext=self.plaintext)
        self.service.start()
        self.service.join([], genesis=True)
        self.net.run(1)
        self.credentials = Credentials(SIGNER)
        self.held: list[weakref.ref[Any]] = []
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def visit(self, *steps: Callable[[Guest], object]) -> Wire:
        """Somebody connects and does this, of which each is answered before the next."""
        guest = Guest()
        factory = Factory.forProtocol(lambda: guest)
        client = self._secure(factory).buildProtocol(None)
        [port] = [factory for port, factory, _, _ in self.net.reactor.tcpServers]
        made = Wire(client, port.buildProtocol(None))
        server = made.protocols[1]
        self.held += [weakref.ref(getattr(server, "wrappedProtocol", server)), weakref.ref(server)]
        self.held.append(weakref.ref(made.transports[1]))
        self.net.wires.append(made)
        for step in steps:
            self.net.settle()
            step(guest)
        self.net.settle()
        return made

    def _secure(self, factory: Any) -> Any:
        if self.plaintext:
            return factory
        return TLSFactory(self.net.reactor, self.credentials, True, factory, print)

    def check(self, count: int, visit: Callable[[], Wire]) -> None:
        """So many visits, each ended without a word, or by the other end, leave nothing."""
        calls, timers = len(self.net.reactor.getDelayedCalls()), len(self.service.core.turn.timers)
        for _ in range(count):
            made = visit()
            made.transports[0].loseConnection()
            self.net.settle()
            self.net.run(0)
            self.net.wires.remove(made)
            del made
        self.assertEqual(len(self.service._links), 0)
        self.assertLessEqual(len(self.net.reactor.getDelayedCalls()), calls)
        self.assertLessEqual(len(self.service.core.turn.timers), timers)
        self.assertEqual([each() for each in self.held if each() is not None], [])
        # A deadline that was called off is forgotten when it would have been due.
        self.net.run(2 * LAN.linger)
        self.assertLessEqual(len(self.service.core.turn.timers._heap), timers)


class PlaintextTests(FreedCase):
    """Without TLS."""

    def test_at_once(self) -> None:
        """They say nothing."""
        self.check(OTHERS, self.visit)

    def test_in_the_first_line(self) -> None:
        """They begin to introduce themselves."""
        self.check(OTHERS, lambda: self.visit(lambda guest: guest.transport.write(b'{"title":"#HEL')))

    def test_after_hello(self) -> None:
        """They have not proven their key."""
        self.check(OTHERS, lambda: self.visit(Guest.hello))

    def test_open(self) -> None:
        """They have."""
        self.check(OTHERS, lambda: self.visit(Guest.hello, Guest.proof))

    def test_neighbour_in_a_line(self) -> None:
        """They are neighbours, and in the middle of a line."""
        befriend = wire.NodeConnAddr(urgent=True)
        steps = (Guest.hello, Guest.proof, lambda g: g.say(befriend), lambda g: g.transport.write(b"x" * 100_000))
        self.check(OTHERS // 10, lambda: self.visit(*steps))

    def test_hung_up_on(self) -> None:
        """They are hung up on."""
        self.check(OTHERS // 10, lambda: self.visit(Guest.hello, lambda guest: guest.transport.write(b"{}\n")))


class TLSTests(FreedCase):
    """With TLS."""

    plaintext = False

    def setUp(self) -> None:
        """Skipped with pytest-twisted, under which frames of failures outlive them, and so the connections."""
        if "pytest_twisted" in sys.modules:
            raise SkipTest("trial runs this")
        super().setUp()

    def _half(self, first: bytes) -> Wire:
        """Somebody whose TLS never goes further than this."""
        [port] = [factory for port, factory, _, _ in self.net.reactor.tcpServers]
        made = Wire(Guest(), port.buildProtocol(None))
        server = made.protocols[1]
        self.held += [weakref.ref(server.wrappedProtocol), weakref.ref(server), weakref.ref(made.transports[1])]
        self.net.wires.append(made)
        made.transports[0].write(first)
        self.net.settle()
        return made

    def test_at_once(self) -> None:
        """They say nothing."""
        self.check(OTHERS, lambda: self._half(b""))

    def test_in_the_handshake(self) -> None:
        """They say the first word of it."""
        client = TLSFactory(self.net.reactor, self.credentials, True, Factory.forProtocol(Guest), print)
        spoken = Wire(client.buildProtocol(None), Guest())
        first = spoken.transports[0].take()
        self.assertGreater(len(first), 200)
        self.check(OTHERS, lambda: self._half(first))

    def test_in_something_else(self) -> None:
        """What they speak is no TLS, or a broken one."""
        self.check(OTHERS, lambda: self._half(b"GET / HTTP/1.1\r\n\r\n"))
        self.check(OTHERS, lambda: self._half(b"\x16\x03\x01\x00\x05hello"))

    def test_before_hello(self) -> None:
        """TLS is done, and they say nothing in it."""
        self.check(OTHERS_TLS, self.visit)

    def test_open(self) -> None:
        """They have introduced themselves."""
        self.check(OTHERS_TLS, lambda: self.visit(Guest.hello))

    def test_in_a_line(self) -> None:
        """They are in the middle of a line."""
        steps = (Guest.hello, lambda guest: guest.transport.write(b"x" * 100_000))
        self.check(OTHERS_TLS, lambda: self.visit(*steps))

    def test_hung_up_on(self) -> None:
        """They are hung up on."""
        self.check(OTHERS_TLS, lambda: self.visit(Guest.hello, lambda guest: guest.transport.write(b"{}\n")))
