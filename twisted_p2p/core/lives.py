"""A peer's lives: what the log keeps of one for the next, and how the next goes on from it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import msgspec

from twisted_p2p.core.antientropy import AntiEntropy
from twisted_p2p.core.broadcast import Spread
from twisted_p2p.core.link import Address
from twisted_p2p.core.membership import Membership
from twisted_p2p.core.positions import Positions
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Number, Position
from twisted_p2p.errors import LogError
from twisted_p2p.interfaces import IMessageLog, Saved, Stream

HOUSEKEEPING = 60.0
"""Seconds between looks at what has become old."""
_KEPT = ("epoch", "unproven", "member")
_SEEN = "seen"
_FORMER = 8
"""Addresses that are tried after so long beside those that were told."""
_RESTS = "rests "
"""Before a stream's origin and epoch, under which a log keeps since when it rests."""
_ANCHOR = "anchor "
"""Before the id of a peer that was a neighbour, under which a log keeps its place among those, the last one highest."""
_NETWORK = "network "
"""Before the name of its network, under which a log keeps that it is of that one."""


def _check(saved: Saved) -> None:
    """See that it can be said to others. Raises msgspec.ValidationError."""
    msgspec.convert([(*stream, position) for stream, position in saved.positions.items()], list[Position])
    msgspec.convert(saved.values, dict[str, Number])


@attrs.define(eq=False)
class Lives:
    """Goes on from the log at the start of a life, and keeps in it what the next one needs.

    Attributes:
        former: where some of those were whom we knew in the life before, if that was too long ago to know them still.
        anchors: neighbours of that life, as the log has them, the last ones at the end.
    """

    turn: Turn
    network: str
    log: IMessageLog
    membership: Membership
    positions: Positions
    spread: Spread
    antientropy: AntiEntropy
    former: list[Address] = attrs.field(factory=list)
    anchors: dict[str, None] = attrs.field(factory=dict)
    _kept: tuple[int, int, int] = (0, 0, 0)
    """Our epoch, from where on it is unproven, and whether we are a member, as the log has them."""
    _seen: int = 0
    """When we were last up, in seconds since 1970, as the log has it."""

    def resume(self, address: Address) -> bool:
        """Go on from what the log has kept; whether we were a member, and only need to meet the others again.

        Raises:
            LogError: the log fails, is damaged, or is of another network.
        """
        saved = self.log.load()
        try:
            _check(saved)
            return self._resume(saved, address)
        except (ValueError, msgspec.MsgspecError) as error:
            raise LogError(
                "The log is damaged, it holds what no peer has kept: move it away, and a new one is begun."
            ) from error

    def _resume(self, saved: Saved, address: Address) -> bool:
        self._claim_log(saved.values)
        places = {name: place for name, place in saved.values.items() if name.startswith(_ANCHOR)}
        self.anchors = dict.fromkeys(name.removeprefix(_ANCHOR) for name in sorted(places, key=places.__getitem__))
        is_forgotten = self._was_away(saved.values)
        was_member = bool(saved.values.get("member")) and not is_forgotten
        if not was_member:
            self._drop_positions(saved.positions, own=is_forgotten)
        self.positions.restore(saved.positions, self._resting(saved.values))
        if is_forgotten:
            incarnation, addresses = self.membership.give_up(saved.peers)
            anchors = [addresses.pop(peer) for peer in reversed(self.anchors) if peer in addresses]
            others = list(addresses.values())
            self.former = [*anchors, *self.turn.rng.sample(others, min(_FORMER, len(others)))][:_FORMER]
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
        spare = 2 * HOUSEKEEPING
        kept = max(self.turn.config.departed_keep + 2 * self.turn.config.retention_age - spare, spare)
        return self._seen > 0 and not self.membership.is_sample and now - self._seen > kept

    def _drop_positions(self, positions: dict[Stream, int], own: bool) -> None:
        """Who was no member has taken nothing from others: where their streams were is not where they are now.

        Args:
            own: our own streams, too.
        """
        for stream in [stream for stream in positions if own or stream[0] != self.spread.own[0]]:
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

    def keep(self) -> None:
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

    def keep_anchors(self, anchors: dict[str, None]) -> None:
        """Whom the next life is to ask first."""
        if anchors is not self.anchors:
            for peer in self.anchors:
                if peer not in anchors:
                    self.log.keep(f"{_ANCHOR}{peer}", None)
            for place, peer in enumerate(anchors, 1):
                self.log.keep(f"{_ANCHOR}{peer}", place)
            self.anchors = anchors

    def note_up(self) -> None:
        """We are still up. If the clock is set back, the later time counts."""
        self._seen = max(self._seen, int(self.turn.now))
        self.log.keep(_SEEN, self._seen)
