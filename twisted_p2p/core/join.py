"""Joining in five steps, none of which makes the genesis a hub. docs/protocol.md has a picture.

1. dial a genesis; 2. ask it for a random node; 3. dial that one and ask it for nodes to connect to; 4. become
neighbours of some of those; 5. take the directory and a baseline of positions from the first neighbour, which is
anti-entropy's part, and announce ourselves.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from twisted_p2p.core.actions import Changed, Kind, Reason
from twisted_p2p.core.link import Address, Attempt, Link, Purpose
from twisted_p2p.core.links import Links
from twisted_p2p.core.overlay import Overlay
from twisted_p2p.core.timers import Timer
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import (
    AskNodesToConnect,
    AskRandomNode,
    ConnectableNodes,
    Record,
    ResponseRandomNode,
)
from twisted_p2p.interfaces import IVerifier


@attrs.define(eq=False)
class Join:
    """One attempt to join after another, until it works."""

    turn: Turn
    network: str
    verifier: IVerifier
    links: Links
    overlay: Overlay
    on_alone: Callable[[bool], None]
    """There is no network to join: be one, to which others may come. True: and that is what was wanted."""
    on_done: Callable[[Link], None]
    """We have joined, and the genesis at the end of this link is not our neighbour."""
    joining: bool = False
    _addresses: list[Address] = attrs.field(factory=list)
    _untried: list[Address] = attrs.field(factory=list)
    _rounds: int = 0
    _newcomers: dict[str, None] = attrs.field(factory=dict)
    """Peers that we were told to join through, and that had not joined themselves."""
    _begins: bool = False
    """One of those has called us, too, and its id is the higher one."""
    _genesis: Link | None = None
    _asked: dict[int, None] = attrs.field(factory=dict)
    """Links on which our question waits for its answer: there is one to each."""
    _timer: Timer | None = None

    def start(self, addresses: list[Address]) -> None:
        """Join through any of these genesis addresses."""
        self.joining, self._rounds = True, 0
        self._addresses, self._untried = addresses, []
        self._newcomers, self._begins = {}, False
        self._try_next()

    def done(self) -> None:
        """We have joined."""
        self.joining = False
        if self._timer is not None:
            self._timer.cancel()
        genesis, self._genesis = self._genesis, None
        if genesis is not None and not genesis.is_neighbour:
            self.on_done(genesis)

    # --- step 1

    def _try_next(self) -> None:
        if not self.joining:
            return
        if not self._untried:
            self._rounds += 1
            self._untried = [a for a in self._addresses if a not in self.links.own_addresses]
            self.turn.rng.shuffle(self._untried)
        if self._untried:
            self.links.dial(Purpose.GENESIS, self._untried.pop())
        else:
            self.on_alone(False)
            self._retry(self._addresses[0], Reason.OWN_ADDRESS.value)

    def _retry(self, address: Address, reason: str) -> None:
        """That did not work: the next address at once, or all of them again after a pause."""
        if not self.joining:
            return
        is_let_in = self._genesis is not None or any(link.baseline for link in self.overlay.active.values())
        if self._begins and not (self._untried or is_let_in):
            self.on_alone(True)
            return
        delay = 0.0
        if not self._untried:
            config = self.turn.config
            delay = min(config.retry_max, config.retry_first * 2 ** min(self._rounds - 1, 30))
            delay *= self.turn.rng.uniform(0.5, 1.5)
        self.turn.tell(Changed(Kind.RETRY, "", *address, reason, delay))
        self._wait(delay)

    def _wait(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.turn.timers.after(delay, self._try_next)

    def dial_failed(self, attempt: Attempt, reason: str) -> None:
        """A genesis, or the node that it named, can't be reached."""
        if attempt.purpose is Purpose.GENESIS:
            self._retry(attempt.address, reason)
        elif attempt.purpose is Purpose.CONTACT and self.joining:
            self._stay_with_genesis()

    def lost(self, link: Link, reason: Reason) -> None:
        """A link of the join has ended."""
        self._asked.pop(link.id, None)
        if reason is Reason.NOT_READY and self.joining:
            self._not_ready(link)
        if link.purpose is Purpose.GENESIS and self.joining and (link is not self._genesis or not self.overlay.active):
            self._retry(link.attempt.address, reason.value)
        elif link.purpose is Purpose.CONTACT and not link.is_open and self.joining:
            self._stay_with_genesis()
        if link is self._genesis:
            self._genesis = None

    def _not_ready(self, link: Link) -> None:
        """Of two newcomers that were told to join through each other the one with the lower id begins a network.

        But it tries all its addresses before: there may be a network already.
        """
        if link.purpose is Purpose.GENESIS:
            self._newcomers[link.peer] = None
        elif link.peer in self._newcomers and self.overlay.own < link.peer:
            self._begins = True

    # --- steps 2 to 4

    def opened(self, link: Link) -> None:
        """A link of the join is open: ask the question that it was made for."""
        if not self.joining:
            self.links.hang_up(link, Reason.DONE)
        elif link.purpose is Purpose.CONTACT:
            self._asked[link.id] = None
            self.links.send(link, AskNodesToConnect())
        elif not link.baseline:
            self.links.hang_up(link, Reason.NOT_READY)
        else:
            self._genesis, self._begins = link, False
            self._wait(2 * self.turn.config.handshake_timeout)
            if self._rounds > 1:
                self._stay_with_genesis()
            self._asked[link.id] = None
            self.links.send(link, AskRandomNode())

    def random_node(self, link: Link, frame: ResponseRandomNode) -> None:
        """Step 2 answered: go to the node that was drawn, or stay if there is none."""
        if not self.joining or link is not self._genesis or not self._is_answer(link):
            return
        node = frame.node
        is_other = node is not None and node.peer not in (link.peer, self.overlay.own) and self._is_signed(node)
        if node is None or not is_other or not self.links.may_dial(node):
            self._stay_with_genesis()
        else:
            self.links.dial(Purpose.CONTACT, (node.ip_addr, node.port), node.peer)

    def connectable(self, link: Link, frame: ConnectableNodes) -> None:
        """Step 3 answered: ask the contact itself and the nodes it named to be neighbours."""
        if self.joining and link.purpose is Purpose.CONTACT and self._is_answer(link):
            self.overlay.ask(link)
            self.overlay.offer(node for node in frame.nodes if self._is_signed(node))

    def _is_answer(self, link: Link) -> bool:
        was_asked = link.id in self._asked
        self._asked.pop(link.id, None)
        return was_asked

    def _stay_with_genesis(self) -> None:
        """There is nobody else, or the one we were sent to is not there."""
        if self._genesis is not None:
            self.overlay.ask(self._genesis)

    def _is_signed(self, record: Record) -> bool:
        """Only addresses that a peer itself has signed are dialled."""
        return self.verifier.verify(record.peer, record.signed_bytes(self.network), record.sig)
