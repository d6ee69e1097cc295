"""Conduct: penalties for those who break the rules, which decay, and bans of those who do so again and again.

A penalty is held against the key of whoever is proven to be at the other end, and a smaller one against the address
from which he has come. An address may be many people's: our own is never banned, nor one at which a peer is said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs

from twisted_p2p.core.actions import Banned, Reason
from twisted_p2p.core.link import Link, Purpose
from twisted_p2p.core.turn import Turn

OFFENCES = {
    Reason.BAD_FRAME: 40.0,
    Reason.BAD_SIGNATURE: 40.0,
    Reason.LINE_TOO_LONG: 40.0,
    Reason.FLOODING: 40.0,
    Reason.ASKS_AGAIN: 40.0,
    Reason.BROKEN_PROMISE: 10.0,
    Reason.HANDSHAKE_TIMEOUT: 4.0,
    Reason.NO_TLS: 4.0,
}
"""Points for links that we end so. 100 are too much: the third offence within some minutes is."""
_ENOUGH = 100.0
_OF_ADDRESS = 10
"""An address is held to be so many times as many peers."""


@attrs.define(eq=False)
class Conduct:
    """Who has how many points, and who is banned until when, by peer id or IP address."""

    turn: Turn
    is_ours: Callable[[str], bool]
    """Whether a host is this machine, or shares our address."""
    is_known: Callable[[str], bool]
    """Whether a peer that is believed in is said to be at this host, and nothing is held against it."""
    banned: dict[str, float] = attrs.field(factory=dict)
    """Until when, in seconds since 1970."""
    _points: dict[str, tuple[float, float]] = attrs.field(factory=dict)
    """How many, and when that was; whose last offence is longest ago comes first."""
    _terms: dict[str, tuple[float, float]] = attrs.field(factory=dict)
    """How long the last ban was, and when it ended or ends: the next one is twice as long. The eldest comes first."""

    def is_banned(self, subject: str) -> bool:
        """Whether this peer, or this address, is banned now."""
        return self.banned.get(subject, 0.0) > self.turn.now

    def points(self, subject: str) -> float:
        """What is held against a peer or an address: each offence counts half as much after each half-life."""
        points, at = self._points.get(subject, (0.0, 0.0))
        halvings = max(0.0, self.turn.now - at) / self.turn.config.penalty_half_life
        return points * float(0.5**halvings)

    def held(self) -> Iterator[str]:
        """Whom something is held against."""
        yield from self._points

    def ended(self, link: Link, reason: Reason) -> None:
        """We have ended a link for this reason. Who was dialled owes us nothing before the link is open.

        What is there may be no peer at all: anybody may have told us of it.
        """
        points, is_inbound = OFFENCES.get(reason, 0.0), link.purpose is Purpose.INBOUND
        if not points or not (link.is_open or is_inbound):
            return
        peer = link.peer if link.is_open else link.proven
        if peer:
            self._add(peer, points, reason)
        if is_inbound and not self.is_ours(link.host):
            self._add(link.host, points / _OF_ADDRESS, reason)

    def _add(self, subject: str, points: float, reason: Reason) -> None:
        total = self.points(subject) + points
        self._points.pop(subject, None)
        if total < _ENOUGH or self.is_known(subject):
            if len(self._points) >= self.turn.config.penalties_max:
                del self._points[next(iter(self._points))]
            self._points[subject] = min(total, _ENOUGH), self.turn.now
        else:
            self._ban(subject, reason)

    def _ban(self, subject: str, reason: Reason) -> None:
        now, config = self.turn.now, self.turn.config
        last, until = self._terms.get(subject, (0.0, 0.0))
        is_again = now < until + config.ban_max
        term = min(2 * last, config.ban_max) if is_again else config.ban_time
        if len(self.banned) >= config.bans_max and subject not in self.banned:
            del self.banned[min(self.banned, key=self.banned.__getitem__)]
        self._terms.pop(subject, None)
        if len(self._terms) >= config.penalties_max:
            del self._terms[next(iter(self._terms))]
        self._terms[subject] = term, now + term
        self.banned[subject] = now + term
        self.turn.counts["bans"] += 1
        self.turn.tell(Banned(subject, now + term, reason.value))

    def set_bans(self, bans: Mapping[str, float]) -> None:
        """These are banned until then, and nobody else is; who was, and is not any more, starts without a penalty."""
        for subject in [subject for subject in self.banned if subject not in bans]:
            self._points.pop(subject, None)
            self._terms.pop(subject, None)
        self.banned = dict(bans)

    def expire(self) -> None:
        """Forget what counts for nothing any more."""
        now, config = self.turn.now, self.turn.config
        self.banned = {subject: until for subject, until in self.banned.items() if until > now}
        self._terms = {subject: term for subject, term in self._terms.items() if now < term[1] + config.ban_max}
        self._points = {subject: held for subject, held in self._points.items() if self.points(subject) >= 1.0}
