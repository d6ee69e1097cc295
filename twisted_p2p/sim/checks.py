"""The contract of docs/guarantee.md as checks on a world, and what else must hold once it has come to rest.

Each check returns its violations, as sentences. `members` are the peers that count and are up. What a hostile peer says
is lost to itself alone: of its streams only those checks speak that go by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial

import attrs
import msgspec

from twisted_p2p.interfaces import Stream
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.world import World

Violations = list[str]
Check = Callable[[World, Sequence[SimPeer]], Violations]

TIMERS = 12
TIMERS_PER_LINK = 6
"""Deadlines that a peer at rest may have: its own periods, and for each link its pings and what it lingers for."""

_messages = lru_cache(maxsize=4096)(msgspec.json.Decoder(list[msgspec.Raw]).decode)


def messages_of(body: msgspec.Raw) -> list[bytes]:
    """The encoded groups of a bundle, here of one message each."""
    return [bytes(message) for message in _messages(bytes(body))]


def delivered(peer: SimPeer) -> dict[Stream, list[bytes]]:
    """What a peer's application was handed, by stream, in the order in which it was."""
    found: dict[Stream, list[bytes]] = {}
    for bundle in peer.received:
        found.setdefault((bundle.origin, bundle.epoch), []).extend(messages_of(bundle.messages))
    return found


@attrs.define
class Spoken:
    """What was broadcast in one stream.

    `is_forked`: two processes with one key have both done so, or one that went on from an old copy of its log. Nothing
    else excuses that a number is given twice.
    """

    origin: SimPeer
    said: list[tuple[float, bytes]] = attrs.field(factory=list)
    is_forked: bool = False
    _taken: dict[int, object] = attrs.field(factory=dict)

    def add(self, at: float, message: bytes, place: tuple[Stream, range]) -> None:
        """Something was said; all that was said in one call has the same `place`."""
        self.said.append((at, message))
        is_given_twice = any(self._taken.setdefault(seq, place) is not place for seq in place[1])
        self.is_forked |= is_given_twice and self.origin.is_old_copy


def spoken(peers: Sequence[SimPeer]) -> dict[Stream, Spoken]:
    """What these peers broadcast, by stream."""
    found: dict[Stream, Spoken] = {}
    for peer in peers:
        for at, message in peer.said:
            place = peer.places[message]
            of = found.setdefault(place[0], Spoken(peer))
            of.add(at, message, place)
            of.is_forked |= of.origin is not peer
    return found


def _honest(world: World) -> list[SimPeer]:
    """Those that are not hostile, up or not."""
    return [peer for peer in world.peers if peer.mask is None]


def _is_vouched(world: World, stream: Stream) -> bool:
    """Whether the stream is of somebody who is not hostile."""
    return stream[0] in {peer.peer for peer in world.peers} - {
        peer.peer for peer in world.peers if peer.mask is not None
    }


# What must hold of everybody at any time.


def integrity(world: World, members: Sequence[SimPeer]) -> Violations:
    """Nobody is handed anything twice, nor what its origin did not broadcast."""
    found: Violations = []
    said = {stream: {message for _, message in of.said} for stream, of in spoken(world.peers).items()}
    for peer in _honest(world):
        for stream, messages in delivered(peer).items():
            if stream[0] == peer.peer:
                found.append(f"integrity: {peer} was handed its own messages")
            if not _is_vouched(world, stream):
                continue
            if len(set(messages)) < len(messages):
                found.append(f"integrity: {peer} was handed {len(messages) - len(set(messages))} messages twice")
            strange = [message for message in messages if message not in said.get(stream, ())]
            if strange:
                found.append(f"integrity: {peer} was handed {len(strange)} that {stream[0][:6]} never broadcast")
    return found


def fifo(world: World, members: Sequence[SimPeer]) -> Violations:
    """Everybody is handed the messages of an origin in the order in which it broadcast them."""
    found: Violations = []
    place = {
        stream: {message: n for n, (_, message) in enumerate(of.said)}
        for stream, of in spoken(world.peers).items()
        if not of.is_forked and _is_vouched(world, stream)
    }
    for peer in _honest(world):
        for stream, messages in delivered(peer).items():
            places = [place[stream].get(message, -1) for message in messages] if stream in place else []
            if places != sorted(places):
                found.append(f"fifo: {peer} was handed messages of {stream[0][:6]} out of order")
    return found


