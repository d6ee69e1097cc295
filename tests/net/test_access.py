"""Who may join, with TLS and files, without sockets. Rows are of the case list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.net.memory import Net, Wire
from tests.net.test_service import encoded
from tests.net.test_tls import Raw
from twisted_p2p.core.actions import Changed, Deliver, Kind
from twisted_p2p.errors import AccessError
from twisted_p2p.identity import Ed25519Signer
from twisted_p2p.net.service import PeerService
from twisted_p2p.net.tls import Credentials, TLSFactory, binding

OLD, NEW = "0123456789abcdef" * 4, "fedcba9876543210" * 4


class AccessCase(SynchronousTestCase):
    """Services with files that say who may join."""

    def setUp(self) -> None:
        """Nobody is there yet; what is logged is kept."""
        self.net = Net()
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.keep)
        self.addCleanup(globalLogPublisher.removeObserver, self.keep)

    def keep(self, event: LogEvent) -> None:
        """Keep a line, and all that is in its event."""
        self.logged.append(f"{formatEvent(event)} {event}")

    def file(self, *lines: str) -> Path:
        """A file with these lines."""
        path = Path(self.mktemp()).absolute()
        self.write(path, *lines)
        return path

    def write(self, path: Path, *lines: str) -> None:
        """Put other lines into it."""
        path.touch(mode=0o600)
        path.write_text("".join(f"{line}\n" for line in lines))

    def service(self, port: int, *keys: str, plaintext: bool = False, **settings: Any) -> PeerService:
        """A service with these network keys."""
        file = self.file(*keys) if keys else None
        return self.net.service(port, plaintext=plaintext, network_key_file=file, **settings)

    def join(self, genesis: PeerService, newcomer: PeerService) -> bool:
        """The newcomer joins through the genesis; whether that works."""
        genesis.start()
        genesis.join([], genesis=True)
        newcomer.start()
        newcomer.join([("127.0.0.1", genesis.port)])
        self.net.run(3)
        return Kind.READY in self.kinds(newcomer)

    def kinds(self, service: PeerService) -> list[Kind]:
        """The changes that its application was told."""
        return [told.kind for told in self.net.told[service] if isinstance(told, Changed)]

    def reasons(self, service: PeerService) -> set[str]:
        """Why it could not join, or lost a neighbour."""
        return {told.reason for told in self.net.told[service] if isinstance(told, Changed) and told.reason}

    def check_silent(self) -> None:
        """No key is in the log."""
        for secret in (OLD, NEW):
            self.assertFalse([line for line in self.logged if secret in line])


class KeyTests(AccessCase):
    """Networks with a key, with TLS and without."""

    def test_same_key(self) -> None:
        """With the same key they join and talk."""
        for plaintext in (False, True):
            self.net = Net()
            one, two = self.service(5050, OLD, plaintext=plaintext), self.service(5051, OLD, plaintext=plaintext)
            self.assertTrue(self.join(one, two))
            one.broadcast([encoded("a")])
            self.net.run()
            self.assertTrue(any(isinstance(told, Deliver) for told in self.net.told[two]))
        self.check_silent()

    def test_wrong_key(self) -> None:
        """With another key, or with none, or one for a network without, they do not, and both logs say why (row 25)."""
        for plaintext in (False, True):
            for keys, others, why in (
                ([OLD], [NEW], "its network key is none of ours"),
                ([OLD], [], "it has no network key, and this peer has one"),
                ([], [OLD], "it has a network key, and this peer has none"),
            ):
                self.net = Net()
                self.logged.clear()
                one, two = (
                    self.service(5050, *keys, plaintext=plaintext),
                    self.service(5051, *others, plaintext=plaintext),
                )
                self.assertFalse(self.join(one, two))
                self.assertEqual(self.reasons(two), {"not-admitted"})
                self.assertEqual((self.kinds(one), len(one.core.membership.entries)), ([Kind.READY], 1))
                refusals = [line for line in self.logged if f"No link with {two.peer}" in line]
                self.assertEqual(len(refusals), 1, (plaintext, why, self.logged))
                self.assertIn(why, refusals[0])
                [theirs] = [line for line in self.logged if f"No link with {one.peer}" in line][:1] or [""]
                self.assertTrue("it does not admit this peer" in theirs or plaintext, theirs)
        self.check_silent()

    def test_nothing_told(self) -> None:
        """Who has no key gets nothing but a word out of a peer, whatever it says first."""
        one = self.service(5050, OLD)
        one.start()
        one.join([], genesis=True)
        port = next(factory for port, factory, _, _ in self.net.reactor.tcpServers if port == 5050)
        two = self.net.service(5051, plaintext=False)
        two.start()
        heard = Raw()
        factory = TLSFactory(self.net.reactor, two._credentials, True, Factory.forProtocol(lambda: heard), print)  # type: ignore[arg-type]
        client = factory.buildProtocol(None)
        self.net.wires.append(Wire(client, port.buildProtocol(None)))
        client.write(
            b'{"title":"#HELLO","version":1,"network":"p2p","nonce":"%b","record":%b}\n'
            b'{"title":"#ASK_RANDOM_NODE"}\n{"title":"#GIVE_NODES_IN_NETWORK"}\n'
            % (b"0" * 32, msgspec.json.encode(two.core.membership.own))
        )
        self.net.run(1)
        self.assertEqual(heard.received, b'{"title":"#BYE","reason":"not-admitted"}\n')

    def test_binding(self) -> None:
        """Both ends of a connection derive the same 32 bytes, and no two connections have the same."""
        values = []
        for _ in range(2):
            ends = []
            for is_client in (True, False):
                factory = TLSFactory(
                    self.net.reactor, Credentials(Ed25519Signer()), is_client, Factory.forProtocol(Raw), print
                )
                ends.append(factory.buildProtocol(None))
            self.net.wires.append(Wire(*ends))
            self.net.run(1)
            mine, theirs = map(binding, ends)
            self.assertEqual(mine, theirs)
            values.append(mine)
        self.assertEqual({len(value) for value in values}, {32})
        self.assertNotEqual(*values)

    def test_rotation(self) -> None:
        """A link stays up while the key changes in steps; when its own is dropped at last it comes back (row 26)."""
        one, two = self.service(5050, OLD), self.service(5051, OLD)
        self.assertTrue(self.join(one, two))
        for keys in ((OLD, NEW), (NEW, OLD)):
            for service in (two, one):
                self.write(Path(str(service.settings.network_key_file)), *keys)
                service.reload()
                self.net.run(10)
                self.assertNotIn(Kind.LINK_DOWN, self.kinds(one) + self.kinds(two))
        for service in (two, one):
            self.write(Path(str(service.settings.network_key_file)), NEW)
            service.reload()
            self.net.run(10)
            self.assertEqual(([*one.core.overlay.active], [*two.core.overlay.active]), ([two.peer], [one.peer]))
        self.assertEqual(self.reasons(one) | self.reasons(two), {"not-admitted"})
        self.assertNotIn(Kind.FAILED, self.kinds(one) + self.kinds(two))
        one.broadcast([encoded("a")])
        self.net.run()
        self.assertTrue(any(isinstance(told, Deliver) for told in self.net.told[two]))
        self.check_silent()

    def test_bad_reload(self) -> None:
        """A file that can't be read any more changes nothing."""
        one, two = self.service(5050, OLD), self.service(5051, OLD)
        self.assertTrue(self.join(one, two))
        self.write(Path(str(one.settings.network_key_file)), "short")
        error = self.assertRaises(AccessError, one.reload)
        self.assertIn("line 1", str(error))
        self.net.run(5)
        self.assertEqual([*one.core.overlay.active], [two.peer])
        self.assertRaises(AccessError, self.net.service, 5052, network_key_file="/does/not/exist")


