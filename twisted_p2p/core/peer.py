"""PeerCore: one peer's whole protocol, without input or output. It is the only thing that a shell touches.

A shell calls in with what happened and the time; the core answers with a short list of actions, and is never called
while those are being performed. It makes no input or output of its own, so a run of it is a function of its inputs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from twisted_p2p.core import wire
from twisted_p2p.core.access import Access
from twisted_p2p.core.actions import Actions, Changed, Kind, Reason
from twisted_p2p.core.antientropy import AntiEntropy
from twisted_p2p.core.arrivals import Arrivals
from twisted_p2p.core.broadcast import Flow, Spread
from twisted_p2p.core.catchup import CatchUp
from twisted_p2p.core.conduct import Conduct
from twisted_p2p.core.config import Config
from twisted_p2p.core.detection import Detection
from twisted_p2p.core.flood import Flood
from twisted_p2p.core.join import Join
from twisted_p2p.core.leaving import Leaving
from twisted_p2p.core.link import Address, Attempt, Link, Purpose
from twisted_p2p.core.links import Links
from twisted_p2p.core.lives import HOUSEKEEPING, Lives
from twisted_p2p.core.membership import Membership
from twisted_p2p.core.overlay import Overlay
from twisted_p2p.core.positions import Positions
from twisted_p2p.core.promises import Promises
from twisted_p2p.core.serving import Serving
from twisted_p2p.core.shuffle import Shuffles
from twisted_p2p.core.speakers import Speakers
from twisted_p2p.core.tree import Tree
from twisted_p2p.core.turn import Turn
from twisted_p2p.interfaces import IMessageLog, ISigner, IVerifier, Stream

_EXPIRE_PAUSE = 0.05


class PeerCore:
    """Owns the machines, and routes frames, links and time to them."""

    def __init__(
        self,
        *,
        config: Config,
        network: str,
        signer: ISigner,
        verifier: IVerifier,
        log: IMessageLog,
        rng: random.Random,
        history: wire.History | None = None,
        access: Access | None = None,
    ) -> None:
        turn = self.turn = Turn(config, rng)
        self.config, self.network, self.peer, self.log = config, network, signer.peer, log
        self.membership = Membership(
            turn,
            network,
            signer,
            verifier,
            lambda peer: peer in self.overlay.active,
            lambda: self.spread.met_twin(),
            lambda: self.overlay.look_soon(),
        )
        self.positions = Positions()
        self.conduct = Conduct(turn, self.membership.is_ours, self._is_known)
        self.links = Links(
            turn,
            network,
            self.membership,
            signer,
            verifier,
            Arrivals(turn, self.membership.is_ours),
            self.conduct,
            lambda: self.antientropy.has_baseline,
            self._opened,
            self._lost,
            self._dial_failed,
            access or Access(),
        )
        self.overlay = Overlay(turn, self.peer, self.membership, self.links, self._neighbour_up, self._neighbour_down)
        self.spread = Spread(
            turn,
            network,
            signer,
            verifier,
            self.links,
            self.positions,
            log,
            Speakers(turn, self.membership),
            lambda stream, seq: self.catchup.ends_gap(stream, seq),
            self._early,
            self._duplicate,
            lambda flow, stream: self.tree.moved(flow, stream),
            self._progressed,
        )
        self.promises = Promises(turn, self.links)
        self.catchup = CatchUp(
            turn,
            self.links,
            self.positions,
            self.spread,
            self.promises,
            lambda origin: self.detection.seek(origin),
            self._has_ended,
        )
        self.serving = Serving(turn, self.links, self.positions, self.spread)
        self.tree = Tree(turn, self.links, self.spread, self.catchup)
        self.antientropy = AntiEntropy(
            turn,
            self.membership,
            self.links,
            self.positions,
            self.spread,
            self.catchup,
            self.overlay.bridge,
            self._page_adopted,
            self._baseline_adopted,
            self._live,
        )
        self.detection = Detection(turn, self.membership, self.links, self.overlay, self.antientropy.compare)
        compare = self.antientropy.compare_once
        self.join_steps = Join(turn, network, verifier, self.links, self.overlay, self._alone, compare)
        self.shuffles = Shuffles(turn, self.membership, self.links, self.overlay)
        self.flood = Flood(self.membership, self.links, self.overlay, config.page)
        self.member_since: float | None = None
        """When we joined: the contract holds from then on. For a genesis, when it first met the others."""
        self.antientropy.wanted = history
        self.lives = Lives(turn, network, log, self.membership, self.positions, self.spread, self.antientropy)
        self.leaving = Leaving(turn, self.membership, self.links, self.overlay, self.spread, self.flood)
        self._meeting = False
        """We are in a network, and are to meet another one."""
        self._routes = self._make_routes()

    # --- inputs

    @property
    def next_wake(self) -> float | None:
        """When `wake` is to be called; None: not before something else happens."""
        return self.turn.timers.next_wake

    def start(self, address: Address, now: float) -> Actions:
        """Begin a life at this address: where the log's last one ended, or as a network of one.

        Raises:
            LogError: the log fails, or is of another network.
        """
        self.turn.timers.advance(now, self.config.stall)
        returns = self.lives.resume(address)
        if not returns:
            self._alone(wanted=False)
        self.overlay.anchors = self.lives.anchors
        known = self.membership.entries
        former = [known[peer].record for peer in reversed(self.lives.anchors) if self.membership.is_alive(peer)]
        self.overlay.start(at_once=returns, former=former)
        self.shuffles.start()
        self.detection.start()
        self.antientropy.start()
        self._keep_house()
        return self._end(None)

    def is_forgotten(self, now: float) -> bool:
        """Whether we stood still for so long that we are to come back as a newcomer: by a new core, with our log."""
        return self.lives.is_forgotten(now)

    def join(self, addresses: Sequence[Address], now: float, genesis: bool = False) -> Actions:
        """Join a network through any of these addresses, which are dialled again whenever nobody is known there.

        Whoever has peers already keeps them, and meets the others.

        Args:
            genesis: we are one of several; be ready alone, and meet the others whenever they are there.
        """
        self._begin(now)
        self.detection.genesis = [*addresses]
        if genesis:
            self._become_ready()
        if not genesis and (self.antientropy.alone or not self.antientropy.has_baseline):
            self.antientropy.has_baseline = self.antientropy.alone = False
            self.member_since = None
            self.membership.withdraw()
            self.join_steps.start([*addresses, *self.lives.former])
        elif not genesis and self.member_since is None:
            self.join_steps.start([*addresses])
        elif self.detection.meet_genesis():
            self._meeting = not genesis
        elif not genesis:
            self.turn.tell(Changed(Kind.READY, self.peer))
        return self._end(None)

    def link_up(self, number: int, dial: int | None, now: float, host: str = "", proves: bool = False) -> Actions:
        """A connection is there, which the shell calls `number`: asked for by Dial `dial`, or inbound.

        Args:
            host: the IP address at its other end, if there is one.
            proves: the connection will prove who is there, and `link_secured` will tell.
        """
        self._begin(now)
        self.links.up(number, dial, host, proves)
        return self._end(None)

    def link_secured(self, number: int, peer: str, now: float, binding: bytes = b"") -> Actions:
        """The connection has proven that its other end holds the key of `peer`, before any line of it has come.

        "": of nobody whom it could name. Where a connection proves nothing the peers do so themselves, by #PROOF.

        Args:
            binding: what only this connection has, and both ends know: proofs of the network's key are made of it.
        """
        self._begin(now)
        self.links.secured(number, peer, binding)
        return self._end(None)

    def admit(self, access: Access, now: float) -> Actions:
        """Go by other rules who may join; links that these do not admit end."""
        self._begin(now)
        self.links.admit(access)
        return self._end(None)

    def dial_failed(self, dial: int, now: float, reason: Reason = Reason.UNREACHABLE) -> Actions:
        """The connection asked for by Dial `dial` could not be made; NO_RESOURCES: not even tried."""
        self._begin(now)
        self.links.dial_failed(dial, reason)
        return self._end(None)

    def link_down(self, number: int, reason: Reason, now: float) -> Actions:
        """A connection is gone."""
        self._begin(now)
        self.links.down(number, reason)
        return self._end(None)

    def lines_received(self, number: int, lines: Sequence[bytes], now: float) -> Actions:
        """All whole lines of one read, without their newlines."""
        self._begin(now)
        link = self.links.by_id.get(number)
        if link is not None:
            self.links.heard(link, lines)
            for line in lines:
                if link.end is None:
                    self._line(link, line)
        return self._end(link)

    def link_fault(self, number: int, reason: Reason, now: float) -> Actions:
        """The other end does not keep to the framing: hang up."""
        self._begin(now)
        link = self.links.by_id.get(number)
        if link is not None:
            self.links.hang_up(link, reason)
        return self._end(None)

    def set_bans(self, bans: Mapping[str, float], now: float) -> Actions:
        """These peers and addresses are banned until then, in seconds since 1970, and nobody else is."""
        self._begin(now)
        self.conduct.set_bans(bans)
        self.links.end_banned()
        return self._end(None)

    def unsent(self) -> int:
        """Own bundles that no neighbour has been sent yet; 0 without neighbours."""
        return self.spread.unsent()

    def broadcast(self, groups: list[bytes], now: float) -> Actions:
        """Broadcast groups of messages, each one an encoded JSON object, that the application sent in one turn."""
        self._begin(now)
        self.spread.publish(groups)
        return self._end(None)

    def congested(self, number: int, now: float) -> Actions:
        """Write no more payload to this link."""
        return self._set_congested(number, True, now)

    def drained(self, number: int, now: float) -> Actions:
        """The link takes payload again: go on from its cursors."""
        return self._set_congested(number, False, now)

    def _set_congested(self, number: int, congested: bool, now: float) -> Actions:
        self._begin(now)
        link = self.links.by_id.get(number)
        if link is not None:
            self.links.set_congested(link, congested)
            if congested:
                self.tree.congested(link)
            else:
                self.spread.drained(link)
                self.tree.drained(link)
        return self._end(None)

    def wake(self, now: float) -> Actions:
        """It is `next_wake`, or later."""
        self._begin(now)
        self.turn.timers.fire()
        return self._end(None)

    def leave(self, now: float) -> Actions:
        """Leave: Finished comes once a neighbour has all that we broadcast, or after the leave time-out."""
        self._begin(now)
        if not self.leaving.has_begun:
            self.join_steps.joining = False
            self.leaving.begin()
        return self._end(None)

    def _begin(self, now: float) -> None:
        self.turn.timers.advance(now, self.config.stall)

    def _end(self, source: Link | None) -> Actions:
        self.links.relieve()
        self.flood.pass_on(source)
        self.catchup.flush()
        self.lives.keep()
        self.lives.keep_anchors(self.overlay.anchors)
        return self.turn.take()

    # --- frames

    def _line(self, link: Link, line: bytes) -> None:
        if line.endswith(b"\r"):
            line = line[:-1]
        if not line:
            return
        try:
            frame = wire.decode(line)
        except wire.BadFrame:
            self.links.hang_up(link, Reason.BAD_FRAME)
            return
        if isinstance(frame, wire.Broadcast) and link.is_open:
            self.spread.receive(link, frame, line)
        elif self.links.is_too_much(link, frame):
            return
        elif frame is None:
            self.turn.counts["unknown_title"] += 1
        elif link.is_open or isinstance(frame, (wire.Hello, wire.Proof, wire.Bye)):
            self._routes[type(frame)](link, frame)
        else:
            self.links.hang_up(link, Reason.BAD_FRAME)

    def _make_routes(self) -> dict[type, Callable[[Link, Any], None]]:
        return {
            wire.Hello: self.links.hello,
            wire.Proof: self.links.proof,
            wire.Bye: self._bye,
            wire.Ping: self.links.pinged,
            wire.Pong: self.links.pong,
            wire.AskRandomNode: self._ask_random_node,
            wire.ResponseRandomNode: self.join_steps.random_node,
            wire.AskNodesToConnect: self._ask_nodes_to_connect,
            wire.ConnectableNodes: self.join_steps.connectable,
            wire.NodeConnAddr: self.overlay.asked,
            wire.NodeConnAnswer: self.overlay.answered,
            wire.Shuffle: self.shuffles.walked,
            wire.Shuffled: self.shuffles.answered,
            wire.GiveNodesInNetwork: self.antientropy.give_nodes,
            wire.NodesInNetwork: self._facts(self.antientropy.nodes),
            wire.JoinedInNetwork: self._facts(self._record),
            wire.Disconnect: self._facts(self._record),
            wire.FailedInNetwork: self._facts(lambda link, frame: self.membership.merge(claims=[frame.claim])),
            wire.Suspect: self.detection.suspected,
            wire.Verdict: self.detection.verdict,
            wire.Roots: self.antientropy.roots,
            wire.Digest: self.antientropy.digest,
            wire.Positions: self.antientropy.positions_told,
            wire.Frontier: self.antientropy.frontier,
            wire.Graft: self.serving.grafted,
            wire.Prune: self.tree.pruned,
            wire.Floor: self.catchup.floor,
            wire.Broadcast: lambda link, frame: self.links.hang_up(link, Reason.BAD_FRAME),
        }

    def _record(self, link: Link, frame: wire.JoinedInNetwork | wire.Disconnect) -> bool:
        return self.membership.merge([frame.record], source=link.peer)

    def _facts(self, merge: Callable[[Link, Any], bool]) -> Callable[[Link, Any], None]:
        def route(link: Link, frame: Any) -> None:
            if not merge(link, frame):
                self.links.hang_up(link, Reason.BAD_SIGNATURE)

        return route

    def _bye(self, link: Link, frame: wire.Bye) -> None:
        """The other end closes the link: its reason is the link's, if we know it."""
        try:
            reason = Reason(frame.reason)
        except ValueError:
            reason = Reason.CLOSED
        self.links.closed_by_peer(link, reason)

    def _ask_random_node(self, link: Link, frame: wire.AskRandomNode) -> None:
        others = (record for record in self.membership.spread() if record.peer != link.peer)
        self.links.send(link, wire.ResponseRandomNode(next(others, None)))

    def _ask_nodes_to_connect(self, link: Link, frame: wire.AskNodesToConnect) -> None:
        others = (record for record in self.membership.mixed() if record.peer != link.peer)
        some = islice(others, 0 if self.membership.is_sample else 2 * self.overlay.target)
        self.links.send(link, wire.ConnectableNodes([self.membership.own, *some]))

    # --- what happens to links

    def _opened(self, link: Link) -> None:
        if link.attempt.peer == link.peer:
            self.membership.found(link.peer)
        self.detection.opened(link)
        if self._meeting and link.purpose is Purpose.PROBE and link.attempt.address in self.detection.genesis:
            self._meeting = False
            self.turn.tell(Changed(Kind.READY, self.peer))
        if link.purpose is Purpose.NEIGHBOUR:
            self.overlay.opened(link)
        elif link.purpose in (Purpose.GENESIS, Purpose.CONTACT):
            self.join_steps.opened(link)

    def _lost(self, link: Link, reason: Reason) -> None:
        self.detection.link_lost(link, reason)
        self.join_steps.lost(link, reason)
        self.overlay.lost(link, reason)
        self.antientropy.lost(link)
        self.leaving.lost()

    def _dial_failed(self, attempt: Attempt, reason: Reason) -> None:
        if attempt.peer:
            self.detection.failed(attempt, is_ours=reason is Reason.NO_RESOURCES)
            self.overlay.dial_failed(attempt.peer)
        self.join_steps.dial_failed(attempt, reason.value)

    def _neighbour_up(self, link: Link) -> None:
        self.flood.introduce(link)
        self.antientropy.neighbour_up(link)

    def _neighbour_down(self, link: Link, reason: Reason) -> None:
        if reason is not Reason.REPLACED:
            self.tree.lost(link)
        self.antientropy.lost(link)

    def _early(self, link: Link, stream: tuple[str, int], seq: int) -> None:
        self.catchup.arrived_early(link, stream, seq)

    def _duplicate(self, flow: Flow, stream: Stream, seq: int) -> None:
        self.promises.kept(flow.link, stream)
        self.promises.serves(flow.link)
        self.tree.duplicate(flow, stream, seq)
        needless = self.catchup.came_again(flow.link, stream, seq)
        if needless is not None:
            self.tree.give_back(needless)

    def _progressed(self, link: Link | None, stream: tuple[str, int], position: int) -> None:
        self.tree.accepted(link, stream, position - 1)
        self.catchup.progressed(link, stream, position)

    def _has_ended(self, stream: Stream, most_say_so: bool) -> bool:
        """Its origin is gone, or has begun another one. Most neighbours are believed where a sample does not name it.

        One that comes back goes on with its stream only where the others have not got ahead of it.
        """
        origin = stream[0]
        if origin == self.peer:
            return stream != self.spread.own
        if self.membership.is_sample and origin not in self.membership.entries:
            return most_say_so or self.positions.has_later(stream)
        return self.positions.has_later(stream) or not self.membership.is_alive(origin)

    def _is_known(self, host: str) -> bool:
        """Whether a peer is said to be at this host, and nothing is held against it."""
        blamed = {*self.conduct.held(), *self.conduct.banned}
        return any(record.ip_addr == host and record.peer not in blamed for record in self.membership.others())

    # --- our own standing

    def _page_adopted(self) -> None:
        if self.member_since is not None:
            self.member_since = self.turn.now

    def _baseline_adopted(self) -> None:
        if self.peer not in self.membership.entries:
            self.membership.enter()
        self.join_steps.done()

    def _live(self) -> None:
        if self.antientropy.has_baseline and self.peer in self.membership.entries:
            self._become_ready()

    def _alone(self, wanted: bool) -> None:
        """Be a network of one, unless we have one. `wanted`: and that is what we are to be."""
        if not self.antientropy.has_baseline:
            self.membership.enter()
            self.antientropy.be_alone()
            if wanted:
                self._become_ready()

    def _become_ready(self) -> None:
        self.join_steps.done()
        if self.member_since is None:
            self.member_since = self.turn.now
            self.turn.tell(Changed(Kind.READY, self.peer))
            self.shuffles.enter()

    def _keep_house(self) -> None:
        """Retention, and the memory of those who departed long ago."""
        self.turn.timers.after(HOUSEKEEPING, self._keep_house)
        self._expire()
        self.lives.note_up()
        self.links.dials.expire()
        self.links.arrivals.expire()
        self.conduct.expire()
        self.serving.expire()
        self.spread.speakers.expire()
        gone = self.membership.expire()
        self.turn.counts["forgotten"] += len(gone)
        if not self.membership.is_sample:
            known, age, epochs = self.membership.entries, self.config.retention_age, self.config.max_epochs // 2
            for stream in self.positions.expire(known, self.turn.now, age, gone, epochs):
                self.log.forget(stream)

    def _expire(self) -> None:
        """A part of what retention no longer keeps at a time, so that nobody waits for it."""
        if self.log.expire(self.turn.now):
            self.turn.timers.after(_EXPIRE_PAUSE, self._expire)
