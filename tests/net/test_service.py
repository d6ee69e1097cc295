"""The shell of a peer: time, connections and the end, without sockets."""

from __future__ import annotations

import errno
import random

from twisted.internet.error import CannotListenError, ConnectBindError
from twisted.internet.testing import MemoryReactorClock, RaisingMemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.net.memory import BEGINNING, Net, Wire
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Changed, Deliver, Dial, Kind, Reason
from twisted_p2p.core.config import LAN
from twisted_p2p.errors import CannotListen
from twisted_p2p.net.dialer import AT_ONCE, Dialer
from twisted_p2p.net.link import LinkFactory
from twisted_p2p.net.service import CLOSE_TIMEOUT, PeerService, Settings
from twisted_p2p.shell import IPeerShell, SteadyClock, Told


def encoded(text: str) -> bytes:
    """A message as it travels."""
    return b'{"id":"%b","time":1.5,"values":["%b"]}' % (b"0" * 64, text.encode())


class SteadyClockTests(SynchronousTestCase):
    """Time never runs backwards."""

    def test_step_back(self) -> None:
        """If the clock is set back time stands still for that reading, and then goes on as fast as before."""
        clock = SteadyClock()
        readings = [clock.read(seconds) for seconds in (5000.0, 5001.0, 1401.0, 1402.0, 1404.5)]
        self.assertEqual(readings, [5000.0, 5001.0, 5001.0, 5002.0, 5004.5])

    def test_step_forward(self) -> None:
        """If it is set forward, or the machine slept, that time has passed."""
        clock = SteadyClock()
        self.assertEqual([clock.read(seconds) for seconds in (1.0, 3601.0)], [1.0, 3601.0])


class ServiceCase(SynchronousTestCase):
    """Two services that join each other."""

    def setUp(self) -> None:
        """Both are made; neither is started."""
        self.net = Net()
        self.one, self.two = self.net.service(5050), self.net.service(5051)

    def join(self) -> None:
        """The first is a genesis, and the second has joined through it."""
        self.one.start()
        self.one.join([], genesis=True)
        self.two.start()
        self.two.join([("127.0.0.1", 5050)])
        self.net.run(5)

    def heard(self, service: PeerService) -> list[bytes]:
        """The bodies of the bundles that an application was handed."""
        told = [told for told in self.net.told[service] if isinstance(told, Deliver)]
        return [bytes(bundle.messages) for deliver in told for bundle in deliver.bundles]

    def kinds(self, service: PeerService) -> list[Kind]:
        """The changes that an application was told."""
        return [told.kind for told in self.net.told[service] if isinstance(told, Changed)]

    @property
    def neighbours(self) -> Wire:
        """The connection on which both are neighbours."""
        [number] = [link.id for link in self.two.core.overlay.active.values()]
        return next(w for w in self.net.wires if any(self._at(p) == (self.two, number) for p in w.protocols))

    def _at(self, protocol: object) -> tuple[object, int]:
        link = getattr(protocol, "_wrappedProtocol", protocol)
        return link.service, link.number


class StartTests(ServiceCase):
    """A service listens."""

    def test_interface(self) -> None:
        """It is a shell, as the interface says."""
        self.assertTrue(verifyObject(IPeerShell, self.one))

    def test_chance(self) -> None:
        """Nobody can foresee its nonces, nor whom it draws, from those that he has seen."""
        self.assertIsInstance(self.one.core.turn.rng, random.SystemRandom)

    def test_listens(self) -> None:
        """It listens on its port and interface, and others reach it there."""
        self.one.start()
        [(port, _, backlog, interface)] = self.net.reactor.tcpServers
        self.assertEqual((port, interface, self.one.address), (5050, "127.0.0.1", ("127.0.0.1", 5050)))
        self.assertGreaterEqual(backlog, 1024)

    def test_advertised(self) -> None:
        """Others may be told another address, or only another host."""
        for advertise, address in ((("peer.example", 99), ("peer.example", 99)), (("1.2.3.4", None), ("1.2.3.4", 7))):
            service = PeerService(self.net.reactor, Settings(port=7, advertise=advertise))
            service.start()
            self.assertEqual(service.address, address)
            self.assertEqual((service.core.membership.own.ip_addr, service.core.membership.own.port), address)

    def test_port_taken(self) -> None:
        """A taken port is an error that says which one, and what to do; nothing goes on deaf."""
        taken = CannotListenError("127.0.0.1", 5050, OSError(98, "Address already in use"))
        service = PeerService(RaisingMemoryReactor(listenException=taken), Settings(port=5050))
        error = self.assertRaises(CannotListen, service.start)
        for words in ("127.0.0.1 port 5050", "Address already in use", "Choose another port"):
            self.assertIn(words, str(error))

    def test_apart(self) -> None:
        """Two services in one process are two peers, and share nothing."""
        self.one.start()
        self.two.start()
        self.assertNotEqual(self.one.peer, self.two.peer)
        self.assertEqual(list(self.two.core.membership.entries), [self.two.peer])