class ListTests(AccessCase):
    """Allow and deny lists."""

    def test_denied(self) -> None:
        """A neighbour that is denied is hung up on, and not let in again until it is forgiven; nobody fails by that."""
        deny = self.file("# nobody yet")
        one, two = self.service(5050, deny_file=deny), self.service(5051)
        self.assertTrue(self.join(one, two))
        self.write(deny, two.peer)
        one.reload()
        self.net.run(60)
        self.assertEqual(([*one.core.overlay.active], [*two.core.overlay.active]), ([], []))
        self.assertEqual(self.reasons(two), {"not-admitted"})
        self.assertTrue([line for line in self.logged if f"{two.peer} at" in line and "on the deny list" in line])
        self.write(deny)
        one.reload()
        self.net.run(40)
        self.assertEqual([*one.core.overlay.active], [two.peer])
        self.assertNotIn(Kind.FAILED, self.kinds(one) + self.kinds(two))

    def test_allowed(self) -> None:
        """Only those on the allow list are let in."""
        one, two, three = (self.service(5050 + n) for n in range(3))
        one = self.service(5053, allow_file=self.file(two.peer))
        self.assertTrue(self.join(one, two))
        three.start()
        three.join([("127.0.0.1", 5053)])
        self.net.run(5)
        self.assertEqual(self.reasons(three), {"not-admitted"})

    def test_accept(self) -> None:
        """Who connects from a denied address is closed before a byte of TLS is read, and told of once in the log."""
        for plaintext in (False, True):
            self.net = Net()
            self.logged.clear()
            one = self.service(5050, deny_file=self.file("192.0.2.0/24"), plaintext=plaintext)
            one.start()
            [(_, factory, _, _)] = self.net.reactor.tcpServers
            for number in range(100):
                self.assertIsNone(factory.buildProtocol(IPv4Address("TCP", "192.0.2.9", number + 1024)))
            self.assertIsNotNone(factory.buildProtocol(IPv4Address("TCP", "192.0.3.9", 1024)))
            self.assertEqual(one._links, {})
            lines = [line for line in self.logged if "No link with somebody at 192.0.2.9" in line]
            self.assertEqual(len(lines), 1)
