"""The contract of docs/guarantee.md as checks on a world that has come to rest. Each returns its violations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted_p2p.sim.world import SimPeer, World

Violations = list[str]


def exactly_once_in_order(world: World) -> Violations:
    """Integrity and FIFO: each stream is delivered in seq order, nothing twice, no hole without a gap that tells it."""
    found: Violations = []
    for peer in world.peers:
        last: dict[tuple[str, int], int] = {}
        gaps = {(gap.origin, gap.epoch, gap.first): gap.last for gap in peer.gaps}
        for bundle in peer.received:
            stream = (bundle.origin, bundle.epoch)
            before = last.get(stream)
            expected = bundle.seq if before is None else before + 1
            expected = gaps.get((*stream, expected), expected - 1) + 1
            if bundle.seq != expected:
                found.append(f"{peer}: seq {bundle.seq} of {stream[0][:6]} after {before}")
            last[stream] = bundle.seq
    return found


def all_delivered(world: World, members: Sequence[SimPeer], since: float = 0.0) -> Violations:
    """Validity and agreement among peers that are up: all are at the same position of every stream."""
    found: Violations = []
    if not members:
        return found
    streams = {s: None for peer in members for s in peer.core.positions.streams()}
    for stream in streams:
        positions = {peer.core.positions.of(stream) for peer in members}
        if len(positions) > 1:
            there = sorted((peer.core.positions.of(stream), peer.name) for peer in members)
            found.append(f"stream {stream[0][:6]}: positions differ, from {there[0]} to {there[-1]}")
    return found


def directories_equal(world: World, members: Sequence[SimPeer]) -> Violations:
    """Every directory holds all members, alive, and no two differ."""
    found: Violations = []
    for peer in members:
        alive = {record.peer for record in peer.core.membership.others()}
        missing = [other.name for other in members if other is not peer and other.peer not in alive]
        if missing:
            found.append(f"{peer}: lacks {', '.join(missing[:5])}")
        known = {other.peer for other in members}
        surplus = [other for other in alive if other not in known]
        if surplus:
            found.append(f"{peer}: believes in {len(surplus)} that are not there")
    if len({peer.core.membership.digest.root() for peer in members}) > 1:
        found.append("directories differ")
    return found


def views_symmetric(world: World, members: Sequence[SimPeer]) -> Violations:
    """If a is b's neighbour, b is a's; and the degrees are in bounds."""
    found: Violations = []
    by_id = {peer.peer: peer for peer in members}
    for peer in members:
        active = peer.core.overlay.active
        degree, config = len(active), peer.core.config
        if not min(3, config.active_target, len(members) - 1) <= degree <= config.active_max:
            found.append(f"{peer}: has {degree} neighbours")
        for other in active:
            if other not in by_id or peer.peer not in by_id[other].core.overlay.active:
                found.append(f"{peer}: neighbour {other[:6]} does not know of it")
    return found


def nothing_left(world: World, members: Sequence[SimPeer]) -> Violations:
    """No queue holds anything: no early bundle, want, owed stream, suspicion, request or stale link."""
    found: Violations = []
    for peer in members:
        core = peer.core
        left: list[tuple[str, int]] = [
            ("early bundles", core.spread.early_count),
            ("wants", len(core.catchup.wants)),
            ("owed streams", sum(len(flow.owed) for flow in core.spread.flows.values())),
            ("cursors", sum(len(flow.cursor) for flow in core.spread.flows.values())),
            ("suspicions", len(core.detection.suspicions)),
            ("flows that are not live", sum(not flow.live for flow in core.spread.flows.values())),
        ]
        found += [f"{peer}: {number} {what} left" for what, number in left if number]
    return found


SETTLED: Sequence[Callable[[World, Sequence[SimPeer]], Violations]] = (
    all_delivered,
    directories_equal,
    views_symmetric,
    nothing_left,
)


def violations(world: World, members: Sequence[SimPeer] | None = None) -> Violations:
    """All checks. `members`: who counts; all that are up unless given."""
    members = world.running if members is None else members
    found = exactly_once_in_order(world)
    for check in SETTLED:
        found += check(world, members)
    return found


def settles(world: World, limit: float, members: Sequence[SimPeer] | None = None) -> Violations:
    """Let time pass until nothing is violated; what still is after `limit` seconds."""
    end = world.now + limit
    while (found := violations(world, members)) and world.now < end:
        world.run(0.25)
    return found
