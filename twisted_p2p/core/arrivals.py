"""Arrivals: how many connections others may make to us, from where, and how fast.

Over a bound the newcomer is let in, and another one of the crowd that it belongs to has to go: so nobody holds places
by coming early, and whoever takes many takes them from himself. Bitcoin Core's eviction of inbound peers is the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

import attrs

from twisted_p2p.core.buckets import TokenBuckets
from twisted_p2p.core.groups import group_of
from twisted_p2p.core.link import Link
from twisted_p2p.core.turn import Turn


@attrs.define(eq=False)
class _Crowds:
    """Inbound links by a name that some have in common, each crowd with the eldest first."""

    name_of: Callable[[str], str]
    crowds: dict[str, dict[int, Link]] = attrs.field(factory=dict)

    def add(self, link: Link) -> dict[int, Link]:
        """It belongs to one; which that is."""
        crowd = self.crowds.setdefault(self.name_of(link.host), {})
        crowd[link.id] = link
        return crowd

    def discard(self, link: Link) -> None:
        """It belongs to none any more."""
        name = self.name_of(link.host)
        crowd = self.crowds.get(name, {})
        crowd.pop(link.id, None)
        if not crowd:
            self.crowds.pop(name, None)

    def largest(self) -> Iterable[Link]:
        """The links of the largest crowd."""
        return max(self.crowds.values(), key=len, default={}).values()


@attrs.define(eq=False)
class Arrivals:
    """Who is in, of those that have come by themselves."""

    turn: Turn
    is_ours: Callable[[str], bool]
    """Whether a host is this machine, or shares our address: it is bounded only together with all others."""
    _hosts: _Crowds = attrs.field(factory=lambda: _Crowds(str))
    _groups: _Crowds = attrs.field(factory=lambda: _Crowds(group_of))
    _shaking: _Crowds = attrs.field(factory=lambda: _Crowds(group_of))
    """Those who have not proven their key yet."""
    _inside: dict[int, Link] = attrs.field(factory=dict)
    _handshakes: dict[int, Link] = attrs.field(factory=dict)
    _rate: TokenBuckets = attrs.field(init=False)
    """By host: new connections."""

    def __attrs_post_init__(self) -> None:
        config = self.turn.config
        self._rate = TokenBuckets(config.arrivals_burst, config.arrivals_interval)

    def is_too_often(self, host: str) -> bool:
        """Whether this host has come too often lately, and is to be sent away unheard. Our own never is."""
        if self.is_ours(host):
            return False
        if not self._rate.has(host, self.turn.now):
            return True
        self._rate.take(host, self.turn.now)
        return False

    def came(self, link: Link) -> Link | None:
        """A connection has come; which one has to go for it: perhaps itself, or none."""
        config = self.turn.config
        self._inside[link.id] = self._handshakes[link.id] = link
        host, group = self._hosts.add(link), self._groups.add(link)
        self._shaking.add(link)
        is_ours = self.is_ours(link.host)
        if len(host) > config.max_links_host and not is_ours:
            return _least(link, host.values())
        if len(group) > config.max_links_group and not is_ours:
            return _least(link, group.values())
        if len(self._handshakes) > config.max_handshakes:
            return next(iter(self._shaking.largest()), link)
        return None

    def make_room(self, link: Link) -> Link:
        """There are too many connections in all; which one has to go, if not this one."""
        return _least(link, self._groups.largest())

    def opened(self, link: Link) -> None:
        """It has proven its key."""
        self._handshakes.pop(link.id, None)
        self._shaking.discard(link)

    def gone(self, link: Link) -> None:
        """It has ended."""
        if self._inside.pop(link.id, None) is not None:
            self.opened(link)
            self._hosts.discard(link)
            self._groups.discard(link)

    def expire(self) -> None:
        """Forget who has not come for long."""
        self._rate.expire(self.turn.now)


def _least(newcomer: Link, crowd: Iterable[Link]) -> Link:
    """Whom of a crowd we need least: who does not introduce itself, then who is no neighbour; the eldest of those."""
    links = [link for link in crowd if not link.is_neighbour and link is not newcomer]
    return next(chain((link for link in links if not link.is_open), links), newcomer)