def no_silent_loss(world: World, members: Sequence[SimPeer]) -> Violations:
    """The bundles of a stream are handed over without a hole, unless a gap tells of it."""
    found: Violations = []
    for peer in _honest(world):
        told = {(gap.origin, gap.epoch, gap.first): gap.last for gap in peer.gaps}
        last: dict[tuple[str, int], int] = {}
        for bundle in peer.received:
            stream = (bundle.origin, bundle.epoch)
            expected = last.get(stream, bundle.seq - 1) + 1
            while (hole := (*stream, expected)) in told:
                expected = told[hole] + 1
            if bundle.seq != expected:
                found.append(
                    f"silent loss: {peer} was handed bundle {bundle.seq} of {bundle.origin[:6]}, not {expected}"
                )
            last[stream] = bundle.seq
    return found


# What must hold of the members once the world has come to rest.


def validity(world: World, members: Sequence[SimPeer]) -> Violations:
    """Every member has what a member broadcast since both of them had joined, or was told of a gap there.

    What was on a disk that was replaced by an old copy may never have been sent.
    """
    said = spoken(members)
    for of in said.values():
        of.said = [(at, message) for at, message in of.said if message not in of.origin.doubtful]
    return _missing("validity", world, members, said)


def agreement(world: World, members: Sequence[SimPeer]) -> Violations:
    """What one member was handed, of whatever origin, every member has that had joined when it was broadcast."""
    known: dict[Stream, dict[bytes, None]] = {}
    for peer in members:
        for stream, messages in delivered(peer).items():
            known.setdefault(stream, {}).update(dict.fromkeys(messages))
    said = {stream: of for stream, of in spoken(world.peers).items() if _is_vouched(world, stream)}
    for stream, of in said.items():
        of.said = [(at, message) for at, message in of.said if message in known.get(stream, ())]
    return _missing("agreement", world, members, said)


def _missing(name: str, world: World, members: Sequence[SimPeer], said: dict[Stream, Spoken]) -> Violations:
    """A forked stream is left out: each of its bundles may be this one here and that one there."""
    forked = {stream for stream, of in spoken(world.peers).items() if of.is_forked}
    found: Violations = []
    for peer in members:
        if peer.member_since is None:
            found.append(f"{name}: {peer} has not joined")
            continue
        handed = delivered(peer)
        for stream, of in said.items():
            if stream[0] != peer.peer and stream not in forked:
                has = set(handed.get(stream, ()))
                lacks = [
                    at
                    for at, message in of.said
                    if at > peer.member_since and message not in has and not _told_of(peer, of.origin, message)
                ]
                if lacks:
                    since = lacks[0] - peer.member_since
                    found.append(f"{name}: {peer} lacks {len(lacks)} of {of.origin}, from {since:.2f} s after its join")
    return found


def _told_of(peer: SimPeer, origin: SimPeer, message: bytes) -> bool:
    """Whether the peer's application was told of a gap where this message is."""
    stream, seqs = origin.places[message]
    return any(
        (gap.origin, gap.epoch) == stream and gap.first < seqs.stop and seqs.start <= gap.last for gap in peer.gaps
    )


def positions_equal(world: World, members: Sequence[SimPeer]) -> Violations:
    """All are at the same position of every stream."""
    found: Violations = []
    streams = {stream: None for peer in members for stream in peer.core.positions.streams()}
    for stream in streams if _honest(world) == world.peers else filter(partial(_is_vouched, world), streams):
        there = sorted((peer.core.positions.of(stream), peer.name) for peer in members)
        if there[0][0] != there[-1][0]:
            found.append(f"positions: of stream {stream[0][:6]} from {there[0]} to {there[-1]}")
    return found


