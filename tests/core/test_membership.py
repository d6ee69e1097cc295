"""The directory: facts merge in any order to the same state, and only a peer itself has the last word about itself."""

import random
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.core.puppet import BEGINNING, NETWORK, OWN, CountingVerifier, Puppet, peer_id
from twisted_p2p.core import wire
from twisted_p2p.core.actions import Changed, Kind
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.membership import (
    ALIVE,
    FAILED,
    LEFT,
    Fact,
    Membership,
    TokenBuckets,
    claim_order,
    record_order,
)
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Claim, Record
from twisted_p2p.sim.signing import CheapSigner

DAY_MS = 86_400_000
NOW_MS = int(BEGINNING * 1000)
LATEST = NOW_MS + int(LAN.clock_ahead * 1000)
"""The latest time that is believed."""
ALICE, BOB, CAROL = Puppet(0x11), Puppet(0x22), Puppet(0x33)


def record(puppet: Puppet, incarnation: int, state: str = "alive", address: tuple[str, int] | None = None) -> Record:
    """What a peer says of itself."""
    host, port = address or puppet.address
    data = wire.record_bytes(puppet.network, puppet.peer, incarnation, state, host, port, "")
    sig = puppet.signer.sign(data)
    return Record(puppet.peer, incarnation, "left" if state == "left" else "alive", host, port, sig)


def claim(accuser: Puppet, peer: str, incarnation: int, time: float = BEGINNING) -> Claim:
    """What a peer says of another one that it thinks dead."""
    ms = int(time * 1000)
    sig = accuser.signer.sign(wire.claim_bytes(accuser.network, peer, incarnation, accuser.peer, ms))
    return Claim(peer, incarnation, accuser.peer, ms, sig)


class Directory:
    """The directory of one peer, and what its application was told."""

    def __init__(self, config: Config = LAN, number: int = 0x80) -> None:
        self.verifier = CountingVerifier()
        self.turn = Turn(config, random.Random(1))
        self.turn.timers.advance(BEGINNING, config.stall)
        self.members = Membership(self.turn, NETWORK, CheapSigner(peer_id(number)), self.verifier)
        self.members.introduce("10.0.0.1", 5050)
        self.members.enter()
        self.news()

    def merge(self, *facts: Fact, source: Puppet | None = None) -> bool:
        """Take these in at once."""
        records = [fact for fact in facts if isinstance(fact, Record)]
        claims = [fact for fact in facts if isinstance(fact, Claim)]
        return self.members.merge(records, claims, source.peer if source else "")

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.turn.timers.advance(self.turn.now + seconds, 1e9)

    def told(self) -> list[tuple[Kind, str]]:
        """What the application was told since this was last called."""
        return [(told.kind, told.peer) for told in self.turn.take() if isinstance(told, Changed)]

    def news(self) -> list[Fact]:
        """What is to be flooded, since this was last called."""
        return self.members.take_news()

    def state(self) -> dict[str, Any]:
        """All that it holds of others."""
        own = self.members.signer.peer
        return {peer: (e.record, e.claim) for peer, e in self.members.entries.items() if peer != own}

    def status(self, puppet: Puppet) -> str:
        """Of one peer; "" where it is unknown."""
        entry = self.members.entries.get(puppet.peer)
        return entry.status if entry else ""


def forged(fact: Any) -> Any:
    """The same fact with another signature."""
    return msgspec.structs.replace(fact, sig="0" * 128)


SUBJECTS = [ALICE, BOB, CAROL]
records = st.builds(
    lambda puppet, incarnation, state, port: record(puppet, NOW_MS + incarnation, state, ("10.0.2.1", port)),
    st.sampled_from(SUBJECTS),
    st.integers(1, 3),
    st.sampled_from(["alive", "left"]),
    st.integers(1, 2),
)
claims = st.builds(
    lambda accuser, puppet, incarnation, time: claim(accuser, puppet.peer, NOW_MS + incarnation, BEGINNING + time),
    st.sampled_from(SUBJECTS),
    st.sampled_from(SUBJECTS),
    st.integers(1, 3),
    st.integers(0, 1),
)
facts = st.lists(records | claims, max_size=10)


def settled(offers: Sequence[Sequence[Fact]], everything: Sequence[Fact]) -> Directory:
    """A directory after these offers, and after everything was offered until nothing changes any more."""
    directory = Directory()
    for offer in offers:
        directory.merge(*offer)
    before = None
    while before != directory.state():
        before = directory.state()
        directory.merge(*sorted(everything, key=repr))
        for fact in everything:
            directory.merge(fact)
    return directory