class TalkTests(ServiceCase):
    """Services talk."""

    def test_message(self) -> None:
        """What one broadcasts the other hears, signed and over real frames."""
        self.join()
        self.assertIn(Kind.READY, self.kinds(self.two))
        self.one.broadcast([encoded("a"), encoded("b")])
        self.two.broadcast([encoded("c")])
        self.net.run()
        self.assertEqual(self.heard(self.two), [b"[%b,%b]" % (encoded("a"), encoded("b"))])
        self.assertEqual(self.heard(self.one), [b"[%b]" % encoded("c")])

    def test_one_timer(self) -> None:
        """A service keeps one delayed call, whatever it waits for."""
        self.join()
        self.net.run(2 * LAN.linger)
        self.assertEqual(len(self.net.reactor.getDelayedCalls()), 2)
        self.one.broadcast([encoded("a")])
        self.assertEqual(len(self.net.reactor.getDelayedCalls()), 2)
        self.net.run(100)
        self.assertEqual(len(self.net.reactor.getDelayedCalls()), 2)

    def test_timer_is_in_time(self) -> None:
        """The delayed call comes no later than the core's first deadline, also when a nearer one is set."""
        self.join()
        for _ in range(50):
            self.net.run(0.37)
            first = min(call.getTime() for call in self.net.reactor.getDelayedCalls())
            wakes = [service.core.next_wake for service in (self.one, self.two)]
            self.assertLessEqual(first, min(wake for wake in wakes if wake is not None) + 1e-6)

    def test_clock_steps_back(self) -> None:
        """If the wall clock is set back by an hour, deadlines go on as before as soon as anything arrives."""
        self.join()
        before = self.two.core.turn.now
        self.net.reactor.rightNow -= 3600
        self.one.broadcast([encoded("a")])
        self.net.settle()
        self.assertEqual(len(self.heard(self.two)), 1)
        self.assertGreaterEqual(self.two.core.turn.now, before)
        due = [call.getTime() - self.net.reactor.seconds() for call in self.net.reactor.getDelayedCalls()]
        self.assertLess(max(due), 10)
        pings = self.two.core.links.by_id[next(iter(self.two.core.spread.flows))]._answered
        self.net.run(30)
        self.assertGreater(self.two.core.links.by_id[next(iter(self.two.core.spread.flows))]._answered, pings)
        self.assertNotIn(Kind.LINK_DOWN, self.kinds(self.two))

    def test_clock_steps_forward(self) -> None:
        """If it is set forward by an hour nobody is thought dead."""
        self.join()
        self.net.reactor.rightNow += 3600
        self.net.run(30)
        for service in (self.one, self.two):
            self.assertNotIn(Kind.FAILED, self.kinds(service))
            self.assertNotIn(Kind.LINK_DOWN, self.kinds(service))

    def test_broadcast_in_a_callback(self) -> None:
        """A callback may broadcast: that is done once the core has finished what it does, in order."""
        self.join()
        own = self.two.core.spread.own
        seen: list[int] = []

        def answer(told: Told) -> None:
            if isinstance(told, Deliver):
                self.two.broadcast([encoded("first")])
                self.two.broadcast([encoded("second")])
                seen.append(self.two.core.positions.of(own))

        self.two.sink = answer
        self.one.broadcast([encoded("a")])
        self.net.run()
        self.assertEqual(seen, [1])
        self.assertEqual(self.heard(self.one), [b"[%b]" % encoded("first"), b"[%b]" % encoded("second")])

    def test_congested(self) -> None:
        """While a connection's buffer is full no payload is written to it; when it is empty all follows."""
        self.join()
        link = self.one._links[next(iter(self.one.core.spread.flows))]
        link.pauseProducing()
        self.one.broadcast([encoded("a")])
        self.one.broadcast([encoded("b")])
        self.net.settle()
        self.assertEqual(self.heard(self.two), [])
        link.resumeProducing()
        self.net.run()
        self.assertEqual(self.heard(self.two), [b"[%b]" % encoded("a"), b"[%b]" % encoded("b")])


