"""The active view: who becomes a neighbour, who is displaced, and that a pair has one link however it came about."""

from __future__ import annotations

import attrs
import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.pair import Pair, every_order
from tests.core.puppet import Line, Puppet, Stage
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Dial, Kind, Reason
from twisted_p2p.core.config import LAN

MAX, TARGET = LAN.active_max, LAN.active_target
UP_OR_DOWN = (Kind.LINK_UP, Kind.LINK_DOWN)


def ended(line: Line) -> Reason | None:
    """Why the core has hung up; None if it has not."""
    return line.ended.reason if line.ended is not None else None


class OverlayCase(SynchronousTestCase):
    """What these tests have in common."""

    def setUp(self) -> None:
        """A genesis."""
        self.stage = Stage()

    @property
    def neighbours(self) -> list[str]:
        """The active view."""
        return list(self.stage.core.overlay.active)

    def know(self, *puppets: Puppet) -> Line:
        """Have these puppets in the directory, told by a neighbour."""
        line = self.stage.befriend(Puppet(0x7F))
        line.send(*(wire.JoinedInNetwork(puppet.record()) for puppet in puppets))
        line.take_all()
        return line

    def answer(self, dial: Dial, puppet: Puppet) -> Line:
        """The puppet is what a dial finds, and proves its key."""
        line = self.stage.connect(puppet, dial)
        line.shake_hands(baseline=False)
        return line

    def dialled(self, puppet: Puppet) -> Line:
        """The puppet becomes known, and is dialled to be a neighbour."""
        self.know(puppet)
        self.stage.pass_time(LAN.refill_interval * 1.2)
        [dial] = self.stage.take_dials()
        return self.answer(dial, puppet)


class BeingAskedTests(OverlayCase):
    """A peer is asked to be a neighbour."""

    def test_accepted(self) -> None:
        """Who asks while there is room is accepted, and the application is told once."""
        puppet = Puppet(0x10)
        line = self.stage.meet(puppet)
        self.assertTrue(line.become_neighbour())
        self.assertEqual(self.neighbours, [puppet.peer])
        self.assertEqual(self.stage.told(*UP_OR_DOWN), [(Kind.LINK_UP, puppet.peer)])

    def test_asked_again(self) -> None:
        """A neighbour that asks again is told yes again, and nothing changes."""
        line = self.stage.befriend(Puppet(0x10))
        line.take()
        self.assertTrue(line.become_neighbour())
        self.assertEqual([type(frame) for frame in line.take()], [wire.NodeConnAnswer])
        self.assertTrue(line.is_live)
        self.assertEqual(len(self.stage.told(*UP_OR_DOWN)), 1)

    def test_up_to_the_maximum(self) -> None:
        """A view takes so many, refuses the next one politely, and keeps those that it has."""
        lines = [self.stage.befriend(Puppet(number)) for number in range(1, MAX + 1)]
        late = self.stage.meet(Puppet(0x60))
        self.assertFalse(late.become_neighbour())
        self.assertEqual(len(self.neighbours), MAX)
        self.assertIsNone(ended(late))
        self.assertTrue(all(ended(line) is None for line in lines))
        self.assertNotIn(Puppet(0x60).peer, self.neighbours)

    def test_urgent(self) -> None:
        """Who has nobody else may not be refused: one neighbour is displaced for it, and told so."""
        lines = [self.stage.befriend(Puppet(number)) for number in range(1, MAX + 1)]
        late = self.stage.meet(Puppet(0x60))
        self.assertTrue(late.become_neighbour(urgent=True))
        displaced = [line for line in lines if ended(line) is not None]
        self.assertEqual([ended(line) for line in displaced], [Reason.DISPLACED])
        self.assertEqual(len(self.neighbours), MAX)
        self.assertIn(Puppet(0x60).peer, self.neighbours)
        self.assertNotIn(displaced[0].puppet.peer, self.neighbours)
        self.assertEqual(self.stage.told(Kind.LINK_DOWN), [(Kind.LINK_DOWN, displaced[0].puppet.peer)])
        self.assertIn(wire.Bye("displaced"), displaced[0].peek())

    def test_displaced_by_chance(self) -> None:
        """It is not always the same one who has to go."""
        gone = set()
        for seed in range(30):
            stage = Stage(attrs.evolve(LAN, active_max=3, active_target=2), seed=seed)
            lines = [stage.befriend(Puppet(number)) for number in range(1, 4)]
            stage.meet(Puppet(0x60)).become_neighbour(urgent=True)
            gone |= {line.puppet.peer for line in lines if line.ended}
        self.assertEqual(len(gone), 3)

    def test_full_and_asked_by_a_neighbour(self) -> None:
        """A full view still lets a neighbour move to a new link."""
        lines = [self.stage.befriend(Puppet(number)) for number in range(1, MAX + 1)]
        again = self.stage.meet(Puppet(1))
        self.assertTrue(again.become_neighbour())
        self.assertEqual([ended(line) for line in lines], [Reason.REPLACED] + [None] * (MAX - 1))
        self.assertEqual(len(self.neighbours), MAX)

    def test_leaving(self) -> None:
        """Who leaves accepts nobody, however urgent."""
        self.stage.befriend(Puppet(0x10)).answers = False
        late = self.stage.meet(Puppet(0x60))
        self.stage.leave()
        self.assertFalse(late.become_neighbour(urgent=True))
        self.assertNotIn(late.puppet.peer, self.neighbours)


