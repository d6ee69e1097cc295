"""Attacks by members: each kind of `hostile`, by one in ten, three in ten, the genesis, or most neighbours of one peer.

While it goes on, honest peers talk, and everything that they say has to reach all of them, in order, without a gap. A
second world with the same seed, in which the same peers just are silent, shows what the attack costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import attrs

from twisted_p2p.core.actions import Deliver, Kind
from twisted_p2p.shell import Told
from twisted_p2p.sim import hostile
from twisted_p2p.sim.checks import UNDER_ATTACK, messages_of, settles
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.scenarios import SCENARIOS, Violated, build, say
from twisted_p2p.sim.world import World

PHASES = 10, 45, 5
"""Virtual seconds for which an attack is watched: all honest peers talk, say nothing, and talk again.

The silence is longer than twice the gap patience: who lies about what is left of a stream gains nothing before.
"""
LIMIT = 60.0
"""Virtual seconds within which all that was said has arrived, though the attack goes on; the same for rest after it."""
LONG = 1_800.0
"""The same after thousands of peers were invented: all of them are probed in vain, a few in a second."""
NEWCOMERS = (2, 5, 8)
"""Seconds after which one joins through a hostile genesis, or, if that does not work, through another peer."""

Placed = list[SimPeer]
Place = Callable[[World, Sequence[SimPeer]], Placed]


def _one(world: World, members: Sequence[SimPeer]) -> Placed:
    return world.rng.sample(members[1:], max(1, len(members) // 10))


def _three(world: World, members: Sequence[SimPeer]) -> Placed:
    return world.rng.sample(members[1:], max(2, 3 * len(members) // 10))


def _genesis(world: World, members: Sequence[SimPeer]) -> Placed:
    return [members[0]]


def _most_neighbours(world: World, members: Sequence[SimPeer]) -> Placed:
    """More than half of the neighbours of the peer that has the fewest."""
    by_id = {peer.peer: peer for peer in members}
    victim = min(members, key=lambda peer: len(peer.core.overlay.active))
    neighbours = [by_id[peer] for peer in victim.core.overlay.active]
    return world.rng.sample(neighbours, len(neighbours) // 2 + 1)


PLACES: dict[str, Place] = {
    "one": _one,
    "three": _three,
    "genesis": _genesis,
    "most-neighbours": _most_neighbours,
}
"""Who is hostile."""


@attrs.define(eq=False)
class Meter:
    """What the honest peers do and hold from now on; `look` is to be called now and then."""

    world: World
    honest: list[SimPeer]
    others: Sequence[SimPeer]
    arrivals: list[tuple[float, SimPeer, Deliver]] = attrs.field(factory=list)
    most: Counter[str] = attrs.field(factory=Counter)
    """The most of each that any of them has held."""
    _since: dict[SimPeer, Counter[str]] = attrs.field(factory=dict)
    _began: float = 0.0

    def __attrs_post_init__(self) -> None:
        self._began = self.world.now
        for peer in (*self.honest, *self.others):
            self._since[peer] = _spent(peer)
        for peer in self.honest:
            peer.sink = partial(self._told, peer)

    def _told(self, peer: SimPeer, told: Told) -> None:
        if isinstance(told, Deliver):
            self.arrivals.append((self.world.now, peer, told))

    def look(self) -> None:
        """Note what they hold."""
        for peer in self.honest:
            for what, number in _held(peer).items():
                self.most[what] = max(self.most[what], number)

    def spent(self, peers: Sequence[SimPeer]) -> Counter[str]:
        """What each of these peers has done since, on average."""
        total: Counter[str] = Counter()
        for peer in peers:
            total.update(_spent(peer))
            total.subtract(self._since.get(peer, Counter()))
        return Counter({what: number // len(peers) for what, number in total.items()})

    def delays(self) -> list[float]:
        """Seconds from the word of an honest peer to each of the others, in ascending order."""
        said = {message: at for peer in self.honest for at, message in peer.said if at >= self._began}
        return sorted(
            at - said[message]
            for at, _, told in self.arrivals
            for bundle in told.bundles
            for message in messages_of(bundle.messages)
            if message in said
        )

    def flaps(self) -> int:
        """How often an honest peer was told that another one has failed."""
        honest = {peer.peer for peer in self.honest}
        return sum(
            change.kind is Kind.FAILED and change.peer in honest for peer in self.honest for change in peer.changes
        )

    def renewed(self) -> int:
        """How many streams honest peers have begun in the place of others that they had begun."""
        return sum(peer.core.turn.counts["own_forks"] for peer in self.honest)

    def ends(self) -> Counter[str]:
        """Why honest peers have ended links, or heard that they were."""
        total: Counter[str] = Counter()
        for peer in self.honest:
            total.update({what: n for what, n in peer.core.turn.counts.items() if what.startswith("link_end_")})
        return total


def _spent(peer: SimPeer) -> Counter[str]:
    return Counter(attrs.asdict(peer.traffic) | {"checks": peer.verifier.checks})


def _held(peer: SimPeer) -> dict[str, int]:
    core = peer.core
    return {
        "early bundles": core.spread.early.count,
        "wants": len(core.catchup.wants),
        "peers": len(core.membership.entries),
        "streams": len(core.positions),
        "deadlines": len(core.turn.timers),
        "log bytes": peer.log.size,
    }


@attrs.frozen
class Watched:
    """What came of one attack, or, without a kind, of none."""

    meter: Meter
    honest: Sequence[SimPeer]
    attackers: Sequence[SimPeer]
    violations: Sequence[str]


def watch(world: World, peers: int, kind: str, place: str, phases: tuple[int, int, int] = PHASES) -> Watched:
    """Build a network, let the attack begin, talk, and wait until all that was said has arrived everywhere."""
    members = build(world, peers)
    say(members, 3)
    world.run(3)
    attackers = PLACES[place](world, members)
    honest = [peer for peer in members if peer not in attackers]
    meter = Meter(world, honest, attackers)
    if kind:
        for peer in attackers:
            hostile.turn(peer, kind)
    talk, silence, again = phases
    for second in range(talk + silence + again):
        if place == "genesis" and second in NEWCOMERS:
            honest.append(world.newcomer(*members[:2]))
        end = world.now + 1
        if not talk <= second < talk + silence:
            for peer in [peer for peer in honest if peer.member_since is not None]:
                say([peer])
                world.run(1 / (len(honest) + 1))
        world.run(end - world.now)
        meter.look()
    return Watched(meter, honest, attackers, settles(world, LIMIT, honest, checks=UNDER_ATTACK))


def _attack(kind: str, place: str, world: World, peers: int) -> float:
    """Play it, and the same without it."""
    without = watch(World(world.seed), peers, "", place)
    seen = watch(world, peers, kind, place)
    world.notes += notes(seen, without)
    if seen.violations or without.violations:
        raise Violated(*seen.violations, *(f"without the attack: {found}" for found in without.violations))
    for peer in seen.attackers:
        peer.kill()
    return LONG if kind == "introducer" else LIMIT


@attrs.frozen
class Cost:
    """What all honest peers together spend more because of an attack, for each line and byte that attackers send."""

    lines: float
    bytes: float
    checks: float

    def text(self) -> str:
        """In words."""
        return (
            f"for each line of an attacker honest peers send {self.lines:.2f} more,"
            f" and check {self.checks:.2f} more signatures; for each byte they send {self.bytes:.2f} more"
        )


def cost(seen: Watched, without: Watched) -> Cost:
    """Of one attack, against the same without it."""
    with_it, free = seen.meter.spent(seen.honest), without.meter.spent(without.honest)
    spends = {what: max(0, (with_it[what] - free[what]) * len(seen.honest)) for what in free}
    sends = {what: n * len(seen.attackers) for what, n in seen.meter.spent(seen.attackers).items()}
    return Cost(
        spends["lines_out"] / sends["lines_out"],
        spends["bytes_out"] / sends["bytes_out"],
        spends["checks"] / sends["lines_out"],
    )


def notes(seen: Watched, without: Watched) -> list[str]:
    """What it costs the honest peers and the attackers, each on average, and in brackets what the same cost without."""
    lines = [f"delays: {_delays(seen.meter.delays())} (without: {_delays(without.meter.delays())})"]
    for name, with_it, free in (
        ("honest", seen.meter.spent(seen.honest), without.meter.spent(without.honest)),
        ("attacker", seen.meter.spent(seen.attackers), without.meter.spent(without.attackers)),
    ):
        lines.append(f"{name}: " + ", ".join(f"{what} {with_it[what]} ({free[what]})" for what in free))
    lines.append(
        "at most: " + ", ".join(f"{what} {n} ({without.meter.most[what]})" for what, n in seen.meter.most.items())
    )
    lines.append(cost(seen, without).text())
    ends = seen.meter.ends() - without.meter.ends()
    ends["bans"] = sum(len(peer.banned) for peer in seen.honest)
    lines.append(
        f"failed by mistake: {seen.meter.flaps()}; new streams: {seen.meter.renewed()}; "
        + ", ".join(f"{what} {n}" for what, n in ends.items())
    )
    return lines


def _delays(found: Sequence[float]) -> str:
    if not found:
        return "none"
    shown = [("p50", found[len(found) // 2]), ("p99", found[len(found) * 99 // 100]), ("most", found[-1])]
    return f"{len(found)} deliveries, " + ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in shown)


ATTACKS = [f"{kind}-by-{place}" for kind in hostile.KINDS for place in PLACES]
"""The names of these scenarios."""

for _kind, _act in hostile.KINDS.items():
    for _place in PLACES:
        _scenario = partial(_attack, _kind, _place)
        _scenario.__doc__ = f"{(_act.__doc__ or '').splitlines()[0]} Hostile: {_place}."
        SCENARIOS[f"{_kind}-by-{_place}"] = _scenario
