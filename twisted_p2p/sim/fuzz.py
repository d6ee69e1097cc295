"""Faults by chance: a plan is drawn from a seed, played, and, where it violates the contract, made short.

The settings are drawn so small that logs forget, what is held back overflows, and views are full: what is rare in a
large network happens in a small one within seconds.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import attrs

from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.wire import History
from twisted_p2p.sim.checks import UNDER_FAULTS, settles
from twisted_p2p.sim.hostile import KINDS, turn
from twisted_p2p.sim.peer import Commit, SimPeer
from twisted_p2p.sim.scenarios import say
from twisted_p2p.sim.signing import CheapSigner
from twisted_p2p.sim.world import World

PEERS = 8
"""How many a network begins with, unless told otherwise."""
SECONDS = 30.0
"""Virtual seconds in which a plan's steps happen."""
REST = 150.0
"""Virtual seconds within which all must have come to rest after the last fault."""
HOSTILE = tuple(kind for kind in KINDS if kind not in ("inventor", "introducer", "chatterbox", "shouter"))
"""What hostile members do. Those that make much work are left to `attacks`."""
CHURN = 10
"""How many die, and how many come, in the seconds that a churn takes."""


def _counted(name: str) -> Callable[[World], int]:
    return lambda world: sum(peer.core.turn.counts[name] for peer in world.peers)


def _new_epochs(world: World) -> int:
    """Streams that an origin has begun after its first."""
    streams = {stream for peer in world.peers for stream in peer.core.positions.streams()}
    return len(streams) - len({origin for origin, _ in streams})


OUTCOMES: dict[str, Callable[[World], int]] = {
    "gaps told": _counted("gaps"),
    "grafts": _counted("grafts"),
    "prunes": _counted("pruned"),
    "slow links made lazy": _counted("pruned_slow"),
    "refutations": _counted("refuted"),
    "early bundles dropped": _counted("early_dropped"),
    "new epochs": _new_epochs,
    "forks seen": _counted("forks"),
    "own streams that fell behind": _counted("fell_behind_itself"),
    "bundles replayed": lambda world: sum(bundle.replayed for peer in world.peers for bundle in peer.received),
    "forks by oneself": _counted("own_forks"),
}
"""What is to happen somewhere in many seeds, and how often it did in a world."""


@attrs.frozen
class Step:
    """What happens when. `chance` decides whom it strikes, out of those that are there then."""

    at: float
    what: str
    chance: int

    def __str__(self) -> str:
        return f"{self.at:6.2f} s  {self.what} ({self.chance})"


@attrs.frozen
class Plan:
    """A network, and what is done to it."""

    seed: int
    peers: int
    config: Config
    latency: tuple[float, float]
    bandwidth: float
    loss: float
    steps: tuple[Step, ...]


