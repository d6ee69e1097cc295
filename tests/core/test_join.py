"""The join in five steps: whom a newcomer asks, and what it does when they do not answer."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import OWN, Line, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Changed, Dial, Kind, Reason
from twisted_p2p.core.config import LAN
from twisted_p2p.core.link import Purpose

GENESIS = Puppet(0x10)
CONTACT = Puppet(0x20)
FRIEND = Puppet(0x30)
JOIN = (Purpose.GENESIS, Purpose.CONTACT, Purpose.NEIGHBOUR)


class JoinCase(SynchronousTestCase):
    """A newcomer that was told to join through the genesis."""

    addresses = (GENESIS.address,)

    def setUp(self) -> None:
        """It has just started."""
        self.stage = Stage(joined=False)
        self.stage.perform(self.stage.core.join(list(self.addresses), self.stage.now))

    def dials(self, *purposes: Purpose) -> list[Dial]:
        """What was dialled for these purposes, those of a join if none is given, and not yet reached."""
        attempts, wanted = self.stage.core.links._attempts, purposes or JOIN
        return [dial for dial in self.stage.dials if attempts[dial.dial].purpose in wanted]

    def dialled(self, puppet: Puppet) -> Dial:
        """The one dial to this puppet's address."""
        [dial] = [dial for dial in self.dials() if (dial.host, dial.port) == puppet.address]
        self.stage.dials.remove(dial)
        return dial

    def reach(self, puppet: Puppet, baseline: bool = True) -> Line:
        """The newcomer reaches this puppet, which proves its key."""
        line = self.stage.connect(puppet, self.dialled(puppet))
        line.shake_hands(baseline)
        line.written = [w for w in line.written if not w.startswith((b'{"title":"#HELLO"', b'{"title":"#PROOF"'))]
        return line

    def accept(self, line: Line, *records: wire.Record, streams: tuple[tuple[str, int, int], ...] = ()) -> None:
        """Become neighbours, and give the directory and the baseline."""
        line.send(wire.NodeConnAnswer(True))
        self.assertIn(wire.GiveNodesInNetwork(), line.take())
        line.send(wire.NodesInNetwork([line.puppet.record(), *records], streams=list(streams)))
        line.go_live()

    def retries(self) -> list[Changed]:
        """What the application was told of attempts that failed."""
        return [change for change in self.stage.changes if change.kind is Kind.RETRY]

    @property
    def ready(self) -> bool:
        """Whether the application was told that we have joined, once."""
        told = self.stage.told(Kind.READY)
        self.assertIn(told, ([], [(Kind.READY, OWN)]))
        return bool(told)