class MergeTests(SynchronousTestCase):
    """Merging is a union: of what was offered the highest stands."""

    @given(facts, st.randoms(use_true_random=False), st.lists(st.integers(1, 4), max_size=10))
    def test_any_order(self, everything: list[Fact], rng: random.Random, sizes: list[int]) -> None:
        """In whatever order, in whatever groups and however often facts come, the directory becomes the same."""
        mixed = [*everything, *rng.sample(everything, len(everything) // 2)]
        rng.shuffle(mixed)
        offers, rest = [], mixed
        for size in sizes:
            offers.append(rest[:size])
            rest = rest[size:]
        one, two = settled([], everything), settled([*offers, rest], everything)
        self.assertEqual(one.state(), two.state())
        own = peer_id(0x80)
        self.assertEqual(
            {b: h for b, h in one.members.digest.hashes().items() if b != int(own[:2], 16)},
            {b: h for b, h in two.members.digest.hashes().items() if b != int(own[:2], 16)},
        )

    @given(facts)
    def test_two_exchange(self, everything: list[Fact]) -> None:
        """Two peers that tell each other all that they hold come to hold the same."""
        one, two = settled([], everything[::2]), settled([], everything[1::2])
        for _ in range(3):
            for source, target in ((one, two), (two, one)):
                held = [fact for pair in source.state().values() for fact in pair if fact is not None]
                target.merge(*held)
        self.assertEqual(one.state(), two.state())

    @given(facts)
    def test_again(self, everything: list[Fact]) -> None:
        """Facts that are known are no news, are not told again, and cost no check of a signature."""
        directory = settled([], everything)
        directory.news(), directory.told()
        held = [fact for pair in directory.state().values() for fact in pair if fact is not None]
        directory.verifier.calls.clear()
        directory.merge(*held)
        for fact in held:
            directory.merge(fact)
        self.assertEqual((directory.news(), directory.told(), directory.verifier.calls.total()), ([], [], 0))

    @given(facts)
    def test_highest_record_stands(self, everything: list[Fact]) -> None:
        """Of a peer's records the one of the highest incarnation stands; at equal ones `left` does."""
        directory = settled([], everything)
        for puppet in SUBJECTS:
            of_it = [fact for fact in everything if isinstance(fact, Record) and fact.peer == puppet.peer]
            held = directory.members.entries.get(puppet.peer)
            self.assertEqual(held.record if held else None, max(of_it, key=record_order, default=None))

    @given(facts)
    def test_claim_stands_beside_its_incarnation(self, everything: list[Fact]) -> None:
        """A claim stands only beside the record of the very incarnation it speaks of, and never beside a leave."""
        directory = settled([], everything)
        for puppet in SUBJECTS:
            held = directory.members.entries.get(puppet.peer)
            if held is None:
                continue
            fitting = [
                fact
                for fact in everything
                if isinstance(fact, Claim)
                and (fact.peer, fact.incarnation) == (puppet.peer, held.record.incarnation)
                and fact.accuser in directory.members.entries
                and held.record.state == "alive"
            ]
            self.assertEqual(held.claim, max(fitting, key=claim_order, default=None))

    def test_total_order(self) -> None:
        """Higher incarnation, then left over failed over alive, then the signature: no two facts are a draw."""
        low, high, gone = record(ALICE, 1), record(ALICE, 2), record(ALICE, 1, "left")
        twin = record(ALICE, 1, "alive", ("10.7.7.7", 1))
        self.assertEqual(sorted([high, gone, low], key=record_order), [low, gone, high])
        self.assertNotEqual(record_order(low), record_order(twin))
        one, two = claim(BOB, ALICE.peer, 1), claim(CAROL, ALICE.peer, 1)
        self.assertNotEqual(claim_order(one), claim_order(two))
        self.assertLess(claim_order(one), claim_order(claim(BOB, ALICE.peer, 2)))

    def test_left_over_failed_over_alive(self) -> None:
        """At one incarnation a claim beats being alive, and having left beats the claim."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS), record(BOB, NOW_MS))
        self.assertEqual(directory.status(ALICE), ALIVE)
        directory.merge(claim(BOB, ALICE.peer, NOW_MS))
        self.assertEqual(directory.status(ALICE), FAILED)
        directory.merge(record(ALICE, NOW_MS, "left"))
        self.assertEqual(directory.status(ALICE), LEFT)
        directory.merge(claim(BOB, ALICE.peer, NOW_MS), record(ALICE, NOW_MS))
        self.assertEqual(directory.status(ALICE), LEFT)

    def test_claim_stays_beside_its_incarnation(self) -> None:
        """A second record of the same incarnation takes no claim away, and so brings nobody back; a later one does."""
        twins = [record(ALICE, NOW_MS, address=("10.0.3.1", port)) for port in (1, 2)]
        low, high = sorted(twins, key=record_order)
        directory = Directory()
        directory.merge(low, record(BOB, NOW_MS))
        directory.merge(claim(BOB, ALICE.peer, NOW_MS))
        directory.told()
        directory.merge(high)
        self.assertEqual(directory.members.entries[ALICE.peer].record, high)
        self.assertEqual((directory.status(ALICE), directory.told()), (FAILED, []))
        directory.merge(record(ALICE, NOW_MS + 1))
        self.assertEqual(directory.status(ALICE), ALIVE)

    def test_replayed_alive(self) -> None:
        """An old word of a peer that has failed does not bring it back; a new one of its own does."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS), record(BOB, NOW_MS))
        directory.merge(claim(BOB, ALICE.peer, NOW_MS))
        directory.merge(record(ALICE, NOW_MS))
        directory.merge(record(ALICE, NOW_MS - 1))
        self.assertEqual((directory.status(ALICE), len(directory.members.departed())), (FAILED, 1))
        directory.merge(record(ALICE, NOW_MS + 1))
        self.assertEqual((directory.status(ALICE), directory.members.departed()), (ALIVE, []))

    def test_record_with_claim(self) -> None:
        """A newcomer learns of a failed peer by record and claim together, and is not told that it joined."""
        directory = Directory()
        directory.merge(record(BOB, NOW_MS))
        directory.told()
        self.assertTrue(directory.merge(record(ALICE, NOW_MS), claim(BOB, ALICE.peer, NOW_MS)))
        self.assertEqual(directory.status(ALICE), FAILED)
        self.assertEqual(directory.told(), [])


class RefusedTests(SynchronousTestCase):
    """What is not taken."""

    def test_claim_about_unknown_incarnation(self) -> None:
        """A claim about an incarnation that nobody has shown is not taken: nobody could refute the highest one."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS), record(BOB, NOW_MS))
        for incarnation in (NOW_MS - 1, NOW_MS + 1, 2**53 - 1):
            self.assertTrue(directory.merge(claim(BOB, ALICE.peer, incarnation)))
        self.assertEqual(directory.status(ALICE), ALIVE)

    def test_claim_about_unknown_peer(self) -> None:
        """A claim about a peer that is not in the directory is not taken, and is no fault."""
        directory = Directory()
        directory.merge(record(BOB, NOW_MS))
        before = directory.state()
        self.assertTrue(directory.merge(claim(BOB, ALICE.peer, NOW_MS)))
        self.assertEqual(directory.state(), before)

    def test_claim_by_stranger(self) -> None:
        """Who is not in the directory can accuse nobody."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS))
        self.assertTrue(directory.merge(claim(BOB, ALICE.peer, NOW_MS)))
        self.assertEqual(directory.status(ALICE), ALIVE)
        self.assertEqual(directory.turn.counts["claim_by_unknown"], 1)

    def test_forged_record(self) -> None:
        """A record that its peer did not sign poisons nothing, and is the fault of whoever sent it."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS))
        before = directory.state()
        moved = msgspec.structs.replace(record(ALICE, NOW_MS), incarnation=NOW_MS + 5, ip_addr="6.6.6.6")
        self.assertFalse(directory.merge(moved))
        self.assertFalse(directory.merge(forged(record(BOB, NOW_MS))))
        self.assertEqual(directory.state(), before)

    def test_every_field_is_signed(self) -> None:
        """No field of a record or claim can be changed without its signer."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS), record(BOB, NOW_MS))
        base = record(ALICE, NOW_MS + 1)
        for change in (
            {"incarnation": NOW_MS + 2},
            {"state": "left"},
            {"ip_addr": "6.6.6.6"},
            {"port": 6},
            {"more": "x"},
            {"peer": CAROL.peer},
        ):
            self.assertFalse(directory.merge(msgspec.structs.replace(base, **change)), change)
        self.assertFalse(directory.merge(msgspec.structs.replace(claim(BOB, ALICE.peer, NOW_MS), time=1)))
        self.assertFalse(directory.merge(msgspec.structs.replace(claim(BOB, BOB.peer, NOW_MS), peer=ALICE.peer)))
        self.assertEqual(directory.status(ALICE), ALIVE)
        self.assertEqual(directory.members.entries[ALICE.peer].record, record(ALICE, NOW_MS))

    def test_other_network(self) -> None:
        """What was signed for another network is a forgery here."""
        stranger = Puppet(0x11, network="other")
        self.assertFalse(Directory().merge(record(stranger, NOW_MS)))

    def test_forged_claim(self) -> None:
        """Nobody is declared failed in another's name."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS), record(BOB, NOW_MS))
        self.assertFalse(directory.merge(forged(claim(BOB, ALICE.peer, NOW_MS))))
        self.assertEqual(directory.status(ALICE), ALIVE)

    def test_full(self) -> None:
        """Over the greatest number of peers no more are admitted; those that are there still change."""
        directory = Directory(attrs.evolve(LAN, max_peers=2))
        directory.merge(record(ALICE, NOW_MS))
        directory.merge(record(BOB, NOW_MS))
        self.assertEqual((directory.status(ALICE), directory.status(BOB)), (ALIVE, ""))
        self.assertEqual(directory.turn.counts["directory_full"], 1)
        directory.merge(record(ALICE, NOW_MS, "left"))
        self.assertEqual(directory.status(ALICE), LEFT)

    def test_full_of_departed(self) -> None:
        """In a full directory the departed make room for the living, who has departed first before the others."""
        directory = Directory(attrs.evolve(LAN, max_peers=3))
        directory.merge(record(ALICE, NOW_MS))
        directory.merge(record(BOB, NOW_MS))
        directory.merge(record(BOB, NOW_MS, "left"))
        directory.merge(claim(BOB, ALICE.peer, NOW_MS))
        directory.merge(record(Puppet(0x44), NOW_MS, "left"))
        self.assertEqual(set(directory.state()), {ALICE.peer, BOB.peer})
        directory.merge(record(CAROL, NOW_MS))
        self.assertEqual(set(directory.state()), {ALICE.peer, CAROL.peer})
        self.assertEqual([gone.peer for gone in directory.members.departed()], [ALICE.peer])
        self.assertNotIn(0x22, directory.members.digest.hashes())
        directory.merge(record(BOB, NOW_MS, "left"))
        self.assertEqual(set(directory.state()), {ALICE.peer, CAROL.peer})


def peer(number: int) -> Puppet:
    """One of many peers."""
    puppet = Puppet(0x11)
    puppet.signer = CheapSigner(f"{number:064x}")
    puppet.peer = puppet.signer.peer
    return puppet


class RateTests(SynchronousTestCase):
    """How much one peer may change at once. What is over that is not lost, if it is true: it may come again."""

    def setUp(self) -> None:
        """A directory with room for a few changes at once, and many peers in it."""
        rates = attrs.evolve(LAN, facts_burst=3, facts_interval=10.0, introductions_burst=5, introductions_interval=2.0)
        self.directory = Directory(rates)
        self.many = [peer(number) for number in range(1, 20)]
        self.directory.merge(*(record(puppet, NOW_MS) for puppet in (ALICE, BOB, *self.many)))
        self.directory.news()

    def failed(self) -> int:
        """How many are thought to have failed."""
        return len(list(self.directory.members.others(FAILED)))

    def accuse(self, accuser: Puppet, puppets: Sequence[Puppet]) -> int:
        """Accuse these; how many claims were passed on."""
        for puppet in puppets:
            self.assertTrue(self.directory.merge(claim(accuser, puppet.peer, NOW_MS)))
        return len(self.directory.news())

    def test_accusations(self) -> None:
        """An accuser is believed so often at once, then once each interval; what is over that is only counted."""
        self.assertEqual((self.accuse(ALICE, self.many), self.failed()), (3, 3))
        self.assertEqual(self.directory.turn.counts["claims_over_rate"], 16)
        self.directory.pass_time(21)
        self.assertEqual((self.accuse(ALICE, self.many), self.failed()), (2, 5))
        self.directory.pass_time(1000)
        self.assertEqual(self.accuse(ALICE, self.many), 3)

    def test_accusers_apart(self) -> None:
        """One that accuses too often keeps no other accuser from being believed."""
        self.accuse(ALICE, self.many)
        self.assertEqual(self.accuse(BOB, self.many[10:13]), 3)

    def test_accusations_in_a_page(self) -> None:
        """It makes no difference whether claims come one by one or in a page."""
        claims = [claim(ALICE, puppet.peer, NOW_MS) for puppet in self.many]
        self.directory.merge(*(record(puppet, NOW_MS) for puppet in self.many), *claims)
        self.assertEqual(self.failed(), 3)

    def test_unchecked(self) -> None:
        """A claim over the rate costs no check of its signature, and a forged one costs the accuser nothing."""
        for puppet in self.many[:5]:
            self.assertFalse(self.directory.merge(forged(claim(ALICE, puppet.peer, NOW_MS))))
        self.assertEqual(self.accuse(ALICE, self.many[:3]), 3)
        self.directory.verifier.calls.clear()
        self.assertTrue(self.directory.merge(forged(claim(ALICE, self.many[4].peer, NOW_MS))))
        self.assertEqual(self.directory.verifier.calls.total(), 0)

    def test_own_accusations(self) -> None:
        """We accuse no more often ourselves: others would not believe it."""
        for puppet in self.many:
            self.directory.members.accuse(puppet.peer)
        self.assertEqual((self.failed(), len(self.directory.news())), (3, 3))

    def test_failed_before_it_was_known(self) -> None:
        """A newcomer learns of all that have failed before, though few have found that out."""
        fresh = Directory(self.directory.turn.config)
        claims = [claim(ALICE, puppet.peer, NOW_MS) for puppet in self.many]
        fresh.merge(record(ALICE, NOW_MS), *(record(puppet, NOW_MS) for puppet in self.many), *claims)
        self.assertEqual((len(list(fresh.members.others(FAILED))), fresh.told()), (19, [(Kind.JOINED, ALICE.peer)]))
        self.assertEqual(self.accuse(ALICE, self.many), 3)
        unknown = peer(100)
        self.directory.merge(record(unknown, NOW_MS), claim(ALICE, unknown.peer, NOW_MS))
        self.assertEqual(self.directory.status(unknown), FAILED)
        fresh.merge(record(BOB, NOW_MS))
        fresh.merge(claim(ALICE, BOB.peer, NOW_MS))
        self.assertEqual(fresh.status(BOB), FAILED)

    def test_refuting(self) -> None:
        """Who accuses us time and again makes us refute no more often, nor keeps us from it by accusing others."""
        self.accuse(ALICE, self.many)
        for _ in range(10):
            self.directory.merge(claim(ALICE, OWN, self.directory.members.own.incarnation))
        self.assertEqual((self.directory.turn.counts["refuted"], len(self.directory.news())), (3, 3))
        self.directory.pass_time(10)
        self.directory.merge(claim(ALICE, OWN, self.directory.members.own.incarnation))
        self.assertEqual(self.directory.turn.counts["refuted"], 4)

    def test_new_records_of_one_peer(self) -> None:
        """A peer that says something new of itself all the time is heard at this rate; its last word counts later."""
        for number in range(1, 11):
            self.assertTrue(self.directory.merge(record(ALICE, NOW_MS + number)))
        self.assertEqual((len(self.directory.news()), self.directory.turn.counts["records_over_rate"]), (3, 7))
        self.directory.pass_time(10)
        self.directory.merge(record(ALICE, NOW_MS + 10))
        self.assertEqual(self.directory.members.entries[ALICE.peer].record, record(ALICE, NOW_MS + 10))

    def test_accused_by_many(self) -> None:
        """That others accuse a peer takes nothing of its own ration: it is heard when it refutes."""
        claims = sorted((claim(accuser, ALICE.peer, NOW_MS) for accuser in self.many), key=claim_order)
        for said in claims:
            self.directory.merge(said)
        for number in (1, 2, 3):
            self.directory.merge(record(ALICE, NOW_MS + number))
        self.assertEqual(self.directory.members.entries[ALICE.peer].record.incarnation, NOW_MS + 3)

    def test_claim_beside_a_record_over_the_rate(self) -> None:
        """A claim about the record that is held counts, whatever comes beside it."""
        for number in range(1, 4):
            self.directory.merge(record(ALICE, NOW_MS + number))
        self.directory.merge(record(ALICE, NOW_MS + 4), claim(BOB, ALICE.peer, NOW_MS + 3))
        self.assertEqual(self.directory.status(ALICE), FAILED)

    def test_nothing_left(self) -> None:
        """What is rationed takes memory only for as long as there is something to wait for."""
        self.accuse(ALICE, self.many)
        self.directory.merge(record(ALICE, NOW_MS + 1))
        self.directory.merge(record(CAROL, NOW_MS), source=ALICE)
        members = self.directory.members
        left = [len(b._full_at) for b in (members._accusations, members._renewals, members._introductions)]
        self.assertEqual(left, [1, 1, 1])
        self.directory.pass_time(1000)
        members.expire()
        left = [len(b._full_at) for b in (members._accusations, members._renewals, members._introductions)]
        self.assertEqual(left, [0, 0, 0])

    def test_introductions(self) -> None:
        """One neighbour introduces so many at once, then one each interval; the others are not even checked."""
        unknown = [peer(number) for number in range(100, 120)]
        self.directory.verifier.calls.clear()
        for puppet in unknown:
            self.assertTrue(self.directory.merge(record(puppet, NOW_MS), source=ALICE))
        self.assertEqual((len(self.directory.news()), self.directory.turn.counts["records_over_rate"]), (5, 15))
        self.assertEqual(self.directory.verifier.calls["p2p record"], 5)
        self.directory.merge(*(record(puppet, NOW_MS) for puppet in unknown), source=BOB)
        self.assertEqual(len(self.directory.news()), 5)
        self.directory.pass_time(4)
        self.directory.merge(*(record(puppet, NOW_MS) for puppet in unknown), source=ALICE)
        self.assertEqual(len(self.directory.news()), 2)

    def test_introduces_itself(self) -> None:
        """Who comes itself needs nobody to introduce it, and what is known already needs no introduction."""
        unknown = [peer(number) for number in range(100, 120)]
        self.directory.merge(*(record(puppet, NOW_MS) for puppet in unknown), source=ALICE)
        self.directory.news()
        self.directory.merge(record(CAROL, NOW_MS), source=CAROL)
        self.directory.merge(record(BOB, NOW_MS + 1), source=ALICE)
        self.assertEqual([fact.peer for fact in self.directory.news()], [CAROL.peer, BOB.peer])

    def test_not_admitted(self) -> None:
        """Introducing those who are not admitted, since they departed long ago, costs nothing."""
        for number in range(100, 120):
            self.directory.merge(record(peer(number), NOW_MS - 2 * DAY_MS, "left"), source=ALICE)
        self.directory.merge(record(CAROL, NOW_MS), source=ALICE)
        self.assertEqual(self.directory.status(CAROL), ALIVE)


class TokenBucketTests(SynchronousTestCase):
    """Token buckets, one for each key."""

    def test_burst_and_rate(self) -> None:
        """So many at once, then one each interval, and never more than the burst."""
        buckets = TokenBuckets(3, 2.0)

        def take(now: float) -> int:
            taken = 0
            while buckets.has("key", now):
                buckets.take("key", now)
                taken += 1
            return taken

        self.assertEqual([take(now) for now in (0, 0, 1.9, 2, 5, 6, 1000)], [3, 0, 0, 1, 1, 1, 3])

    def test_forgotten_when_full(self) -> None:
        """A bucket takes memory only while it is not full."""
        buckets = TokenBuckets(3, 2.0)
        for key in range(10):
            buckets.take(key, float(key))
        buckets.expire(6.0)
        self.assertEqual(len(buckets._full_at), 5)
        self.assertTrue(buckets.has(0, 6.0))


class OwnTests(SynchronousTestCase):
    """What a peer says of itself, and against others' words."""

    def test_refutes_claim(self) -> None:
        """Who is declared failed says again that it is alive, above what was claimed, and all hear of it."""
        directory = Directory()
        own = directory.members.own
        directory.merge(record(ALICE, NOW_MS))
        directory.news()
        directory.merge(claim(ALICE, OWN, own.incarnation))
        [refutation] = directory.news()
        assert isinstance(refutation, Record)
        self.assertEqual((refutation.peer, refutation.state), (OWN, "alive"))
        self.assertGreater(refutation.incarnation, own.incarnation)
        other = Directory(number=0x90)
        other.merge(own, record(ALICE, NOW_MS))
        other.merge(claim(ALICE, OWN, own.incarnation))
        self.assertEqual(other.members.entries[OWN].status, FAILED)
        other.merge(refutation)
        self.assertEqual(other.members.entries[OWN].status, ALIVE)

    def test_refutes_earlier_life(self) -> None:
        """Who restarts with a clock that runs behind goes above what the network remembers of it, `left` included."""
        directory = Directory()
        earlier = record(Puppet(0x80), NOW_MS + DAY_MS, "left")
        self.assertEqual(earlier.peer, OWN)
        directory.merge(earlier)
        self.assertEqual(directory.members.own.incarnation, NOW_MS + DAY_MS + 1)
        self.assertEqual(directory.members.entries[OWN].status, ALIVE)
        self.assertEqual(directory.news(), [directory.members.own])

    def test_two_with_one_key(self) -> None:
        """Two processes with one key would contradict each other for ever: each answers a few times, then once a
        minute, but at once where the other one has left, or is held to have failed. Each is told of the other."""
        directory, twin = Directory(), Puppet(0x80)
        met: list[None] = []
        directory.members.on_twin = lambda: met.append(None)
        directory.merge(record(ALICE, NOW_MS))
        for _ in range(10):
            directory.merge(record(twin, directory.members.own.incarnation + 1))
        counts = directory.turn.counts
        self.assertEqual((counts["refuted"], counts["own_records_over_rate"], len(met)), (3, 7, 10))
        directory.pass_time(60)
        directory.merge(record(twin, directory.members.own.incarnation + 1))
        self.assertEqual(counts["refuted"], 4)
        directory.merge(record(twin, directory.members.own.incarnation + 1))
        self.assertEqual(counts["refuted"], 4)
        directory.merge(record(twin, directory.members.own.incarnation + 1, LEFT))
        self.assertEqual(counts["refuted"], 5)
        above = directory.members.own.incarnation + 1
        directory.merge(record(twin, above), claim(ALICE, OWN, above))
        self.assertEqual((counts["refuted"], directory.status(twin)), (6, ALIVE))

    def test_highest_incarnation(self) -> None:
        """Who has our key can't use up all incarnations: nobody believes those, and we can still leave."""
        for state in (ALIVE, LEFT):
            directory, twin = Directory(), Puppet(0x80)
            directory.merge(record(twin, 2**53 - 2))
            self.assertEqual(directory.members.own.incarnation, NOW_MS)
            directory.merge(record(twin, LATEST - 1))
            self.assertEqual(directory.members.own.incarnation, LATEST)
            directory.news()
            directory.merge(record(twin, 2**53 - 1, state, ("10.7.7.7", 1)))
            directory.members.leave()
            for said in (directory.members.own, *directory.news()):
                self.assertLess(said.incarnation, 2**53)
            self.assertEqual(directory.members.own.state, LEFT)

    def test_old_words_about_oneself(self) -> None:
        """An earlier word about oneself needs no answer."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS))
        directory.news()
        directory.merge(record(Puppet(0x80), NOW_MS - 1))
        directory.merge(claim(ALICE, OWN, NOW_MS - 1))
        self.assertEqual((directory.news(), directory.turn.counts["refuted"]), ([], 0))

    def test_leaving_is_not_refuted(self) -> None:
        """Who has left and hears that it is dead says again that it left, and does not come alive."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS))
        directory.members.leave()
        directory.merge(record(Puppet(0x80), NOW_MS + 10_000))
        self.assertEqual(directory.members.own.state, "left")
        self.assertGreater(directory.members.own.incarnation, NOW_MS + 10_000)

    def test_withdrawn(self) -> None:
        """Who is about to join another network is in no directory, and says nothing."""
        directory = Directory()
        directory.members.introduce("10.0.0.9", 5050, above=NOW_MS)
        directory.members.withdraw()
        self.assertEqual((directory.news(), list(directory.members.entries)), ([], []))
        self.assertEqual(directory.members.digest.hashes(), {})

    def test_accusing(self) -> None:
        """An accusation is signed, dated and flooded, and stands in one's own directory at once."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS))
        directory.news()
        directory.members.accuse(ALICE.peer)
        [accusation] = directory.news()
        assert isinstance(accusation, Claim)
        said = (accusation.peer, accusation.incarnation, accusation.accuser, accusation.time)
        self.assertEqual(said, (ALICE.peer, NOW_MS, OWN, NOW_MS))
        self.assertEqual(directory.status(ALICE), FAILED)
        directory.members.accuse(ALICE.peer)
        self.assertEqual(directory.news(), [])


class ToldTests(SynchronousTestCase):
    """What the application is told: changes of the directory, each once."""

    def setUp(self) -> None:
        self.directory = Directory()
        self.directory.merge(record(BOB, NOW_MS))
        self.directory.told()

    def told(self, *facts: Fact) -> list[Kind]:
        """What is told of these facts."""
        self.directory.merge(*facts)
        return [kind for kind, peer in self.directory.told() if peer == ALICE.peer]

    def test_a_life(self) -> None:
        """Joined, failed, back again, left: each change is told once, in this order."""
        self.assertEqual(self.told(record(ALICE, NOW_MS)), [Kind.JOINED])
        self.assertEqual(self.told(record(ALICE, NOW_MS)), [])
        self.assertEqual(self.told(claim(BOB, ALICE.peer, NOW_MS)), [Kind.FAILED])
        self.assertEqual(self.told(claim(BOB, ALICE.peer, NOW_MS, BEGINNING + 1)), [])
        self.assertEqual(self.told(record(ALICE, NOW_MS + 1)), [Kind.JOINED])
        self.assertEqual(self.told(record(ALICE, NOW_MS + 2)), [])
        self.assertEqual(self.told(record(ALICE, NOW_MS + 3, "left")), [Kind.LEFT])
        self.assertEqual(self.told(record(ALICE, NOW_MS + 3, "left")), [])

    def test_failed_then_left(self) -> None:
        """A peer that had failed and turns out to have left is not told of again."""
        self.told(record(ALICE, NOW_MS))
        self.told(claim(BOB, ALICE.peer, NOW_MS))
        self.assertEqual(self.told(record(ALICE, NOW_MS, "left")), [])

    def test_left_before_it_was_known(self) -> None:
        """A peer that is first heard of as having left never joined."""
        self.assertEqual(self.told(record(ALICE, NOW_MS, "left")), [])
        self.assertEqual(self.directory.status(ALICE), LEFT)

    def test_moved(self) -> None:
        """A new address is told, so that lists of nodes show it."""
        self.told(record(ALICE, NOW_MS))
        self.directory.merge(record(ALICE, NOW_MS + 1, address=("10.9.9.9", 9)))
        [changed] = [told for told in self.directory.turn.take() if isinstance(told, Changed)]
        self.assertEqual((changed.kind, changed.ip_addr, changed.port), (Kind.JOINED, "10.9.9.9", 9))


class FutureTests(SynchronousTestCase):
    """Times that lie too far ahead of our clock (cases 58): their clock is wrong, or ours."""

    def setUp(self) -> None:
        """Alice and Bob are known."""
        self.directory = Directory()
        self.directory.merge(record(ALICE, NOW_MS), record(BOB, NOW_MS))

    def test_record(self) -> None:
        """A record is believed up to the bound, and above it neither stored nor held against who brings it."""
        for ahead, is_believed in ((-1, True), (0, True), (1, False)):
            directory = Directory()
            self.assertTrue(directory.merge(record(ALICE, LATEST + ahead)))
            self.assertEqual(directory.status(ALICE), ALIVE if is_believed else "", ahead)
            self.assertEqual(directory.turn.counts["records_from_the_future"], not is_believed)

    def test_record_of_one_known(self) -> None:
        """What is known of a peer stands against its record from the future, and a claim about that counts."""
        self.directory.merge(record(ALICE, LATEST + 1), claim(BOB, ALICE.peer, NOW_MS))
        self.assertEqual(self.directory.members.entries[ALICE.peer].record.incarnation, NOW_MS)
        self.assertEqual(self.directory.status(ALICE), FAILED)

    def test_as_time_goes_by(self) -> None:
        """It is believed once it is no longer so far ahead."""
        self.directory.pass_time(1)
        self.directory.merge(record(CAROL, LATEST + 1000))
        self.assertEqual(self.directory.status(CAROL), ALIVE)

    def test_claim(self) -> None:
        """A claim from the future says nothing."""
        self.assertTrue(self.directory.merge(claim(BOB, ALICE.peer, NOW_MS, (LATEST + 1) / 1000)))
        self.assertEqual(self.directory.status(ALICE), ALIVE)
        self.assertEqual(self.directory.turn.counts["claims_from_the_future"], 1)
        self.directory.merge(claim(BOB, ALICE.peer, NOW_MS, LATEST / 1000))
        self.assertEqual(self.directory.status(ALICE), FAILED)

    def test_own(self) -> None:
        """A record of ours from the future, which nobody believes, is not exceeded: nor would anybody believe that."""
        self.directory.merge(record(Puppet(0x80), LATEST + 1))
        self.assertEqual(self.directory.members.own.incarnation, NOW_MS)
        self.directory.members.introduce("10.0.0.1", 5050, above=LATEST + 1)
        self.assertEqual(self.directory.members.own.incarnation, NOW_MS)
        self.directory.members.introduce("10.0.0.1", 5050, above=LATEST - 1)
        self.assertEqual(self.directory.members.own.incarnation, LATEST)

    def test_kept(self) -> None:
        """What was kept while our own clock was wrong is not taken over into a life in which it is right."""
        later = Directory()
        later.pass_time(1)
        later.merge(record(ALICE, LATEST + 1), record(BOB, LATEST))
        kept = [later.members.kept(puppet.peer) for puppet in (ALICE, BOB)]
        directory = Directory()
        directory.members.restore(one for one in kept if one is not None)
        self.assertEqual((directory.status(ALICE), directory.status(BOB)), ("", ALIVE))


class RangeTests(SynchronousTestCase):
    """Peers by address range (cases 38)."""

    def invented(self, number: int, host: str) -> Record:
        """A record of a peer that somebody has made up."""
        signer = CheapSigner(f"{number:08x}".rjust(64, "e"))
        data = wire.record_bytes(NETWORK, signer.peer, NOW_MS, "alive", host, 5050, "")
        return Record(signer.peer, NOW_MS, "alive", host, 5050, signer.sign(data))

    def flooded(self, count: int, order: int = 1) -> Directory:
        """A directory for 50 others that 20 honest peers, each in a /16 of its own, are in, and a flood of one /16."""
        directory = Directory(attrs.evolve(LAN, max_peers=51))
        for number in range(20):
            directory.merge(self.invented(number, f"20.{number}.1.1"))
        for number in range(count)[::order]:
            directory.merge(self.invented(1000 + number, f"66.6.{number % 256}.1"))
        return directory

    def test_full_of_one_range(self) -> None:
        """A flood of invented peers of one /16 drives out none in another range, and those join all the same."""
        for count in (30, 31, 3000):
            directory = self.flooded(count)
            hosts = [record.ip_addr for record in directory.members.others()]
            self.assertEqual(len(hosts), 50)
            self.assertEqual(sum(host.startswith("20.") for host in hosts), 20, count)
        for number in range(20, 30):
            directory.merge(self.invented(number, f"20.{number}.1.1"))
        hosts = [record.ip_addr for record in directory.members.others()]
        self.assertEqual((len(hosts), sum(host.startswith("20.") for host in hosts)), (50, 30))

    def test_equal(self) -> None:
        """Full directories are equal, in whatever order the flood came: so comparing them ends."""
        one, other = self.flooded(500), self.flooded(500, order=-1)
        self.assertEqual(one.members.digest.root(), other.members.digest.root())
        held = [entry.record for entry in one.members.entries.values() if entry.record.peer != OWN]
        before = other.members.digest.root()
        other.merge(*held)
        self.assertEqual(other.members.digest.root(), before)

    def test_tried_before_new(self) -> None:
        """In the range that is flooded those stay that a dial of ours has found."""
        directory = Directory(attrs.evolve(LAN, max_peers=11))
        tried = Puppet(0xFF)
        directory.merge(record(tried, NOW_MS))
        directory.members.found(tried.peer)
        for number in range(100):
            directory.merge(self.invented(number, f"10.0.1.{number}"))
        self.assertEqual(directory.status(tried), ALIVE)
        self.assertEqual(directory.members.living, 10)

    def test_rationed(self) -> None:
        """One for whom there is no room counts as a first record of its source: refusing it costs as much."""
        directory = self.flooded(30)
        config = directory.turn.config
        for number in range(config.introductions_burst + 10):
            directory.merge(self.invented(0x10000 + number, "66.6.0.9"), source=BOB)
        self.assertEqual(directory.turn.counts["records_over_rate"], 10)

    def test_told(self) -> None:
        """The application is told of each that is forgotten."""
        directory = self.flooded(30)
        self.assertEqual([peer for kind, peer in directory.told() if kind is Kind.FORGOTTEN], [])
        directory.merge(self.invented(20, "20.20.1.1"))
        forgotten = [peer for kind, peer in directory.told() if kind is Kind.FORGOTTEN]
        self.assertEqual(len(forgotten), 1)
        self.assertNotIn(forgotten[0], directory.members.entries)

    def test_moved(self) -> None:
        """Who was found at one address was not found at another one."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS))
        directory.members.found(ALICE.peer)
        directory.merge(record(ALICE, NOW_MS + 1))
        self.assertIn(ALICE.peer, directory.members.tried)
        directory.merge(record(ALICE, NOW_MS + 2, address=("10.0.2.1", 5050)))
        self.assertNotIn(ALICE.peer, directory.members.tried)

    def test_sample(self) -> None:
        """Of a sample one range gets half, whatever its number; those that were found, up to a quarter, stay."""
        directory = Directory(attrs.evolve(LAN, max_known=20))
        for number in range(20):
            directory.merge(self.invented(number, f"20.{number}.1.1"))
        for number in range(5):
            directory.members.found(self.invented(number, f"20.{number}.1.1").peer)
        for number in range(3000):
            directory.merge(self.invented(1000 + number, f"66.6.{number % 256}.1"))
        hosts = [record.ip_addr for record in directory.members.others()]
        self.assertEqual((len(hosts), sum(host.startswith("66.") for host in hosts)), (20, 11))
        self.assertLessEqual({f"20.{number}.1.1" for number in range(5)}, {*hosts})

    def test_spread(self) -> None:
        """A thousand of one range are drawn as rarely as one of another."""
        directory = Directory()
        for number in range(9):
            directory.merge(self.invented(number, f"20.{number}.1.1"))
        for number in range(1000):
            directory.merge(self.invented(1000 + number, f"66.6.{number % 20}.1"))
        firsts = [next(directory.members.spread()).ip_addr for _ in range(1000)]
        self.assertTrue(50 < sum(host.startswith("66.") for host in firsts) < 150)
        named = [[record for record, _ in zip(directory.members.mixed(), range(8), strict=False)] for _ in range(50)]
        self.assertTrue(all(sum(record.ip_addr.startswith("20.") for record in records) >= 3 for records in named))

    def test_spread_tried(self) -> None:
        """Every other time those come first that were found: inventing addresses in many ranges does not help."""
        directory = Directory()
        directory.merge(record(ALICE, NOW_MS))
        directory.members.found(ALICE.peer)
        for number in range(1000):
            directory.merge(self.invented(number, f"{20 + number // 200}.{number % 200}.1.1"))
        firsts = [next(directory.members.spread()).peer for _ in range(1000)]
        self.assertTrue(430 < firsts.count(ALICE.peer) < 570, firsts.count(ALICE.peer))

    def test_one_range(self) -> None:
        """Where all are in one range nothing is different from a draw by chance."""
        directory = Directory()
        for number in range(50):
            directory.merge(self.invented(number, f"10.0.1.{number}"))
        self.assertEqual(len({record.peer for record in directory.members.spread()}), 50)
        self.assertEqual(len({record.peer for record in directory.members.mixed()}), 50)


class ExpiryTests(SynchronousTestCase):
    """How long a departed peer is remembered."""

    keep = 100.0

    def setUp(self) -> None:
        self.directory = Directory(attrs.evolve(LAN, departed_keep=self.keep))
        self.directory.merge(record(ALICE, NOW_MS), record(BOB, NOW_MS), record(CAROL, NOW_MS, "left"))
        self.directory.merge(claim(BOB, ALICE.peer, NOW_MS, BEGINNING + 10))

    def left_after(self, seconds: float) -> tuple[int, set[str]]:
        """How many are forgotten at that time, and who is left."""
        self.directory.turn.timers.advance(BEGINNING + seconds, 1e9)
        forgotten = self.directory.members.expire()
        return len(forgotten), set(self.directory.state())

    def test_forgotten_in_time(self) -> None:
        """Those who left or failed are forgotten when their time is over, counted from then; the living are not."""
        self.assertEqual(self.left_after(100), (0, {ALICE.peer, BOB.peer, CAROL.peer}))
        self.assertEqual(self.left_after(100.5), (1, {ALICE.peer, BOB.peer}))
        self.assertEqual(self.left_after(110), (0, {ALICE.peer, BOB.peer}))
        self.assertEqual(self.left_after(110.5), (1, {BOB.peer}))
        self.assertEqual(self.left_after(1e6), (0, {BOB.peer}))

    def test_digest(self) -> None:
        """A directory that has forgotten is like one that never knew."""
        self.left_after(1000)
        fresh = Directory(attrs.evolve(LAN, departed_keep=self.keep))
        fresh.merge(record(BOB, NOW_MS))
        self.assertEqual(self.directory.members.digest.root(), fresh.members.digest.root())

    def test_not_learnt_again(self) -> None:
        """Who is forgotten is not learnt again from one whose memory is longer."""
        self.left_after(1000)
        self.directory.merge(record(CAROL, NOW_MS, "left"))
        self.directory.merge(record(ALICE, NOW_MS), claim(BOB, ALICE.peer, NOW_MS, BEGINNING + 10))
        self.assertEqual(set(self.directory.state()), {BOB.peer})

    def test_learnt_in_time(self) -> None:
        """Who departed not longer ago than that is learnt; no longer ago, and no later ahead, by clocks that differ."""
        for ahead, learnt in ((-100.001, False), (-100.0, True), (0.0, True), (100.0, True), (100.001, False)):
            fresh = Directory(attrs.evolve(LAN, departed_keep=self.keep))
            fresh.merge(record(CAROL, NOW_MS + round(ahead * 1000), "left"))
            fresh.merge(record(BOB, NOW_MS))
            fresh.merge(record(ALICE, NOW_MS), claim(BOB, ALICE.peer, NOW_MS, BEGINNING + ahead))
            known = {ALICE.peer, BOB.peer, CAROL.peer} if learnt else {BOB.peer}
            self.assertEqual(set(fresh.state()), known, ahead)

    def test_far_future(self) -> None:
        """A time far ahead keeps nobody in the directory for ever: it is then counted from when we heard of it."""
        self.directory.merge(record(CAROL, LATEST, "left"))
        self.directory.merge(record(ALICE, NOW_MS + 1))
        self.directory.merge(claim(BOB, ALICE.peer, NOW_MS + 1, LATEST / 1000))
        self.assertEqual((self.directory.status(ALICE), self.directory.status(CAROL)), (FAILED, LEFT))
        self.assertEqual(self.left_after(100), (0, {ALICE.peer, BOB.peer, CAROL.peer}))
        self.assertEqual(self.left_after(100.5), (2, {BOB.peer}))

    def test_far_future_is_not_learnt_again(self) -> None:
        """Nor do others who still remember bring it back, time and again."""
        facts = [record(CAROL, LATEST, "left"), record(ALICE, NOW_MS), claim(BOB, ALICE.peer, NOW_MS, LATEST / 1000)]
        self.directory.merge(*facts)
        self.left_after(1000)
        self.directory.merge(*facts)
        self.assertEqual(set(self.directory.state()), {BOB.peer})