class AskingTests(OverlayCase):
    """A peer looks for neighbours."""

    def asks(self, line: Line) -> list[bool]:
        """For each question on this link whether it was urgent."""
        return [frame.urgent for frame in line.take_all() if isinstance(frame, wire.NodeConnAddr)]

    def test_refill(self) -> None:
        """A view below its target is filled from the directory, and no further."""
        puppets = [Puppet(number) for number in range(1, 11)]
        self.know(*puppets)
        found = []
        for _ in range(20):
            self.stage.pass_time(LAN.refill_interval)
            for dial in self.stage.take_dials():
                [puppet] = [p for p in puppets if p.address == (dial.host, dial.port)]
                line = self.answer(dial, puppet)
                if self.asks(line):
                    found.append(puppet)
                    line.send(wire.NodeConnAnswer(True))
                    line.go_live()
        self.assertEqual(len(found), TARGET - 1)
        self.assertEqual(len(self.neighbours), TARGET)

    def test_not_urgent(self) -> None:
        """Who has a neighbour asks politely; who has none, urgently."""
        one, two = Puppet(0x10), Puppet(0x20)
        friend = self.know(one, two)
        self.stage.pass_time(LAN.refill_interval * 1.2)
        dials = {dial.host: dial for dial in self.stage.take_dials()}
        self.assertEqual(self.asks(self.answer(dials[one.address[0]], one)), [False])
        friend.send(wire.Bye("leaving"))
        self.assertEqual(self.neighbours, [])
        self.assertEqual(self.asks(self.answer(dials[two.address[0]], two)), [True])

    def test_refused(self) -> None:
        """Who refused is left alone for a while, then asked again."""
        puppet = Puppet(0x10)
        line = self.dialled(puppet)
        line.send(wire.NodeConnAnswer(False))
        self.assertEqual(ended(line), Reason.DONE)
        self.assertEqual(self.stage.told(Kind.LINK_UP)[1:], [])
        waited = self.until_asked(puppet)
        self.assertGreaterEqual(waited, LAN.refused_pause)
        self.assertLess(waited, LAN.refused_pause + 2 * LAN.refill_interval)

    def asked_while_refused(self, friends: int, seconds: float) -> int:
        """How many peers of many are asked while each refuses, by one with so many neighbours."""
        self.stage = Stage(attrs.evolve(LAN, active_target=5))
        lines = [self.stage.befriend(Puppet(number)) for number in range(1, friends + 1)]
        lines[0].send(*(wire.JoinedInNetwork(Puppet(number).record()) for number in range(0x20, 0xF0)))
        asked, end = 0, self.stage.now + seconds
        while self.stage.now < end:
            self.stage.pass_time(0.25)
            for dial in self.stage.take_dials():
                puppet = Puppet(int(dial.host.rpartition(".")[2]))
                line = self.stage.connect(puppet, dial)
                line.shake_hands(baseline=False)
                if line.take_kind(wire.NodeConnAddr):
                    asked += 1
                    line.send(wire.NodeConnAnswer(False))
        return asked

    def test_all_views_are_full(self) -> None:
        """Who has neighbours enough to get by asks less and less often where one after another refuses."""
        seldom, often = self.asked_while_refused(4, 40), self.asked_while_refused(2, 40)
        self.assertTrue(12 <= seldom <= 20, seldom)
        self.assertTrue(25 <= often <= 120, often)

    def test_refused_by_all(self) -> None:
        """Who has fewer than three neighbours, and is refused by all that it knows, asks urgently the next time."""
        puppet = Puppet(0x10)
        line = self.dialled(puppet)
        self.assertEqual(self.asks(line), [False])
        line.send(wire.NodeConnAnswer(False))
        again = self.answer(self.next_dial(puppet), puppet)
        self.assertEqual(self.asks(again), [True])
        again.send(wire.NodeConnAnswer(True))
        self.assertEqual(len(self.neighbours), 2)

    def neighbour_dials(self, puppet: Puppet) -> list[Dial]:
        """Dials to make a neighbour of this puppet; its probes are answered and forgotten."""
        found = []
        for dial in self.stage.take_dials():
            if puppet.peer in self.stage.core.overlay._requests:
                found.append(dial)
            else:
                self.answer(dial, puppet)
        return found

    def until_asked(self, puppet: Puppet) -> float:
        """After how many seconds this puppet is dialled to be a neighbour; its probes are answered."""
        begin = self.stage.now
        self.next_dial(puppet)
        return self.stage.now - begin

    def next_dial(self, puppet: Puppet) -> Dial:
        """The next dial to make a neighbour of this puppet; its probes are answered."""
        while not (dials := self.neighbour_dials(puppet)):
            self.stage.pass_time(0.1)
        return dials[0]

    def test_fault(self) -> None:
        """A neighbour whose link ended by a fault, whoever found it, is not asked again for a while."""
        forged = msgspec.structs.replace(Puppet(0x20).record(), sig="0" * 128)
        faults: list[wire.Frame] = [wire.JoinedInNetwork(forged), wire.Hello(1, "x", forged, "0" * 32)]
        for reason in (Reason.BAD_FRAME, Reason.BAD_SIGNATURE, Reason.LINE_TOO_LONG):
            faults.append(wire.Bye(reason.value))
        for fault in faults:
            self.setUp()
            puppet = Puppet(0x10)
            line = self.stage.befriend(puppet)
            line.send(fault)
            self.assertIsNotNone(ended(line))
            waited = self.until_asked(puppet)
            self.assertTrue(LAN.fault_pause <= waited < LAN.fault_pause + 2 * LAN.refill_interval, (fault, waited))

    def test_no_fault(self) -> None:
        """Where the link just broke it is asked at once."""
        puppet = Puppet(0x10)
        self.stage.befriend(puppet).close()
        self.assertLess(self.until_asked(puppet), 2 * LAN.refill_interval)

    def test_fault_and_split(self) -> None:
        """Nor is it asked since the network seems to be split between us; but if it asks, it may be one again."""
        puppet = Puppet(0x10)
        self.stage.befriend(puppet).send_lines(b"junk")
        line = self.stage.meet(puppet)
        self.stage.core.overlay.bridge(self.stage.core.links.by_id[line.number])
        self.stage.perform(self.stage.core.wake(self.stage.now))
        self.assertEqual(self.asks(line), [])
        self.assertTrue(line.become_neighbour())

    def test_shrunk(self) -> None:
        """Who has more neighbours than the network, which was larger, calls for gives them up one by one."""
        self.stage = Stage(attrs.evolve(LAN, active_target=6, active_max=6))
        lines = [self.stage.befriend(Puppet(0x10 + n)) for n in range(6)]
        self.stage.core.config = self.stage.core.turn.config = attrs.evolve(LAN, active_target=3, active_max=4)
        self.stage.pass_time(150)
        left = [line for line in lines if line.ended is None]
        self.assertEqual((len(left), len(self.stage.core.overlay.active)), (4, 4))
        self.assertEqual({line.ended.reason for line in lines if line.ended is not None}, {Reason.DISPLACED})

    def test_splits_without_end(self) -> None:
        """However many peers seem to be split from us, we make a few of them give us room at once, then one a while."""
        lines = [self.stage.meet(Puppet(0x10 + n)) for n in range(6)]
        for line in lines:
            self.stage.core.overlay.bridge(self.stage.core.links.by_id[line.number])
        self.stage.perform(self.stage.core.wake(self.stage.now))
        asked = [bool(self.asks(line)) for line in lines]
        self.assertEqual(asked, [n < LAN.bridges_burst for n in range(6)])
        self.assertEqual(self.stage.counts["bridges_over_rate"], 6 - LAN.bridges_burst)
        self.stage.pass_time(LAN.bridges_interval)
        line = self.stage.meet(Puppet(0x20))
        self.stage.core.overlay.bridge(self.stage.core.links.by_id[line.number])
        self.stage.perform(self.stage.core.wake(self.stage.now))
        self.assertTrue(self.asks(line))

    def test_fault_before_the_proof(self) -> None:
        """Who has not proven its key can't bring another one into disrepute."""
        puppet = Puppet(0x10)
        self.know(puppet)
        line = self.stage.connect(puppet)
        line.send(line.hello())
        line.send_lines(b"junk")
        self.assertEqual(ended(line), Reason.BAD_FRAME)
        self.assertLess(self.until_asked(puppet), 2 * LAN.refill_interval)

    def test_unreachable(self) -> None:
        """Who can't be reached is left alone for a while, and others are asked at once."""
        one, two = Puppet(0x10), Puppet(0x20)
        stage = Stage(attrs.evolve(LAN, active_target=2))
        line = stage.befriend(Puppet(0x7F))
        line.send(wire.JoinedInNetwork(one.record()), wire.JoinedInNetwork(two.record()))
        stage.pass_time(LAN.refill_interval * 1.2)
        [dial] = stage.take_dials()
        stage.fail(dial)
        stage.pass_time(LAN.refill_interval / 5 * 1.2)
        [other] = [other for other in stage.take_dials() if other.host != dial.host]
        self.assertEqual({dial.host, other.host}, {one.address[0], two.address[0]})

    def test_somebody_else_is_there(self) -> None:
        """Whoever is found at an address is as good a neighbour as the one that was expected."""
        expected, found = Puppet(0x10), Puppet(0x20)
        self.know(expected)
        self.stage.pass_time(LAN.refill_interval * 1.2)
        [dial] = self.stage.take_dials()
        line = self.answer(dial, found)
        self.assertEqual(self.asks(line), [False])
        line.send(wire.NodeConnAnswer(True))
        self.assertIn(found.peer, self.neighbours)
        self.assertNotIn(expected.peer, self.neighbours)

    def test_link_breaks_before_the_answer(self) -> None:
        """A question whose link broke is asked again later."""
        puppet = Puppet(0x10)
        line = self.dialled(puppet)
        self.assertEqual(self.asks(line), [False])
        line.close()
        for _ in range(200):
            self.stage.pass_time(0.1)
            for again in self.stage.take_dials():
                line = self.answer(again, puppet)
                if self.asks(line):
                    return
        self.fail("it was not asked again")

    def test_no_answer(self) -> None:
        """Who never answers the question is given up after the linger time."""
        puppet = Puppet(0x10)
        line = self.dialled(puppet)
        self.stage.pass_time(LAN.linger + 0.1)
        self.assertEqual(ended(line), Reason.DONE)

    def test_departed_are_not_asked(self) -> None:
        """Nobody asks a peer that has left."""
        puppet = Puppet(0x10)
        friend = self.know(puppet)
        friend.send(wire.Disconnect(puppet.record(2, "left")))
        for _ in range(20):
            self.stage.pass_time(1)
            for dial in self.stage.take_dials():
                line = self.answer(dial, puppet)
                self.assertEqual(self.asks(line), [])


