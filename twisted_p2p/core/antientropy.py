"""Anti-entropy: two peers compare what they have, by digests, and each learns what it lacks.

On a new neighbour link both ends send the digest of their positions, and in the buckets that differ the positions
themselves; from then on each knows what the other wants next of every stream, and payload may flow. What each has told
the other decides who asks: the one who told less sends GRAFT, and the other waits for it.

Later, now and then, and with each probe, ROOTS are compared, then digests, then entries. Who is found to be behind and
stays so past the graft time-out asks; where the other end is no neighbour, it is asked to become one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import attrs
import msgspec

from twisted_p2p.core import wire
from twisted_p2p.core.actions import Reason
from twisted_p2p.core.broadcast import Flow, Spread
from twisted_p2p.core.buckets import TokenBuckets
from twisted_p2p.core.catchup import CatchUp
from twisted_p2p.core.digest import BUCKETS, bucket_of, differing
from twisted_p2p.core.link import Link
from twisted_p2p.core.links import Links
from twisted_p2p.core.membership import Membership
from twisted_p2p.core.positions import Positions
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Digest, GiveNodesInNetwork, History, NodesInNetwork, Position, Roots
from twisted_p2p.interfaces import Stream

Hashes = dict[int, str]

_GIVERS = 4
"""Neighbours that are asked for history at most."""
_LOOKS = 4
"""After so many without progress two peers are held to be split."""


@attrs.define(eq=False)
class Sync:
    """The first comparison on a neighbour link. `told`: positions that we sent, None before."""

    flow: Flow
    ours: Hashes
    theirs: Hashes | None = None
    own: int = 1
    """The position of our own stream in `ours`."""
    told: dict[Stream, int] | None = None
    heard: dict[Stream, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Comparison:
    """A later comparison: positions, ours and theirs, at the first look. `told`, `buckets`: of the look at hand."""

    ours: dict[Stream, int] = attrs.field(factory=dict)
    theirs: dict[Stream, int] = attrs.field(factory=dict)
    looks: int = 0
    told: dict[Stream, int] = attrs.field(factory=dict)
    buckets: list[int] = attrs.field(factory=list)


@attrs.define(eq=False)
class AntiEntropy:
    """Keeps directory and positions equal everywhere."""

    turn: Turn
    membership: Membership
    links: Links
    positions: Positions
    spread: Spread
    catchup: CatchUp
    on_split: Callable[[Link], None]
    """The end of this link, no neighbour, stays apart from us."""
    on_page: Callable[[], None]
    """Streams may have begun in their middle, by a page of the baseline. The rest of it need not come."""
    on_baseline: Callable[[], None]
    """We have adopted a baseline of positions."""
    on_live: Callable[[], None]
    """A neighbour link carries payload now."""
    has_baseline: bool = False
    alone: bool = False
    """A genesis that has never met anybody: it may yet adopt the baseline of a network that was there before."""
    _syncs: dict[int, Sync] = attrs.field(factory=dict)
    _compared: dict[int, Comparison] = attrs.field(factory=dict)
    _asked: Link | None = None
    _waiting: list[Link] = attrs.field(factory=list)
    wanted: History | None = None
    """How much of what was broadcast before our join we want to have."""
    _histories: dict[int, dict[Stream, int]] = attrs.field(factory=dict)
    """For each link whose end asks for history: where each stream begins in it."""
    _lookups: TokenBuckets = attrs.field(init=False)
    """Of histories, for all who ask together: each costs the asking end next to nothing."""
    _begun: dict[Stream, int] = attrs.field(factory=dict)
    """The positions of the streams that the baseline has begun."""
    _givers: int = 0
    """How many have given us all of theirs."""
    _gathers_until: float | None = None
    _after: str = ""
    """Up to where the pages of the baseline have come; whoever is asked next goes on from there."""

    def __attrs_post_init__(self) -> None:
        config = self.turn.config
        self._lookups = TokenBuckets(config.histories_burst, config.histories_interval)

    def start(self) -> None:
        """Compare now and then from now on."""
        self.turn.timers.after(self.turn.jitter(self.turn.config.sync_interval), self._compare_with_neighbour)

    # --- a new neighbour link

    def neighbour_up(self, link: Link) -> None:
        """Compare directories at once, and positions as soon as both ends have a baseline."""
        self.spread.open_flow(link)
        self._compared.pop(link.id, None)
        self.links.send(link, self._roots(answer=False))
        if link.baseline and (self.alone or not self.has_baseline):
            self._waiting.append(link)
            self._ask_baseline()
        elif self.has_baseline:
            self._begin(link)

    def lost(self, link: Link) -> None:
        """A link has ended."""
        self._syncs.pop(link.id, None)
        self._compared.pop(link.id, None)
        self._histories.pop(link.id, None)
        self.spread.close_flow(link)
        self.catchup.lost(link)
        if link in self._waiting:
            self._waiting.remove(link)
        if link is self._asked:
            self._asked = None
            self._ask_baseline()

    def _begin(self, link: Link) -> None:
        hashes = self.positions.digest.hashes()
        sync = self._syncs.get(link.id)
        if sync is None:
            sync = self._syncs[link.id] = Sync(self.spread.flows[link.id], hashes)
        elif sync.told is not None:
            return
        sync.ours, sync.told, sync.own = hashes, {}, self.positions.of(self.spread.own)
        sync.flow.cursor.clear()
        self.links.send(link, self._digest("streams", hashes))
        if sync.theirs is not None:
            self._tell(link, sync)

    def digest(self, link: Link, frame: Digest) -> None:
        """The other end's hashes: of the directory at any time; of positions at first for a sync, later to compare."""
        theirs = _numbered(frame.buckets)
        if theirs is None:
            self.links.hang_up(link, Reason.BAD_FRAME)
        elif frame.of == "nodes":
            if not self.membership.is_sample:
                self._send_facts(link, differing(self.membership.digest.hashes(), theirs))
        elif link.is_neighbour and not self.spread.flows[link.id].live:
            self._sync_digest(link, theirs)
        elif self.has_baseline:
            self._send_positions(link, differing(self.positions.digest.hashes(), theirs))

    def _sync_digest(self, link: Link, theirs: Hashes) -> None:
        link.baseline = True
        sync = self._syncs.get(link.id)
        if sync is None:
            self._syncs[link.id] = Sync(self.spread.flows[link.id], {}, theirs)
            if not self.has_baseline and link not in self._waiting:
                self._waiting.append(link)
                self._ask_baseline()
            return
        if sync.theirs is not None:
            self.links.hang_up(link, Reason.BAD_FRAME)
            return
        sync.theirs = theirs
        if sync.told is not None:
            self._tell(link, sync)

    def _tell(self, link: Link, sync: Sync) -> None:
        """Both digests are known, so both ends know which buckets differ: tell our positions in those."""
        buckets = differing(sync.ours, sync.theirs or {})
        if not buckets:
            self._go_live(link, sync)
            return
        sync.told = self._send_positions(link, buckets)

    def _go_live(self, link: Link, sync: Sync) -> None:
        """What each told the other decides who is behind; what moved since is pushed."""
        flow, told = sync.flow, sync.told or {}
        del self._syncs[link.id]
        self._prove_own_stream(sync, told)
        flow.live, self.alone = True, False
        moved = dict(flow.cursor)
        for stream in {**told, **sync.heard}:
            ours, theirs = told.get(stream, 1), sync.heard.get(stream, 1)
            moved.pop(stream, None)
            flow.cursor[stream] = theirs
            if theirs > ours:
                self.catchup.behind(link, stream, theirs)
            if theirs == self.positions.of(stream):
                del flow.cursor[stream]
            elif theirs >= ours and theirs < self.positions.of(stream):
                self.spread.owe(flow, stream)
        for stream in moved:
            self.spread.owe(flow, stream)
        self.on_live()

    def _prove_own_stream(self, sync: Sync, told: dict[Stream, int]) -> None:
        """Whoever meets us first tells whether our log is an old copy. Then we lack bundles of our own stream."""
        own = self.spread.own
        is_equal = own not in told and own not in sync.heard
        theirs = sync.own if is_equal else sync.heard.get(own, 1)
        if self.spread.prove(theirs):
            told[own], sync.heard[own] = self.positions.of(own), theirs

    # --- the baseline

    def _ask_baseline(self) -> None:
        """Ask one neighbour for the directory and its positions; another one for the rest where that takes too long."""
        if self._asked is not None:
            return
        if not self._waiting:
            self._after = ""
            if self._givers:
                self._adopted()
            return
        if self.wanted is not None and self._is_gathering():
            return
        link = self._asked = self._waiting[0]
        self.links.send(link, GiveNodesInNetwork(self._after, self.wanted))
        self.turn.timers.after(self.turn.config.handshake_timeout, lambda: self._ask_another(link), judges=True)

    def _ask_another(self, link: Link) -> None:
        if self._asked is link:
            self._waiting.remove(link)
            if not self._givers:
                self._waiting.append(link)
            self._asked = None
            self._ask_baseline()

    def _is_gathering(self) -> bool:
        """Who wants history waits for some neighbours to ask: the first one may have joined a moment ago itself."""
        pause = self.turn.config.refill_interval
        if self._gathers_until is None:
            self._gathers_until = self.turn.now + pause
            self.turn.timers.after(pause, self._ask_baseline)
        return self.turn.now < self._gathers_until

    def _given(self, link: Link) -> None:
        """All pages of one neighbour are there. For history others are asked, too: it begins where any has it from."""
        self._givers += 1
        self._waiting.remove(link)
        if self.wanted is None or self._givers >= _GIVERS:
            self._adopted()
            return
        self._asked, self._after = None, ""
        self._ask_baseline()

    def give_nodes(self, link: Link, frame: GiveNodesInNetwork) -> None:
        """Answer with a page of the directory and of our positions, in the order of peer ids."""
        if not (self.has_baseline and self._may_look_up(link, frame)):
            self.turn.counts["baseline_not_given"] += 1
            return
        peers, streams = list[str](), list[Position]()
        following: str | None = None
        for peer, positions in self._by_peer(frame.after):
            if len(peers) + len(streams) >= self.turn.config.page:
                following = peers[-1]
                break
            peers.append(peer)
            streams += positions
        self.alone = False
        known = self.membership.is_alive if self.membership.is_sample else self.membership.entries.__contains__
        page = self._facts(filter(known, peers))
        begins = self._history(link, frame, following is None)
        history = [(origin, epoch, begins[origin, epoch]) for origin, epoch, _ in streams if (origin, epoch) in begins]
        self.links.send(link, NodesInNetwork(page.nodes, page.claims, streams, following, history=history))

    def _may_look_up(self, link: Link, frame: GiveNodesInNetwork) -> bool:
        """Whether it is not too much; who gets no answer asks another one, or once more."""
        if frame.history is None or link.id in self._histories:
            return True
        if not self._lookups.has("", self.turn.now):
            return False
        self._lookups.take("", self.turn.now)
        return True

    def _history(self, link: Link, frame: GiveNodesInNetwork, is_last: bool) -> dict[Stream, int]:
        """Where streams begin in the history that is asked for; looked up once for all pages."""
        if frame.history is None:
            return {}
        begins = self._histories.pop(link.id, None)
        if begins is None:
            begins = self.spread.log.history(self.turn.now, frame.history.age, frame.history.count)
        if not is_last:
            self._histories[link.id] = begins
        return begins

    def _by_peer(self, after: str) -> Iterator[tuple[str, list[Position]]]:
        """Everybody of whom we have facts or streams, with the positions of those; a bucket holds a range of ids."""
        for bucket in range(bucket_of(after) if after else 0, BUCKETS):
            found: dict[str, list[Position]] = {peer: [] for peer in self.membership.digest.keys(bucket)}
            for position in self.positions.in_bucket(bucket):
                found.setdefault(position[0], []).append(position)
            yield from sorted(item for item in found.items() if item[0] > after)

    def nodes(self, link: Link, frame: NodesInNetwork) -> bool:
        """A page of facts, and of the baseline if we asked for one; False if a signature was bad."""
        before, is_baseline = self.membership.digest.root(), link is self._asked and frame.streams is not None
        if not self.membership.merge(frame.nodes, frame.claims, "" if is_baseline else link.peer):
            return False
        if frame.again and self.membership.digest.root() != before:
            self.links.send(link, self._digest("nodes", self.membership.digest.hashes()))
        if is_baseline:
            begins = {(origin, epoch): first for origin, epoch, first in frame.history}
            for origin, epoch, position in frame.streams or ():
                first = begins.get((origin, epoch), position) if self.wanted else position
                self._begin_stream((origin, epoch), min(first, position), position)
            self.on_page()
            if frame.next is None:
                self._given(link)
            elif frame.next > self._after:
                self._after = frame.next
                self.links.send(link, GiveNodesInNetwork(self._after, self.wanted))
        return True

    def _begin_stream(self, stream: Stream, first: int, position: int) -> None:
        """A page of the baseline says where a stream is, and where its history begins."""
        begun = self._begun.get(stream)
        if begun is not None:
            # Of another neighbour we have taken it already; nothing of it was handed over yet.
            if first < self.positions.of(stream):
                self.spread.begin_replayed(stream, first, begun)
        elif stream != self.spread.own and not self.positions.knows(stream) and self.spread.may_begin(stream):
            if first < position:
                self.spread.begin_replayed(stream, first, position)
            else:
                self.spread.begin_at(stream, position)
            self._begun[stream] = position

    def _adopted(self) -> None:
        self._begun, self._givers, self._gathers_until = {}, 0, None
        self.has_baseline, self.alone = True, False
        self.on_baseline()
        self._begin_all()

    def be_alone(self) -> None:
        """There is nobody whose positions we could adopt: those that we have are the baseline."""
        self.has_baseline = self.alone = True
        self._begin_all()

    def _begin_all(self) -> None:
        self._asked, self._waiting, self._after = None, [], ""
        for flow in list(self.spread.flows.values()):
            if not flow.live:
                self._begin(flow.link)

    # --- later comparisons

    def _compare_with_neighbour(self) -> None:
        self.start()
        live = [flow.link for flow in self.spread.flows.values() if flow.live]
        if live:
            self.compare(self.turn.rng.choice(live))

    def compare(self, link: Link) -> None:
        """Compare directory and positions with the other end of an open link."""
        self._compared[link.id] = Comparison()
        self.links.send(link, self._roots(answer=True))

    def compare_once(self, link: Link) -> None:
        """Compare just the directory, and end the link soon.

        A newcomer has its directory from one peer that another one has named. Its own user has named the genesis.
        """
        if self.membership.is_sample:
            self.links.hang_up(link, Reason.DONE)
        else:
            self.links.send(link, self._roots(answer=True))
            self.turn.timers.after(self.turn.config.graft_timeout, lambda: self._done(link))

    def roots(self, link: Link, frame: Roots) -> None:
        """The other end's roots: where they differ from ours, send what tells more."""
        if frame.answer:
            self.links.send(link, self._roots(answer=False))
        if frame.nodes != self.membership.digest.root() and not self.membership.is_sample:
            self.links.send(link, self._digest("nodes", self.membership.digest.hashes()))
        if frame.streams == self.positions.digest.root():
            self.spread.level_on_all(link)
        comparison = self._compared.get(link.id)
        if comparison is None or comparison.looks or (link.is_asked and not link.is_neighbour):
            # Where we have asked to be neighbours, our digest would be taken for the first one of those.
            return
        if frame.streams == self.positions.digest.root() or not self.has_baseline:
            self._compared_equal(link)
        else:
            self._look(link, comparison)

    def _look(self, link: Link, comparison: Comparison) -> None:
        comparison.looks += 1
        comparison.told, comparison.buckets = {}, []
        self.links.send(link, self._digest("streams", self.positions.digest.hashes()))

    def positions_told(self, link: Link, frame: wire.Positions) -> None:
        """The other end's positions: for a sync, for a comparison of ours, or since it found us behind."""
        told = {(origin, epoch): position for origin, epoch, position in frame.streams}
        sync, comparison = self._syncs.get(link.id), self._compared.get(link.id)
        if sync is not None:
            sync.heard.update(told)
            if self._is_bounded(link, sync.heard) and not frame.more and sync.told is not None:
                self._go_live(link, sync)
        elif comparison is not None and comparison.looks:
            comparison.told.update(told)
            comparison.buckets = frame.buckets
            if self._is_bounded(link, comparison.told) and not frame.more:
                self._looked(link, comparison)
        elif link.is_neighbour:
            self._behind(link, told)

    def _is_bounded(self, link: Link, told: dict[Stream, int]) -> bool:
        """Nobody can be at more positions than anybody may keep; the link of who says so ends."""
        if len(told) > self.turn.config.max_streams:
            self.links.hang_up(link, Reason.BAD_FRAME)
            return False
        return True

    def _looked(self, link: Link, comparison: Comparison) -> None:
        """A look is complete. A stream of ours that a differing bucket of theirs does not name is at 1 there."""
        for bucket in comparison.buckets:
            for origin, epoch, _ in self.positions.in_bucket(bucket):
                comparison.told.setdefault((origin, epoch), 1)
        if link.is_neighbour:
            self._look_at_neighbour(link, comparison)
        elif comparison.looks == 1:
            self._first_look(link, comparison)
        else:
            self._later_look(link, comparison)

    def _look_at_neighbour(self, link: Link, comparison: Comparison) -> None:
        """Whoever of us is behind, and stays so, asks."""
        del self._compared[link.id]
        self._behind(link, comparison.told)
        back = [(*s, self.positions.of(s)) for s, there in comparison.told.items() if there < self.positions.of(s)]
        self._send_pages(link, back, [], answers=False)

    def frontier(self, link: Link, frame: wire.Frontier) -> None:
        """Lazy push: what the other end has, and we do not push to it."""
        if link.is_neighbour:
            self._behind(link, {(origin, epoch): position for origin, epoch, position in frame.streams})

    def _behind(self, link: Link, told: dict[Stream, int]) -> None:
        for stream, position in told.items():
            ours = self.positions.of(stream)
            if position >= ours:
                self.spread.as_far(link, stream, position)
            if position > ours:
                self.catchup.behind(link, stream, position, patient=True)

    def _first_look(self, link: Link, comparison: Comparison) -> None:
        """With one who is no neighbour we look again, once what was under way has had the time to arrive."""
        comparison.theirs = comparison.told
        comparison.ours = {stream: self.positions.of(stream) for stream in comparison.told}
        self._look_later(link, comparison)

    def _look_later(self, link: Link, comparison: Comparison) -> None:
        def again() -> None:
            if self._compared.get(link.id) is comparison:
                self._look(link, comparison)

        self.turn.timers.after(self.turn.config.graft_timeout, again)

    def _later_look(self, link: Link, comparison: Comparison) -> None:
        """No way leads from one of us to the other if something is still behind, and nothing of it has come.

        Who is just catching up gets on; if it were made a neighbour of all who find it behind, it would lose those that
        serve it.
        """
        ours, theirs, told = comparison.ours, comparison.theirs, comparison.told
        is_behind = gets_on = False
        for stream, there in theirs.items():
            here = ours[stream]
            if there > here:
                is_behind |= self.positions.of(stream) < there
                gets_on |= self.positions.of(stream) > here
            elif there < here:
                is_behind |= told.get(stream, here) < here
                gets_on |= told.get(stream, here) > there
        if not is_behind or gets_on:
            self._compared_equal(link)
        elif comparison.looks < _LOOKS:
            self._look_later(link, comparison)
        else:
            del self._compared[link.id]
            self.turn.counts["splits"] += 1
            self.on_split(link)

    def _compared_equal(self, link: Link) -> None:
        del self._compared[link.id]
        if not link.is_neighbour:
            self.turn.timers.after(self.turn.config.graft_timeout, lambda: self._done(link))

    def _done(self, link: Link) -> None:
        if link.end is None and not link.is_neighbour:
            self.links.hang_up(link, Reason.DONE)

    # --- frames

    def _roots(self, answer: bool) -> Roots:
        return Roots(self.membership.digest.root(), self.positions.digest.root(), answer)

    def _digest(self, of: str, hashes: Hashes) -> Digest:
        buckets = {str(bucket): value for bucket, value in hashes.items()}
        return Digest("nodes" if of == "nodes" else "streams", buckets)

    def _facts(self, peers: Iterable[str]) -> NodesInNetwork:
        """What we hold of these peers; beside a claim there is its accuser's record, or it would count for nothing."""
        held = self.membership.entries
        claims = {peer: held[peer].claim for peer in peers}
        accusers = [claim.accuser for claim in claims.values() if claim is not None and claim.accuser in held]
        records = [held[peer].record for peer in dict.fromkeys((*claims, *accusers))]
        return NodesInNetwork(records, [claim for claim in claims.values() if claim is not None])

    def _send_facts(self, link: Link, buckets: list[int]) -> None:
        """Entries of these buckets, as many as a page takes; the other end asks again while there is news."""
        peers, size = (
            [peer for bucket in buckets for peer in self.membership.digest.keys(bucket)],
            self.turn.config.page,
        )
        if len(peers) > size:
            peers = self.turn.rng.sample(peers, size)
            self.links.send(link, msgspec.structs.replace(self._facts(peers), again=True))
        elif peers:
            self.links.send(link, self._facts(peers))

    def _send_positions(self, link: Link, buckets: list[int]) -> dict[Stream, int]:
        """Tell our positions in these buckets; what was told."""
        positions = [position for bucket in buckets for position in self.positions.in_bucket(bucket)]
        self._send_pages(link, positions, buckets, answers=True)
        return {(origin, epoch): position for origin, epoch, position in positions}

    def _send_pages(self, link: Link, positions: list[Position], buckets: list[int], answers: bool) -> None:
        """Nothing at all for no positions, unless it `answers` a question."""
        size = self.turn.config.page
        for begin in range(0, max(len(positions), int(answers)), size):
            more = begin + size < len(positions)
            self.links.send(link, wire.Positions(positions[begin : begin + size], buckets, more))


def _numbered(buckets: dict[str, str]) -> Hashes | None:
    """The buckets of a frame by number; None where a key is no bucket."""
    try:
        numbered = {int(key): value for key, value in buckets.items()}
    except ValueError:
        return None
    return numbered if all(0 <= int(key) < BUCKETS and str(int(key)) == key for key in buckets) else None
