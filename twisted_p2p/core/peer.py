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
from twisted_p2p.core.actions import Actions, Changed, Finished, Kind, Reason
from twisted_p2p.core.antientropy import AntiEntropy
from twisted_p2p.core.broadcast import Spread
from twisted_p2p.core.catchup import CatchUp
from twisted_p2p.core.config import Config
from twisted_p2p.core.detection import Detection
from twisted_p2p.core.flood import Flood
from twisted_p2p.core.join import Join
from twisted_p2p.core.links import Address, Attempt, Link, Links, Purpose
from twisted_p2p.core.membership import LEFT, Membership
from twisted_p2p.core.overlay import Overlay
from twisted_p2p.core.positions import Positions
from twisted_p2p.core.shuffle import Shuffles
from twisted_p2p.core.tree import Tree
from twisted_p2p.core.turn import Turn
from twisted_p2p.errors import LogError
from twisted_p2p.interfaces import IMessageLog, ISigner, IVerifier, Stream

_HOUSEKEEPING = 60.0
_EXPIRE_PAUSE = 0.05
_LEAVE_POLL = 0.05
_KEPT = ("epoch", "unproven", "member")
_SEEN = "seen"
_FORMER = 8
"""Addresses that are tried after so long beside those that were told."""
_RESTS = "rests "
"""Before a stream's origin and epoch, under which a log keeps since when it rests."""
_NETWORK = "network "
"""Before the name of its network, under which a log keeps that it is of that one."""


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
        )
        self.positions = Positions()
        self.links = Links(
            turn,
            network,
            self.membership,
            signer,
            verifier,
            lambda: self.antientropy.has_baseline,
            self._opened,
            self._lost,
            self._dial_failed,
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
            lambda stream, seq: self.catchup.ends_gap(stream, seq),
            self._early,
            lambda flow, stream, seq: self.tree.duplicate(flow, stream, seq),
            lambda flow, stream: self.tree.moved(flow, stream),
            self._progressed,
        )
        self.catchup = CatchUp(
            turn,
            self.links,
            self.positions,
            self.spread,
            lambda origin: self.detection.seek(origin),
            self._has_ended,
        )
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
        self.join_steps = Join(turn, network, verifier, self.links, self.overlay, self._alone)
        self.shuffles = Shuffles(turn, self.membership, self.links, self.overlay)
        self.flood = Flood(self.membership, self.links, self.overlay, config.page)
        self.member_since: float | None = None
        """When we joined: the contract holds from then on. For a genesis, when it first met the others."""
        self.antientropy.wanted = history
        self._kept = (0, 0, 0)
        """Our epoch, from where on it is unproven, and whether we are a member, as the log has them."""
        self._seen = 0
        """When we were last up, in seconds since 1970, as the log has it."""
        self._former: list[Address] = []
        """Where some of those were whom we knew in the life before, if that was too long ago to know them still."""
        self._meeting = False
        """We are in a network, and are to meet another one."""
        self._leaving = self._left = False
        self._asked: dict[Link, None] = {}
        """Neighbours that are to say that they have all our bundles, since we leave."""
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
        returns = self._resume(address)
        if not returns:
            self._alone(wanted=False)
        self.overlay.start(at_once=returns)
        self.shuffles.start()
        self.detection.start()
        self.antientropy.start()
        self._keep_house()
        return self._end(None)

    def _resume(self, address: Address) -> bool:
        """Go on from what the log has kept; whether we were a member, and only need to meet the others again."""
        saved = self.log.load()
        self._claim_log(saved.values)
        is_forgotten = self._was_away(saved.values)
        was_member = bool(saved.values.get("member")) and not is_forgotten
        if not was_member:
            self._drop_positions(saved.positions, own=is_forgotten)
        self.positions.restore(saved.positions, self._resting(saved.values))
        if is_forgotten:
            incarnation, addresses = self.membership.give_up(saved.peers)
            self._former = self.turn.rng.sample(addresses, min(_FORMER, len(addresses)))
        else:
            incarnation = self.membership.restore(saved.peers)
        self.membership.introduce(*address, above=incarnation)
        is_whole = saved.is_whole and not is_forgotten
        self.spread.resume(saved.values.get("epoch", 0), is_whole, saved.values.get("unproven", 0))
        if was_member:
            self.spread.resume_replay(saved.values)
            self.membership.enter()
            self.antientropy.has_baseline = True
        return was_member

    def _resting(self, values: Mapping[str, int]) -> dict[Stream, float]:
        """Since when streams rest, in seconds since 1970; none longer than until now, if the clock was set back."""
        found = dict[Stream, float]()
        for name, since in values.items():
            if name.startswith(_RESTS):
                origin, epoch = name.removeprefix(_RESTS).split()
                found[origin, int(epoch)] = min(since / 1000, self.turn.now)
        return found

    def _was_away(self, values: Mapping[str, int]) -> bool:
        """Whether we were away for so long that others may have forgotten streams that we know, our own among them.

        If we told of them, all would be handed again what we have of them. So we come back as a newcomer, who may join
        through those that it knew.
        """
        self._seen = values.get(_SEEN, 0)
        return self.is_forgotten(self.turn.now)

    def is_forgotten(self, now: float) -> bool:
        """Whether we stood still for so long, and come back as a newcomer: by a new core, with our log."""
        # Others are not as exact: they look each minute.
        spare = 2 * _HOUSEKEEPING
        kept = max(self.config.departed_keep + 2 * self.config.retention_age - spare, spare)
        return self._seen > 0 and not self.membership.is_sample and now - self._seen > kept

    def _drop_positions(self, positions: dict[Stream, int], own: bool) -> None:
        """Who was no member has taken nothing from others: where their streams were is not where they are now.

        Args:
            own: our own streams, too.
        """
        for stream in [stream for stream in positions if own or stream[0] != self.peer]:
            del positions[stream]
            self.log.forget(stream)

    def _claim_log(self, values: Mapping[str, int]) -> None:
        """A log is of one network: what was signed for it is a bad signature in any other."""
        name = f"{_NETWORK}{self.network}"
        others = [kept.removeprefix(_NETWORK) for kept in values if kept.startswith(_NETWORK) and kept != name]
        if others:
            raise LogError(
                f"The log is of the network {others[0]}, not of {self.network}: "
                "give that name, or another data directory."
            )
        if name not in values:
            self.log.keep(name, 1)

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
            self.join_steps.start([*addresses, *self._former])
        elif not genesis and self.member_since is None:
            self.join_steps.start([*addresses])
        elif self.detection.meet_genesis():
            self._meeting = not genesis
        elif not genesis:
            self.turn.tell(Changed(Kind.READY, self.peer))
        return self._end(None)

    def link_up(self, number: int, dial: int | None, now: float) -> Actions:
        """A connection is there, which the shell calls `number`: asked for by Dial `dial`, or inbound."""
        self._begin(now)
        self.links.up(number, dial)
        return self._end(None)

    def link_secured(self, number: int, peer: str, now: float) -> Actions:
        """The connection has proven that its other end holds the key of `peer`, before any line of it has come.

        "": of nobody whom it could name. Where a connection proves nothing the peers do so themselves, by #PROOF.
        """
        self._begin(now)
        self.links.secured(number, peer)
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
            self.links.heard(link, sum(map(len, lines)))
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

    def unsent(self) -> int:
        """Own bundles that no neighbour has been sent yet; 0 without neighbours."""
        return self.spread.unsent()

    def broadcast(self, messages: list[bytes], now: float) -> Actions:
        """Broadcast messages, each one encoded JSON object, that the application sent in one turn."""
        self._begin(now)
        self.spread.publish(messages)
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
        if not self._leaving:
            self._leaving = True
            self.join_steps.joining = False
            self.turn.timers.after(self.config.leave_timeout, self._finish)
            self._settle_leave()
        return self._end(None)

    def _begin(self, now: float) -> None:
        self.turn.timers.advance(now, self.config.stall)

    def _end(self, source: Link | None) -> Actions:
        self.links.relieve()
        self.flood.pass_on(source)
        self.catchup.flush()
        self._keep()
        return self.turn.take()

    def _keep(self) -> None:
        """What has changed in this turn goes to the log, with its bundles."""
        for stream in self.positions.moved:
            self.log.move(stream, self.positions.of(stream))
        self.positions.moved.clear()
        for stream in self.positions.rested:
            since = self.positions.rests_since(stream)
            self.log.keep(f"{_RESTS}{stream[0]} {stream[1]}", None if since is None else int(since * 1000))
        self.positions.rested.clear()
        for peer in self.membership.changed:
            kept = self.membership.kept(peer)
            if kept is None:
                self.log.forget_peer(peer)
            else:
                self.log.keep_peer(peer, *kept)
        self.membership.changed.clear()
        is_member = self.antientropy.has_baseline and not self.antientropy.alone
        values = (self.spread.epoch, self.spread.unproven, int(is_member))
        if values != self._kept:
            self._kept = values
            for name, value in zip(_KEPT, values, strict=True):
                self.log.keep(name, value)

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
            wire.Ping: lambda link, frame: self.links.send(link, wire.Pong(frame.n)),
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
            wire.Graft: self.catchup.grafted,
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
        others = (record for record in self.membership.drawn() if record.peer != link.peer)
        self.links.send(link, wire.ResponseRandomNode(next(others, None)))

    def _ask_nodes_to_connect(self, link: Link, frame: wire.AskNodesToConnect) -> None:
        others = (record for record in self.membership.drawn() if record.peer != link.peer)
        some = islice(others, 0 if self.membership.is_sample else 2 * self.overlay.target)
        self.links.send(link, wire.ConnectableNodes([self.membership.own, *some]))

    # --- what happens to links

    def _opened(self, link: Link) -> None:
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
        if self._leaving and not self.overlay.active and self.membership.own.state == LEFT:
            self._finish()

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

    def _progressed(self, link: Link | None, stream: tuple[str, int], position: int) -> None:
        self.tree.accepted(link, stream, position - 1)
        self.catchup.progressed(link, stream, position)

    def _has_ended(self, stream: Stream) -> bool:
        """Its origin is gone, or has begun another one.

        One that comes back goes on with its stream only where the others have not got ahead of it.
        """
        origin = stream[0]
        if origin == self.peer:
            return stream != self.spread.own
        is_unknown = self.membership.is_sample and origin not in self.membership.entries
        return self.positions.has_later(stream) or not (is_unknown or self.membership.is_alive(origin))

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
        self.turn.timers.after(_HOUSEKEEPING, self._keep_house)
        self._expire()
        # If the clock is set back, the later time counts.
        self._seen = max(self._seen, int(self.turn.now))
        self.log.keep(_SEEN, self._seen)
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

    # --- leaving

    def _settle_leave(self) -> None:
        """Ask every neighbour that has been sent all our bundles to say so, and look again soon.

        While there is none we look for one: a member that nobody hears leave is taken to have failed.
        """
        if self._left or self.membership.own.state == LEFT:
            return
        self.overlay.leaving = bool(self.overlay.active)
        if not self.overlay.active and not (self.peer in self.membership.entries and self.overlay.search()):
            self._finish()
            return
        for flow in self.spread.flows.values():
            if flow.live and flow.eager and self.spread.own not in flow.cursor and flow.link not in self._asked:
                self._asked[flow.link] = None
                self.links.ping(flow.link, self._say_left)
        self.turn.timers.after(_LEAVE_POLL, self._settle_leave)

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
        self.turn.timers.after(self.config.leave_linger, self._finish)

    def _finish(self) -> None:
        if not self._left:
            self._left = True
            self._say_left()
            for link in list(self.links.by_id.values()):
                self.links.hang_up(link, Reason.LEAVING)
            self.turn.tell(Finished())
