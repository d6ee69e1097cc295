"""Failure detection: how soon a peer that is gone is found, and how often one that is there is taken for gone.

SWIM (Das, Gupta, Motivala, DSN 2002) and Lifeguard (Dadgar, Phillips, Currey, arXiv 1707.00788), with our settings for
a LAN: a period is `probe_interval`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import fmean, median, quantiles

import attrs

from twisted_p2p.core.actions import Changed, Kind, Write
from twisted_p2p.core.config import LAN
from twisted_p2p.core.health import Health
from twisted_p2p.shell import Told
from twisted_p2p.sim.paper.tables import Cell, Table
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.world import World

Progress = Callable[[str], None]

PERIOD = LAN.probe_interval
"""Seconds."""
SETTLE = 8.0
"""Seconds after which a network of any size has its neighbours."""
LOOK = 0.05
"""Seconds between two looks for suspicions."""
PATIENCE = 30.0
"""Seconds within which a failure is known everywhere, or was not found."""


@attrs.frozen
class News:
    """Somebody was told that a peer has failed."""

    at: float
    hearer: SimPeer
    peer: str


class Network(World):
    """Peers that have known each other for long; what they write is counted, and what they are told of failures kept.

    They are not introduced by joins, which for a thousand at once takes a minute of real time.
    """

    def __init__(self, seed: int, peers: int, loss: float = 0.0) -> None:
        super().__init__(seed, loss=loss)
        self.frames = 0
        self.on_write = self._count
        self.news: list[News] = []
        for _ in range(peers):
            peer = self.genesis()
            peer.sink = self._listener(peer)
        records = [peer.core.membership.own for peer in self.peers]
        for peer in self.peers:
            peer.core.membership.merge(records)
            peer.do(peer.core.wake)
        self.run(SETTLE)

    def _listener(self, peer: SimPeer) -> Callable[[Told], object]:
        def told(what: Told) -> None:
            if isinstance(what, Changed) and what.kind is Kind.FAILED:
                self.news.append(News(self.now, peer, what.peer))

        return told

    def _count(self, action: Write) -> None:
        self.frames += len(action.lines)

    def count(self, name: str) -> int:
        """What all the cores together have counted of this."""
        return sum(peer.core.turn.counts[name] for peer in self.peers)


# --- how soon


def _kill(world: World, peer: SimPeer) -> None:
    peer.kill()


def _stop(world: World, peer: SimPeer) -> None:
    peer.freeze()


def _unplug(world: World, peer: SimPeer) -> None:
    peer.freeze()
    world.unplug(peer)


ENDS = {"killed": _kill, "stopped": _stop, "unplugged": _unplug}
"""A process whose system closes its connections; one that is stopped; a host that falls silent."""


@attrs.define(eq=False)
class Failure:
    """A peer that ended at `at` in one of the ways of `ENDS`, and how many seconds later that was noticed.

    Attributes:
        suspected: by anybody, for the first time.
        declared: by claim; when each of the survivors was told.
    """

    kind: str
    peer: str
    at: float
    suspected: float | None = None
    declared: list[float] = attrs.field(factory=list)


def find(seed: int, peers: int, each: int) -> tuple[list[Failure], float]:
    """Let `each` peers end in each way, at times of their own; and how much a member writes in a period before that."""
    world = Network(seed, peers)
    world.frames = 0
    world.run(5 * PERIOD)
    idle = world.frames / peers / 5
    victims = world.rng.sample(world.peers, each * len(ENDS))
    failures: dict[str, Failure] = {}
    for number, victim in enumerate(victims):
        kind = list(ENDS)[number % len(ENDS)]
        failure = Failure(kind, victim.peer, world.now + world.rng.random() * 3 * PERIOD)
        failures[victim.peer] = failure
        world.at(failure.at, partial(ENDS[kind], world, victim))
    survivors = {peer.peer: peer for peer in world.peers if peer not in victims}
    _watch(world, failures, survivors)
    for news in world.news:
        if news.hearer.peer in survivors and news.peer in failures:
            failures[news.peer].declared.append(news.at - failures[news.peer].at)
    return list(failures.values()), idle


def _watch(world: Network, failures: dict[str, Failure], survivors: dict[str, SimPeer]) -> None:
    """Let so much time pass that each survivor should have been told of each failure; note the first suspicions."""
    limit = world.now + PATIENCE
    while world.now < limit:
        world.run(LOOK)
        for peer, failure in failures.items():
            is_new = failure.suspected is None and failure.at < world.now
            if is_new and any(peer in other.core.detection.suspicions for other in survivors.values()):
                failure.suspected = world.now - failure.at


def first_detection(seed: int, quick: bool, progress: Progress) -> Table:
    """SWIM: time to the first detection of a failure against the size of the group, and the messages of an idle one."""
    rows: list[Sequence[Cell]] = []
    for peers in (32, 64) if quick else (32, 128, 512, 1000):
        failures: list[Failure] = []
        idle: list[float] = []
        while len(failures) < len(ENDS) * (2 if quick else 12):
            progress(f"detection: {peers} peers, {len(failures)} failures so far")
            more, frames = find(seed + len(idle), peers, max(1, peers // 50))
            failures += more
            idle.append(frames)
        rows.append(_row(peers, failures, fmean(idle)))
    return Table(
        "first_detection",
        f"Time until a peer that is gone is first suspected, and until it is declared failed; a period is {PERIOD:g} s",
        "SWIM (DSN 2002), section 5 and figure 3",
        (
            "peers",
            *(f"{kind}: suspected, periods" for kind in ENDS),
            "mean, periods",
            "paper, periods",
            *(f"{kind}: declared, s" for kind in ENDS),
            "last directory, s",
            "frames a member a period, idle",
            "paper",
        ),
        rows,
        (
            "Killed: the system closes its connections, so its neighbours suspect it at once. Stopped: connections are "
            "accepted, nothing is answered. Unplugged: nothing gets there or back.",
            f"A probe that takes {LAN.probe_timeout:g} s makes a suspicion; the rest is the wait for the first probe."
            " That is what the paper's 1.58 = e/(e - 1) counts.",
            "A frame of ours is a line on a connection. Besides probing, an idle member keeps some 4 neighbour links,"
            " with a ping each period of one end or the other, and compares directories.",
        ),
    )


def _row(peers: int, failures: Sequence[Failure], idle: float) -> Sequence[Cell]:
    of_kind = [[failure for failure in failures if failure.kind == kind] for kind in ENDS]
    return (
        peers,
        *(_periods(some) for some in of_kind),
        _periods(failures),
        1.58,
        *(round(fmean(min(failure.declared, default=PATIENCE) for failure in some), 1) for some in of_kind),
        round(max(max(failure.declared, default=PATIENCE) for failure in failures), 1),
        round(idle, 1),
        2,
    )


def _periods(failures: Sequence[Failure]) -> float:
    """The mean; one that was never suspected counts as if it had been at the very end."""
    return round(
        fmean(PATIENCE if failure.suspected is None else failure.suspected for failure in failures) / PERIOD, 2
    )


# --- how often in error


class Oblivious(Health):
    """Health that notices nothing: detection without Lifeguard's lesson."""

    def worse(self) -> None:
        """Nothing is noticed."""

    def stood_still_since(self, when: float) -> bool:
        """Nor what we missed meanwhile."""
        return False


