"""The experiments of SWIM (Das, Gupta, Motivala, DSN 2002) and Lifeguard (Dadgar, Phillips, Currey, arXiv 1707.00788).

These run the shipped core as it comes: everybody knows everybody, the LAN settings, links of 0.5 to 5 ms.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median

import attrs

from twisted_p2p.core.actions import Kind, Write
from twisted_p2p.core.config import LAN
from twisted_p2p.sim.paper.network import apart
from twisted_p2p.sim.paper.tables import Cell, Table
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.scenarios import build
from twisted_p2p.sim.world import World

SWIM = "Das, Gupta, Motivala: SWIM, DSN 2002"
LIFEGUARD = "Dadgar, Phillips, Currey: Lifeguard, arXiv 1707.00788"
PERIOD = LAN.probe_interval
"""Seconds; SWIM's protocol period."""
SETTLE = 30.0
TRIALS = 20
"""Failures, one after another, from which a mean is made."""
WATCHED = 60.0
"""Seconds that one failure is followed."""
IDLE = 60.0
"""Seconds in which frames are counted."""
PAUSING = 120.0
"""Seconds during which peers pause; Lifeguard, section V."""
BETWEEN = 1.0
"""Seconds in which a pausing peer is awake, between two pauses."""
LOSING = 600.0
"""Seconds of loss; SWIM, figure 4, looks at minutes."""


def tables(seed: int, peers: int, progress: Callable[[str], None]) -> list[Table]:
    """All of them; `peers`: of the largest network. The papers' have 56 and 128."""
    sizes = [size for size in (32, 128) if size < peers] + [peers]
    return [
        _detection(seed, sizes, progress),
        _idle(seed, sizes, progress),
        _pauses(seed, min(peers, 128), progress),
        _losses(seed, (min(peers, 17), min(peers, 100)), progress),
    ]


def _settled(seed: int, peers: int, loss: float = 0.0) -> World:
    world = World(seed, loss=loss)
    build(world, peers)
    world.run(SETTLE)
    return world


def _detection(seed: int, sizes: Sequence[int], progress: Callable[[str], None]) -> Table:
    rows = list[Sequence[Cell]]()
    for size in sizes:
        for name, ends in (("killed", SimPeer.kill), ("silent", SimPeer.freeze)):
            noticed, claimed, known = apart(lambda size=size, ends=ends: _failures(seed, size, ends))  # type: ignore[misc]
            progress(f"{size} peers, {name}: noticed after {sum(noticed) / TRIALS:.2f} s on average")
            mean = sum(noticed) / TRIALS
            rows.append(
                (size, name, 1.58, mean / PERIOD, mean, max(noticed), median(claimed), max(claimed), max(known))
            )
    return Table(
        "swim_detection",
        f"Detection of a failed peer, {TRIALS} failures each",
        f"{SWIM}, figure 3: the mean time to the first detection, in periods, whatever the size",
        (
            "peers",
            "failure",
            "paper: noticed, periods",
            "ours: noticed, periods",
            "noticed, s",
            "at most",
            "declared, s (median)",
            "at most ",
            "known to all, s, at most",
        ),
        rows,
        (
            f"A period is {PERIOD:g} s. Killed: as the paper's, whose processes end; the connections close, and the "
            "neighbours see it.",
            "Silent: a stopped process or an unplugged host, whose connections stay. The neighbours' pings find it.",
            "Noticed: the first peer suspects it. Declared: after others were asked, and nobody had reached it.",
        ),
    )


def _failures(seed: int, size: int, ends: Callable[[SimPeer], None]) -> tuple[list[float], list[float], list[float]]:
    """Seconds until a failed peer is suspected by one, declared failed, and known to all to have failed."""
    world, rng = _settled(seed, size), random.Random(f"{seed} failing")
    noticed, claimed, known = list[float](), list[float](), list[float]()
    for _ in range(TRIALS):
        lost = rng.choice(world.running[1:])
        others = [peer for peer in world.running if peer is not lost]
        failed = world.now
        ends(lost)

        def suspected() -> bool:
            return any(lost.peer in peer.core.detection.suspicions for peer in others) or declared()  # noqa: B023

        def declared() -> bool:
            return any(not peer.core.membership.is_alive(lost.peer) for peer in others)  # noqa: B023

        def everywhere() -> bool:
            return not any(peer.core.membership.is_alive(lost.peer) for peer in others)  # noqa: B023

        for happens, times in ((suspected, noticed), (declared, claimed), (everywhere, known)):
            if not world.run_until(happens, WATCHED):
                raise RuntimeError(f"{lost} was not found to have failed within {WATCHED:g} s")
            times.append(world.now - failed)
        if lost.running:
            lost.frozen = False
            lost.kill()
        world.newcomer()
        world.run(SETTLE)
    return noticed, claimed, known


