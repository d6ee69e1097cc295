"""Eager push: bundles are forwarded byte for byte, in each stream's order on each link.

Plumtree (Leitao, Pereira, Rodrigues, SRDS 2007), section 3. Differs: what a link has to carry is a position for each
stream rather than a set of message ids, and behind it is the log: any link may be paused, or may start in mid-stream,
and nothing is lost. `core.tree` says which links are eager.

A link's `Flow` keeps a cursor (the next seq to push) only for streams on which the other end is not known to be level
with us. Absent means level: the next bundle goes out at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from twisted_p2p.core import wire
from twisted_p2p.core.actions import Bundle, Fork, Gap, Reason
from twisted_p2p.core.early import Early
from twisted_p2p.core.link import Link
from twisted_p2p.core.links import Links
from twisted_p2p.core.positions import Positions
from twisted_p2p.core.speakers import Speakers
from twisted_p2p.core.timers import Timer
from twisted_p2p.core.turn import Turn
from twisted_p2p.core.wire import Broadcast
from twisted_p2p.interfaces import IMessageLog, ISigner, IVerifier, Stream


@attrs.define(eq=False)
class Flow:
    """What one neighbour link carries. `live`: the first comparison of positions is done and payload may go out."""

    link: Link
    live: bool = False
    eager: bool = True
    """Whether bundles are pushed on it as they come; on a lazy link only their positions are told. `core.tree`."""
    cursor: dict[Stream, int] = attrs.field(factory=dict)
    owed: dict[Stream, None] = attrs.field(factory=dict)
    """The streams in `cursor` that are to be served; the others wait for a GRAFT, or for us to get as far."""
    asked: dict[Stream, None] = attrs.field(factory=dict)
    """Those of them that the other end has asked for: however slowly it reads, it counts on us for them."""
    moved: dict[Stream, None] = attrs.field(factory=dict)
    """The streams whose positions the other end is to be told, on a lazy link."""
    paused: Timer | None = None
    """Until the link is to rest if it still takes nothing."""
    served: dict[Stream, int] = attrs.field(factory=dict)
    """Up to where each stream was sent out of the log."""
    grafts_sent: int = 0
    grafts_heard: int = 0


_REPLAY = "replay "
"""Before a stream's origin and epoch, under which the log keeps up to where it is replayed."""