class RangeTests(SynchronousTestCase):
    """Neighbours in several address ranges (cases 65 and 66)."""

    def setUp(self) -> None:
        """A peer that knows somebody in each of ten ranges; it dials nobody."""
        self.stage = Stage(attrs.evolve(LAN, refill_interval=1e6))
        self.number = 0
        for number in range(10):
            self.stage.core.membership.merge([self.puppet(f"40.{number}.1.1").record()])

    def puppet(self, host: str) -> Puppet:
        """Somebody new at this host."""
        self.number += 1
        puppet = Puppet(self.number)
        puppet.address = host, 5050
        return puppet

    def befriended(self, *hosts: str, urgent: bool = False) -> list[bool]:
        """For each of these hosts whether somebody there becomes a neighbour."""
        found = []
        for host in hosts:
            line = self.stage.connect(self.puppet(host), host=host)
            line.shake_hands()
            found.append(line.become_neighbour(urgent))
        return found

    @property
    def hosts(self) -> list[str]:
        """Where the neighbours are."""
        return sorted(link.host for link in self.stage.core.overlay.active.values())

    def choose(self, host: str, drawn: bool = True) -> None:
        """Somebody there is dialled, asked, and becomes a neighbour."""
        puppet, core = self.puppet(host), self.stage.core
        core.overlay._request(puppet.record(), drawn=drawn)
        self.stage.perform(core.wake(self.stage.now))
        line = self.stage.connect(puppet, self.stage.take_dials()[-1], host)
        line.shake_hands()
        line.send(wire.NodeConnAnswer(True))

    def test_room_for_another_range(self) -> None:
        """A view full of one range lets others in though they do not insist, until the shares are equal."""
        self.assertEqual(self.befriended(*["66.6.1.1"] * MAX), [True] * MAX)
        self.assertEqual(self.befriended("66.6.1.2"), [False])
        self.assertEqual(self.befriended(*["20.1.1.1"] * 5), [True] * 4 + [False])
        self.assertEqual(self.hosts, ["20.1.1.1"] * 4 + ["66.6.1.1"] * 4)
        self.assertEqual(self.befriended("20.9.1.1"), [True])

    def test_narrow_ranges(self) -> None:
        """Within a /16 it is the /24 that counts."""
        self.befriended(*["20.1.1.1"] * (MAX - 1), "20.1.2.1")
        self.assertEqual(self.befriended("20.1.1.7", "20.1.2.1"), [False, True])
        self.assertEqual(self.hosts.count("20.1.2.1"), 2)

    def test_urgent(self) -> None:
        """Many of one range, however urgent, take one place of a view that is full of others; then one another's."""
        honest = [f"20.{number}.1.1" for number in range(1, MAX + 1)]
        self.befriended(*honest)
        self.befriended(*[f"66.6.{number}.1" for number in range(20)], urgent=True)
        self.assertEqual(sum(host.startswith("66.") for host in self.hosts), 1)

    def test_urgent_rationed(self) -> None:
        """They do so up to a bound, and then one each interval; somebody of another range is never refused."""
        burst = LAN.displacements_burst
        self.befriended(*[f"20.{number}.1.1" for number in range(1, MAX)], "66.6.1.1")
        self.assertEqual(self.befriended(*["66.6.2.1"] * (burst + 1), urgent=True), [True] * burst + [False])
        self.assertEqual(self.befriended("30.1.1.1", urgent=True), [True])
        self.stage.pass_time(LAN.displacements_interval)
        self.befriended("66.6.3.1", urgent=True)
        self.assertEqual(self.befriended("66.6.4.1", urgent=True), [False])

    def test_own_range(self) -> None:
        """Our own range is not rationed: a whole LAN may join at once."""
        self.befriended("20.1.1.1", *[f"10.0.0.{number}" for number in range(2, MAX + 1)])
        self.assertTrue(all(self.befriended(*["10.0.0.99"] * (LAN.displacements_burst + 9), urgent=True)))

    def test_chosen_stay(self) -> None:
        """Those that we have drawn ourselves stay, even where their range has the most neighbours."""
        for _ in range(3):
            self.choose("20.1.1.1")
        self.befriended(*["66.6.1.1"] * (MAX - 3))
        self.befriended(*["66.7.1.1"] * 10, urgent=True)
        self.befriended(*["30.1.1.1"] * 10, urgent=True)
        self.assertEqual(self.hosts.count("20.1.1.1"), 3)
        self.assertEqual(len(self.hosts), MAX)

    def test_choices(self) -> None:
        """One that was asked counts as chosen if it is alone in its range, unless that range has most of all peers."""
        overlay = self.stage.core.overlay
        self.choose("20.7.1.1", drawn=False)
        self.assertEqual(len(overlay._choices()), 1)
        self.choose("20.7.2.1", drawn=False)
        self.assertEqual(len(overlay._choices()), 1)
        self.befriended("20.8.1.1")
        self.assertEqual(len(overlay._choices()), 1)
        for number in range(20):
            self.stage.core.membership.merge([self.puppet(f"66.6.1.{number}").record()])
        self.choose("66.6.1.1", drawn=False)
        self.assertEqual(len(overlay._choices()), 1)
        self.choose("66.6.1.2")
        self.assertEqual(len(overlay._choices()), 2)

    def test_looks_for_choices(self) -> None:
        """A view that others have filled does not keep a peer from choosing some itself, as soon as it knows others."""
        stage = Stage()
        for number in range(1, MAX + 1):
            line = stage.connect(self.hostile(number), host=f"66.6.1.{number}")
            line.shake_hands()
            self.assertTrue(line.become_neighbour())
        stage.pass_time(5)
        stage.take_dials()
        honest = [self.puppet(f"20.{number}.1.1") for number in range(10)]
        line.send(*(wire.JoinedInNetwork(puppet.record()) for puppet in honest))
        stage.pass_time(LAN.refill_interval / 2)
        hosts = {puppet.address[0] for puppet in honest}
        self.assertEqual(sum(dial.host in hosts for dial in stage.take_dials()), LAN.active_drawn)

    def hostile(self, number: int) -> Puppet:
        """One of many in one range."""
        puppet = Puppet(0x60 + number)
        puppet.address = f"66.6.1.{number}", 5050
        return puppet