def _idle(seed: int, sizes: Sequence[int], progress: Callable[[str], None]) -> Table:
    rows = list[Sequence[Cell]]()
    for size in sizes:
        frames, octets = apart(lambda size=size: _traffic(seed, size))  # type: ignore[misc]
        each = size * IDLE
        probes = sum(frames[title] for title in ("#HELLO", "#PROOF", "#BYE", "#ROOTS", "#DIGEST"))
        progress(f"{size} peers: {frames.total() / each:.2f} frames a second and peer at rest")
        rows.append((size, 2.0, frames.total() / each * PERIOD, probes / each * PERIOD, octets / each))
    return Table(
        "swim_idle",
        "What a peer sends at rest",
        f"{SWIM}, figure 2: messages a member and period",
        (
            "peers",
            "paper: messages a period",
            "ours: frames a period",
            "of them probes and comparisons",
            "bytes a second",
        ),
        rows,
        (
            "The paper probes by datagrams, and has no links. Ours has 4 to 8, each pinged every 2 s from both ends; a "
            "probe is a connection with a handshake, and a comparison of digests.",
        ),
    )


def _traffic(seed: int, size: int) -> tuple[Counter[str], int]:
    world = _settled(seed, size)
    frames, octets = Counter[str](), Counter[str]()

    def written(action: Write) -> None:
        for line in action.lines:
            title = line[10 : line.index(b'"', 10)].decode()
            frames[title] += 1
            octets[title] += len(line) + 1

    world.on_write = written
    world.run(IDLE)
    return frames, octets.total()


@attrs.frozen
class Slander:
    """Whom peers were told to have failed, of peers that were all alive.

    Attributes:
        of_healthy: times that a peer was told so of one that never paused.
        at_healthy: times that one that never paused was told so, of anybody.
        declared: peers of which anybody was told so, and that paused.
        back: whether all were in all directories in the end.
    """

    of_healthy: int
    at_healthy: int
    declared: int
    back: bool


def _pauses(seed: int, peers: int, progress: Callable[[str], None]) -> Table:
    rows, tenth = list[Sequence[Cell]](), max(1, peers // 10)
    for pausing in (4, tenth):
        for pause in (2.0, 8.0, 16.0, 32.0):
            result = apart(lambda n=pausing, pause=pause: _while_pausing(seed, peers, n, pause))  # type: ignore[misc]
            progress(f"{pausing} of {peers} pause for {pause:g} s: {result}")
            rows.append(
                (pausing, pause, result.of_healthy, result.declared, result.at_healthy, "yes" if result.back else "NO")
            )
    return Table(
        "lifeguard_pauses",
        f"False positives while some of {peers} peers pause for {PAUSING:g} s, {BETWEEN:g} s awake between two pauses",
        f"{LIFEGUARD}, section V: of SWIM's false positives among 128 members 1.5 % are left, 1.9 % at healthy ones",
        (
            "pausing",
            "each time, s",
            "ours: told of a healthy peer",
            "pausing ones declared failed",
            "ours: told to a healthy peer",
            "all back at rest",
        ),
        rows,
        (
            "All are alive all the time; but nobody can tell one that is silent for a quarter of a minute from a dead "
            "one. What must not be is the third column: a healthy peer declared failed.",
            "A peer that finds itself accused says so, and is back within seconds of its waking.",
        ),
    )


def _while_pausing(seed: int, peers: int, pausing: int, pause: float) -> Slander:
    world, rng = _settled(seed, peers), random.Random(f"{seed} pausing")
    chosen = rng.sample(world.running[1:], pausing)
    before = {peer: len(peer.changes) for peer in world.running}
    end = world.now + PAUSING
    while world.now < end:
        for peer in chosen:
            peer.freeze()
        world.run(pause)
        for peer in chosen:
            peer.thaw()
        world.run(BETWEEN)
    world.run(SETTLE)
    ill = {peer.peer for peer in chosen}
    told = [
        (peer.peer, changed.peer)
        for peer in world.running
        for changed in peer.changes[before[peer] :]
        if changed.kind is Kind.FAILED
    ]
    living = {peer.peer for peer in world.running}
    return Slander(
        sum(lost not in ill for _, lost in told),
        sum(teller not in ill for teller, _ in told),
        len({lost for _, lost in told if lost in ill}),
        all(set(peer.core.membership.entries) >= living for peer in world.running)
        and all(peer.core.membership.living == len(living) - 1 for peer in world.running),
    )


def _losses(seed: int, sizes: Sequence[int], progress: Callable[[str], None]) -> Table:
    rows = list[Sequence[Cell]]()
    for size in sizes:
        for loss in (0.1, 0.3):
            declared, ends = apart(lambda size=size, loss=loss: _while_losing(seed, size, loss))  # type: ignore[misc]
            progress(f"{size} peers, {100 * loss:g} % lost: {declared} declared failed")
            rows.append((size, 100 * loss, declared, ends))
    return Table(
        "swim_loss",
        f"Living peers declared failed where packets are lost, {LOSING / 60:g} minutes",
        f"{SWIM}, section 5.4: of 17 processes at 10 % loss 12 stay in the group with suspicion, 4 without",
        ("peers", "lost, %", "ours: declared failed", "links that ended by it"),
        rows,
        ("TCP sends again what is lost: loss is delay here, 0.2 s, doubled each time; 1 s for a connection's first.",),
    )


def _while_losing(seed: int, size: int, loss: float) -> tuple[int, int]:
    world = _settled(seed, size)
    world.loss = loss
    world.run(LOSING)
    declared = {changed.peer for peer in world.running for changed in peer.changes if changed.kind is Kind.FAILED}
    ends = sum(peer.core.turn.counts["link_end_ping-timeout"] for peer in world.running)
    return len(declared), ends