@attrs.define(eq=False)
class Play:
    """A plan that is being played."""

    world: World
    plan: Plan
    happened: Counter[str] = attrs.field(factory=Counter)

    def strike(self, step: Step) -> None:
        """Let a step happen."""
        self.happened[step.what] += 1
        if self.world.peers[0].address not in self.world.listening and len(self.world.running) < 3:
            self.again(self.world.peers[0], same_key=False)
        while len(self.world.running) < 3:
            self.join(self.world.add())
        FAULTS[step.what](self, random.Random(f"{self.plan.seed} {step.chance}"))

    def someone(self, rng: random.Random) -> SimPeer:
        """A peer that is up."""
        return rng.choice(self.world.running)

    def join(self, peer: SimPeer) -> None:
        """Start a peer that joins through the first one's address and two others."""
        addresses = [other.address for other in self.world.running[:3]]
        peer.start()
        peer.join([self.world.peers[0].address, *addresses])

    def again(self, peer: SimPeer, same_key: bool) -> None:
        """Start a peer that has died anew, at the same address, without its log."""
        if peer.address in self.world.listening:
            return
        if same_key and any(other.peer == peer.peer for other in self.world.running):
            return
        signer = CheapSigner(peer.peer) if same_key else None
        new = self.world.add(name=f"{peer.name}+", signer=signer, address=peer.address)
        if peer.address == self.world.peers[0].address:
            new.start()
            new.join([other.address for other in self.world.running if other is not new][:3], genesis=True)
        else:
            self.join(new)

    def back(self, peer: SimPeer) -> None:
        """Start a peer that has died anew, with its log, unless somebody has taken its place."""
        twin = any(other.peer == peer.peer for other in self.world.running)
        if not (peer.running or peer.finished or twin or peer.address in self.world.listening):
            peer.restart()

    def one_of_each_key(self) -> None:
        """Stop all but the first of those that are up with the same key: they would contradict each other for ever."""
        kept: dict[str, SimPeer] = {}
        for peer in self.world.running:
            kept.setdefault(peer.peer, peer)
        for peer in self.world.peers:
            if kept.get(peer.peer, peer) is not peer:
                peer.kill()

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call it so much later, or when the steps are over."""
        self.world.at(self.world.now + seconds, call)


Fault = Callable[[Play, random.Random], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    """Put it on the list, under its own name in words."""
    FAULTS[function.__name__.strip("_").replace("_", " ")] = function
    return function


@fault
def _one_talks(play: Play, rng: random.Random) -> None:
    say([play.someone(rng)], rng.randint(1, 30), at_once=rng.choice((1, 1, 10)))


@fault
def _all_talk(play: Play, rng: random.Random) -> None:
    say(play.world.running, rng.randint(1, 3))


@fault
def _long_speech(play: Play, rng: random.Random) -> None:
    say([play.someone(rng)], rng.randint(5, 40), "x" * rng.choice((500, 5_000, 20_000)))


@fault
def _crash(play: Play, rng: random.Random) -> None:
    running = play.world.running
    if len(running) > 2:
        rng.choice(running).kill()


@fault
def _crash_of_many(play: Play, rng: random.Random) -> None:
    running = play.world.running
    for peer in rng.sample(running, int(len(running) * rng.choice((0.3, 0.5, 0.8)))):
        peer.kill()


@fault
def _churn(play: Play, rng: random.Random) -> None:
    for _ in range(CHURN):
        play.later(rng.uniform(0, CHURN), lambda: _crash(play, rng))
        play.later(rng.uniform(0, CHURN), lambda: play.join(play.world.add()))


@fault
def _restart(play: Play, rng: random.Random) -> None:
    peer = play.someone(rng)
    peer.kill()
    play.later(rng.uniform(0, 8), lambda: play.again(peer, same_key=False))


@fault
def _restart_with_the_same_key(play: Play, rng: random.Random) -> None:
    peer = play.someone(rng)
    peer.kill()
    play.later(rng.uniform(0.1, 8), lambda: play.again(peer, same_key=True))


@fault
def _restart_with_the_log(play: Play, rng: random.Random) -> None:
    peer = play.someone(rng)
    say([peer], rng.randint(0, 3))
    peer.kill()
    play.later(rng.uniform(0.1, 20), lambda: play.back(peer))


@fault
def _restart_of_all_with_their_logs(play: Play, rng: random.Random) -> None:
    running = play.world.running
    say(running)
    for peer in running:
        peer.kill()
        play.later(rng.uniform(0.1, 5), partial(play.back, peer))


@fault
def _restart_with_an_old_copy_of_the_log(play: Play, rng: random.Random) -> None:
    _lose_the_newest(play, rng, rng.uniform(5, 8), is_known=False)


@fault
def _power_failure(play: Play, rng: random.Random) -> None:
    """The disk lacks what came last, and the log knows that it may."""
    _lose_the_newest(play, rng, rng.uniform(0.5, 2), is_known=True)


def _lose_the_newest(play: Play, rng: random.Random, after: float, is_known: bool) -> None:
    peer = play.someone(rng)
    if peer.log.saved.values.get("unproven"):
        return  # what it said since it came back would be published again, though it may be with others by now
    old, words = peer.snapshot(), rng.randint(0, 3)
    old.log.saved.is_whole = not is_known

    def swap() -> None:
        if peer.running:
            peer.kill()
            peer.restore(old)
            play.back(peer)
            say([peer], words)

    play.later(rng.uniform(0.1, after), lambda: say([peer], rng.randint(0, 3)))
    play.later(after, swap)


@fault
def _commit_is_the_last_thing(play: Play, rng: random.Random) -> None:
    _at_a_commit(play, rng, rng.choice((Commit.DIES_BEFORE, Commit.DIES_AFTER)))


@fault
def _commit_fails(play: Play, rng: random.Random) -> None:
    _at_a_commit(play, rng, Commit.FAILS)


def _at_a_commit(play: Play, rng: random.Random, ends: Commit) -> None:
    """One of the next commits of somebody ends like this; dead, the process is started again."""
    peer, left = play.someone(rng), rng.randint(0, 60)

    def commit() -> Commit:
        nonlocal left
        left -= 1
        if left > 0:
            return Commit.WORKS
        peer.on_commit = lambda: Commit.WORKS
        if ends is not Commit.FAILS:
            play.later(rng.uniform(0.1, 5), lambda: play.back(peer))
        return ends

    peer.on_commit = commit


@fault
def _newcomer_with_history(play: Play, rng: random.Random) -> None:
    peer = play.world.add()
    peer.history = rng.choice((History(), History(age=10.0), History(count=rng.randint(0, 100))))
    play.join(peer)


@fault
def _flapping(play: Play, rng: random.Random) -> None:
    peer = play.someone(rng)
    address = peer.address
    for n in range(4):
        play.later(1.5 * n, lambda: _kill_at(play, address))
        play.later(1.5 * n + 0.7, lambda: play.again(peer, same_key=False))


def _kill_at(play: Play, address: tuple[str, int]) -> None:
    there = play.world.listening.get(address)
    if there is not None:
        there.kill()


@fault
def _two_with_one_key(play: Play, rng: random.Random) -> None:
    """They begin in the same millisecond, so their streams are one; in the end one of them is stopped."""
    one = play.world.add()
    other = play.world.add(signer=CheapSigner(one.peer))
    for twin in (one, other):
        play.join(twin)
        if rng.random() < 0.5:
            say([twin], rng.randint(1, 3))
    for _ in range(3):
        play.later(rng.uniform(0, 5), lambda: say([rng.choice((one, other))], rng.randint(1, 5)))
    play.later(rng.uniform(1, 10), rng.choice((one, other)).kill)


@fault
def _leave(play: Play, rng: random.Random) -> None:
    running = [peer for peer in play.world.running[1:] if not peer.frozen]
    if len(running) > 2:
        rng.choice(running).leave()


@fault
def _newcomer(play: Play, rng: random.Random) -> None:
    play.join(play.world.add())


@fault
def _freeze(play: Play, rng: random.Random) -> None:
    peer = play.someone(rng)
    peer.freeze()
    play.later(rng.choice((1, 3, 20)), peer.thaw)


@fault
def _cut(play: Play, rng: random.Random) -> None:
    one, other = rng.sample(play.world.running, 2)
    play.world.cut(one, other)
    play.later(rng.choice((1, 5, 20)), lambda: play.world.heal([one], [other]))


@fault
def _cut_one_way(play: Play, rng: random.Random) -> None:
    one, other = rng.sample(play.world.running, 2)
    play.world.cut(one, other, both=False)
    play.later(rng.choice((1, 5, 20)), lambda: play.world.heal([one], [other]))


@fault
def _flapping_link(play: Play, rng: random.Random) -> None:
    one, other = rng.sample(play.world.running, 2)
    both, seconds = rng.random() < 0.5, rng.choice((0.3, 2.0))
    for n in range(4):
        play.later(2.5 * n, lambda: play.world.cut(one, other, both))
        play.later(2.5 * n + seconds, lambda: play.world.heal([one], [other]))


@fault
def _partition(play: Play, rng: random.Random) -> None:
    running = play.world.running
    left = rng.sample(running, rng.randint(1, len(running) - 1))
    right = [peer for peer in running if peer not in left]
    play.world.partition(left, right)
    play.later(rng.choice((2, 10, 30)), lambda: play.world.heal(left, right))


@fault
def _long_delays(play: Play, rng: random.Random) -> None:
    play.world.latency = rng.choice(((0.0, 1.0), (0.5, 0.6), (0.2, 2.0)))
    play.later(rng.choice((3, 15)), lambda: setattr(play.world, "latency", play.plan.latency))


@fault
def _narrow_links(play: Play, rng: random.Random) -> None:
    play.world.bandwidth = rng.choice((20_000.0, 50_000.0))
    play.later(rng.choice((3, 15)), lambda: setattr(play.world, "bandwidth", play.plan.bandwidth))


@fault
def _unplug(play: Play, rng: random.Random) -> None:
    peer = play.someone(rng)
    play.world.unplug(peer)
    play.later(rng.choice((1, 10, 30)), lambda: play.world.plug(peer))


@fault
def _slow_reader(play: Play, rng: random.Random) -> None:
    peer = play.someone(rng)
    peer.read_rate = rng.choice((3_000, 30_000))
    play.later(rng.choice((3, 15)), lambda: setattr(peer, "read_rate", 0.0))


@fault
def _clock_step(play: Play, rng: random.Random) -> None:
    play.someone(rng).clock_error += rng.choice((-3600, -5, 5, 3600))


@fault
def _clock_drift(play: Play, rng: random.Random) -> None:
    play.someone(rng).drift(rng.choice((-0.2, -0.01, 0.01, 0.2)))


@fault
def _hostile_members(play: Play, rng: random.Random) -> None:
    """Some are hostile from now on, three in ten at most; they are stopped in the end."""
    running = play.world.running
    honest = [peer for peer in play.world.honest[1:] if not peer.frozen]
    kind, room = rng.choice(HOSTILE), 3 * len(running) // 10 - sum(peer.mask is not None for peer in running)
    for peer in rng.sample(honest, max(0, min(rng.choice((1, 1, 2)), room, len(honest)))):
        turn(peer, kind)


def draw(seed: int, peers: int = PEERS) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan {seed}")
    target = rng.choice((2, 3, 4))
    config = attrs.evolve(
        LAN,
        active_target=target,
        active_max=2 * target,
        retention_count=rng.choice((40, 100, 100_000)),
        retention_age=rng.choice((10.0, 60.0, 3_600.0)),
        early_max=rng.choice((2, 20, 1_000)),
        burst=rng.choice((2_000, 65_536)),
        bundle_bytes=rng.choice((500, 32_768)),
        max_wants=rng.choice((10, 10_000)),
        page=rng.choice((2, 300)),
    )
    names = rng.sample(list(FAULTS), rng.randint(2, len(FAULTS)))
    talk = [name for name in FAULTS if "talk" in name]
    steps = [
        Step(round(rng.uniform(0, SECONDS), 2), rng.choice(names if rng.random() < 0.5 else talk), rng.getrandbits(32))
        for _ in range(rng.randint(5, 40))
    ]
    return Plan(
        seed,
        peers,
        config,
        rng.choice(((0.0005, 0.005), (0.01, 0.1), (0.05, 0.4))),
        rng.choice((0.0, 0.0, 100_000.0)),
        rng.choice((0.0, 0.0, 0.0, 0.05)),
        tuple(sorted(steps, key=lambda step: step.at)),
    )


@attrs.frozen
class Result:
    """What became of a plan."""

    plan: Plan
    violations: Sequence[str]
    happened: Counter[str]
    """How often each fault and each of `OUTCOMES` did."""
    events: int


def play(plan: Plan) -> Result:
    """Play a plan; the contract is checked once all has come to rest."""
    world = World(plan.seed, config=plan.config, latency=plan.latency, bandwidth=plan.bandwidth, loss=plan.loss)
    playing = Play(world, plan)
    world.genesis()
    for _ in range(plan.peers - 1):
        world.newcomer()
    world.run(2)
    begin = world.now
    for step in plan.steps:
        world.run(max(0.0, begin + step.at - world.now))
        playing.strike(step)
    playing.one_of_each_key()
    world.run(31)
    if world.peers[0].address not in world.listening:
        playing.again(world.peers[0], same_key=False)
    say(world.honest)
    found = list[str]()
    if world.honest != world.running:
        found = [f"under attack: {each}" for each in settles(world, REST, checks=UNDER_FAULTS)]
        for peer in world.running:
            if peer.mask is not None:
                peer.kill()
        say(world.honest)
    found += settles(world, REST)
    for name, counted in OUTCOMES.items():
        playing.happened[name] += counted(world)
    return Result(plan, found, playing.happened, world.events)


def shrink(plan: Plan) -> Plan:
    """A plan without the steps that its violation does not need."""
    size = max(1, len(plan.steps) // 2)
    while size:
        first = 0
        while first < len(plan.steps):
            fewer = attrs.evolve(plan, steps=plan.steps[:first] + plan.steps[first + size :])
            if play(fewer).violations:
                plan = fewer
            else:
                first += size
        size //= 2
    return plan


def describe(plan: Plan) -> str:
    """The plan in words: what differs from the usual settings, and the steps."""
    unusual = [
        f"{field.name}={getattr(plan.config, field.name):g}"
        for field in attrs.fields(Config)
        if getattr(plan.config, field.name) != getattr(LAN, field.name)
    ]
    lines = [
        f"  {plan.peers} peers, latency {plan.latency[0]:g} to {plan.latency[1]:g} s, {plan.bandwidth:g} bytes/s,"
        f" {plan.loss:.0%} of the packets lost",
        f"  {', '.join(unusual)}",
        *(f"  {step}" for step in plan.steps),
    ]
    return "\n".join(lines)