class StepTests(JoinCase):
    """Everything goes well."""

    def test_through_a_contact(self) -> None:
        """The genesis names a node, that one names more, and those become neighbours: the genesis is let go.

        But the directory, which is one contact's word so far, is compared with the genesis's before.
        """
        genesis = self.reach(GENESIS)
        self.assertEqual(genesis.take(), [wire.AskRandomNode()])
        genesis.send(wire.ResponseRandomNode(CONTACT.record()))
        contact = self.reach(CONTACT)
        self.assertEqual(contact.take(), [wire.AskNodesToConnect()])
        contact.send(wire.ConnectableNodes([CONTACT.record(), FRIEND.record()]))
        self.assertEqual(contact.take(), [wire.NodeConnAddr(urgent=True)])
        self.assertEqual(genesis.take(), [])
        self.accept(contact, FRIEND.record(), GENESIS.record())
        self.assertTrue(self.ready)
        self.assertEqual([frame.answer for frame in genesis.take() if isinstance(frame, wire.Roots)], [True])
        genesis.send(wire.Roots("0" * 16, "0" * 16))
        self.assertEqual([frame.of for frame in genesis.take() if isinstance(frame, wire.Digest)], ["nodes"])
        other = Puppet(0x55)
        genesis.send(wire.NodesInNetwork([other.record()]))
        self.assertTrue(self.stage.core.membership.is_alive(other.peer))
        friend = self.reach(FRIEND)
        self.assertEqual(friend.take(), [wire.NodeConnAddr(urgent=False)])
        self.stage.pass_time(LAN.graft_timeout)
        self.assertEqual(genesis.ended and genesis.ended.reason, Reason.DONE)

    def test_alone_with_the_genesis(self) -> None:
        """Where there is nobody else the newcomer stays with the genesis."""
        genesis = self.reach(GENESIS)
        genesis.take()
        genesis.send(wire.ResponseRandomNode(None))
        self.assertEqual(genesis.take(), [wire.NodeConnAddr(urgent=True)])
        self.accept(genesis)
        self.assertTrue(self.ready)
        self.stage.pass_time(60)
        self.assertIsNone(genesis.ended)

    def test_announced(self) -> None:
        """Once it has joined it tells its neighbours who it is, with its address as in the first version."""
        genesis = self.reach(GENESIS)
        genesis.send(wire.ResponseRandomNode(None))
        genesis.send(wire.NodeConnAnswer(True))
        genesis.take()
        self.assertNotIn(OWN, self.stage.core.membership.entries)
        genesis.send(wire.NodesInNetwork([GENESIS.record()], streams=[]))
        [joined] = [frame for frame in genesis.peek() if isinstance(frame, wire.JoinedInNetwork)]
        self.assertEqual((joined.record.peer, joined.sender_ip, joined.sender_port), (OWN, *self.stage.address))

    def test_directory_in_pages(self) -> None:
        """A long directory comes in pages, and the newcomer has joined after the last."""
        genesis = self.reach(GENESIS)
        genesis.send(wire.ResponseRandomNode(None))
        genesis.send(wire.NodeConnAnswer(True))
        genesis.take()
        genesis.send(wire.NodesInNetwork([CONTACT.record()], streams=[(CONTACT.peer, 7, 5)], next=CONTACT.peer))
        self.assertEqual(genesis.take(), [wire.GiveNodesInNetwork(CONTACT.peer)])
        self.assertNotIn(OWN, self.stage.core.membership.entries)
        genesis.send(wire.NodesInNetwork([FRIEND.record()], streams=[(FRIEND.peer, 7, 9)]))
        genesis.go_live()
        self.assertTrue(self.ready)
        self.assertEqual(set(self.stage.core.membership.entries), {OWN, *(p.peer for p in (GENESIS, CONTACT, FRIEND))})
        positions = self.stage.core.positions
        self.assertEqual([positions.of(puppet.stream) for puppet in (CONTACT, FRIEND)], [5, 9])

    def test_any_directory(self) -> None:
        """However long the directory is, a newcomer takes all of it: it has asked for that."""
        self.stage = Stage(attrs.evolve(LAN, introductions_burst=3), joined=False)
        self.stage.perform(self.stage.core.join(list(self.addresses), self.stage.now))
        genesis = self.reach(GENESIS)
        genesis.send(wire.ResponseRandomNode(None))
        self.accept(genesis, *(Puppet(number).record() for number in range(0x81, 0xA1)))
        self.assertEqual(len(self.stage.core.membership.entries), 34)
        genesis.send(wire.NodesInNetwork([Puppet(number).record() for number in range(0xA1, 0xC1)]))
        self.assertEqual(len(self.stage.core.membership.entries), 37)

    def test_not_ready_before(self) -> None:
        """A newcomer is no member, and says so, until it has the directory."""
        genesis = self.reach(GENESIS)
        genesis.send(wire.ResponseRandomNode(None))
        genesis.send(wire.NodeConnAnswer(True))
        self.assertFalse(self.ready)
        asker = self.stage.connect(Puppet(0x60))
        asker.send(asker.hello())
        [hello] = asker.take_kind(wire.Hello)
        assert isinstance(hello, wire.Hello)
        self.assertFalse(hello.baseline)


