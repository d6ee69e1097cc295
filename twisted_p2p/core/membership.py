"""The directory: signed facts about peers, merged in any order to the same state.

Of each peer there is its own record and, perhaps, a claim that it failed. Their order is total: a higher incarnation
wins; at equal incarnation left > failed > alive; then the signatures' text. Only the peer itself raises its
incarnation, which is how it refutes (SWIM, DSN 2002, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import chain, zip_longest

import attrs
import msgspec

from twisted_p2p.core import wire
from twisted_p2p.core.actions import Changed, Kind
from twisted_p2p.core.buckets import TokenBuckets
from twisted_p2p.core.digest import BucketDigest, bucket_of
from twisted_p2p.core.draw import DrawSet
from twisted_p2p.core.groups import is_this_machine
from twisted_p2p.core.ranges import Ranges
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Claim, Record
from twisted_p2p.interfaces import ISigner, IVerifier

Fact = Record | Claim

_encode = msgspec.json.encode
_decode_record = msgspec.json.Decoder(Record).decode
_decode_claim = msgspec.json.Decoder(Claim).decode

ALIVE, FAILED, LEFT = "alive", "failed", "left"


@attrs.define(eq=False)
class Entry:
    """What is known of one peer."""

    record: Record
    claim: Claim | None = None
    since: float = 0.0
    """From when on a departed peer's time is counted, in seconds since 1970."""

    @property
    def status(self) -> str:
        """ "alive", "failed" or "left"."""
        if self.claim is not None:
            return FAILED
        return self.record.state

    @property
    def said(self) -> float:
        """Seconds since 1970 at which a departed peer departed, by the clock of whoever said so."""
        return (self.claim.time if self.claim else self.record.incarnation) / 1000


def record_order(record: Record) -> tuple[int, bool, str]:
    """Sorts records of one peer; the highest stands."""
    return record.incarnation, record.state == LEFT, record.sig


def claim_order(claim: Claim) -> tuple[int, str]:
    """Sorts claims about one peer; the highest stands."""
    return claim.incarnation, claim.sig