def directories_equal(world: World, members: Sequence[SimPeer]) -> Violations:
    """Every directory holds all members, alive, and nobody else alive; and no two differ.

    One that is a sample holds all neighbours, and not more than it may.
    """
    found: Violations = []
    if world.config.max_known:
        for peer in members:
            core = peer.core
            if core.membership.living > core.config.max_known:
                found.append(f"directory: {peer} knows {core.membership.living}")
            strangers = [other[:6] for other in core.overlay.active if not core.membership.is_alive(other)]
            if strangers:
                found.append(f"directory: {peer} does not know its neighbours {', '.join(strangers)}")
        return found
    ids = {peer.peer for peer in members}
    real = {peer.peer for peer in world.peers}
    for peer in members:
        alive = {record.peer for record in peer.core.membership.others()}
        missing = [other.name for other in members if other is not peer and other.peer not in alive]
        if missing:
            found.append(f"directory: {peer} lacks {', '.join(missing[:5])}")
        gone = alive - ids if _honest(world) == world.peers else (alive & real) - ids
        if gone:
            found.append(f"directory: {peer} believes in {len(gone)} that are not there")
    if len({peer.core.membership.digest.root() for peer in members}) > 1:
        found.append("directory: not all are equal")
    return found


def views_symmetric(world: World, members: Sequence[SimPeer]) -> Violations:
    """If a is b's neighbour, b is a's; nobody has too few or too many; and all are connected."""
    found: Violations = []
    by_id = {peer.peer: peer for peer in members}
    for peer in members:
        active, config = peer.core.overlay.active, peer.core.config
        if not min(3, config.active_target, len(members) - 1) <= len(active) <= peer.core.overlay.room:
            found.append(f"views: {peer} has {len(active)} neighbours")
        for other in active:
            if other not in by_id or peer.peer not in by_id[other].core.overlay.active:
                found.append(f"views: {peer} has the neighbour {other[:6]}, who does not have it")
    if len(members) > 1 and len(_reachable(members[0], by_id, lambda peer: peer.core.overlay.active)) < len(members):
        found.append("views: the overlay is in pieces")
    return found


def links_agreed(world: World, members: Sequence[SimPeer]) -> Violations:
    """Both ends agree on which links are eager."""
    eager = {peer.peer: eager_neighbours(peer) for peer in members}
    return [
        f"tree: {peer} has an eager link to {other[:6]}, for whom it is lazy"
        for peer in members
        for other in eager[peer.peer]
        if peer.peer not in eager.get(other, ())
    ]


def tree_whole(world: World, members: Sequence[SimPeer]) -> Violations:
    """The eager links connect everybody. After a loss it is so only once something has been said."""
    by_id = {peer.peer: peer for peer in members}
    if len(members) > 1 and len(_reachable(members[0], by_id, eager_neighbours)) < len(members):
        return ["tree: it is in pieces"]
    return []


def eager_neighbours(peer: SimPeer) -> list[str]:
    """The neighbours that a peer pushes to."""
    return [flow.link.peer for flow in peer.core.spread.flows.values() if flow.eager]


def _reachable(
    start: SimPeer, by_id: dict[str, SimPeer], neighbours: Callable[[SimPeer], Iterable[str]]
) -> dict[str, None]:
    seen, queue = {start.peer: None}, [start]
    while queue:
        for other in neighbours(queue.pop()):
            if other not in seen and other in by_id:
                seen[other] = None
                queue.append(by_id[other])
    return seen


def nothing_left(world: World, members: Sequence[SimPeer]) -> Violations:
    """No queue holds anything, and no more deadlines are set than a peer at rest has.

    In a sample there may always be somebody who is not there any more. How far the streams of hostile peers are need
    never be settled.
    """
    found: Violations = []
    hostile = {peer.peer for peer in world.peers if peer.mask is not None}

    def lies(stream: Stream) -> bool:
        return stream[0] in hostile

    for peer in members:
        core = peer.core
        flows = list(core.spread.flows.values())
        left: list[tuple[str, int]] = [
            ("early bundles", core.spread.early.count),
            ("streams that it wants", sum(not lies(stream) for stream in core.catchup.wants)),
            ("streams that it owes", sum(len(flow.owed) for flow in flows)),
            ("streams on which a link is not level", sum(not lies(stream) for flow in flows for stream in flow.cursor)),
            ("neighbour links that carry nothing yet", sum(not flow.live for flow in flows)),
            ("positions that it has not told", sum(len(flow.moved) for flow in flows)),
            ("suspicions", 0 if core.membership.is_sample else len(core.detection.suspicions)),
            ("deadlines too many", len(core.turn.timers) - TIMERS - TIMERS_PER_LINK * len(core.links.by_id)),
        ]
        found += [f"left over: {peer} has {number} {what}" for what, number in left if number > 0]
    return found


