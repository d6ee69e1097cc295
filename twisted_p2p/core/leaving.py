"""Leaving gracefully: somebody has all that we broadcast, and knows that we leave, before we are gone."""

from __future__ import annotations

import attrs

from twisted_p2p.core.actions import Finished, Reason
from twisted_p2p.core.broadcast import Spread
from twisted_p2p.core.flood import Flood
from twisted_p2p.core.link import Link
from twisted_p2p.core.links import Links
from twisted_p2p.core.membership import LEFT, Membership
from twisted_p2p.core.overlay import Overlay
from twisted_p2p.core.turn import Turn

_POLL = 0.05


@attrs.define(eq=False)
class Leaving:
    """The way out. `has_begun`: we leave; `is_over`: we have left."""

    turn: Turn
    membership: Membership
    links: Links
    overlay: Overlay
    spread: Spread
    flood: Flood
    has_begun: bool = False
    is_over: bool = False
    _asked: dict[Link, None] = attrs.field(factory=dict)
    """Neighbours that are to say that they have all our bundles."""

    def begin(self) -> None:
        """Leave, within the leave time-out."""
        self.has_begun = True
        self.turn.timers.after(self.turn.config.leave_timeout, self._finish)
        self._settle()

    def lost(self) -> None:
        """A link has ended: if it was the last of those who know that we leave, there is nobody left to wait for."""
        if self.has_begun and not self.overlay.active and self.membership.own.state == LEFT:
            self._finish()

    def _settle(self) -> None:
        """Ask every neighbour that has been sent all our bundles to say so, and look again soon.

        While there is none we look for one: a member that nobody hears leave is taken to have failed.
        """
        if self.is_over or self.membership.own.state == LEFT:
            return
        self.overlay.leaving = bool(self.overlay.active)
        if not self.overlay.active and not (self.overlay.own in self.membership.entries and self.overlay.search()):
            self._finish()
            return
        for flow in self.spread.flows.values():
            if flow.live and flow.eager and self.spread.own not in flow.cursor and flow.link not in self._asked:
                self._asked[flow.link] = None
                self.links.ping(flow.link, self._say_left)
        self.turn.timers.after(_POLL, self._settle)

    def _say_left(self) -> None:
        """Somebody has all that we broadcast: say it now, and stay until somebody has heard."""
        if self.membership.own.state != LEFT:
            self.overlay.leaving = True
            self.membership.leave()
            self.flood.pass_on(None)
            for link in self.overlay.active.values():
                self.links.ping(link, self._linger)

    def _linger(self) -> None:
        """Answer whoever dials us while the news spreads: else they would suspect us."""
        self.turn.timers.after(self.turn.config.leave_linger, self._finish)

    def _finish(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._say_left()
            for link in list(self.links.by_id.values()):
                self.links.hang_up(link, Reason.LEAVING)
            self.turn.tell(Finished())
