"""A peer on sockets with a data directory: it is the same one after a restart, and what it does when its disk fails."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import RaisingMemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from tests.net.memory import Net, Wire
from tests.net.test_service import encoded
from twisted_p2p.core.actions import CURSOR_BITS, ENTRY_END, Action, Banned, Changed, Deliver, Dial, Kind
from twisted_p2p.core.config import LAN
from twisted_p2p.errors import CannotListen, DataDirError, LogError
from twisted_p2p.net.dialer import Dialer
from twisted_p2p.net.link import LinkFactory
from twisted_p2p.net.service import RECOVER_FIRST, RECOVER_MAX, PeerService, Settings
from twisted_p2p.reader import Bell, MessageReader
from twisted_p2p.store import sqlitelog
from twisted_p2p.store.bans import BansFile
from twisted_p2p.store.datadir import DataDir


class DurableCase(SynchronousTestCase):
    """Two peers; the first has a data directory."""

    def setUp(self) -> None:
        """They have joined."""
        self.net = Net()
        self.folder = self.mktemp()
        self.one = self.net.service(5050, data_dir=self.folder)
        self.two = self.net.service(5051)
        self.one.start()
        self.one.join([], genesis=True)
        self.two.start()
        self.two.join([("127.0.0.1", 5050)])
        self.net.run(5)
        self.addCleanup(self.crash, self.one)

    def crash(self, service: PeerService) -> None:
        """As by kill -9: nothing more is committed or told."""
        if service.failure is None:
            service.message_log.rollback()
        service._stop_running()
        service.failure = LogError("dead")
        for link in [*service._links.values()]:
            link.transport.abortConnection()
        service._links.clear()
        service._let_go()

    def say(self, service: PeerService, text: str) -> None:
        """Broadcast, and let it get through."""
        service.broadcast([encoded(text)])
        self.net.run()

    def heard(self, service: PeerService) -> list[bytes]:
        """What its application was handed."""
        told = [told for told in self.net.told[service] if isinstance(told, Deliver)]
        return [bytes(bundle.messages) for deliver in told for bundle in deliver.bundles]

    def kinds(self, service: PeerService) -> list[Kind]:
        """The changes that it was told."""
        return [told.kind for told in self.net.told[service] if isinstance(told, Changed)]


class BansTests(DurableCase):
    """Who is banned stays so through a restart, and the user can lift it."""

    def offend(self) -> str:
        """A peer breaks the rules three times; its id."""
        [(_, factory, _, _)] = [server for server in self.net.reactor.tcpServers if server[0] == 5050]
        stranger = Net().service(5999)
        for _ in range(3):
            link = Wire(LinkFactory(stranger).buildProtocol(None), factory.buildProtocol(None)).protocols[1]
            self.one.core.links.by_id[link.number].proven = stranger.peer  # as TLS does
            link.dataReceived(b"junk\n")
        self.assertTrue(link.hung_up)
        return stranger.peer

    def test_kept(self) -> None:
        """In the data directory."""
        peer = self.offend()
        self.assertEqual([(ban.subject, ban.reason) for ban in self.one.bans()], [(peer, "bad-frame")])
        self.crash(self.one)
        self.net.reactor.tcpServers[:] = [s for s in self.net.reactor.tcpServers if s[0] != 5050]
        again = self.net.service(5050, data_dir=self.folder)
        again.start()
        self.assertEqual([ban.subject for ban in again.bans()], [peer])
        self.assertTrue(again.core.conduct.is_banned(peer))
        self.assertTrue(again.lift(peer))
        self.assertFalse(again.lift(peer))
        self.assertFalse(again.core.conduct.is_banned(peer))
        self.assertEqual(BansFile(DataDir.bans_in(self.folder)).read(), [])
        self.crash(again)

    def test_lifted_in_the_file(self) -> None:
        """What the user has taken out of the file is lifted once it is read again, also if another ban came between."""
        peer = self.offend()
        file = BansFile(DataDir.bans_in(self.folder))
        file.lift(peer)
        other = self.offend()
        self.assertEqual([ban.subject for ban in file.read()], [other])
        self.one.reload()
        self.assertEqual([ban.subject for ban in self.one.bans()], [other])
        self.assertFalse(self.one.core.conduct.is_banned(peer))
        self.assertTrue(self.one.core.conduct.is_banned(other))

    def test_reloaded_meanwhile(self) -> None:
        """An application that has the files read again, in a turn that bans somebody, lifts nothing by that."""
        ban = Banned("f" * 64, self.one.clock.seconds() + 99.0, "flooding")

        def turn(now: float) -> list[Action]:
            self.one.core.conduct.banned[ban.subject] = ban.until
            return [Changed(Kind.READY, self.one.peer), ban]

        self.one.sink = lambda told: self.one.reload()
        self.one._run(turn)
        self.assertEqual([held.subject for held in self.one.bans()], [ban.subject])
        self.assertTrue(self.one.core.conduct.is_banned(ban.subject))

    def test_file_fails(self) -> None:
        """If it can't be written the ban holds for this life."""
        os.mkdir(DataDir.bans_in(self.folder))
        peer = self.offend()
        self.assertTrue(self.one.core.conduct.is_banned(peer))
        self.assertRaises(DataDirError, self.one.reload)
        self.assertRaises(DataDirError, self.one.lift, peer)
        self.assertTrue(self.one.core.conduct.is_banned(peer))
        self.assertEqual([ban.subject for ban in self.one.bans()], [peer])


