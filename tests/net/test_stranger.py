"""Who speaks another protocol to our port is told from a peer, hung up on, and logged within a bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.net.memory import Net, Transport
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Banned
from twisted_p2p.net.boundedlog import LINES, PERIOD
from twisted_p2p.net.link import LinkFactory
from twisted_p2p.net.stranger import what_it_spoke

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class WhatItSpokeTests(SynchronousTestCase):
    """A protocol is told by its first bytes."""

    def test_known(self) -> None:
        """The protocols that are met on the ports of this world, and our own first version, are named."""
        for first, words in (
            (REQUEST, "HTTP, not p2p"),
            (b"CONNECT example.org:443 HTTP/1.1\r\n", "HTTP, not p2p"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP, not p2p"),
            (bytes.fromhex("16030100a5010000a10303"), "TLS, not p2p"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH, not p2p"),
            (b'0000000042{"title": "#ASK_RANDOM_NODE"', "the first version of p2p, which is not understood any more"),
            (b'        42{"title": "#ASK_RANDOM_NODE"', "the first version of p2p, which is not understood any more"),
            (b'42        {"title": "#ASK_RANDOM_NODE"', "the first version of p2p, which is not understood any more"),
            (b"0000000042", "the first version of p2p, which is not understood any more"),
        ):
            self.assertEqual(what_it_spoke(first), words)

    def test_unknown(self) -> None:
        """What is none of them is left to whoever reads frames."""
        for first in (b"", b"\n", b"GET", b"GETTING ON", b"220 mail.example.org ESMTP\r\n", b"0000000042\n", b"\x16"):
            self.assertEqual(what_it_spoke(first), "")

    @given(st.text(" \t\r\n", max_size=12), st.text(max_size=20))
    def test_frames(self, before: str, rest: str) -> None:
        """Nothing that may become a frame is taken for another protocol, wherever its first read ends."""
        self.assertEqual(what_it_spoke(before.encode()), "")
        self.assertEqual(what_it_spoke(f"{before}{{{rest}".encode()), "")


class StrangerTests(SynchronousTestCase):
    """Strangers connect to a service."""

    def setUp(self) -> None:
        """A service that listens; what is logged is kept."""
        self.net = Net()
        self.service = self.net.service()
        self.service.start()
        self.service.join([], genesis=True)
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.keep)
        self.addCleanup(globalLogPublisher.removeObserver, self.keep)

    def keep(self, event: LogEvent) -> None:
        """Keep a line of ours."""
        if event.get("log_namespace") == "p2p":
            self.logged.append(formatEvent(event))

    def connect(self, *reads: bytes, host: str = "192.168.1.1") -> Transport:
        """Somebody connects, and sends this."""
        client = IPv4Address("TCP", host, 54321)
        link, transport = LinkFactory(self.service).buildProtocol(None), Transport(client, client)
        link.makeConnection(transport)
        for read in reads:
            link.dataReceived(read)
        return transport

    def test_hung_up(self) -> None:
        """A stranger gets one word and a closed connection at once, also in the middle of its first line."""
        for first in (REQUEST, bytes.fromhex("16030100a5010000a10303"), b"SSH-2.0-x\r\n", b'0000000042{"title": "#'):
            transport = self.connect(first, b"more\n")
            self.assertEqual(wire.decode(transport.take().strip()), wire.Bye("bad-frame"))
            self.assertTrue(transport.disconnecting)
        self.assertEqual(len(self.logged), 4)

    def test_line(self) -> None:
        """One line in the log says who spoke what; nothing of what it sent is in it."""
        self.connect(b"GET /\x1b[2J\nforged HTTP/1.1\r\n\r\n")
        self.assertEqual(self.logged, ["A client at 192.168.1.1 port 54321 spoke HTTP, not p2p: hung up."])

    def test_only_at_the_beginning(self) -> None:
        """What comes later on a connection is no matter of protocols."""
        transport = self.connect(b"\n", REQUEST)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.logged, [])

    def test_dialled(self) -> None:
        """Whoever we have dialled ourselves is hung up on as well; whoever dialled tells why."""
        self.service.join([("127.0.0.1", 1)])
        [(_, _, factory, _, _)] = self.net.reactor.tcpClients
        link, transport = factory.buildProtocol(None), Transport()
        link.makeConnection(transport)
        link.dataReceived(b"SSH-2.0-x")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.logged, [])

    def test_flood(self) -> None:
        """However many strangers come, few lines are logged in a minute; the next one tells how many there were."""
        for number in range(LINES + 50):
            self.connect(REQUEST, host=f"10.0.{number}.1")
        self.assertEqual(len(self.logged), LINES + 1)
        self.assertEqual(self.logged[-1], "Further such clients are not logged, but counted, for 60 s.")
        self.net.run(PERIOD)
        self.logged.clear()
        self.connect(REQUEST)
        self.assertEqual(self.logged[0], "50 more clients that speak no p2p were hung up on.")
        self.assertEqual(len(self.logged), 2)
        self.net.run(PERIOD)
        self.logged.clear()
        self.connect(REQUEST)
        self.assertEqual(len(self.logged), 1)

    def test_flood_of_bans(self) -> None:
        """Row 102: whoever is banned under ever more keys fills no log either."""
        for number in range(LINES + 50):
            self.service._perform([Banned(f"{number:064x}", 2e9, "bad-frame")])
        self.assertEqual(len(self.logged), LINES + 1)
        self.assertTrue(self.logged[0].startswith("Banned, until when, and why: 00000"))
        self.assertEqual(self.logged[-1], "Further bans are not logged, but counted, for 60 s.")
        self.net.run(PERIOD)
        self.logged.clear()
        self.service._perform([Banned("ab" * 32, 2e9, "bad-frame")])
        self.assertEqual(self.logged[0], "50 more peers or addresses were banned.")