@attrs.define(eq=False)
class Spread:
    """Publishes, receives and forwards bundles."""

    turn: Turn
    network: str
    signer: ISigner
    verifier: IVerifier
    links: Links
    positions: Positions
    log: IMessageLog
    speakers: Speakers
    ends_gap: Callable[[Stream, int], bool]
    """Whether a bundle is wanted although its elders can't be had; then `skip_to` has been called."""
    on_early: Callable[[Link, Stream, int], None]
    """A bundle of this seq came before its elders."""
    on_duplicate: Callable[[Flow, Stream, int], None]
    """A bundle of this seq came once more."""
    on_lazy: Callable[[Flow, Stream], None]
    """A stream has moved, and this flow is lazy."""
    on_progress: Callable[[Link | None, Stream, int], None]
    """A stream has moved to this position, by what came on this link."""
    epoch: int = 0
    unproven: int = 0
    """From which seq on nobody has confirmed our own stream since we began to go on with it; 0: all is well.

    Until then another one may hold other bundles for the same numbers: our log may be an old copy.
    """
    replay: dict[Stream, int] = attrs.field(factory=dict)
    """Up to where the streams were when we joined, if we asked for what was before."""
    _went_on: bool = False
    """Whether our stream was begun in an earlier life: then our log may be an old copy."""
    _has_twin: bool = False
    """Whether another process was found to have our key, by a record."""
    _forked: dict[Stream, None] = attrs.field(factory=dict)
    """Streams of which a fork was told."""
    flows: dict[int, Flow] = attrs.field(factory=dict)
    early: Early = attrs.field(default=attrs.Factory(lambda spread: Early(spread.turn), takes_self=True))
    _pump: Timer | None = None

    @property
    def own(self) -> Stream:
        """Our own stream."""
        return self.signer.peer, self.epoch

    # --- a later life

    def resume(self, epoch: int, is_whole: bool, unproven: int) -> None:
        """Go on with our own stream, if the log is sure to have all of it; else, or in a first life, begin one.

        Args:
            epoch: of the last life, 0 if there was none.
            unproven: as that one left it.
        """
        if epoch and is_whole:
            self.epoch, self._went_on = epoch, True
            self.unproven = unproven or self.positions.of(self.own)
        else:
            self.epoch = max(int(self.turn.now * 1000), epoch + 1)

    def resume_replay(self, values: Mapping[str, int]) -> None:
        """What is still to come of what was broadcast before our join is replayed in this life, too."""
        for name, position in values.items():
            if name.startswith(_REPLAY):
                origin, epoch = name.removeprefix(_REPLAY).split()
                if self.positions.of((origin, int(epoch))) < position:
                    self.replay[origin, int(epoch)] = position

    def prove(self, position: int) -> bool:
        """The first neighbour of this life is at this position of our own stream; whether we have fallen behind.

        If so, what we have broadcast since has numbers that were given before. It was sent to nobody yet, and is
        published again, in a stream of its own.
        """
        first, self.unproven = self.unproven, 0
        if not first or position <= first:
            if first and self._has_twin:
                self._renew()
            return False
        old, lines = self.own, list[bytes]()
        while more := self.log.read(old, first + len(lines), self.turn.config.line_max):
            lines += more
        self.turn.counts["fell_behind_itself"] += 1
        if lines:
            self.log.withdraw(old, first)
            self.positions.move(old, first)
        for flow in self.flows.values():
            flow.cursor.pop(old, None)
        self._renew()
        self.publish([group for line in lines for group in wire.groups_of(line)])
        return True

    def met_twin(self) -> None:
        """A record of ours has come that we have not made: another process has our key, or our log is an old copy.

        Go on in a stream of our own, before two bundles get the same number: once in a life, since the other process
        does so, too. Where the first neighbour is still to say how far our stream is, that comes first.
        """
        if self._has_twin:
            return
        self._has_twin = True
        self.turn.tell(Fork(*self.own, self.positions.of(self.own), b"", b""))
        if not self.unproven:
            self._renew()

    # --- publishing

    def publish(self, groups: list[bytes]) -> None:
        """Broadcast encoded groups of messages, in this order, as many to a bundle as fit."""
        room, batch = self.turn.config.bundle_bytes, list[bytes]()
        for group in groups:
            if batch and len(group) + 1 > room:
                self._publish_bundle(batch)
                room, batch = self.turn.config.bundle_bytes, []
            batch.append(group)
            room -= len(group) + 1
        if batch:
            self._publish_bundle(batch)

    def _publish_bundle(self, groups: list[bytes]) -> None:
        stream, body = self.own, b"[%b]" % b",".join(groups)
        seq = self.positions.of(stream)
        sig = self.signer.sign(wire.bundle_bytes(self.network, *stream, seq, body))
        self._accept(None, stream, seq, wire.bundle_line(*stream, seq, sig, body), None)

    def unsent(self) -> int:
        """Own bundles that not even the furthest neighbour has been sent; 0 without neighbours."""
        position = self.positions.of(self.own)
        sent = [flow.cursor.get(self.own, position) for flow in self.flows.values() if flow.live and flow.eager]
        return max(0, position - max(sent, default=position))

    # --- receiving

    def receive(self, link: Link, frame: Broadcast, line: bytes) -> None:
        """Drop a bundle that is known, hold back one that is early, and take any other together with its successors."""
        flow = self.flows.get(link.id)
        if flow is None or not flow.live:
            self.turn.counts["bundle_from_stranger"] += 1
            return
        stream, seq = frame.stream, frame.seq
        position = self.positions.of(stream)
        if flow.cursor and flow.cursor.get(stream, seq + 1) <= seq:
            flow.cursor[stream] = seq + 1
        early = self.early.streams.get(stream)
        if seq < position or (early is not None and seq in early):
            self.turn.counts["duplicate"] += 1
            held = self.log.read(stream, seq, 1) if seq < position or early is None else [early[seq].line]
            if held and held[0] != line:
                self._differs(link, frame, line, held[0])
            elif seq < position:
                self.on_duplicate(flow, stream, seq)
            return
        if position == 1 and not self.may_begin(stream, link):
            return
        if not self._is_signed(link, frame, line):
            return
        if stream == self.own:
            self._tell_fork(frame, b"", line)
            self._renew()
        if seq > position and self.ends_gap(stream, seq):
            position = self.positions.of(stream)
            if seq < position:
                return
        if seq > position:
            if flow.eager and (self.positions.knows(stream) or len(flow.cursor) < self.turn.config.max_streams):
                flow.cursor.setdefault(stream, seq + 1)
            self.early.add(link.id, frame, line)
            self.on_early(link, stream, seq)
            return
        if position == 1 and not self.positions.knows(stream):
            self.speakers.begins(stream, link.peer)
        self._accept(link, stream, seq, line, frame)
        if early is not None:
            self._release(stream)

    def _is_signed(self, link: Link, frame: Broadcast, line: bytes) -> bool:
        """Whether its origin has signed these very bytes; if not, the link is ended."""
        if not frame.is_canonical(line):
            self.links.hang_up(link, Reason.BAD_FRAME)
            return False
        data = wire.bundle_bytes(self.network, *frame.stream, frame.seq, bytes(frame.messages))
        if not self.verifier.verify(frame.origin, data, frame.sig):
            self.links.hang_up(link, Reason.BAD_SIGNATURE)
            return False
        return True

    def _differs(self, link: Link, frame: Broadcast, line: bytes, kept: bytes) -> None:
        """A bundle is not the one that we hold: the first stays. Its origin has signed two for one seq, a fork."""
        if self._is_signed(link, frame, line):
            self.turn.counts["forks"] += 1
            self._tell_fork(frame, kept, line)
            if frame.stream == self.own:
                self._renew()

    def _tell_fork(self, frame: Broadcast, kept: bytes, line: bytes) -> None:
        """Once for each stream."""
        if frame.stream not in self._forked:
            self._forked[frame.stream] = None
            self.turn.tell(Fork(*frame.stream, frame.seq, kept, line))

    def _renew(self) -> None:
        """Our stream has bundles that we have not made: another process has our key. Begin a stream of our own."""
        self.turn.counts["own_forks"] += 1
        self.epoch = max(int(self.turn.now * 1000), self.epoch + 1)
        self.unproven, self._went_on = 0, False

    def doubt_own(self) -> None:
        """Some say to be further in our own stream than we are, and hold nothing of it that would prove that.

        Our log may be an old copy. But what this life has begun nobody else has: so they are believed once in a life.
        """
        if self._went_on:
            self._renew()

    def may_begin(self, stream: Stream, link: Link | None = None) -> bool:
        """Whether a stream is known, or there is room for one more. `link`: who brings it, or tells of it."""
        config = self.turn.config
        if self.positions.knows(stream):
            return True
        if len(self.positions) >= config.max_streams or self.positions.epochs(stream[0]) >= config.max_epochs:
            self.turn.counts["streams_full"] += 1
            return False
        if link is not None and not self.speakers.may_begin(stream, link.peer):
            self.turn.counts["streams_over_rate"] += 1
            return False
        return True

    def _accept(self, source: Link | None, stream: Stream, seq: int, line: bytes, frame: Broadcast | None) -> None:
        """Take the next bundle of a stream: to the log, to every link, to the application unless it is our own.

        `frame`: None for one that we have just made.
        """
        self.positions.move(stream, seq + 1)
        is_replayed = bool(self.replay) and seq < self.replay.get(stream, 0)
        number = self.log.append(stream, seq, line, self.turn.now, is_replayed)
        for flow in self.flows.values():
            if flow.link is not source:
                if flow.eager or not flow.live:
                    self._push(flow, stream, seq, line)
                else:
                    if stream not in flow.owed:
                        flow.cursor.pop(stream, None)
                    self.on_lazy(flow, stream)
            elif flow.cursor.get(stream) == seq + 1:
                del flow.cursor[stream]
        if frame is not None and frame.origin != self.signer.peer:
            self.turn.deliver(Bundle(frame.origin, frame.epoch, seq, frame.messages, number, is_replayed))
        self.on_progress(source, stream, seq + 1)

    def _push(self, flow: Flow, stream: Stream, seq: int, line: bytes) -> None:
        cursor = flow.cursor.get(stream)
        if cursor is not None:
            if not seq <= cursor <= seq + 1:
                return
            del flow.cursor[stream]
            if cursor == seq + 1:
                return
        if flow.live and not flow.link.congested and self.turn.room(flow.link.id) > 0:
            self._write(flow.link, line)
            return
        flow.cursor[stream] = seq
        if flow.live:
            self.owe(flow, stream)

    def _release(self, stream: Stream) -> None:
        """Take what was held back and is due now; what has become stale is dropped."""
        while (seq := self.early.earliest(stream)) is not None and seq <= self.positions.of(stream):
            held = self.early.take(stream, seq)
            if seq == self.positions.of(stream):
                self._accept(None, stream, seq, held.line, held.frame)

    # --- serving a link from the log

    def open_flow(self, link: Link) -> Flow:
        """A neighbour link is up; nothing is pushed on it before `go_live`."""
        flow = self.flows[link.id] = Flow(link)
        return flow

    def close_flow(self, link: Link) -> None:
        """A neighbour link is gone."""
        self.flows.pop(link.id, None)

    def owe(self, flow: Flow, stream: Stream) -> None:
        """Serve this stream on this link, from its cursor, soon."""
        flow.owed[stream] = None
        if self._pump is None:
            self._pump = self.turn.timers.after(0, self._pump_all)

    def drained(self, link: Link) -> None:
        """The link takes more again."""
        flow = self.flows.get(link.id)
        if flow is not None and flow.owed and self._pump is None:
            self._pump = self.turn.timers.after(0, self._pump_all)

    def _pump_all(self) -> None:
        self._pump = None
        waiting = False
        for flow in self.flows.values():
            self._serve(flow)
            waiting |= bool(flow.owed) and not flow.link.congested
        if waiting:
            self._pump = self.turn.timers.after(0, self._pump_all)

    def _serve(self, flow: Flow) -> None:
        """Write what is owed, stream by stream in turn, until the link has had enough for this turn."""
        link = flow.link
        while flow.owed and not link.congested and self.turn.room(link.id) > 0:
            stream = next(iter(flow.owed))
            del flow.owed[stream]
            is_asked = flow.asked.pop(stream, 0) is None
            cursor, position = flow.cursor.get(stream), self.positions.of(stream)
            if cursor is None or cursor > position:
                continue
            lines = self.log.read(stream, cursor, self.turn.room(link.id)) if cursor < position else []
            if cursor < position and not lines:
                self.send_floor(link, stream, cursor)
                continue
            for line in lines:
                self._write(link, line)
            if lines:
                flow.served[stream] = max(cursor + len(lines), flow.served.get(stream, 1))
            if cursor + len(lines) == position:
                del flow.cursor[stream]
            else:
                flow.cursor[stream] = cursor + len(lines)
                flow.owed[stream] = None
                if is_asked:
                    flow.asked[stream] = None

    def _write(self, link: Link, line: bytes) -> None:
        self.turn.write_payload(link.id, line)
        link.payload += len(line)

    def send_floor(self, link: Link, stream: Stream, asked: int) -> None:
        """Say what we hold of a stream, in place of what was asked for.

        What is held below that, before a gap of our own, is of no use.
        """
        position = self.positions.of(stream)
        first = self.log.floor(stream) or position
        if first <= asked < position:
            first = position
        self.links.send(link, wire.Floor(*stream, asked, first, position))

    def begin_at(self, stream: Stream, position: int) -> None:
        """A stream begins there for us; what was held back before that is of no use."""
        self.positions.move(stream, position)
        self._release(stream)

    def begin_replayed(self, stream: Stream, first: int, position: int) -> None:
        """A stream begins at `first`, and what is before `position` was broadcast before our join."""
        self.replay[stream] = position
        self.log.keep(f"{_REPLAY}{stream[0]} {stream[1]}", position)
        self.begin_at(stream, first)

    def as_far(self, link: Link, stream: Stream, position: int) -> None:
        """The other end is as far as we are, or further: it need not be told; if level, the next bundle is pushed."""
        flow = self.flows.get(link.id)
        if flow is not None and flow.live:
            flow.moved.pop(stream, None)
            if position == self.positions.of(stream):
                flow.cursor.pop(stream, None)

    def level_on_all(self, link: Link) -> None:
        """The other end is where we are on every stream."""
        flow = self.flows.get(link.id)
        if flow is not None and flow.live:
            flow.moved.clear()
            flow.cursor.clear()

    # --- telling the application

    def skip_to(self, stream: Stream, position: int) -> None:
        """Nobody has the bundles before `position` any more: tell of the gap and go on from there."""
        if stream == self.own:
            self._renew()
        first, last = self.positions.of(stream), position - 1
        self.turn.tell(Gap(*stream, first, last, self.log.skip(stream, first, last, self.turn.now)))
        for flow in self.flows.values():
            if flow.cursor.get(stream) == position:
                del flow.cursor[stream]
        self.begin_at(stream, position)