class RestartTests(DurableCase):
    """It is the same peer."""

    def test_same(self) -> None:
        """It has its id, goes on with its stream, gets what it missed, and keeps nobody from the directory when it is
        gone."""
        self.say(self.one, "a")
        self.crash(self.one)
        self.net.reactor.tcpServers[:] = [s for s in self.net.reactor.tcpServers if s[0] != 5050]
        self.say(self.two, "missed")
        again = self.net.service(5050, data_dir=self.folder)
        self.assertEqual(again.peer, self.one.peer)
        again.start()
        again.join([], genesis=True)
        self.net.run(30)
        self.say(again, "b")
        self.assertEqual(self.heard(again), [b"[%b]" % encoded("missed")])
        self.assertEqual(self.heard(self.two), [b"[%b]" % encoded("a"), b"[%b]" % encoded("b")])
        self.assertEqual(len({stream for stream in self.two.core.positions.streams() if stream[0] == again.peer}), 1)
        self.crash(again)

    def test_in_use(self) -> None:
        """Nobody else gets its directory while it runs; once it has left, anybody."""
        error = self.assertRaises(DataDirError, self.net.service, 5052, data_dir=self.folder)
        self.assertIn("is in use by another peer", str(error))
        left = self.one.leave()
        self.net.run(5)
        self.successResultOf(left)
        self.crash(self.net.service(5052, data_dir=self.folder))

    def test_port_taken(self) -> None:
        """Who can't listen lets go of its directory."""
        folder, taken = self.mktemp(), CannotListenError("127.0.0.1", 5050, OSError(98, "Address already in use"))
        service = PeerService(RaisingMemoryReactor(listenException=taken), Settings(port=5050, data_dir=folder))
        self.assertRaises(CannotListen, service.start)
        self.crash(self.net.service(5050, data_dir=folder))

    def test_damaged(self) -> None:
        """A log that can't be opened is an error of `start`, which then lets go of port and directory."""
        folder = self.mktemp()
        service = self.net.service(5060, data_dir=folder)
        with open(os.path.join(folder, "messages.sqlite"), "wb") as file:
            file.write(b"no database" * 1000)
        error = self.assertRaises(LogError, service.start)
        self.assertIn("messages.sqlite", str(error))
        self.crash(self.net.service(5060, data_dir=folder))

    def test_other_network(self) -> None:
        """A data directory is of one network: in another one all that it has would be a bad signature."""
        self.crash(self.one)
        error = self.assertRaises(LogError, self.net.service(5060, data_dir=self.folder, network="other").start)
        self.assertIn("of the network p2p, not of other", str(error))
        again = self.net.service(5060, data_dir=self.folder)
        again.start()
        self.crash(again)

    def test_alone(self) -> None:
        """What is broadcast alone is kept, too."""
        folder = self.mktemp()
        service = self.net.service(5070, data_dir=folder)
        service.start()
        service.broadcast([encoded("a")])
        self.crash(service)
        again = self.net.service(5071, data_dir=folder)
        again.start()
        self.assertEqual(again.core.positions.of(again.core.spread.own), 2)
        self.crash(again)