@attrs.frozen
class Pauses:
    """Some of the members are out for `out` seconds, then back for `back`, again and again for `lasting` seconds.

    Attributes:
        how: "stopped", as by SIGSTOP, or "cut off": it runs on, and nothing gets to it or from it.
    """

    how: str
    peers: int
    paused: int
    out: float
    back: float
    lasting: float


@attrs.frozen
class Accused:
    """What came of pauses.

    Attributes:
        false: how often a member was told that one who never paused had failed.
        at_healthy: the same, told to those who never paused.
        peers: how many were so accused.
        times: seconds from the beginning of a pause until the first of the healthy was told that this peer had failed.
    """

    false: int
    at_healthy: int
    peers: int
    times: list[float]
    frames: int


def pause(seed: int, pauses: Pauses, health: bool = True) -> Accused:
    """Let members pause. `health`: whether they mind their own."""
    world = Network(seed, pauses.peers)
    world.frames = 0
    if not health:
        for peer in world.peers:
            peer.core.turn.timers.health = Oblivious()
    paused = world.rng.sample(world.peers, pauses.paused)
    begun: dict[str, list[float]] = {peer.peer: [] for peer in paused}
    end = world.now + pauses.lasting
    for peer in paused:
        _pause_again(world, peer, pauses, end, begun[peer.peer])
    world.run(pauses.lasting + pauses.out + PATIENCE)
    healthy = {peer.peer for peer in world.peers if peer not in paused}
    false = [news for news in world.news if news.peer in healthy]
    return Accused(
        len(false),
        sum(news.hearer.peer in healthy for news in false),
        len({news.peer for news in false}),
        list(_latencies(begun, [news for news in world.news if news.hearer.peer in healthy], pauses.out)),
        world.frames,
    )


def _pause_again(world: World, peer: SimPeer, pauses: Pauses, end: float, begun: list[float]) -> None:
    def out() -> None:
        if world.now < end:
            begun.append(world.now)
            peer.freeze() if pauses.how == "stopped" else world.unplug(peer)
            world.at(world.now + pauses.out, back)

    def back() -> None:
        peer.thaw() if pauses.how == "stopped" else world.plug(peer)
        world.at(world.now + pauses.back, out)

    world.at(world.now + world.rng.random() * (pauses.out + pauses.back), out)


