"""What may happen to a network, each as a function of a world. Its first line says what; `QUIET` how soon it is over.

A scenario builds a network, lets things happen to it, and returns the virtual seconds within which the world must have
come to rest: nothing missing, nothing left over, every check of `checks` holding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import attrs
from nacl.signing import SigningKey

from twisted_p2p.core.access import Access, PeerList, derive_key
from twisted_p2p.core.wire import History
from twisted_p2p.identity import Ed25519Signer, Ed25519Verifier
from twisted_p2p.sim.checks import settles
from twisted_p2p.sim.peer import Address, Commit, SimPeer
from twisted_p2p.sim.signing import CheapSigner
from twisted_p2p.sim.world import World

Scenario = Callable[[World, int], float]

JOIN_LIMIT = 30.0
"""Virtual seconds within which any number of peers that start at once have joined and know each other."""
SPEAKERS = 20
"""Peers that talk in a scenario of any size; in everyone-talks it is all of them."""

SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Put it on the list, under its own name with hyphens."""
    SCENARIOS[function.__name__.replace("_", "-")] = function
    return function


class Violated(Exception):
    """The network that a scenario begins with did not come about, or it went wrong on the way.

    Its arguments are the violations.
    """


def say(peers: Sequence[SimPeer], count: int = 1, text: str | None = None, at_once: int = 1) -> None:
    """Each of these peers, in turn, broadcasts `at_once` messages, `count` times; stopped ones do not."""
    for _ in range(count):
        for peer in peers:
            peer.broadcast([_encoded(peer, len(peer.said) + n, text) for n in range(at_once)])


def _encoded(peer: SimPeer, number: int, text: str | None) -> bytes:
    words = f"{peer.name} says {number}" if text is None else text
    identity = f"{peer.peer[:48]}{number:016x}"
    return f'{{"id":"{identity}","time":{peer.world.now!r},"values":["{words}"]}}'.encode()


def build(world: World, peers: int) -> list[SimPeer]:
    """A genesis, and others that join through it at once."""
    world.genesis()
    for _ in range(peers - 1):
        world.newcomer()
    _settled(world)
    return list(world.peers)


KNOWN = 24
"""Peers that each knows in a_sample_each."""


def _settled(world: World) -> None:
    found = settles(world, JOIN_LIMIT)
    if found:
        raise Violated(*found)


def _talk(world: World, peers: Sequence[SimPeer], seconds: float, pause: float = 1.0) -> None:
    """Somebody of `peers` says something each `pause` seconds; each of `SPEAKERS` gets a word every round."""
    speakers = world.rng.sample(list(peers), min(SPEAKERS, len(peers)))
    for _ in range(round(seconds / pause)):
        say([peer for peer in speakers if peer.running])
        world.run(pause)


