"""Two PeerCores whose connections deliver what was written in an order that the test chooses."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from tests.core.puppet import BEGINNING, NETWORK, peer_id
from twisted_p2p.core.actions import Actions, Changed, Deliver, Dial, Hangup, Kind, Reason, Write
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.peer import PeerCore
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.sim.signing import CheapSigner, CheapVerifier

END = None
"""In a queue: the connection was closed."""


class End:
    """One of the two cores."""

    def __init__(self, pair: Pair, number: int, config: Config) -> None:
        self.pair = pair
        self.core = PeerCore(
            config=config,
            network=NETWORK,
            signer=CheapSigner(peer_id(number)),
            verifier=CheapVerifier(),
            log=MemoryLog(config),
            rng=random.Random(number),
        )
        self.address = (f"10.0.0.{number}", 5050)
        self.changes: list[Changed] = []
        self.received: list[int] = []
        self.dials: list[Dial] = []
        self.links: dict[int, tuple[int, int]] = {}
        """Of each link the connection, and which of its queues is written."""
        self.perform(self.core.start(self.address, BEGINNING))

    @property
    def other(self) -> End:
        """The core at the other end."""
        one, two = self.pair.ends
        return two if self is one else one

    def perform(self, actions: Actions) -> None:
        """Do as a shell does."""
        for action in actions:
            if isinstance(action, Write):
                connection, way = self.links[action.link]
                self.pair.queues[connection][way].append(list(action.lines))
            elif isinstance(action, Hangup):
                connection, way = self.links.pop(action.link)
                self.pair.queues[connection][way].append(END)
                self.pair.queues[connection][1 - way].clear()
            elif isinstance(action, Dial):
                self.dials.append(action)
            elif isinstance(action, Deliver):
                self.received += [bundle.seq for bundle in action.bundles]
            elif isinstance(action, Changed):
                self.changes.append(action)

    def told(self, *kinds: Kind) -> list[Kind]:
        """What the application was told of these kinds."""
        return [change.kind for change in self.changes if change.kind in kinds]


class Pair:
    """Two cores that know of each other. Nothing moves but by `step`.

    Each is a genesis; `met`: they were in one network before, so that neither takes the other's baseline.
    """

    def __init__(self, one: int = 0x10, two: int = 0x20, config: Config = LAN, met: bool = False) -> None:
        self.now = BEGINNING
        self.queues: list[tuple[deque[list[bytes] | None], deque[list[bytes] | None]]] = []
        self.ends: list[End] = []
        for number in (one, two):
            self.ends.append(End(self, number, config))
        for end in self.ends:
            end.perform(end.core.join([], self.now, genesis=True))
        for end in self.ends:
            end.core.membership.merge([end.other.core.membership.own])
            end.core.membership.take_news()
            end.core.antientropy.alone = not met

    def dial_each_other(self) -> None:
        """Let both dial, and both connections come about."""
        for end in self.ends:
            while not end.dials:
                self.now = max(self.now, end.core.next_wake or self.now)
                end.perform(end.core.wake(self.now))
        for end in self.ends:
            self._connect(end, end.dials.pop())

    def _connect(self, end: End, dial: Dial) -> None:
        number = len(self.queues)
        self.queues.append((deque(), deque()))
        end.links[number], end.other.links[number] = (number, 0), (number, 1)
        end.other.perform(end.other.core.link_up(number, None, self.now))
        end.perform(end.core.link_up(number, dial.dial, self.now))

    @property
    def choices(self) -> list[tuple[int, int]]:
        """The queues with something in them, as (connection, way)."""
        return [(c, way) for c, ways in enumerate(self.queues) for way in (0, 1) if ways[way]]

    def step(self, choice: tuple[int, int]) -> None:
        """What is first in this queue arrives."""
        connection, way = choice
        item = self.queues[connection][way].popleft()
        reader = next((end for end in self.ends if end.links.get(connection) == (connection, 1 - way)), None)
        if reader is None:
            return
        if item is END:
            del reader.links[connection]
            reader.perform(reader.core.link_down(connection, Reason.CLOSED, self.now))
        else:
            reader.perform(reader.core.lines_received(connection, item, self.now))

    def run(self) -> None:
        """Let everything arrive, oldest connection first."""
        while self.choices:
            self.step(self.choices[0])

    def wake(self, seconds: float) -> None:
        """Let time pass, and all arrive that is written meanwhile."""
        until = self.now + seconds
        while True:
            due = [(end.core.next_wake, n) for n, end in enumerate(self.ends) if end.core.next_wake is not None]
            when, number = min(due)
            if when > until:
                break
            self.now = max(self.now, when)
            end = self.ends[number]
            end.perform(end.core.wake(self.now))
            for dialled in self.ends:
                while dialled.dials:
                    self._connect(dialled, dialled.dials.pop(0))
            self.run()
        self.now = until


def every_order(make: Callable[[], Pair], check: Callable[[Pair, tuple[int, ...]], None], limit: int = 100_000) -> int:
    """Play every order in which what is written can arrive, and check each end; how many there were."""
    played = 0
    untried: list[tuple[int, ...]] = [()]
    while untried and played < limit:
        chosen = untried.pop()
        pair = make()
        for number in chosen:
            pair.step(pair.choices[number])
        order = list(chosen)
        while choices := pair.choices:
            untried += [(*order, number) for number in range(1, len(choices))]
            order.append(0)
            pair.step(choices[0])
        check(pair, tuple(order))
        played += 1
    return played
