"""What the machines of one core share: the time, chance, counters, and the actions of the turn at hand."""

from __future__ import annotations

import random
from collections import Counter

import attrs

from twisted_p2p.core.actions import (
    Action,
    Actions,
    Banned,
    Bundle,
    Changed,
    Deliver,
    Dial,
    Finished,
    Fork,
    Gap,
    Hangup,
    Pause,
    Refused,
    Write,
)
from twisted_p2p.core.config import Config
from twisted_p2p.core.health import Health
from twisted_p2p.core.timers import Timers


@attrs.define(eq=False)
class Turn:
    """Collects actions between a call into the core and its return.

    Actions come out as: writes in order, dials and hang-ups, then what the application is told.
    """

    config: Config
    rng: random.Random
    timers: Timers = attrs.field(factory=Timers)
    counts: Counter[str] = attrs.field(factory=Counter)
    _writes: dict[int, list[bytes]] = attrs.field(factory=dict)
    _bytes: dict[int, int] = attrs.field(factory=dict)
    _connections: list[Dial | Hangup | Pause] = attrs.field(factory=list)
    _told: list[Deliver | Gap | Fork | Changed | Banned | Refused | Finished] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.health.most = self.config.health_max

    @property
    def health(self) -> Health:
        """Whether we are the slow one."""
        return self.timers.health

    @property
    def now(self) -> float:
        """Seconds, on the clock that feeds this core."""
        return self.timers.now

    def write(self, link: int, line: bytes) -> None:
        """Write a control line to a link."""
        lines = self._writes.get(link)
        if lines is None:
            lines = self._writes[link] = []
        lines.append(line)

    def write_payload(self, link: int, line: bytes) -> None:
        """Write a line that counts against the link's `room`."""
        self.write(link, line)
        self._bytes[link] = self._bytes.get(link, 0) + len(line)

    def room(self, link: int) -> int:
        """Bytes of payload that may still be written to this link in this turn."""
        return self.config.burst - self._bytes.get(link, 0)

    def connect(self, action: Dial | Hangup | Pause) -> None:
        """Dial, hang up or pause, after the writes."""
        self._connections.append(action)

    def tell(self, action: Deliver | Gap | Fork | Changed | Banned | Refused | Finished) -> None:
        """Tell the application, last."""
        self._told.append(action)

    def deliver(self, bundle: Bundle) -> None:
        """Hand a bundle to the application, together with those before it unless something was told between."""
        if self._told and isinstance(self._told[-1], Deliver):
            self._told[-1].bundles.append(bundle)
        else:
            self._told.append(Deliver([bundle]))

    def take(self) -> Actions:
        """The turn's actions; the next turn begins."""
        actions: list[Action] = [Write(link, lines) for link, lines in self._writes.items()]
        actions += self._connections
        actions += self._told
        self._writes, self._bytes, self._connections, self._told = {}, {}, [], []
        return actions

    def jitter(self, delay: float) -> float:
        """`delay`, give or take a fifth, so that peers do not march in step."""
        return delay * self.rng.uniform(0.8, 1.2)
