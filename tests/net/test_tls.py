"""TLS between two peers, without sockets: who is proven to be where, and what becomes of whoever speaks none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from tests.net.memory import Net, Wire
from tests.net.test_service import encoded
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Changed, Deliver, Kind, Reason
from twisted_p2p.core.config import LAN
from twisted_p2p.identity import Ed25519Signer
from twisted_p2p.net.service import PeerService
from twisted_p2p.net.stranger import StrangerLog
from twisted_p2p.net.tls import ALPN, Credentials, TLSFactory


class Raw(Protocol):
    """Whoever connects by hand."""

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data


class TLSCase(SynchronousTestCase):
    """Two peers that speak TLS."""

    def setUp(self) -> None:
        """Neither is started."""
        self.net = Net()
        self.one, self.two = self.net.service(5050, plaintext=False), self.net.service(5051, plaintext=False)

    def join(self, newcomer: PeerService) -> None:
        """The first is a genesis, and the newcomer joins through it."""
        self.one.start()
        self.one.join([], genesis=True)
        newcomer.start()
        newcomer.join([("127.0.0.1", 5050)])
        self.net.run(2)

    def kinds(self, service: PeerService) -> list[Kind]:
        """The changes that its application was told."""
        return [told.kind for told in self.net.told[service] if isinstance(told, Changed)]

    def reasons(self, service: PeerService) -> list[str]:
        """Why it could not join."""
        return [told.reason for told in self.net.told[service] if isinstance(told, Changed) and told.reason]

    def port(self) -> Any:
        """What answers at the first one's port."""
        return next(factory for port, factory, _, _ in self.net.reactor.tcpServers if port == 5050)

    def connect(self, client: Any) -> Wire:
        """Somebody connects to the first one."""
        made = Wire(client, self.port().buildProtocol(None))
        self.net.wires.append(made)
        return made


class AgreedTests(TLSCase):
    """Both speak TLS."""

    def test_joined(self) -> None:
        """They join and talk; the connection has proven who they are, and nobody says #PROOF."""
        seen: list[bytes] = []
        lines = self.one.core.lines_received
        self.patch(self.one.core, "lines_received", lambda n, ls, now: seen.extend(ls) or lines(n, ls, now))
        self.join(self.two)
        self.assertIn(Kind.READY, self.kinds(self.two))
        self.one.broadcast([encoded("a")])
        self.net.run()
        self.assertTrue(any(isinstance(told, Deliver) for told in self.net.told[self.two]))
        for mine, other in ((self.one, self.two), (self.two, self.one)):
            self.assertEqual({link.proven for link in mine.core.links.by_id.values()}, {other.peer})
        self.assertFalse([line for line in seen if b"#PROOF" in line])
        self.assertTrue([line for line in seen if b"#HELLO" in line])

    def test_nothing_readable(self) -> None:
        """Nobody on the way reads a word."""
        carried = bytearray()
        pump = Wire.pump

        def listen(this: Wire) -> bool:
            carried.extend(b"".join(transport.value() for transport in this.transports))
            return pump(this)

        self.patch(Wire, "pump", listen)
        self.join(self.two)
        self.one.broadcast([encoded("SECRET")])
        self.net.run()
        self.assertGreater(len(carried), 2_000)
        for word in (b"SECRET", b"HELLO", self.one.peer.encode(), bytes.fromhex(self.one.peer)):
            self.assertNotIn(word, carried)

    def test_somebody_elses_record(self) -> None:
        """Who shows one key and introduces itself as another peer is hung up on."""
        self.join(self.two)
        liar, victim = Ed25519Signer(), Ed25519Signer()
        heard = Raw()
        factory = TLSFactory(self.net.reactor, Credentials(liar), True, Factory.forProtocol(lambda: heard), print)
        client = factory.buildProtocol(None)
        self.connect(client)
        data = wire.record_bytes("p2p", victim.peer, 1, "alive", "10.0.0.9", 9, "")
        record = wire.Record(victim.peer, 1, "alive", "10.0.0.9", 9, victim.sign(data))
        client.write(wire.encode(wire.Hello(wire.VERSION, "p2p", record, "0" * 32, True)) + b"\n")
        self.net.run(1)
        self.assertIn(b'"bad-signature"', heard.received)
        self.assertFalse(self.one.core.membership.is_alive(victim.peer))