class ReplacedTests(OverlayCase):
    """A neighbour that comes by a new link has lost the old one."""

    def test_new_link_replaces(self) -> None:
        """The new link carries on; the old one is closed; the application is told nothing."""
        puppet = Puppet(0x10)
        old = self.stage.befriend(puppet)
        new = self.stage.meet(puppet)
        self.assertTrue(new.become_neighbour())
        new.go_live()
        self.assertEqual((ended(old), ended(new)), (Reason.REPLACED, None))
        self.assertEqual(self.stage.told(*UP_OR_DOWN), [(Kind.LINK_UP, puppet.peer)])
        self.stage.broadcast("on the new one")
        self.assertEqual((new.take_seqs(), old.take_seqs()), ([1], []))

    def test_old_link_breaks_later(self) -> None:
        """When the replaced connection breaks at last, nobody notices."""
        puppet = Puppet(0x10)
        old = self.stage.befriend(puppet)
        new = self.stage.meet(puppet)
        new.become_neighbour()
        new.go_live()
        old.close()
        self.assertEqual(self.stage.told(*UP_OR_DOWN), [(Kind.LINK_UP, puppet.peer)])
        self.assertEqual(self.neighbours, [puppet.peer])
        self.assertEqual(self.stage.core.detection.suspicions, {})

    def test_moved(self) -> None:
        """Who says that another link took this one's place, and comes by that one, was never away."""
        puppet = Puppet(0x10)
        self.stage.befriend(puppet).send(wire.Bye("replaced"))
        new = self.stage.meet(puppet)
        self.assertTrue(new.become_neighbour())
        new.go_live()
        self.stage.pass_time(2 * LAN.handshake_timeout)
        self.assertEqual(self.stage.told(Kind.LINK_DOWN), [])
        self.assertEqual(self.neighbours, [puppet.peer])

    def test_moved_and_gone(self) -> None:
        """Who says that another link took this one's place, but has none, is told as down after a while."""
        puppet = Puppet(0x10)
        line = self.stage.befriend(puppet)
        line.send(wire.Bye("replaced"))
        self.assertEqual(self.stage.told(Kind.LINK_DOWN), [])
        self.stage.pass_time(LAN.handshake_timeout + 0.1)
        self.assertEqual(self.stage.told(*UP_OR_DOWN), [(Kind.LINK_UP, puppet.peer), (Kind.LINK_DOWN, puppet.peer)])