class ConnectionTests(ServiceCase):
    """How connections come and go."""

    def stranger(self) -> Wire:
        """Somebody that connects to the first service; what it is sent is kept in its transport."""
        self.one.start()
        self.one.join([], genesis=True)
        [(_, factory, _, _)] = self.net.reactor.tcpServers
        other = Net().service()
        return Wire(LinkFactory(other).buildProtocol(None), factory.buildProtocol(None))

    def test_unreachable(self) -> None:
        """If nobody listens at the genesis address the application is told, and it is tried again, ever more rarely."""
        self.two.core.turn.rng = random.Random(1)  # by chance it may be tried more often
        self.two.start()
        self.two.join([("127.0.0.1", 5050)])
        self.net.run(120)
        retries = [told for told in self.net.told[self.two] if isinstance(told, Changed) and told.kind is Kind.RETRY]
        self.assertEqual(
            {(told.ip_addr, told.port, told.reason) for told in retries}, {("127.0.0.1", 5050, "unreachable")}
        )
        self.assertTrue(5 <= len(retries) <= 30, len(retries))
        self.assertGreater(retries[-1].after, retries[0].after)
        self.one.start()
        self.one.join([], genesis=True)
        self.net.run(30)
        self.assertIn(Kind.READY, self.kinds(self.two))

    def test_junk(self) -> None:
        """Junk is answered by one word and a closed connection, and nothing is read after it."""
        stranger = self.stranger()
        server = stranger.protocols[1]
        server.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        written = stranger.transports[1].take()
        self.assertEqual(wire.decode(written.strip()), wire.Bye("bad-frame"))
        self.assertTrue(stranger.transports[1].disconnecting)
        server.dataReceived(b'{"title":"#PING","n":1}\n')
        self.assertEqual(stranger.transports[1].take(), b"")

    def test_endless_line(self) -> None:
        """A line without an end is dropped at the limit, with its reason."""
        stranger = self.stranger()
        stranger.protocols[1].dataReceived(b"x" * (LAN.line_max + 1))
        self.assertEqual(wire.decode(stranger.transports[1].take().strip()), wire.Bye("line-too-long"))
        self.assertTrue(stranger.transports[1].disconnecting)

    def test_does_not_close(self) -> None:
        """Who does not let the last words through is cut off after a while; the producer is gone by then."""
        stranger = self.stranger()
        stranger.protocols[1].dataReceived(b"junk\n")
        self.assertIsNone(stranger.transports[1].producer)
        self.assertFalse(stranger.transports[1].disconnected)
        self.net.reactor.advance(CLOSE_TIMEOUT + 0.01)
        self.assertTrue(stranger.transports[1].disconnected)

    def test_says_nothing(self) -> None:
        """Who connects and says nothing is dropped at the deadline of the handshake."""
        stranger = self.stranger()
        self.net.run(LAN.handshake_timeout - 0.01)
        self.assertFalse(stranger.transports[1].disconnecting)
        self.net.run(0.02)
        self.assertTrue(stranger.transports[1].disconnecting)

    def test_half_open(self) -> None:
        """A connection on which nothing gets through any more is noticed at its deadline, and cut off at once."""
        self.join()
        cut = self.neighbours
        cut.cut = True
        self.net.run(LAN.ping_interval * 1.2 + LAN.ping_timeout + 0.1)
        self.assertTrue(any(transport.disconnected for transport in cut.transports))
        self.assertTrue(all(transport.disconnecting for transport in cut.transports))
        told = [*self.net.told[self.one], *self.net.told[self.two]]
        reasons = {change.reason for change in told if isinstance(change, Changed) and change.kind is Kind.LINK_DOWN}
        self.assertEqual(reasons, {"ping-timeout"})
        self.net.run(5)
        self.assertIsNot(self.neighbours, cut)


