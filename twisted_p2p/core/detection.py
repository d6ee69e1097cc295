"""Failure detection: suspect before you declare, and ask others before you believe yourself.

SWIM (Das, Gupta, Motivala, DSN 2002) with Lifeguard's restraint (arXiv 1707.00788). Differs: a probe is a short
connection, which also compares directory and positions; a link that breaks makes a suspicion at once; and the suspicion
itself is not gossiped, since whoever is reached by any witness is cleared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import attrs

from twisted_p2p.core.actions import Reason
from twisted_p2p.core.link import Address, Attempt, Link, Purpose
from twisted_p2p.core.links import IS_THERE, Links
from twisted_p2p.core.membership import Membership
from twisted_p2p.core.overlay import Overlay
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Record, Suspect, Verdict

_ASKED_MAX = 100
"""Suspects of others that are tried for them at the same time, and peers that one dial in vain speaks against."""
_KINDLY = (Reason.DONE, Reason.DISPLACED, Reason.REPLACED, Reason.LEAVING, Reason.NOT_ADMITTED)
"""Ends of a neighbour link that say nothing against the peer."""


@attrs.define(eq=False)
class Suspicion:
    """A peer that we could not reach.

    Attributes:
        ours: failed attempts of our own.
        asked: witnesses.
        theirs: those of them who failed too.
        waited: time-outs that have passed.
    """

    incarnation: int
    ours: int = 0
    asked: dict[str, None] = attrs.field(factory=dict)
    theirs: dict[str, None] = attrs.field(factory=dict)
    waited: int = 0


@attrs.define(eq=False)
class Detection:
    """Probes, suspicions, and claims of failure."""

    turn: Turn
    membership: Membership
    links: Links
    overlay: Overlay
    on_reached: Callable[[Link], None]
    """A probe got through: compare with the peer at the other end."""
    genesis: list[Address] = attrs.field(factory=list)
    suspicions: dict[str, Suspicion] = attrs.field(factory=dict)
    _askers: dict[str, list[tuple[Link, int]]] = attrs.field(factory=dict)
    _met: dict[Address, str] = attrs.field(factory=dict)
    """Who answered at a genesis address, which may be a name or another one than the peer's record has."""
    _probed: dict[str, Link] = attrs.field(factory=dict)
    """Open links of probes: as long as there is one, its peer need not be dialled for others."""
    _incarnation: int = 0
    """Our own when we last looked."""

    def start(self) -> None:
        """Probe from now on."""
        self._incarnation = self.membership.own.incarnation
        self.turn.timers.after(self.turn.jitter(self.turn.config.probe_interval), self._probe_next)
        self.turn.timers.after(self.turn.jitter(self.turn.config.departed_probe_interval), self._probe_departed)

    # --- probing

    def _probe_next(self) -> None:
        """One directory entry drawn uniformly; a neighbour is watched by its link already."""
        config = self.turn.config
        self.turn.timers.after(self.turn.jitter(config.probe_interval), self._probe_next)
        self._notice_refutation()
        record = next(filter(self.links.may_meet, self.membership.drawn()), None)
        if record is None:
            return
        if record.peer in self.overlay.active:
            self.turn.health.better()
        elif self._probe(record):
            self.turn.timers.after(config.probe_timeout, lambda: self._judge_probe(record), judges=True)

    def _judge_probe(self, record: Record) -> None:
        """A probe that has no result yet is late: let others try. It goes on meanwhile."""
        if self.links.is_dialling(record):
            self._suspect(record.peer)

    def _notice_refutation(self) -> None:
        """If we had to refute that we have failed, others could not reach us."""
        incarnation = self.membership.own.incarnation
        if incarnation > self._incarnation:
            self.turn.health.worse()
        self._incarnation = incarnation

    def _probe_departed(self) -> None:
        """One departed peer, and one genesis address at which nobody is known to live."""
        self.turn.timers.after(self.turn.jitter(self.turn.config.departed_probe_interval), self._probe_departed)
        departed = [record for record in self.membership.departed() if self.links.may_dial(record)]
        if departed:
            self._probe(self.turn.rng.choice(departed))
        self.meet_genesis()

    def meet_genesis(self) -> bool:
        """Dial one genesis address at which nobody is known to live; whether there is one."""
        vacant = [
            address
            for address in self.genesis
            if not (self.membership.at(*address) or address in self.links.own_addresses)
            and not self.membership.is_alive(self._met.get(address, ""))
        ]
        if vacant:
            self.links.dial(Purpose.PROBE, self.turn.rng.choice(vacant))
        return bool(vacant)

    def seek(self, origin: str) -> None:
        """Somebody other than our neighbours may hold what we lack of this origin: probe it, or else anybody."""
        entry = self.membership.entries.get(origin)
        own = [entry.record] if entry is not None and self.membership.is_alive(origin) else []
        for record in chain(own, self.membership.drawn() if self.links.dials.may_any() else ()):
            if record.peer not in (*self.overlay.active, self.overlay.own) and self.links.may_dial(record):
                self._probe(record)
                return

    def _probe(self, record: Record) -> bool:
        """Dial this peer, unless its address is being dialled or left alone; whether we do."""
        may = self.links.may_dial(record)
        if may:
            self.links.dial(Purpose.PROBE, (record.ip_addr, record.port), record.peer)
        return may

    def opened(self, link: Link) -> None:
        """Any link of ours or to us has opened: its peer is there. A dial that found another peer has failed.

        That we failed to reach others while we reached nobody says nothing any more.
        """
        if not self.overlay.active:
            self.suspicions = {}
        expected = link.attempt.peer
        if expected and expected != link.peer:
            self._unreachable(expected)
        if link.attempt.address in self.genesis:
            self._met[link.attempt.address] = link.peer
        self._clear(link.peer)
        if link.purpose is Purpose.PROBE:
            self.turn.health.better()
            self._probed[link.peer] = link
            self.on_reached(link)
            if link.baseline and self.membership.has_failed(link.peer):
                # We had lost each other, and perhaps the overlay is in two pieces.
                self.overlay.bridge(link)
        self.membership.acquit(link.peer)

    def failed(self, attempt: Attempt, is_ours: bool = False) -> None:
        """A dial has failed. One during which we stood still speaks against nobody, and nobody is told of it.

        Args:
            is_ours: we could not even try; the same holds for that.
        """
        if is_ours or self.turn.health.stood_still_since(attempt.began):
            self._askers.pop(attempt.peer, None)
        else:
            self._unreachable(attempt.peer)

    def _unreachable(self, peer: str) -> None:
        """This peer was not found where it should be, nor would any other be that is said to be there."""
        for link, incarnation in self._askers.pop(peer, []):
            if link.end is None:
                self.links.send(link, Verdict(peer, incarnation, reached=False))
        for other in (peer, *self._said_to_be_with(peer)):
            self._suspect(other, ours=1)

    def _said_to_be_with(self, peer: str) -> list[str]:
        """Other peers with the same address: former lives of one that has started anew without its key."""
        entry = self.membership.entries.get(peer)
        if entry is None:
            return []
        there, met = self.membership.at(entry.record.ip_addr, entry.record.port), set[str]()
        if len(there) > 1:
            met = {link.peer for link in self.links.by_id.values()}
        return [other for other in there if other != peer and other not in met][:_ASKED_MAX]

    def link_lost(self, link: Link, reason: Reason) -> None:
        """A link has ended: a failed dial if it was not open yet; suspicious if a neighbour's, without good reason."""
        if self._probed.get(link.peer) is link:
            del self._probed[link.peer]
        if not link.is_open:
            if link.attempt.peer and link.has_answered(reason):
                self._not_admitted(link)
            elif link.attempt.peer and reason not in IS_THERE:
                self.failed(link.attempt)
            return
        if link.is_neighbour:
            self._askers.pop(link.peer, None)
        if link.is_neighbour and reason not in _KINDLY:
            if reason is Reason.PING_TIMEOUT:
                self.turn.health.worse()
            self._suspect(link.peer)
            entry = self.membership.entries.get(link.peer)
            if entry is not None and link.peer in self.suspicions:
                self._probe(entry.record)

    def _not_admitted(self, link: Link) -> None:
        """A dial found somebody who does not admit us, or whom we do not: it is there, if that is proven."""
        if link.proven:
            self._clear(link.proven)
        else:
            self._askers.pop(link.attempt.peer, None)

    # --- suspecting

    def _suspect(self, peer: str, ours: int = 0) -> None:
        """Whom our lists leave out we do not judge."""
        if not (self.membership.is_alive(peer) and self.links.may_meet(self.membership.entries[peer].record)):
            return
        suspicion = self.suspicions.get(peer)
        if suspicion is None:
            suspicion = self.suspicions[peer] = Suspicion(self.membership.entries[peer].record.incarnation)
            self.turn.counts["suspicions"] += 1
            self._ask_round(peer, suspicion)
        suspicion.ours += ours

    def _ask_round(self, peer: str, suspicion: Suspicion) -> None:
        waits = self.turn.health.factor
        for link in self._witnesses(peer):
            suspicion.asked[link.peer] = None
            self.links.send(link, Suspect(peer, suspicion.incarnation))
        self.turn.timers.after(
            self.turn.config.suspicion_timeout, lambda: self._decide(peer, suspicion, waits), judges=True
        )

    def _witnesses(self, peer: str) -> Sequence[Link]:
        """Neighbours to ask; nobody where each knows others, and forgets for itself whom it can't reach."""
        if self.membership.is_sample:
            return []
        links = [link for other, link in self.overlay.active.items() if other != peer and other not in self.suspicions]
        return self.turn.rng.sample(links, min(self.turn.config.witnesses, len(links)))

    def _decide(self, peer: str, suspicion: Suspicion, waited: int) -> None:
        """So many time-outs have passed: claim the failure if it is certain, or else ask and try again."""
        if self.suspicions.get(peer) is not suspicion:
            return
        entry = self.membership.entries.get(peer)
        if entry is None or not self.membership.is_alive(peer) or entry.record.incarnation > suspicion.incarnation:
            del self.suspicions[peer]
            return
        if not self.links.may_meet(entry.record):
            del self.suspicions[peer]
            return
        suspicion.waited += waited
        if self._is_certain(peer, suspicion):
            del self.suspicions[peer]
            self.membership.accuse(peer)
            return
        self._ask_round(peer, suspicion)
        self._probe(entry.record)

    def _is_certain(self, peer: str, suspicion: Suspicion) -> bool:
        """Two have failed to reach it, or we twice where there is nobody to ask.

        Our health may have got worse since the time-out was set. On our own word alone it counts for far more, minutes
        if two neighbours fell silent, and hours if four did: it is rather we who have been cut off.
        """
        factor = self.turn.health.factor
        if suspicion.theirs:
            return suspicion.ours > 0 and suspicion.waited >= factor
        return suspicion.ours > 1 and suspicion.waited >= factor**factor and not self._witnesses(peer)

    def _clear(self, peer: str) -> None:
        """It has been reached."""
        if self.suspicions.pop(peer, None) is not None:
            self.turn.counts["cleared"] += 1
        for link, incarnation in self._askers.pop(peer, []):
            if link.end is None:
                self.links.send(link, Verdict(peer, incarnation, reached=True))

    # --- being a witness

    def suspected(self, link: Link, frame: Suspect) -> None:
        """A neighbour asks us to try a peer: dial it, unless we have just done so, and tell what came of it.

        One that is our neighbour is pinged: if it answers it is there, though it may take no more connections. It is
        not if it has answered a moment ago, or whoever asks us without end would make us flood it.
        """
        entry = self.membership.entries.get(frame.peer)
        crowded = len(self._askers) >= _ASKED_MAX and frame.peer not in self._askers
        if entry is None or not link.is_neighbour or frame.peer == self.overlay.own or crowded:
            self.turn.counts["suspect_unknown"] += 1
            return
        neighbour, reached = self.overlay.active.get(frame.peer), frame.peer in self._probed
        if neighbour is not None and self.turn.now < neighbour.answered_at + self.turn.config.probe_timeout:
            self.links.send(link, Verdict(frame.peer, frame.incarnation, reached=True))
            return
        if neighbour is not None:
            if frame.peer not in self._askers:
                self.links.ping(neighbour, lambda: self._clear(frame.peer))
        elif reached or self.links.was_in_vain(entry.record):
            self.links.send(link, Verdict(frame.peer, frame.incarnation, reached))
            return
        else:
            self._probe(entry.record)
        if neighbour is not None or self.links.is_dialling(entry.record):
            askers = self._askers.setdefault(frame.peer, [])
            if all(asker is not link for asker, _ in askers):
                askers.append((link, frame.incarnation))

    def verdict(self, link: Link, frame: Verdict) -> None:
        """A witness answers."""
        suspicion = self.suspicions.get(frame.peer)
        if suspicion is None or frame.incarnation != suspicion.incarnation or link.peer not in suspicion.asked:
            self.turn.counts["verdict_unasked"] += 1
            return
        if frame.reached:
            self.turn.health.worse()
            self._clear(frame.peer)
        else:
            suspicion.theirs[link.peer] = None