class CrossingTests(SynchronousTestCase):
    """Two peers that ask each other at once end as neighbours on one link, the same at both ends."""

    def crossing(self, one: int, two: int, met: bool = False) -> Pair:
        """Two cores that have dialled each other; nothing has arrived yet."""
        pair = Pair(one, two, met=met)
        pair.dial_each_other()
        return pair

    def check(self, pair: Pair, order: tuple[int, ...]) -> None:
        """All has arrived: there is one link, both have it and no other, and payload flows on it."""
        views = [{peer: link.id for peer, link in end.core.overlay.active.items()} for end in pair.ends]
        one, two = pair.ends
        self.assertEqual([list(view) for view in views], [[two.core.peer], [one.core.peer]], order)
        self.assertEqual(views[0][two.core.peer], views[1][one.core.peer], order)
        for end in pair.ends:
            self.assertEqual(list(end.links), list(views[0].values()), order)
            self.assertEqual(end.core.overlay._requests, {}, order)
            self.assertTrue(all(flow.live for flow in end.core.spread.flows.values()), order)
            self.assertEqual(end.told(Kind.LINK_DOWN), [], order)
            self.assertEqual(end.core.detection.suspicions, {}, order)

    def test_every_order(self) -> None:
        """In whatever order what they write arrives, and whoever has the lower id."""
        for one, two, met in ((0x10, 0x20, False), (0x20, 0x10, False), (0x10, 0x20, True)):
            played = every_order(lambda one=one, two=two, met=met: self.crossing(one, two, met), self.check)
            self.assertGreater(played, 300)

    def test_payload(self) -> None:
        """After each of them what either says reaches the other, once."""

        def check(pair: Pair, order: tuple[int, ...]) -> None:
            one, two = pair.ends
            for end in pair.ends:
                end.perform(end.core.broadcast([b'{"a":1}'], pair.now))
            pair.run()
            self.assertEqual((one.received, two.received), ([1], [1]), order)

        self.assertGreater(every_order(lambda: self.crossing(0x10, 0x20, True), check), 300)

    @given(st.lists(st.integers(0, 3), max_size=40), st.booleans())
    def test_talking_meanwhile(self, order: list[int], swapped: bool) -> None:
        """What they say while their links cross arrives, once and in order, and both rest on one link."""
        pair = self.crossing(0x20, 0x10, True) if swapped else self.crossing(0x10, 0x20, True)
        for number in order:
            end = pair.ends[number % 2]
            if number > 1:
                end.perform(end.core.broadcast([b'{"a":1}'], pair.now))
            if pair.choices:
                pair.step(pair.choices[number % len(pair.choices)])
        pair.run()
        pair.wake(3 * LAN.graft_timeout)
        self.check(pair, tuple(order))
        said = [sum(number == which for number in order) for which in (2, 3)]
        one, two = pair.ends
        self.assertEqual(two.received, list(range(1, said[0] + 1)))
        self.assertEqual(one.received, list(range(1, said[1] + 1)))
