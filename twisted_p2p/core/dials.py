"""Which addresses are dialled on the word of others, and how often.

Anybody may sign a record with any address in it, and everybody who believes it dials that. So what such dials can do to
somebody who is no peer is bounded, whatever the number of records: by address range and in all.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from twisted_p2p.core.buckets import TokenBuckets
from twisted_p2p.core.groups import is_address, is_nobodys, is_public, is_this_machine
from twisted_p2p.core.ranges import range_of
from twisted_p2p.core.turn import Turn


@attrs.define(eq=False)
class Dials:
    """Counts the dials that find nobody, or another one than was expected; one that finds its peer costs nothing.

    Those to our own range and to this machine, where a network may live wholly, are not counted.
    """

    turn: Turn
    own_host: Callable[[], str]
    _of_range: TokenBuckets = attrs.field(init=False)
    _in_all: TokenBuckets = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        config = self.turn.config
        self._of_range = TokenBuckets(config.vain_dials_burst, config.vain_dials_interval)
        self._in_all = TokenBuckets(config.vain_dials_total_burst, config.vain_dials_total_interval)

    def is_sense(self, host: str) -> bool:
        """Whether anybody of our network can be there. Who listens in the Internet expects nobody on a private network.

        So nobody has us look for what is behind our own firewall.
        """
        is_within = is_address(host) and not is_public(host) and is_public(self.own_host())
        return not (is_nobodys(host) or is_within)

    def may_any(self) -> bool:
        """Whether not too many dials of all were in vain."""
        return self._in_all.has("", self.turn.now)

    def may(self, host: str) -> bool:
        """Whether not too many of those to this host's range were."""
        now = self.turn.now
        return self._is_near(host) or (self.may_any() and self._of_range.has(range_of(host)[1], now))

    def begun(self, host: str) -> None:
        """A dial counts as in vain until it has found whom we expect there."""
        if not self._is_near(host):
            self._of_range.take(range_of(host)[1], self.turn.now)
            self._in_all.take("", self.turn.now)

    def found(self, host: str) -> None:
        """It has."""
        if not self._is_near(host):
            self._of_range.give_back(range_of(host)[1])
            self._in_all.give_back("")

    def expire(self) -> None:
        """Forget what counts for nothing any more."""
        self._of_range.expire(self.turn.now)

    def _is_near(self, host: str) -> bool:
        return is_this_machine(host) or range_of(host) == range_of(self.own_host())