class TamperedTests(TLSCase):
    """Somebody on the way changes what passes (row 25)."""

    def tamper(self, alter: Callable[[bytes], bytes]) -> Wire:
        """Two that have joined; the next thing that the first says to the second is altered on the way."""
        self.join(self.two)
        [link] = self.one.core.overlay.active.values()
        protocol = self.one._links[link.id]
        made = next(each for each in self.net.wires if protocol.transport in each.protocols)
        way = made.protocols.index(protocol.transport)
        self.one.broadcast([encoded("a")])
        while not made.transports[way].value():
            self.net.reactor.advance(0.001)
        said = made.transports[way].take()
        made.protocols[1 - way].dataReceived(alter(said))
        return made

    def heard(self) -> int:
        """How many bundles the second one was handed."""
        return sum(len(told.bundles) for told in self.net.told[self.two] if isinstance(told, Deliver))

    def test_altered(self) -> None:
        """One changed bit anywhere ends the connection, and nothing of it is delivered; the next one brings it."""
        for place in (0, 3, 5, 40, -1):
            self.setUp()
            made = self.tamper(lambda said, at=place: _flipped(said, at))
            self.assertEqual(self.heard(), 0, place)
            if place != 3:  # the length of a record: one that is longer is still awaited
                self.net.run()
                self.assertEqual(made.lost, [True, True], place)
                self.net.run(20)
                self.assertEqual(self.heard(), 1, place)

    def test_replayed(self) -> None:
        """What comes once more ends the connection, and is not delivered twice."""
        made = self.tamper(lambda said: said + said)
        self.net.run()
        self.assertEqual((self.heard(), made.lost), (1, [True, True]))

    def test_truncated(self) -> None:
        """Of what is cut off, also where one record ends, nothing is taken for the whole; the rest comes later."""
        made = self.tamper(lambda said: said[: len(said) // 2])
        self.assertEqual(self.heard(), 0)
        made.transports[0].disconnecting = made.transports[1].disconnecting = True
        self.net.run()
        self.assertEqual((self.heard(), made.lost), (0, [True, True]))
        self.net.run(20)
        self.assertEqual(self.heard(), 1)


def _flipped(data: bytes, place: int) -> bytes:
    altered = bytearray(data)
    altered[place] ^= 1
    return bytes(altered)


class RefusedTests(TLSCase):
    """Whoever speaks no TLS, or another one, gets nowhere, and costs little."""

    def test_without(self) -> None:
        """A peer without TLS is told why, whichever of the two has dialled."""
        plain = self.net.service(5052)
        self.join(plain)
        self.assertEqual({*self.reasons(plain)}, {"no-tls"})
        self.assertNotIn(Kind.LINK_UP, self.kinds(self.one))

    def test_dials_one_without(self) -> None:
        """The other way round, too."""
        plain = self.net.service(5052)
        plain.start()
        plain.join([], genesis=True)
        self.two.start()
        self.two.join([("127.0.0.1", 5052)])
        self.net.run(2)
        self.assertEqual({*self.reasons(self.two)}, {"no-tls"})

    def test_strangers(self) -> None:
        """Other protocols are told apart by their first bytes, and hung up on at once."""
        self.one.start()
        strangers: list[str] = []
        self.patch(StrangerLog, "met", lambda log, host, port, spoke, now: strangers.append(spoke))
        for first in (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\0\0\0"):
            raw = Raw()
            made = self.connect(raw)
            raw.transport.write(first)
            self.net.run()
            self.assertTrue(made.lost[1])
            self.assertEqual(raw.received, b"")
        self.assertEqual(strangers, ["HTTP, not p2p", "SSH, not p2p", "no TLS"])
        self.assertEqual(self.one._links, {})

    def test_old_tls(self) -> None:
        """Nothing below version 1.3, and nothing without a certificate or our protocol inside."""
        self.one.start()
        for case in ("1.2", "no certificate", "no protocol"):
            context = SSL.Context(SSL.TLS_METHOD)
            credentials = Credentials(Ed25519Signer())
            if case == "1.2":
                context.set_max_proto_version(SSL.TLS1_2_VERSION)
                context.set_alpn_protos([ALPN])
            elif case == "no certificate":
                context.set_alpn_protos([ALPN])
            else:
                context = credentials._context
                context.set_alpn_protos([b"other"])
            credentials._context = context
            heard = Raw()
            factory = TLSFactory(self.net.reactor, credentials, True, Factory.forProtocol(lambda h=heard: h), print)
            self.connect(factory.buildProtocol(None))
            self.net.run(1)
            told = wire.encode(wire.Bye("no-tls")) + b"\n" if case == "no protocol" else b""
            self.assertEqual((self.one._links, heard.received), ({}, told), case)
            self.assertGreater(self.one.core.turn.counts["link_end_no-tls"], 0)

    def test_never_shakes_hands(self) -> None:
        """Who connects and says nothing, or only the beginning of a handshake, is hung up on in time."""
        self.one.start()
        for first in (b"", b"\x16\x03\x01\x02\x00"):
            raw = Raw()
            made = self.connect(raw)
            raw.transport.write(first)
            self.net.run(LAN.handshake_timeout - 0.5)
            self.assertFalse(made.lost[1])
            self.net.run(4)
            self.assertTrue(made.lost[1])
        self.assertEqual(self.one._links, {})
        self.assertEqual(self.one.core.turn.counts[f"link_end_{Reason.HANDSHAKE_TIMEOUT.value}"], 2)