class SleepTests(DurableCase):
    """Its process stands still."""

    def test_for_days(self) -> None:
        """When the others have forgotten it, it begins anew, with a new stream, and what is said just then is in it."""
        self.say(self.one, "before")
        epoch = self.one.core.spread.epoch
        self.net.reactor.rightNow += 3 * 86_400
        self.one.broadcast([encoded("at once")])
        self.assertGreater(self.one.core.spread.epoch, epoch)
        self.assertEqual(self.one.core.positions.of(self.one.core.spread.own), 2)
        self.assertEqual(self.kinds(self.one)[-1], Kind.READY)
        self.net.run(60)
        self.assertEqual([*self.one.core.overlay.active], [self.two.peer])
        self.say(self.one, "after")
        self.assertEqual(self.heard(self.two), [b"[%b]" % encoded("before"), b"[%b]" % encoded("after")])

    def test_nobody_calls(self) -> None:
        """It is a timer that finds out, as a rule; the old core is not called any more."""
        core = self.one.core
        self.net.reactor.rightNow += 3 * 86_400
        self.net.run(60)
        self.assertIsNot(self.one.core, core)
        self.assertLess(core.turn.timers.now, self.net.reactor.seconds() - 86_400)
        self.assertEqual([*self.one.core.overlay.active], [self.two.peer])

    def test_leave(self) -> None:
        """Whom nobody remembers may go at once."""
        self.net.reactor.rightNow += 3 * 86_400
        left = self.one.leave()
        self.net.settle()
        self.successResultOf(left)

    def test_for_a_while(self) -> None:
        """Before that it goes on."""
        core = self.one.core
        self.net.reactor.rightNow += 86_400
        self.net.run(60)
        self.assertIs(self.one.core, core)