class TroubleTests(JoinCase):
    """Something does not work."""

    def test_genesis_unreachable(self) -> None:
        """It is tried again, with pauses that double up to a limit, and the application is told each time."""
        pauses = []
        for _ in range(9):
            at = self.stage.now
            self.stage.fail(self.dialled(GENESIS))
            while not self.dials():
                self.stage.pass_time(0.05)
            pauses.append(self.stage.now - at)
        for number, (pause, told) in enumerate(zip(pauses, self.retries(), strict=True)):
            middle = min(LAN.retry_max, LAN.retry_first * 2**number)
            self.assertLessEqual(0.5 * middle, told.after)
            self.assertLessEqual(told.after, 1.5 * middle)
            self.assertLess(abs(pause - told.after), 0.06)
            self.assertEqual((told.ip_addr, told.port, told.reason), (*GENESIS.address, "unreachable"))
        self.assertFalse(self.ready)

    def test_pauses_differ(self) -> None:
        """Peers that lost their genesis together do not all come back in the same instant."""
        told = set()
        for seed in range(10):
            stage = Stage(joined=False, seed=seed)
            stage.perform(stage.core.join([GENESIS.address], stage.now))
            stage.fail(stage.take_dials()[0])
            told.add(stage.changes[-1].after)
        self.assertEqual(len(told), 10)

    def test_wrong_network(self) -> None:
        """A genesis of another network is told as such."""
        line = self.stage.connect(GENESIS, self.dialled(GENESIS))
        line.send(wire.Bye("wrong-network"))
        [told] = self.retries()
        self.assertEqual((told.reason, told.ip_addr), ("wrong-network", GENESIS.address[0]))

    def test_genesis_not_joined(self) -> None:
        """Another newcomer can't help: it is let go at once, and the genesis is asked again later."""
        line = self.reach(GENESIS, baseline=False)
        self.assertEqual(line.ended and line.ended.reason, Reason.NOT_READY)
        [told] = self.retries()
        self.assertEqual(told.reason, "not-joined-yet")

    def test_contact_unreachable(self) -> None:
        """When the node that was named is not there any more the newcomer stays with the genesis."""
        genesis = self.reach(GENESIS)
        genesis.take()
        genesis.send(wire.ResponseRandomNode(CONTACT.record()))
        self.stage.fail(self.dialled(CONTACT))
        self.assertEqual(genesis.take(), [wire.NodeConnAddr(urgent=True)])

    def test_contact_refuses(self) -> None:
        """When the node that was named hangs up before it is open, too."""
        genesis = self.reach(GENESIS)
        genesis.take()
        genesis.send(wire.ResponseRandomNode(CONTACT.record()))
        line = self.stage.connect(CONTACT, self.dialled(CONTACT))
        line.send(wire.Bye("too-many-links"))
        self.assertEqual(genesis.take(), [wire.NodeConnAddr(urgent=True)])

    def test_contact_silent(self) -> None:
        """When the node that was named accepts and then says nothing it is tried again from the beginning."""
        genesis = self.reach(GENESIS)
        genesis.send(wire.ResponseRandomNode(CONTACT.record()))
        contact = self.reach(CONTACT)
        self.stage.pass_time(2 * LAN.handshake_timeout + 0.1)
        self.assertEqual([dial.host for dial in self.dials(Purpose.GENESIS)], [GENESIS.address[0]])
        self.assertEqual([frame for frame in contact.take() if isinstance(frame, wire.NodeConnAddr)], [])

    def test_genesis_silent(self) -> None:
        """A genesis that accepts and then says nothing is tried again."""
        self.reach(GENESIS)
        self.stage.pass_time(2 * LAN.handshake_timeout - 0.1)
        self.assertEqual(self.dials(Purpose.GENESIS), [])
        self.stage.pass_time(0.2)
        self.assertEqual([dial.host for dial in self.dials(Purpose.GENESIS)], [GENESIS.address[0]])
        self.assertFalse(self.ready)

    def test_genesis_lost(self) -> None:
        """When the genesis goes away in the middle of it all it is tried again."""
        genesis = self.reach(GENESIS)
        genesis.close()
        [told] = self.retries()
        self.assertEqual(told.reason, "closed")
        self.stage.pass_time(LAN.retry_first * 1.5)
        self.dialled(GENESIS)

    def test_genesis_is_itself_named(self) -> None:
        """A genesis that names itself, or the newcomer, or a record that nobody signed, is taken for the only one."""
        forged = wire.Record(CONTACT.peer, 1, "alive", "10.6.6.6", 5050, "0" * 128)
        for node in (GENESIS.record(), Puppet(0x80).record(), forged):
            self.setUp()
            genesis = self.reach(GENESIS)
            genesis.take()
            genesis.send(wire.ResponseRandomNode(node))
            self.assertEqual(genesis.take(), [wire.NodeConnAddr(urgent=True)])
            self.assertEqual(self.dials(), [])

    def test_unsigned_addresses(self) -> None:
        """Nobody can make a newcomer dial an address that its peer has not signed."""
        genesis = self.reach(GENESIS)
        genesis.send(wire.ResponseRandomNode(CONTACT.record()))
        contact = self.reach(CONTACT)
        forged = wire.Record(FRIEND.peer, 1, "alive", "10.6.6.6", 5050, "0" * 128)
        contact.send(wire.ConnectableNodes([CONTACT.record(), forged]))
        self.stage.pass_time(1)
        self.assertEqual([dial for dial in self.stage.dials if dial.host == "10.6.6.6"], [])

    def test_answers_by_another(self) -> None:
        """While a newcomer waits for its genesis nobody else can send it anywhere."""
        genesis = self.reach(GENESIS)
        stranger = self.stage.meet(Puppet(0x60))
        stranger.send(wire.ResponseRandomNode(FRIEND.record()), wire.ConnectableNodes([FRIEND.record()]))
        self.assertEqual(self.dials(), [])
        genesis.send(wire.ResponseRandomNode(CONTACT.record()))
        self.dialled(CONTACT)

    def test_unasked_answers(self) -> None:
        """Answers of the join that nobody asked for make nobody dial anything."""
        stage = Stage()
        line = stage.befriend(Puppet(0x10))
        line.send(wire.ResponseRandomNode(CONTACT.record()), wire.ConnectableNodes([CONTACT.record(), FRIEND.record()]))
        stage.pass_time(5)
        self.assertEqual(stage.take_dials(), [])
        self.assertIsNone(line.ended)


