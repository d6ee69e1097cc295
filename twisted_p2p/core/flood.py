"""Flooding of facts about peers, outside the streams: what is news here is news for the neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from twisted_p2p.core.link import Link
from twisted_p2p.core.links import Links
from twisted_p2p.core.membership import LEFT, Fact, Membership
from twisted_p2p.core.overlay import Overlay
from twisted_p2p.core.wire import Disconnect, FailedInNetwork, Frame, JoinedInNetwork, NodesInNetwork, Record


@attrs.define(eq=False)
class Flood:
    """Sends each fact that changed the directory to every neighbour but the one it came from."""

    membership: Membership
    links: Links
    overlay: Overlay
    page: int

    def pass_on(self, source: Link | None) -> None:
        """Flood what has become news. What we say of ourselves goes to `source` too, as an answer."""
        news = self.membership.take_news()
        if not news:
            return
        own = [fact for fact in news if fact.peer == self.membership.signer.peer and isinstance(fact, Record)]
        for link in list(self.overlay.active.values()):
            self._send(link, own if link is source else news)
        if source is not None and source.end is None and source.is_open and not source.is_neighbour:
            self._send(source, own)

    def introduce(self, link: Link) -> None:
        """A neighbour is to know us. Where directories are compared it learns of us in any case."""
        if self.membership.is_sample and self.membership.signer.peer in self.membership.entries:
            self.links.send(link, _frame(self.membership.own))

    def _send(self, link: Link, facts: Sequence[Fact]) -> None:
        if len(facts) <= 3:
            for fact in facts:
                self.links.send(link, _frame(fact))
            return
        for begin in range(0, len(facts), self.page):
            part = facts[begin : begin + self.page]
            records = [fact for fact in part if isinstance(fact, Record)]
            claims = [fact for fact in part if not isinstance(fact, Record)]
            self.links.send(link, NodesInNetwork(records, claims))


def _frame(fact: Fact) -> Frame:
    if not isinstance(fact, Record):
        return FailedInNetwork(fact)
    if fact.state == LEFT:
        return Disconnect(fact)
    return JoinedInNetwork(fact, fact.ip_addr, fact.port)