class FailureTests(DurableCase):
    """The disk takes nothing any more."""

    def break_disk(self, *operations: str) -> None:
        """From now on these operations of its log fail."""

        def broken(*_: Any, **__: Any) -> Any:
            raise LogError("The disk is full.")

        for operation in operations or ("commit", "load"):
            self.patch(type(self.one.message_log), operation, broken)

    def work(self) -> None:
        """The disk works again."""
        for patch in reversed(self._patches):
            patch.restore()

    def patch(self, obj: object, attribute: str, value: Any) -> Any:
        """As ever, but can be undone before the end of the test."""
        patch = super().patch(obj, attribute, value)
        self._patches = [*getattr(self, "_patches", []), patch]
        return patch

    def test_broadcast(self) -> None:
        """Its caller is told, nobody hears of it, and so it is until the log works again."""
        self.break_disk()
        self.assertRaises(LogError, self.one.broadcast, [encoded("lost")])
        self.net.run(0.5)
        self.assertRaises(LogError, self.one.broadcast, [encoded("lost, too")])
        self.assertEqual(self.heard(self.two), [])
        self.assertEqual(self.kinds(self.one)[-1], Kind.LINK_DOWN)
        self.assertEqual(self.one._links, {})

    def test_works_again(self) -> None:
        """It goes on by itself from what was kept, and gets what it missed, once."""
        self.say(self.two, "before")
        self.break_disk()
        self.say(self.two, "meanwhile")
        self.assertIsNotNone(self.one.failure)
        self.net.run(3 * RECOVER_FIRST)
        self.assertIsNotNone(self.one.failure)
        self.work()
        self.net.run(RECOVER_MAX + 30)
        self.assertIsNone(self.one.failure)
        self.say(self.one, "after")
        self.assertEqual(self.heard(self.one), [b"[%b]" % encoded("before"), b"[%b]" % encoded("meanwhile")])
        self.assertEqual(self.heard(self.two), [b"[%b]" % encoded("after")])

    def test_writes_nothing_else(self) -> None:
        """Only the log is tried again: what else is in the data directory may fail for longer."""
        self.break_disk()
        self.assertRaises(LogError, self.one.broadcast, [encoded("lost")])
        self.work()

        def broken(*_: Any) -> None:
            raise DataDirError("It is on a read-only disk.")

        self.patch(DataDir, "say_pid", broken)
        self.net.run(RECOVER_MAX + 30)
        self.say(self.one, "after")
        self.assertEqual(self.heard(self.two), [b"[%b]" % encoded("after")])

    def test_reader_meanwhile(self) -> None:
        """Who begins to read while the log is out of order goes on from its cursor once it works, and not from 0."""

        def broken(*_: Any) -> Any:
            raise LogError("The disk is full.")

        async def take() -> None:
            async for item in reader:
                read.append(item)

        read: list[Any] = []
        bell = Bell(self.one)
        self.say(self.two, "before")
        bell.open()
        self.one.sink = lambda told: bell.ring()
        self.patch(sqlitelog, "connect", broken)
        self.break_disk("commit")
        self.assertRaises(LogError, self.one.broadcast, [encoded("lost")])
        self.net.run(3)
        reader = MessageReader(bell, self.one.peer, 1 << CURSOR_BITS | ENTRY_END, own=False)
        taking = Deferred.fromCoroutine(take())
        self.work()
        self.net.run(RECOVER_MAX + 30)
        self.say(self.two, "after")
        self.net.run(1)
        self.assertEqual([item.message for item in read], ["after"])
        reader.close()
        self.successResultOf(taking)

    def test_dials_again(self) -> None:
        """Nobody has to come to it: it looks for the others itself."""
        self.break_disk()
        self.assertRaises(LogError, self.one.broadcast, [encoded("lost")])
        self.net.run(1.5)
        self.work()
        before = len(self.net.wires)
        two, dial = self.two, Dialer.dial

        def not_two(dialer: Dialer, action: Dial) -> None:
            if dialer is not two._dialer:
                dial(dialer, action)

        self.patch(Dialer, "dial", not_two)
        self.net.run(RECOVER_MAX)
        self.assertGreater(len(self.net.wires), before)
        self.assertEqual([*self.one.core.overlay.active], [two.peer])

    def test_reading_fails(self) -> None:
        """An error in the middle of a turn ends it, too: nothing of it gets out."""
        self.say(self.one, "a")
        self.break_disk("append")
        self.assertRaises(LogError, self.one.broadcast, [encoded("lost")])
        self.work()
        self.net.run(RECOVER_MAX + 30)
        self.say(self.one, "b")
        self.assertEqual(self.heard(self.two), [b"[%b]" % encoded("a"), b"[%b]" % encoded("b")])

    def test_pauses(self) -> None:
        """It is tried again after ever longer pauses, up to half a minute."""
        self.break_disk()
        self.assertRaises(LogError, self.one.broadcast, [encoded("lost")])
        tries = []
        load = self.one.message_log.load

        def count(log: object) -> Any:
            tries.append(self.net.reactor.seconds())
            return load()

        self.patch(type(self.one.message_log), "load", count)
        self.net.run(200)
        pauses = [round(later - at) for at, later in pairwise(tries)]
        self.assertEqual(pauses[:6], [2, 4, 8, 16, 30, 30])

    def test_leave(self) -> None:
        """It can be stopped meanwhile, and nothing is left over."""
        self.break_disk()
        self.assertRaises(LogError, self.one.broadcast, [encoded("lost")])
        left = self.one.leave()
        self.net.run(1)
        self.successResultOf(left)
        self.assertIsNone(self.one._recovering)

    def test_leaving(self) -> None:
        """Where it fails while its peer leaves, that is the end, too: else it would come back, and never end."""
        left = self.one.leave()
        self.break_disk()
        self.net.run(1)
        self.successResultOf(left)
        self.work()
        self.net.run(RECOVER_MAX)
        self.assertEqual((self.one._recovering, self.one._links), (None, {}))

    def test_leave_when_told(self) -> None:
        """Its application may stop it at the news."""
        left = []

        def told(change: Any) -> None:
            if isinstance(change, Changed) and change.kind is Kind.LINK_DOWN:
                left.append(self.one.leave())

        self.one.sink = told
        self.break_disk()
        self.assertRaises(LogError, self.one.broadcast, [encoded("lost")])
        self.successResultOf(left[0])
        self.assertIsNone(self.one._recovering)

    def test_connections_meanwhile(self) -> None:
        """Who connects meanwhile is cut off."""
        self.break_disk()
        self.assertRaises(LogError, self.one.broadcast, [encoded("lost")])
        self.net.run(LAN.refill_interval * 3)
        self.assertTrue(all(any(wire.lost) for wire in self.net.wires))
        self.assertEqual(self.one._links, {})