class HostileTests(JoinCase):
    """The genesis, or the contact that it names, answers with nonsense."""

    def contact(self) -> Line:
        """The newcomer has asked the contact for nodes to connect to."""
        genesis = self.reach(GENESIS)
        genesis.send(wire.ResponseRandomNode(CONTACT.record()))
        return self.reach(CONTACT)

    def invented(self, number: int, host: str, port: int = 5050) -> wire.Record:
        """A record of a peer that somebody has made up, with a good signature."""
        return Puppet(number).record(address=(host, port))

    def hosts(self, purpose: Purpose = Purpose.NEIGHBOUR) -> list[str]:
        """Where the newcomer has dialled, the genesis for a neighbour left out."""
        dials = self.dials(purpose)
        return [dial.host for dial in dials if purpose is not Purpose.NEIGHBOUR or dial.host != GENESIS.address[0]]

    def fail_all(self, purpose: Purpose = Purpose.NEIGHBOUR) -> list[str]:
        """Nobody is where the newcomer has dialled; where that was."""
        hosts = self.hosts(purpose)
        for dial in self.dials(purpose):
            self.stage.dials.remove(dial)
            self.stage.fail(dial)
        return hosts

    def test_empty_list(self) -> None:
        """A contact that names nobody becomes a neighbour itself."""
        contact = self.contact()
        contact.send(wire.ConnectableNodes([]))
        self.accept(contact)
        self.assertTrue(self.ready)

    def test_itself(self) -> None:
        """A newcomer that is told to connect to itself does not."""
        contact = self.contact()
        contact.send(wire.ConnectableNodes([Puppet(0x80).record(), self.invented(0x80, "10.6.6.6")]))
        self.accept(contact)
        self.stage.pass_time(5)
        self.assertEqual((self.ready, self.hosts()), (True, []))

    def test_too_many(self) -> None:
        """A contact that names more than a hundred is dropped, and the newcomer tries another way."""
        contact = self.contact()
        contact.send(wire.ConnectableNodes([FRIEND.record()] * 101))
        self.assertEqual(contact.ended and contact.ended.reason, Reason.BAD_FRAME)
        self.stage.pass_time(2 * LAN.handshake_timeout)
        self.assertEqual((self.hosts(Purpose.GENESIS), self.hosts()), ([GENESIS.address[0]], []))

    def test_bad_ports(self) -> None:
        """So is one that passes on a record which is none: no honest peer holds any."""
        good = wire.encode(wire.ConnectableNodes([FRIEND.record()]))
        for port in (b"0", b"70000", b"-1", b"null", b'"5050"', b"5050.5"):
            self.setUp()
            contact = self.contact()
            contact.send_lines(good.replace(b'"port":5050', b'"port":%b' % port))
            self.assertEqual(contact.ended and contact.ended.reason, Reason.BAD_FRAME, port)
            self.assertEqual(self.hosts(), [])

    def test_odd_addresses(self) -> None:
        """An address at which nobody can be is tried once like any other, and the join goes on without it."""
        odd = ["0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.169.254", "ff02::1", "::", "nowhere.invalid"]
        contact = self.contact()
        contact.send(wire.ConnectableNodes([self.invented(number, host) for number, host in enumerate(odd, 0x40)]))
        self.accept(contact)
        self.assertTrue(self.ready)
        tried: list[str] = []
        for _ in range(50):
            tried += self.fail_all()
            self.stage.pass_time(0.1)
        self.assertEqual(len(tried), len({*tried}))
        self.assertLessEqual({*tried}, {*odd})
        self.assertEqual([contact.ended, self.ready], [None, True])

    def test_one_answer_by_the_genesis(self) -> None:
        """A genesis that names one node after another makes a newcomer dial just the first."""
        genesis = self.reach(GENESIS)
        for number in range(0x40, 0x50):
            genesis.send(wire.ResponseRandomNode(self.invented(number, f"10.6.6.{number}")))
        self.assertEqual(self.hosts(Purpose.CONTACT), ["10.6.6.64"])

    def test_one_answer_by_the_contact(self) -> None:
        """A contact that answers again and again makes a newcomer dial no more than it looks for neighbours."""
        contact, tried = self.contact(), list[str]()
        for begin in range(0x40, 0x70, 8):
            nodes = [self.invented(number, f"10.6.6.{number}") for number in range(begin, begin + 8)]
            contact.send(wire.ConnectableNodes(nodes))
            tried += self.fail_all()
        self.assertTrue(0 < len(tried) <= LAN.active_target)

    def test_no_answer(self) -> None:
        """Of a question that was not answered nothing is left."""
        self.contact().close()
        self.stage.pass_time(2 * LAN.handshake_timeout)
        for line in self.stage.lines.values():
            if line.ended is None:
                line.close()
        self.assertEqual(self.stage.core.join_steps._asked, {})

    def test_same_contact_again(self) -> None:
        """A contact that could not be reached is not dialled again at once, whoever is said to be there this time."""
        tried = list[str]()
        for number in (0x40, 0x41, 0x42):
            genesis = self.reach(GENESIS)
            genesis.take()
            genesis.send(wire.ResponseRandomNode(self.invented(number, "10.6.6.6")))
            tried += self.fail_all(Purpose.CONTACT)
            self.assertEqual(genesis.take(), [wire.NodeConnAddr(urgent=True)])
            genesis.close()
            self.stage.pass_time(0.01)
            while not self.dials(Purpose.GENESIS):
                self.stage.pass_time(0.05)
        self.assertEqual(tried, ["10.6.6.6"])

    def test_first_words(self) -> None:
        """Whoever is dialled hears our HELLO and nothing else, so nobody can make us say anything to a stranger."""
        self.contact().send(wire.ConnectableNodes([self.invented(0x40, "10.6.6.6")]))
        [dial] = [dial for dial in self.dials(Purpose.NEIGHBOUR) if dial.host == "10.6.6.6"]
        line = self.stage.connect(Puppet(0x41), dial)
        line.send_lines(b'{"title":"#UNKNOWN"}', b"")
        [hello] = line.take_all()
        assert isinstance(hello, wire.Hello)
        self.assertEqual(hello.record, self.stage.core.membership.own)