class LeaveTests(ServiceCase):
    """The end of a service."""

    def test_not_started(self) -> None:
        """What was never started has left."""
        self.assertIsNone(self.successResultOf(self.one.leave()))

    def test_alone(self) -> None:
        """With nobody to tell, leaving is done at once; no deadline is left."""
        self.one.start()
        self.one.join([], genesis=True)
        self.successResultOf(self.one.leave())
        self.assertEqual(self.net.reactor.getDelayedCalls(), [])

    def test_last_words(self) -> None:
        """What was broadcast just before arrives, the others are told of the leave, and no deadline of ours is left."""
        self.join()
        self.two.broadcast([encoded("last")])
        left = self.two.leave()
        self.net.run(LAN.leave_linger)
        self.successResultOf(left)
        self.assertEqual(self.heard(self.one), [b"[%b]" % encoded("last")])
        self.assertEqual(self.kinds(self.one)[-2:], [Kind.LEFT, Kind.LINK_DOWN])
        self.net.run(2 * LAN.linger)
        self.assertEqual(len(self.net.reactor.getDelayedCalls()), 1)

    def test_bounded(self) -> None:
        """If nobody answers, leaving takes no longer than its time-outs."""
        self.join()
        for one in self.net.wires:
            one.cut = True
        left = self.two.leave()
        self.net.run(LAN.leave_timeout - 0.1)
        self.assertNoResult(left)
        self.net.run(0.2 + CLOSE_TIMEOUT)
        self.successResultOf(left)

    def test_twice(self) -> None:
        """Leaving twice is leaving once."""
        self.join()
        self.assertIs(self.two.leave(), self.two.leave())
        self.net.run(10)
        self.successResultOf(self.two.leave())

    def test_closed_for_newcomers(self) -> None:
        """Who connects after we have left is cut off."""
        self.join()
        left = self.one.leave()
        for one in self.net.wires:
            one.cut = True
        self.net.run(LAN.leave_timeout + 0.1)
        self.assertNoResult(left)
        factory = next(factory for port, factory, _, _ in self.net.reactor.tcpServers if port == 5050)
        late = Wire(LinkFactory(Net().service()).buildProtocol(None), factory.buildProtocol(None))
        self.assertTrue(late.transports[1].disconnected)


class DialerTests(SynchronousTestCase):
    """Connections are made not too many at once."""

    def setUp(self) -> None:
        """A dialer on a reactor in memory."""
        self.reactor = MemoryReactorClock()
        self.reactor.rightNow = BEGINNING
        service = Net().service()
        self.failed: list[tuple[int, Reason]] = []
        self.dialer = Dialer(self.reactor, lambda dial: LinkFactory(service, dial), self.fail_dial)

    def fail_dial(self, dial: int, reason: Reason) -> None:
        """A dial has failed."""
        self.failed.append((dial, reason))

    def test_at_once(self) -> None:
        """Further dials wait for their turn, and none is forgotten."""
        for number in range(AT_ONCE + 3):
            self.dialer.dial(Dial(number, "10.0.0.1", 5050, 4.0))
        self.assertEqual(len(self.reactor.tcpClients), AT_ONCE)
        for number in range(3):
            factory = self.reactor.tcpClients[number][2]
            factory.clientConnectionFailed(None, Failure(OSError()))
        self.assertEqual(len(self.reactor.tcpClients), AT_ONCE + 3)
        self.assertEqual(self.failed, [(number, Reason.UNREACHABLE) for number in range(3)])

    def test_no_descriptor_left(self) -> None:
        """A dial that could not even be tried is told from one that found nobody."""
        for number, error in enumerate((ConnectBindError(errno.EMFILE, "no"), ConnectionRefusedError(111, "no"))):
            self.dialer.dial(Dial(number, "10.0.0.1", 5050, 4.0))
            self.reactor.tcpClients[number][2].clientConnectionFailed(None, Failure(error))
        self.assertEqual(self.failed, [(0, Reason.NO_RESOURCES), (1, Reason.UNREACHABLE)])

    def test_addresses(self) -> None:
        """Literal addresses of both kinds are dialled as they are, with the core's time-out."""
        self.dialer.dial(Dial(1, "10.0.0.1", 5050, 4.0))
        self.dialer.dial(Dial(2, "::1", 5051, 5.0))
        dialled = [(host, port, timeout) for host, port, _, timeout, _ in self.reactor.tcpClients]
        self.assertEqual(dialled, [("10.0.0.1", 5050, 4.0), ("::1", 5051, 5.0)])

    def test_stop(self) -> None:
        """Once stopped nothing is dialled, what is under way is given up, and nobody is told of failures."""
        for number in range(AT_ONCE + 1):
            self.dialer.dial(Dial(number, "10.0.0.1", 5050, 4.0))
        self.dialer.stop()
        self.dialer.dial(Dial(99, "10.0.0.1", 5050, 4.0))
        self.assertEqual((len(self.reactor.tcpClients), self.failed), (AT_ONCE, []))
        self.assertTrue(all(connector.stoppedConnecting for connector in self.reactor.connectors))