def _latencies(begun: dict[str, list[float]], news: Sequence[News], out: float) -> Iterable[float]:
    for peer, times in begun.items():
        heard = [told.at for told in news if told.peer == peer]
        for time in times:
            within = [at - time for at in heard if time <= at <= time + out]
            if within:
                yield min(within)


def false_positives(seed: int, quick: bool, progress: Progress) -> Table:
    """Lifeguard: who is accused wrongly while a tenth of the members pause, with and without local health."""
    peers, paused, lasting = (32, 3, 60.0) if quick else (128, 13, 120.0)
    plans = [
        Pauses("stopped", peers, paused, 16.384, 0.001, lasting),
        Pauses("cut off", peers, paused, 16.384, 4.096, lasting),
        Pauses("stopped", peers, paused, 16.384, 4.096, lasting),
        Pauses("cut off", peers, paused, 32.768, 4.096, lasting),
    ]
    rows: list[Sequence[Cell]] = []
    for plan in plans[1:2] if quick else plans:
        usual: Accused | None = None
        for health in (False, True):
            progress(f"detection: {plan.paused} of {peers} {plan.how} for {plan.out:g} s, health {health}")
            got = pause(seed, plan, health)
            usual = usual or got
            rows.append(
                (
                    plan.how,
                    plan.out,
                    plan.back,
                    "with" if health else "without",
                    got.false,
                    got.at_healthy,
                    got.peers,
                    round(100 * got.false / usual.false, 2) if usual.false else None,
                    round(median(got.times), 1) if got.times else None,
                    round(quantiles(got.times, n=100, method="inclusive")[-1], 1) if len(got.times) > 1 else None,
                    round(100 * (got.frames / usual.frames - 1), 1),
                )
            )
    rows += [
        ("paper", None, None, "without", None, None, None, 100, None, None, 0),
        ("paper", None, None, "with", None, None, None, 1.53, 12.44, 16.96, 10.6),
    ]
    return Table(
        "false_positives",
        f"Members told that a healthy peer has failed; for {lasting:g} s {paused} of {peers} pause again and again",
        "Lifeguard (arXiv 1707.00788), section V: all false positives, those at healthy members 1.89 %",
        (
            "paused members are",
            "for s",
            "then back for s",
            "local health",
            "false positives",
            "at healthy members",
            "healthy peers accused",
            "% of without",
            "paused peer declared: median, s",
            "99th percentile, s",
            "more frames, %",
        ),
        rows,
        (
            "The paper varies how many members pause, how long, and how long they are back. Ours are a tenth of them,"
            " and long pauses: those of up to 8 s make nobody accuse the healthy, with or without local health.",
            "Without: time-outs are never longer, and attempts count during which one stood still oneself. Deadlines"
            " are put off by a standstill in both.",
            "Who is back for just 1 ms is declared failed once, since it has no time to refute.",
        ),
    )


# --- when packets are lost


def lossy(seed: int, peers: int, loss: float, seconds: float) -> Network:
    """A network that loses packets, after so long."""
    world = Network(seed, peers, loss)
    world.news = []
    world.run(seconds)
    return world


def losses(seed: int, quick: bool, progress: Progress) -> Table:
    """SWIM: how many live members are removed where packets are lost."""
    rows: list[Sequence[Cell]] = []
    for peers in (17,) if quick else (17, 100):
        for loss in (0.1, 0.3):
            progress(f"detection: {peers} peers, {loss:.0%} of the packets lost")
            seconds = 60.0 if quick else 600.0
            world = lossy(seed, peers, loss, seconds)
            accused = Counter(news.peer for news in world.news)
            least = min(sum(1 for _ in peer.core.membership.others()) + 1 for peer in world.peers)
            rows.append(
                (
                    peers,
                    100 * loss,
                    seconds,
                    least,
                    12 if (peers, loss) == (17, 0.1) else None,
                    len(accused),
                    len(world.news),
                    world.count("suspicions"),
                    world.count("link_end_ping-timeout"),
                )
            )
    return Table(
        "losses",
        "Live members declared failed where packets are lost",
        "SWIM (DSN 2002), figure 4: 17 processes keep a group of 12 with its suspicions, of 4 without",
        (
            "peers",
            "loss, %",
            "s",
            "smallest directory at the end",
            "paper",
            "live peers declared failed",
            "times somebody was told so",
            "suspicions",
            "links given up for silence",
        ),
        rows,
        (
            "Ours run on TCP, which sends again what was lost: after 0.2 s, doubling, or 1 s, doubling, where it was to"
            " open a connection. The paper's are datagrams.",
        ),
    )


def tables(seed: int, quick: bool, progress: Progress) -> list[Table]:
    """All of them. `quick`: small, in some seconds, with the same columns."""
    return [
        first_detection(seed, quick, progress),
        false_positives(seed, quick, progress),
        losses(seed, quick, progress),
    ]