class SeveralTests(JoinCase):
    """There are several genesis peers."""

    addresses = (GENESIS.address, CONTACT.address)

    def test_the_other_one(self) -> None:
        """When one genesis can't be reached the other is tried at once."""
        [first] = self.stage.take_dials()
        self.stage.fail(first)
        self.stage.pass_time(0)
        [second] = self.stage.take_dials()
        self.assertEqual({first.host, second.host}, {GENESIS.address[0], CONTACT.address[0]})
        self.assertEqual([told.after for told in self.retries()], [0.0])

    def test_none(self) -> None:
        """When none can be reached all are tried again after a pause."""
        for _ in range(2):
            [dial] = self.stage.take_dials()
            self.stage.fail(dial)
            self.stage.pass_time(0)
        self.assertGreater(self.retries()[1].after, 0)
        self.stage.pass_time(LAN.retry_first * 1.5)
        self.assertEqual(len(self.stage.take_dials()), 1)

    def test_not_always_the_same_first(self) -> None:
        """Newcomers do not all go to the same genesis."""
        first = set()
        for seed in range(20):
            stage = Stage(joined=False, seed=seed)
            stage.perform(stage.core.join(list(self.addresses), stage.now))
            first.add(stage.take_dials()[0].host)
        self.assertEqual(len(first), 2)