@scenario
def join_one_by_one(world: World, peers: int) -> float:
    """Peers join one after another through the genesis, and some say something as soon as they have."""
    world.genesis()
    for _ in range(peers - 1):
        newcomer = world.newcomer()
        world.run_until(lambda: world.peers[-1].member_since is not None, JOIN_LIMIT)
        if len(world.peers) % max(1, peers // SPEAKERS) == 0:
            say([newcomer])
    return 10


@scenario
def join_at_once(world: World, peers: int) -> float:
    """All peers start in the same instant, and say something within the first seconds."""
    world.genesis()
    for _ in range(peers - 1):
        world.newcomer()
    for _ in range(5):
        world.run(0.5)
        say([peer for peer in world.peers if peer.member_since is not None][-SPEAKERS:])
    return JOIN_LIMIT


@scenario
def newcomers_through_each_other(world: World, peers: int) -> float:
    """Two newcomers at once are told to join through each other and through the genesis."""
    members = build(world, peers)
    say(members)
    world.run(1)
    one, other = world.add(), world.add()
    one.start()
    other.start()
    one.join([other.address, members[0].address])
    other.join([one.address, members[0].address])
    say(members)
    return 15


@scenario
def genesis_comes_late(world: World, peers: int) -> float:
    """Peers start before their genesis does."""
    genesis = world.add()
    for _ in range(peers - 1):
        world.newcomer(genesis)
    world.run(5)
    genesis.start()
    genesis.join([], genesis=True)
    return JOIN_LIMIT


@scenario
def everyone_talks(world: World, peers: int) -> float:
    """Every peer says ten things, all at the same time."""
    say(build(world, peers), 10)
    return 10


@scenario
def one_talks_much(world: World, peers: int) -> float:
    """One peer says a thousand things in ten bursts."""
    members = build(world, peers)
    speaker = world.rng.choice(members)
    for _ in range(10):
        say([speaker], 100)
        world.run(0.1)
    return 10


@scenario
def third_dies(world: World, peers: int) -> float:
    """A third of the peers dies at once, neighbours together, while everybody talks."""
    members = build(world, peers)
    by_id = {peer.peer: peer for peer in members}
    victims: dict[str, None] = {}
    queue = [world.rng.choice(members).peer]
    while queue and len(victims) < peers // 3:
        victim = queue.pop(0)
        victims[victim] = None
        queue += [other for other in by_id[victim].core.overlay.active if other not in victims]
    say(members[:SPEAKERS])
    world.run(0.003)
    for victim in victims:
        by_id[victim].kill()
    _talk(world, world.running, 3)
    return 40


@scenario
def freeze_and_thaw(world: World, peers: int) -> float:
    """A peer is stopped for a minute, is declared failed, and goes on; another one stops for three seconds only."""
    members = build(world, peers)
    long, short = world.rng.sample(members, 2)
    long.freeze()
    short.freeze()
    _talk(world, members, 3)
    short.thaw()
    _talk(world, members, 57)
    long.thaw()
    return 30


@scenario
def link_cut(world: World, peers: int) -> float:
    """Nothing gets through between two neighbours for half a minute."""
    return _cut(world, peers, both=True)


@scenario
def link_cut_one_way(world: World, peers: int) -> float:
    """Nothing gets from one neighbour to another for half a minute, but all does the other way."""
    return _cut(world, peers, both=False)


def _cut(world: World, peers: int, both: bool) -> float:
    members = build(world, peers)
    one = world.rng.choice(members)
    neighbour = world.rng.choice(list(one.core.overlay.active))
    world.cut(one, next(peer for peer in members if peer.peer == neighbour), both)
    _talk(world, members, 30)
    world.heal()
    return 20


@scenario
def halves_partitioned(world: World, peers: int) -> float:
    """The network is cut in two halves for a minute, and both go on talking."""
    members = build(world, peers)
    shuffled = world.rng.sample(members, len(members))
    world.partition(shuffled[: peers // 2], shuffled[peers // 2 :])
    _talk(world, members, 60)
    world.heal()
    return 60


@scenario
def halves_apart_for_longer_than_logs(world: World, peers: int) -> float:
    """The network is cut in two halves, which go on talking, for a minute longer than logs are kept, half a minute."""
    world.config = attrs.evolve(world.config, retention_age=30.0)
    members = build(world, peers)
    shuffled = world.rng.sample(members, len(members))
    world.partition(shuffled[: peers // 2], shuffled[peers // 2 :])
    _talk(world, members, 30)
    world.run(150)
    world.heal()
    return 120


@scenario
def genesis_comes_back_empty(world: World, peers: int) -> float:
    """The genesis dies; a newcomer joins through another peer; the genesis returns with nothing; all is one network."""
    members = build(world, peers)
    say(members[:SPEAKERS])
    world.run(1)
    members[0].kill()
    world.run(2)
    world.newcomer(world.rng.choice(members[1:]))
    _talk(world, world.running, 20)
    again = world.genesis(address=members[0].address)
    world.run(1)
    say([again])
    world.newcomer(again)
    _talk(world, world.running, 5)
    return 60


@scenario
def some_restart(world: World, peers: int) -> float:
    """A third of the peers dies while everybody talks; they come back with their logs, and say more at once."""
    members = build(world, peers)
    dead = world.rng.sample(members, max(1, peers // 3))
    _talk(world, members, 5)
    say(dead, 3)
    for peer in dead:
        peer.kill()
    _talk(world, members, 10)
    for peer in dead:
        world.at(world.now + world.rng.uniform(0, 5), peer.restart)
        world.at(world.now + world.rng.uniform(5, 8), partial(say, [peer], 3))
    _talk(world, members, 10)
    return 60


@scenario
def all_restart(world: World, peers: int) -> float:
    """Everybody dies in the same instant, in the middle of a word; in half a minute all are back with their logs."""
    members = build(world, peers)
    _talk(world, members, 5)
    say(members, 2)
    world.run(0.003)
    for peer in members:
        peer.kill()
    for peer in members:
        world.at(world.now + world.rng.uniform(0, 30), peer.restart)
    world.run(5)
    say(world.running)
    world.run(26)
    say(members)
    return 60


@scenario
def old_copy_of_the_log(world: World, peers: int) -> float:
    """Peers come back with a copy of their disks that is five seconds old, and talk before they have met anybody."""
    members = build(world, peers)
    victims = world.rng.sample(members, max(1, peers // 5))
    _talk(world, members, 3)
    say(victims, 2)
    copies = [(peer, peer.snapshot()) for peer in victims]
    world.run(5)
    say(victims, 3)
    world.run(2)
    for peer, copy in copies:
        peer.kill()
        world.run(1)
        peer.restore(copy)
        peer.restart()
        say([peer], 2)
    _talk(world, members, 10)
    return 60


@scenario
def disks_fail(world: World, peers: int) -> float:
    """While everybody talks, processes die just before or after a commit, and disks refuse one."""
    members = build(world, peers)

    def fail(peer: SimPeer) -> Commit:
        if world.rng.random() < 0.01:
            ends = world.rng.choice([Commit.FAILS, Commit.DIES_BEFORE, Commit.DIES_AFTER])
            if ends is not Commit.FAILS:
                world.callLater(world.rng.uniform(0.5, 5), peer.restart)
            return ends
        return Commit.WORKS

    for peer in members:
        peer.on_commit = partial(fail, peer)
    _talk(world, members, 30, pause=0.5)
    for peer in members:
        peer.on_commit = lambda: Commit.WORKS
    world.run(6)
    say(world.running)
    return 60


@scenario
def newcomers_with_history(world: World, peers: int) -> float:
    """After a minute of talk, peers join and ask for all that was said, for its last half minute, or its last words."""
    members = build(world, peers)
    _talk(world, members, 60)
    for history in (History(), History(age=30.0), History(count=25)):
        newcomer = world.add()
        newcomer.history = history
        newcomer.start()
        newcomer.join([world.peers[0].address])
        world.run(3)
    say(world.running)
    return 60


@scenario
def slow_reader(world: World, peers: int) -> float:
    """For two minutes a peer reads a few kilobytes a second, while another says far more than that."""
    members = build(world, peers)
    slow, speaker = world.rng.sample(members, 2)
    slow.read_rate = 20_000
    for _ in range(120):
        say([speaker], text="x" * 2_000, at_once=20)
        world.run(1)
    slow.read_rate = 0
    return 60


@scenario
def leave_while_talking(world: World, peers: int) -> float:
    """A peer leaves in the middle of its own speech and everybody else's."""
    members = build(world, peers)
    leaver = world.rng.choice(members)
    say(members[:SPEAKERS], 2)
    say([leaver], 100)
    leaver.leave()
    say([peer for peer in members[:SPEAKERS] if peer is not leaver], 2)
    return 15


@scenario
def clocks_step(world: World, peers: int) -> float:
    """The wall clocks of some peers jump by an hour, forwards or back, twice."""
    members = build(world, peers)
    for _ in range(2):
        for peer in world.rng.sample(members, max(1, peers // 4)):
            peer.clock_error += world.rng.choice((-3600, 3600))
        _talk(world, members, 10)
    return 30


@scenario
def two_with_one_key(world: World, peers: int) -> float:
    """Two processes begin in the same millisecond with the same key, and talk; after five seconds one is stopped."""
    members = build(world, peers)
    one = world.newcomer()
    other = world.newcomer(signer=CheapSigner(one.peer))
    world.run(1)
    for _ in range(10):
        say([one, *members[:SPEAKERS], other, other])
        world.run(0.5)
    one.kill()
    _talk(world, [*members, other], 5)
    return 30


@scenario
def quiet_origin_and_newcomer(world: World, peers: int) -> float:
    """A peer is silent for three times as long as logs are kept, two minutes; a newcomer hears just its new words."""
    world.config = attrs.evolve(world.config, retention_age=120.0)
    members = build(world, peers)
    speaker = world.rng.choice(members)
    say([speaker], 5)
    world.run(3 * world.config.retention_age)
    world.newcomer()
    world.run(5)
    say([speaker], 5)
    return 15


@scenario
def flood_while_away(world: World, peers: int) -> float:
    """A peer is down while the others say a little, and one so much that every log is full three times over."""
    world.config = attrs.evolve(world.config, retention_count=20 * peers)
    members = build(world, peers)
    flooder, away = world.rng.sample(members[1:], 2)
    away.kill()
    for _ in range(3):
        say([peer for peer in members if peer is not flooder])
        say([flooder], 20 * peers)
        world.run(5)
    away.restart()
    return 60


@scenario
def equal_texts(world: World, peers: int) -> float:
    """Two peers say the same text two thousand times each, alone and many at once."""
    members = build(world, peers)
    speakers = world.rng.sample(members, 2)
    for _ in range(20):
        say(speakers, 10, "the same")
        say(speakers, 1, "the same", at_once=90)
        world.run(0.05)
    return 10


@scenario
def real_signatures(world: World, peers: int) -> float:
    """Peers with real keys join and talk, and one of them dies; all other scenarios sign with a hash."""
    world.verifier = Ed25519Verifier()
    for _ in range(peers):
        signer = Ed25519Signer(SigningKey(world.rng.randbytes(32)))
        if world.peers:
            world.newcomer(signer=signer)
        else:
            world.genesis(signer=signer)
    _settled(world)
    world.rng.choice(world.peers).kill()
    _talk(world, world.peers, 5)
    return 30


@scenario
def narrow_links(world: World, peers: int) -> float:
    """Every connection carries just 50 kilobytes a second, and a peer says ten times as much in a burst."""
    world.bandwidth = 50_000
    members = build(world, peers)
    say([world.rng.choice(members)], 250, "x" * 2_000)
    _talk(world, members, 10)
    return 60


@scenario
def returns_over_narrow_links(world: World, peers: int) -> float:
    """A peer comes back after the others have said much, over connections that carry 20 kilobytes a second each."""
    members = build(world, peers)
    late = world.rng.choice(members[1:])
    late.kill()
    world.run(1)
    say(world.running, 3, "x" * 30_000)
    world.run(5)
    world.bandwidth = 20_000
    late.restart()
    for _ in range(10):
        world.run(6)
        say([world.rng.choice(members)])
    return 400


@scenario
def joins_behind_one_router(world: World, peers: int) -> float:
    """Twelve times as many peers as usual, behind one address, start at once, and join through a genesis elsewhere."""
    world.genesis(address=("30.1.1.1", 5050))
    for number in range(1, 12 * peers):
        world.newcomer(address=("20.1.1.1", 5050 + number))
    for _ in range(3):
        world.run(1)
        say([peer for peer in world.peers if peer.member_since is not None][-SPEAKERS:])
    return JOIN_LIMIT


@scenario
def churn(world: World, peers: int) -> float:
    """For a minute peers come, leave and die, and those that are there talk."""
    build(world, peers)
    for _ in range(40):
        running = world.running
        chance, enough = world.rng.random(), len(running) > peers // 2
        if chance < 0.25 and enough:
            world.rng.choice(running[1:]).kill()
        elif chance < 0.4 and enough:
            world.rng.choice(running[1:]).leave()
        elif chance < 0.8:
            world.newcomer(world.rng.choice(running))
        _talk(world, [peer for peer in world.running if peer.member_since is not None], 1.5)
    return 60


def key_steps(network: str) -> list[Access]:
    """How a network changes its key, so that peers in any two neighbouring steps understand each other."""
    old, new = (derive_key(secret, network) for secret in (b"the old key of all", b"the new key of all"))
    return [Access((old,)), Access((old, new)), Access((new, old)), Access((new,))]


@scenario
def key_changes(world: World, peers: int) -> float:
    """The network's key is changed while all talk, each peer at a time of its own within each step."""
    world.access, *steps = key_steps(world.network)
    members = build(world, peers)
    for access in steps:
        for peer in world.rng.sample(members, len(members)):
            peer.admit(access)
            _talk(world, members, 0.5, 0.5)
        world.access = access
        members.append(world.newcomer(world.rng.choice(members)))
    return 30


@scenario
def denied_by_some(world: World, peers: int) -> float:
    """One peer is denied by a third of the others while all talk; some of these are denied by it, and some restart."""
    members = build(world, peers)
    denied, *others = world.rng.sample(members, len(members))
    third = others[: len(others) // 3]
    for peer in third:
        peer.admit(Access(deny=PeerList.of([denied.peer])))
        _talk(world, members, 1)
    denied.admit(Access(deny=PeerList.of([peer.peer for peer in third[::2]])))
    for peer in (denied, *third[:1]):
        peer.kill()
        _talk(world, members, 1)
        peer.restart()
    _talk(world, members, 20)
    return 60


@scenario
def a_sample_each(world: World, peers: int) -> float:
    """Each peer knows only a sample of the network; many talk, a third dies, and others join."""
    world.config = attrs.evolve(world.config, max_known=KNOWN)
    members = build(world, peers)
    _talk(world, members, 5)
    for peer in world.rng.sample(members[1:], peers // 3):
        peer.kill()
    _talk(world, members, 5)
    for _ in range(min(SPEAKERS, peers // 3)):
        world.newcomer()
    _talk(world, members, 5)
    return 60


@scenario
def many_address_ranges(world: World, peers: int) -> float:
    """Most peers are at four sites, one in five is alone in its address range; many talk, a third dies, others join."""

    def address(number: int) -> Address:
        return (f"30.{number % 256}.1.1" if number % 5 == 0 else f"20.1.{number % 5}.{number // 5 % 250 + 1}"), 5050

    world.genesis(address=address(0))
    for number in range(1, peers):
        world.newcomer(address=address(number))
    _settled(world)
    members = list(world.peers)
    _talk(world, members, 5)
    for peer in world.rng.sample(members[1:], peers // 3):
        peer.kill()
    _talk(world, members, 5)
    for number in range(peers, peers + min(SPEAKERS, peers // 3)):
        world.newcomer(address=address(number))
    _talk(world, members, 5)
    return 60