@attrs.define(eq=False)
class Membership:
    """All facts, our own record among them.

    What one peer may change is rationed, since each change is flooded. What is over the ration is not lost, if it is
    true: anti-entropy brings it again.
    """

    turn: Turn
    network: str
    signer: ISigner
    verifier: IVerifier
    is_kept: Callable[[str], bool] = lambda peer: False
    """Whether a peer must stay in a sample: our neighbours do."""
    on_twin: Callable[[], None] = lambda: None
    """There is a record of ours that we have not made: another process has our key."""
    on_diverse: Callable[[], None] = lambda: None
    """All whom we knew were in one address range, and now there is somebody in another one."""
    entries: dict[str, Entry] = attrs.field(factory=dict)
    changed: dict[str, None] = attrs.field(factory=dict)
    """Whose entries are to be kept."""
    digest: BucketDigest[str] = attrs.field(init=False)
    own: Record = attrs.field(init=False)
    """What we say of ourselves; in the directory only once we have joined."""
    _home: str = ""
    """Our own address, once we have said it."""
    _news: list[Fact] = attrs.field(factory=list)
    _living: DrawSet = attrs.field(factory=DrawSet)
    """All others that are alive."""
    ranges: Ranges = attrs.field(factory=Ranges)
    """The same, by address range."""
    tried: Ranges = attrs.field(factory=Ranges)
    """Those of them that a dial of ours has found where they are said to be."""
    _by_address: dict[tuple[str, int], dict[str, None]] = attrs.field(factory=dict)
    """The same, by where they are."""
    _departed: dict[str, None] = attrs.field(factory=dict)
    """All others that have left or failed, in the order in which we heard of it."""
    _accusations: TokenBuckets = attrs.field(init=False)
    """By accuser, and whether it accuses ourselves: else it could keep us from refuting by accusing others."""
    _renewals: TokenBuckets = attrs.field(init=False)
    """By peer: new records of one that is known."""
    _twins: TokenBuckets = attrs.field(init=False)
    """Records of ours that we have not made: each one that we answer is answered."""
    _introductions: TokenBuckets = attrs.field(init=False)
    """By neighbour: first records of others. In a sample they take the place of others: half of it at once at most."""

    def __attrs_post_init__(self) -> None:
        config = self.turn.config
        self.digest = BucketDigest(self._text)
        self._accusations = TokenBuckets(config.facts_burst, config.facts_interval)
        self._renewals = TokenBuckets(config.facts_burst, config.facts_interval)
        self._twins = TokenBuckets(config.own_records_burst, config.own_records_interval)
        introductions = config.max_known // 2 or config.introductions_burst
        self._introductions = TokenBuckets(introductions, config.introductions_interval)

    def _text(self, peer: str) -> str:
        entry = self.entries[peer]
        return f"{peer} {entry.record.sig} {entry.claim.sig if entry.claim else ''}"

    # --- reading

    @property
    def is_sample(self) -> bool:
        """Whether these are only some of the network's peers."""
        return bool(self.turn.config.max_known)

    def others(self, status: str = ALIVE) -> Iterator[Record]:
        """Records of all other peers of this status."""
        for peer, entry in self.entries.items():
            if peer != self.signer.peer and entry.status == status:
                yield entry.record

    @property
    def living(self) -> int:
        """How many others are alive."""
        return len(self._living)

    def drawn(self) -> Iterator[Record]:
        """Records of all others that are alive, in random order, made as far as it is asked for."""
        return (self.entries[peer].record for peer in self._living.draw(self.turn.rng))

    def spread(self) -> Iterator[Record]:
        """Others that are alive, of one address range after another; every other time those first that were tried.

        Bitcoin Core's addrman chooses likewise. Where all are in one range they come by chance.
        """
        rng = self.turn.rng
        if not self.ranges.is_diverse:
            return self.drawn()
        tried = self.tried.draw(rng) if rng.random() < 0.5 else iter(())
        return (self.entries[peer].record for peer in chain(tried, self.ranges.draw(rng)))

    def mixed(self) -> Iterator[Record]:
        """Others that are alive for somebody who knows nobody: half of them one of each range, if there are several.

        Who wants to be most of these needs both many keys and many ranges.
        """
        both, named = [self.drawn()], dict[str, None]()
        if self.ranges.is_diverse:
            both.insert(self.turn.rng.randrange(2), self.spread())
        for record in chain.from_iterable(zip_longest(*both)):
            if record is not None and record.peer not in named:
                named[record.peer] = None
                yield record

    def found(self, peer: str) -> None:
        """A dial of ours has found this peer where it is said to be."""
        if peer in self._living:
            self.tried.add(peer, self.entries[peer].record.ip_addr)

    def at(self, host: str, port: int) -> Sequence[str]:
        """The others that are said to be alive at this address."""
        return tuple(self._by_address.get((host, port), ()))

    def is_ours(self, host: str) -> bool:
        """Whether this is our own machine, or whoever shares our address: others on it, or behind the same router."""
        return is_this_machine(host) or host == self._home

    def departed(self) -> list[Record]:
        """Records of all that have left or failed."""
        return [self.entries[peer].record for peer in self._departed]

    def is_ahead(self, time: int) -> bool:
        """Whether a time, in ms since 1970, is so far ahead of our clock that one of the two must be wrong."""
        return time > (self.turn.now + self.turn.config.clock_ahead) * 1000

    def is_alive(self, peer: str) -> bool:
        """Whether the directory believes in this peer."""
        entry = self.entries.get(peer)
        return entry is not None and entry.status == ALIVE

    def has_failed(self, peer: str) -> bool:
        """Whether the directory holds that this peer has failed."""
        entry = self.entries.get(peer)
        return entry is not None and entry.status == FAILED

    # --- what is kept for a later life

    def kept(self, peer: str) -> tuple[bytes, bytes | None, float] | None:
        """What is to be kept of a peer; None: nothing."""
        entry = self.entries.get(peer)
        if entry is None:
            return None
        claim = None if entry.claim is None else _encode(entry.claim)
        return _encode(entry.record), claim, entry.since

    def restore(self, peers: Iterable[tuple[bytes, bytes | None, float]]) -> int:
        """Go on from what was kept; our own last incarnation, or 0. The application is told of those who are alive.

        Where that is more than a sample may hold now, some are forgotten, the departed first.
        """
        incarnation = 0
        for record, claim, since in peers:
            entry = Entry(_decode_record(record), None if claim is None else _decode_claim(claim), since)
            if entry.record.peer == self.signer.peer:
                incarnation = entry.record.incarnation
            elif not self.is_ahead(entry.record.incarnation):
                self._store(entry)
        self.changed.clear()
        if self.is_sample:
            spare = [*self._departed, *self._living.draw(self.turn.rng)]
            for peer in spare[: max(0, len(self.entries) - self.turn.config.max_known)]:
                self._forget(peer)
        for entry in self.entries.values():
            self._tell(None, entry)
        return incarnation

    def give_up(self, peers: Iterable[tuple[bytes, bytes | None, float]]) -> tuple[int, dict[str, tuple[str, int]]]:
        """Forget all that was kept; our own last incarnation, or 0, and where which others were that were alive."""
        incarnation, addresses = 0, dict[str, tuple[str, int]]()
        for kept, claim, _ in peers:
            record = _decode_record(kept)
            self.changed[record.peer] = None
            if record.peer == self.signer.peer:
                incarnation = record.incarnation
            elif claim is None and record.state != LEFT:
                addresses[record.peer] = record.ip_addr, record.port
        return incarnation, addresses

    # --- our own record

    def introduce(self, host: str, port: int, state: str = ALIVE, above: int = 0) -> None:
        """Make and sign a record of ourselves; its incarnation is the time in ms, or more to exceed `above`.

        One that nobody would believe, since our clock was far ahead when we made it, need not be exceeded.
        """
        self._home = host
        peer, incarnation = self.signer.peer, int(self.turn.now * 1000)
        if not self.is_ahead(above):
            incarnation = max(incarnation, above + 1)
        sig = self.signer.sign(wire.record_bytes(self.network, peer, incarnation, state, host, port, ""))
        self.own = Record(peer, incarnation, "left" if state == LEFT else "alive", host, port, sig)
        if peer in self.entries:
            self.enter()

    def enter(self) -> None:
        """Be in the directory: everybody is to know."""
        self._store(Entry(self.own))
        self._news.append(self.own)

    def withdraw(self) -> None:
        """Be in the directory no more: we are about to join another one."""
        if self.signer.peer in self.entries:
            self._forget(self.signer.peer)
        self._news = [fact for fact in self._news if fact.peer != self.signer.peer]

    def leave(self) -> None:
        """Say that we have left."""
        self.introduce(self.own.ip_addr, self.own.port, LEFT, above=self.own.incarnation)

    def _refute(self, incarnation: int) -> None:
        """The network believes something else about us, at `incarnation`: say again how it is, above that."""
        self.turn.counts["refuted"] += 1
        own = self.own
        self.introduce(own.ip_addr, own.port, own.state, above=max(incarnation, own.incarnation))

    # --- merging

    def take_news(self) -> list[Fact]:
        """Facts that changed the directory since this was last called: they are to be flooded on."""
        news, self._news = self._news, []
        return news

    def merge(self, records: Iterable[Record] = (), claims: Iterable[Claim] = (), source: str = "") -> bool:
        """Take in facts; False if a signature was bad. A fact that is not news is not even checked.

        A claim about an incarnation that we have not seen is not taken, since nobody could refute the invention of a
        high one; anti-entropy brings it again. In a sample, where the accused would not hear of it, only our own count.

        Args:
            source: who is answerable for introducing peers that are unknown here; "": nobody, there is no bound.
        """
        claimed, newest = dict[str, Claim](), dict[str, Record]()
        for claim in claims:
            if self.is_sample and claim.accuser != self.signer.peer:
                continue
            claimed[claim.peer] = max(claimed.get(claim.peer, claim), claim, key=claim_order)
        for record in records:
            newest[record.peer] = max(newest.get(record.peer, record), record, key=record_order)
        for peer in dict.fromkeys((*newest, *claimed)):
            held = self.entries.get(peer)
            said = newest.get(peer) or (held.record if held is not None else None)
            if said is not None and not self._merge_pair(said, claimed.get(peer), newest, source):
                return False
        return True

    def _merge_pair(self, record: Record, claim: Claim | None, beside: Container[str], source: str) -> bool:
        now, entry = self.turn.now, self.entries.get(record.peer)
        buckets, key = self._ration(record, entry, source)
        if entry is not None and record_order(record) <= record_order(entry.record):
            record = entry.record
        elif self.is_ahead(record.incarnation):
            self.turn.counts["records_from_the_future"] += 1
            if entry is None:
                return True
            record = entry.record
        elif key and not buckets.has(key, now):
            self.turn.counts["records_over_rate"] += 1
            if entry is None:
                return True
            record = entry.record
        elif not self.verifier.verify(record.peer, record.signed_bytes(self.network), record.sig):
            return False
        if claim is not None and not self._is_news(claim, record, entry, beside):
            claim = None
        if claim is not None and not self.verifier.verify(claim.accuser, claim.signed_bytes(self.network), claim.sig):
            return False
        if claim is not None and entry is not None:
            self._accusations.take(self._accusation(claim), now)
        if record.peer == self.signer.peer:
            self._merge_own(record, claim)
        elif entry is None or claim is not None or record is not entry.record:
            is_new = entry is None or record is not entry.record
            if self._admit(entry, record, claim) and is_new and key:
                buckets.take(key, now)
        return True

    def _merge_own(self, record: Record, claim: Claim | None) -> None:
        """What others say of us has been checked: answer it. That we are alive, though elsewhere, is rationed."""
        is_made_by_twin, now = record_order(record) > record_order(self.own), self.turn.now
        if is_made_by_twin:
            self.on_twin()
        elif claim is None:
            return
        if claim is None and record.state != LEFT:
            if not self._twins.has(record.peer, now):
                self.turn.counts["own_records_over_rate"] += 1
                return
            self._twins.take(record.peer, now)
        self._refute(record.incarnation)

    def _ration(self, record: Record, entry: Entry | None, source: str) -> tuple[TokenBuckets, str]:
        """By which bucket a new record is rationed; without a key: by none. Who comes itself needs no introduction."""
        if record.peer == self.signer.peer:
            return self._renewals, ""
        if entry is not None:
            return self._renewals, record.peer
        return self._introductions, "" if record.peer == source else source

    def _accusation(self, claim: Claim) -> tuple[str, bool]:
        return claim.accuser, claim.peer == self.signer.peer

    def _is_news(self, claim: Claim, record: Record, entry: Entry | None, beside: Container[str]) -> bool:
        """Whether the claim, its signature aside, would stand. `beside`: whose records came with it.

        That a peer has failed which we have not known alive changes nothing for anybody, and is not rationed.
        """
        if claim.incarnation != record.incarnation or record.state == LEFT:
            return False
        if self.is_ahead(claim.time):
            # Who comes later would not admit its peer, and directories would differ for as long as it is remembered.
            self.turn.counts["claims_from_the_future"] += 1
            return False
        if claim.accuser not in self.entries and claim.accuser not in beside:
            self.turn.counts["claim_by_unknown"] += 1
            return False
        held = entry.claim if entry is not None and entry.record is record else None
        if held is not None and claim_order(claim) <= claim_order(held):
            return False
        if entry is not None and not self._accusations.has(self._accusation(claim), self.turn.now):
            self.turn.counts["claims_over_rate"] += 1
            return False
        return True

    def _admit(self, entry: Entry | None, record: Record, claim: Claim | None) -> bool:
        """Take it in, if there is room; whether it counts against the ration, as it does where there is none."""
        now, config = self.turn.now, self.turn.config
        new = Entry(record, claim)
        if claim is None and entry is not None and entry.record.incarnation == record.incarnation:
            new.claim = entry.claim if record.state != LEFT else None
        is_ahead = new.said > now + config.departed_keep
        new.since = now if is_ahead else new.said
        if entry is None:
            if new.status != ALIVE and (is_ahead or new.said < now - config.departed_keep):
                return False
            others = len(self.entries) - (self.signer.peer in self.entries)
            if others >= (config.max_known or config.max_peers - 1) and not self._make_room(new):
                self.turn.counts["directory_full"] += 1
                return True
        if not self.is_sample:
            self._news += [record] if entry is None or entry.record is not record else []
            self._news += [claim] if claim is not None else []
        was_diverse = self.ranges.is_diverse
        self._store(new)
        self._tell(entry, new)
        if self.ranges.is_diverse and not was_diverse:
            self.on_diverse()
        return True

    def _make_room(self, entry: Entry) -> bool:
        """For the living the memory of a departed peer is given up, the eldest first; or else that of a living one."""
        if entry.status != ALIVE:
            return False
        if self._departed:
            self._forget(next(iter(self._departed)))
            return True
        gone = self._spare() if self.is_sample else self._last(entry.record)
        if gone is None:
            return False
        self._forget(gone)
        self.turn.tell(Changed(Kind.FORGOTTEN, gone))
        return True

    def _last(self, record: Record) -> str | None:
        """Who leaves a full directory for this peer: of the fullest range the highest id, those last that were tried.

        None: it is the one itself. So a range can drive out nobody of one that has fewer, and what is left of many does
        not depend on the order in which they came: else full directories would never be equal.
        """
        self.ranges.add(record.peer, record.ip_addr)
        fullest = self.ranges.fullest()
        gone = next((peer for peer in reversed(fullest) if peer not in self.tried), fullest[-1])
        self.ranges.discard(record.peer)
        return None if gone == record.peer else gone

    def _spare(self) -> str | None:
        """Who leaves a full sample: anybody, but of an address range that has more than half of it, if there is one.

        In several ranges up to a quarter of the sample is kept that was tried.
        """
        config, rng = self.turn.config, self.turn.rng
        if not (config.active_drawn and self.ranges.is_diverse):
            return next((peer for peer in self._living.draw(rng) if not self.is_kept(peer)), None)
        crowd = self.ranges.crowd(config.max_known // 2)
        pool = rng.sample(crowd, len(crowd)) if crowd else self._living.draw(rng)
        spare = [peer for peer in pool if not self.is_kept(peer)]
        new = [peer for peer in spare if peer not in self.tried] if len(self.tried) <= config.max_known // 4 else spare
        return next(iter(new or spare), None)

    def _tell(self, old: Entry | None, new: Entry) -> None:
        """Tell the application what changed for it."""
        record = new.record
        before, after = old.status if old else None, new.status
        moved = old is not None and (old.record.ip_addr, old.record.port) != (record.ip_addr, record.port)
        if after == ALIVE:
            if before != ALIVE or moved:
                self.turn.tell(Changed(Kind.JOINED, record.peer, record.ip_addr, record.port))
        elif before == ALIVE:
            self.turn.tell(Changed(Kind.LEFT if after == LEFT else Kind.FAILED, record.peer))

    def _store(self, entry: Entry) -> None:
        peer = entry.record.peer
        self.changed[peer] = None
        self._unlist(peer)
        held = self.entries.get(peer)
        if held is None or entry.status != ALIVE or held.record.ip_addr != entry.record.ip_addr:
            self.tried.discard(peer)
        self.entries[peer] = entry
        self.digest.touch(bucket_of(peer), peer)
        if peer == self.signer.peer:
            return
        if entry.status == ALIVE:
            self._departed.pop(peer, None)
            self._living.add(peer)
            self.ranges.add(peer, entry.record.ip_addr)
            self._by_address.setdefault((entry.record.ip_addr, entry.record.port), {})[peer] = None
        else:
            self._departed[peer] = None

    def _unlist(self, peer: str) -> None:
        """It is not where it was."""
        if peer in self._living:
            self._living.discard(peer)
            self.ranges.discard(peer)
            record = self.entries[peer].record
            there = self._by_address[record.ip_addr, record.port]
            del there[peer]
            if not there:
                del self._by_address[record.ip_addr, record.port]

    def _forget(self, peer: str) -> None:
        self.changed[peer] = None
        self._unlist(peer)
        self.tried.discard(peer)
        del self.entries[peer]
        self._departed.pop(peer, None)
        self.digest.drop(bucket_of(peer), peer)

    def acquit(self, peer: str) -> None:
        """A peer is there that is held to have failed. In a sample that was our own opinion, which it can't refute."""
        entry = self.entries.get(peer)
        if self.is_sample and entry is not None and entry.claim is not None:
            self._store(Entry(entry.record))
            self._tell(entry, self.entries[peer])

    def accuse(self, peer: str) -> None:
        """Claim that this peer, at the incarnation that we know, has failed."""
        incarnation, time = self.entries[peer].record.incarnation, int(self.turn.now * 1000)
        accuser = self.signer.peer
        sig = self.signer.sign(wire.claim_bytes(self.network, peer, incarnation, accuser, time))
        self.merge(claims=[Claim(peer, incarnation, accuser, time, sig)])

    def expire(self) -> dict[str, float]:
        """Forget those who departed long ago; who, and when that was due."""
        now, keep = self.turn.now, self.turn.config.departed_keep
        due = {peer: self.entries[peer].since + keep for peer in self._departed}
        gone = {peer: at for peer, at in due.items() if at < now}
        for peer in gone:
            self._forget(peer)
        for buckets in (self._accusations, self._renewals, self._introductions):
            buckets.expire(now)
        return gone