class GenesisTests(SynchronousTestCase):
    """A genesis needs nobody."""

    def test_ready_at_once(self) -> None:
        """A genesis is in its network from the beginning, and gives newcomers a baseline."""
        stage = Stage()
        self.assertEqual(stage.told(Kind.READY), [(Kind.READY, OWN)])
        self.assertIn(OWN, stage.core.membership.entries)
        newcomer = stage.meet(Puppet(0x10), baseline=False)
        newcomer.send(wire.GiveNodesInNetwork())
        self.assertEqual(newcomer.take(), [wire.NodesInNetwork([stage.core.membership.own], streams=[])])

    def test_others_are_looked_for(self) -> None:
        """One of several genesis peers keeps looking for the others until it knows somebody at their address."""
        stage = Stage(joined=False)
        stage.perform(stage.core.join([GENESIS.address], stage.now, genesis=True))
        self.assertEqual(stage.told(Kind.READY), [(Kind.READY, OWN)])
        dialled = 0
        for _ in range(60):
            stage.pass_time(1)
            for dial in stage.take_dials():
                self.assertEqual((dial.host, dial.port), GENESIS.address)
                dialled += 1
                stage.fail(dial)
        self.assertGreater(dialled, 60 / (LAN.departed_probe_interval * 1.2) - 1)
        self.assertLess(dialled, 60 / (LAN.departed_probe_interval * 0.8) + 2)
        line = stage.befriend(Puppet(0x40))
        line.send(wire.JoinedInNetwork(GENESIS.record()))
        stage.take_dials()
        probes = len([dial for dial in stage.core.links._attempts.values() if not dial.peer])
        stage.pass_time(60)
        self.assertEqual(len([dial for dial in stage.core.links._attempts.values() if not dial.peer]), probes)


class NobodyToJoinTests(JoinCase):
    """Who is to be joined is a newcomer itself, and was told to join through us."""

    other = Puppet(0x90)
    addresses = (other.address,)

    def call_each_other(self) -> None:
        """We find it not ready, and it finds us so."""
        self.reach(self.other, baseline=False)
        line = self.stage.meet(self.other, baseline=False)
        line.send(wire.Bye("not-joined-yet"))

    def next_round(self) -> None:
        """It is not there when we try again."""
        while not self.dials():
            self.stage.pass_time(0.1)
        self.stage.fail(self.dialled(self.other))

    def test_begins(self) -> None:
        """The one with the lower id begins a network, once it has tried all its addresses in vain."""
        self.call_each_other()
        self.assertFalse(self.ready)
        self.next_round()
        self.assertTrue(self.ready)
        self.stage.pass_time(60)
        self.assertTrue(self.stage.core.antientropy.has_baseline)

    def test_does_not_begin(self) -> None:
        """The one with the higher id waits for it, and so does one that nobody has called."""
        self.next_round()
        self.assertFalse(self.ready)
        self.stage = Stage(joined=False)
        lower = self.other = Puppet(0x10)
        self.stage.perform(self.stage.core.join([lower.address], self.stage.now))
        self.call_each_other()
        self.next_round()
        self.assertFalse(self.ready)

    def test_there_is_a_network(self) -> None:
        """If there is a network after all, it is joined."""
        self.call_each_other()
        while not self.dials():
            self.stage.pass_time(0.1)
        line = self.reach(self.other)
        line.send(wire.ResponseRandomNode(None))
        self.assertFalse(self.ready)
        self.accept(line)
        self.assertTrue(self.ready)

    def test_somebody_answered(self) -> None:
        """Nor does one begin that has just found a network, though it was not let in yet."""
        self.call_each_other()
        while not self.dials():
            self.stage.pass_time(0.1)
        self.reach(self.other).close()
        self.next_round()
        self.assertFalse(self.ready)

    def test_neighbours_before(self) -> None:
        """A newcomer that was our neighbour before is sent our positions: it can join by us."""
        friend = self.stage.meet(Puppet(0x20), baseline=False)
        self.assertTrue(friend.become_neighbour(urgent=True))
        friend.take_all()
        self.call_each_other()
        self.next_round()
        self.assertIn(wire.Digest("streams", {}), friend.take())