# What must hold of the honest ones while others are hostile.


def no_gaps(world: World, members: Sequence[SimPeer]) -> Violations:
    """Nobody is told that anything of an honest peer is lost."""
    return [
        f"gaps: {peer} was told of a gap in the stream of {gap.origin[:6]}, from {gap.first} to {gap.last}"
        for peer in members
        for gap in peer.gaps
        if _is_vouched(world, (gap.origin, gap.epoch))
    ]


def no_invented_gaps(world: World, members: Sequence[SimPeer]) -> Violations:
    """Nobody is told of a gap where an honest peer, which is up and has lost nothing, has not said anything yet."""
    of = {peer.stream: peer for peer in world.honest if not (peer.is_old_copy or _has_twin(world, peer))}
    return [
        f"gaps: {peer} was told of a gap in the stream of {of[gap.origin, gap.epoch]}, up to {gap.last}"
        for peer in members
        for gap in peer.gaps
        if (gap.origin, gap.epoch) in of
        and gap.last >= of[gap.origin, gap.epoch].core.positions.of((gap.origin, gap.epoch))
    ]


def _has_twin(world: World, peer: SimPeer) -> bool:
    """Whether another process has the same key."""
    return any(other is not peer and other.peer == peer.peer for other in world.peers)


def members_known(world: World, members: Sequence[SimPeer]) -> Violations:
    """Every directory holds all of them, alive."""
    return [
        f"directory: {peer} lacks {other.name}"
        for peer in members
        for other in members
        if other is not peer and not peer.core.membership.is_alive(other.peer)
    ]


BLAME = 5.0
"""Points that may be held against an honest peer: it may have been stopped in the middle of a handshake."""


def nobody_blamed(world: World, members: Sequence[SimPeer]) -> Violations:
    """No honest peer is held to have broken the rules by another honest one, whatever happened to either of them."""
    found: Violations = []
    honest = {subject: peer for peer in _honest(world) for subject in (peer.peer, peer.address[0])}
    for peer in world.peers:
        if peer.mask is not None:
            honest.pop(peer.peer, None)
            honest.pop(peer.address[0], None)
    for peer in _honest(world):
        conduct = peer.core.conduct
        blamed = {subject: conduct.points(subject) for subject in conduct.held() if subject in honest}
        blamed.update((subject, 100.0) for subject in conduct.banned if subject in honest)
        found += [
            f"blame: {peer} holds {points:.0f} points against {honest[subject]}, {subject[:15]}"
            for subject, points in blamed.items()
            if points > BLAME
        ]
    return found


ALWAYS: Sequence[Check] = (integrity, fifo, no_silent_loss, nobody_blamed)
AT_REST: Sequence[Check] = (
    validity,
    agreement,
    positions_equal,
    directories_equal,
    views_symmetric,
    links_agreed,
    nothing_left,
)
UNDER_ATTACK: Sequence[Check] = (validity, agreement, no_gaps, members_known)
"""In place of `AT_REST`, where no other fault makes a gap."""
UNDER_FAULTS: Sequence[Check] = (validity, agreement, no_invented_gaps, members_known)
"""The same where there are others."""


def violations(world: World, members: Sequence[SimPeer] | None = None, checks: Sequence[Check] = AT_REST) -> Violations:
    """What `ALWAYS` and these checks find. `members`: who counts; all honest ones that are up unless given."""
    counted = world.honest if members is None else members
    return [found for check in (*ALWAYS, *checks) for found in check(world, counted)]


def settles(
    world: World,
    limit: float,
    members: Sequence[SimPeer] | None = None,
    step: float = 0.25,
    checks: Sequence[Check] = AT_REST,
) -> Violations:
    """Let time pass until nothing is violated; what still is after `limit` seconds. It costs a look each `step`."""
    end = world.now + limit
    while not _is_at_rest(world, members, checks) and world.now < end:
        world.run(step)
    return violations(world, members, checks)


def _is_at_rest(world: World, members: Sequence[SimPeer] | None, checks: Sequence[Check]) -> bool:
    """Whether nothing of what only comes with time is missing; cheap checks first."""
    counted = world.honest if members is None else members
    return not any(check(world, counted) for check in reversed(checks))
