"""Who may join, in a network: keys that change, and peers that are left out. Rows are of the case list."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.access import Access, PeerList, derive_key
from twisted_p2p.core.actions import Kind, Reason
from twisted_p2p.sim.checks import settles
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.scenarios import build, key_steps, say
from twisted_p2p.sim.world import World


def failed(peers: list[SimPeer]) -> set[str]:
    """Who was declared failed, as told to any of these."""
    return {change.peer for peer in peers for change in peer.changes if change.kind is Kind.FAILED}


def lose_links(world: World) -> None:
    """All connections break."""
    for peer in world.running:
        for number in list(peer.connections):
            peer.do(lambda now, peer=peer, number=number: peer.core.link_fault(number, Reason.CLOSED, now))  # type: ignore[misc]
    assert not any(peer.connections for peer in world.running)


class KeyChangeTests(SynchronousTestCase):
    """The key is changed in steps, in any order (row 26)."""

    def test_halves(self) -> None:
        """Whichever half takes a step first, at each one all links can be lost and are made anew across the halves,
        newcomers of both halves join through the other one, and everybody hears everybody."""
        for seed, first in ((1, slice(0, 4)), (2, slice(4, 8)), (3, slice(0, 8, 2))):
            world = World(seed)
            world.access, *steps = key_steps(world.network)
            members = build(world, 8)
            halves = members[first], [peer for peer in members if peer not in members[first]]
            for step in steps:
                for half, other in (halves, halves[::-1]):
                    for peer in half:
                        peer.admit(step)
                    lose_links(world)
                    self.assertEqual(settles(world, 30), [])
                    world.access = step
                    newcomer = world.newcomer(world.rng.choice(other))
                    say(world.running)
                    self.assertEqual(settles(world, 20), [], (seed, step))
                    newcomer.leave()
                    self.assertEqual(settles(world, 20), [])
            self.assertEqual(failed(members), set())
            self.assertEqual(
                {link.key for peer in members for link in peer.core.links.by_id.values()}, {*steps[2].keys}
            )

    def test_too_fast(self) -> None:
        """Without the steps between, the halves part; who was left behind is not dead, and is back with the new key."""
        world = World(1)
        steps = key_steps(world.network)
        world.access = steps[0]
        members = build(world, 8)
        for peer in members[:4]:
            peer.admit(steps[3])
        world.run(120)
        say(members)
        world.run(20)
        self.assertNotEqual(settles(world, 1), [])
        self.assertEqual(failed(members), set())
        for peer in members[4:]:
            peer.admit(steps[3])
        self.assertEqual(settles(world, 60), [])

    def test_left_behind_and_dead(self) -> None:
        """Whoever does not admit the others, and then dies, is found to have failed all the same."""
        world = World(1)
        steps = key_steps(world.network)
        world.access = steps[0]
        members = build(world, 8)
        for peer in members[1:]:
            peer.admit(steps[3])
        world.run(60)
        self.assertEqual(failed(members), set())
        members[0].kill()
        world.run(120)
        self.assertEqual(failed(members[1:]), {members[0].peer})


class LeftOutTests(SynchronousTestCase):
    """Peers that others do not admit."""

    def test_without_the_key(self) -> None:
        """Who lacks the key hears of nobody but whom it has dialled, however long it tries."""
        world = World(1)
        world.access = key_steps(world.network)[0]
        members = build(world, 8)
        for access in (Access(), Access((derive_key(b"guessed, guessed", world.network),))):
            world.access = access
            stranger = world.newcomer(members[0])
            say(members)
            world.run(60)
            self.assertIsNone(stranger.member_since)
            self.assertEqual([*stranger.core.membership.entries], [])
            self.assertEqual(stranger.received, [])
            self.assertEqual({change.reason for change in stranger.changes}, {"not-admitted"})
            for peer in members:
                self.assertNotIn(stranger.peer, peer.core.membership.entries)

    def test_denied_by_all(self) -> None:
        """Who is denied by all is cut off, and declared failed by nobody; forgiven, it gets all that it has missed."""
        world = World(1)
        members = build(world, 12)
        denied, others = members[3], members[:3] + members[4:]
        for number, peer in enumerate(others):
            peer.admit(Access(deny=PeerList.of([denied.peer])))
            world.run(1 if number % 2 else 0)
        say(others)
        world.run(120)
        self.assertEqual(denied.core.overlay.active, {})
        self.assertEqual(denied.received, [])
        self.assertEqual(failed(members), set())
        for peer in others:
            peer.admit(Access())
        self.assertEqual(settles(world, 60), [])
        self.assertEqual(len(denied.received), len(others))

    def test_denied_by_one(self) -> None:
        """What a denied peer says comes by others all the same: a deny list is no filter."""
        world = World(1)
        members = build(world, 8)
        denied, one = members[2], members[5]
        one.admit(Access(deny=PeerList.of([denied.peer])))
        world.run(60)
        self.assertNotIn(denied.peer, one.core.overlay.active)
        say([denied])
        self.assertEqual(settles(world, 10), [])
        self.assertEqual([bundle.origin for bundle in one.received], [denied.peer])
        self.assertEqual(failed(members), set())
