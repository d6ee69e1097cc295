"""A network of PeerCores in virtual time: one process, one heap, one seed.

It runs the shipped core unchanged and carries the wire's real bytes. Links are TCP as a peer sees it: what was written
arrives in order after a latency, later where packets are lost, or stalls while the way is cut or the reader is stopped,
or is lost with the connection. Who writes faster than the other end reads is told that the link is congested.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count
from typing import Any

import attrs
from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from twisted_p2p.core.access import Access
from twisted_p2p.core.actions import Dial, Pause, Reason, Write
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.interfaces import ISigner, IVerifier
from twisted_p2p.sim.peer import Address, SimPeer
from twisted_p2p.sim.signing import CheapSigner, CheapVerifier

BEGINNING = 1_600_000_000.0
"""When a world begins, in seconds since 1970."""
GARBAGE_THRESHOLD = 200_000
"""Objects that whoever runs a large world has made before the garbage collector looks: at its usual 700 it took 40 % of
the time to find nothing."""
WINDOW = 262_144
"""Bytes that a connection holds in each direction before its writer is told that it is congested."""
RETRANSMISSION, SYN_RETRANSMISSION = 0.2, 1.0
"""Seconds until TCP sends again what was lost, and what was to open a connection; doubles with each further loss.

RFC 6298, with Linux's least time-out. That later writes betray an earlier loss sooner is left out."""


Way = tuple[SimPeer, SimPeer]
"""From whom to whom."""


@attrs.define(eq=False)
class Call:
    """A delayed call, as Twisted's IDelayedCall knows it."""

    when: float
    function: Callable[[], object] | None

    def cancel(self) -> None:
        """Do not make the call."""
        if self.function is None:
            raise AlreadyCalled()
        if self.function is _cancelled:
            raise AlreadyCancelled()
        self.function = _cancelled

    def active(self) -> bool:
        """Whether it is still to come."""
        return self.function is not None and self.function is not _cancelled


def _cancelled() -> None:
    """Stands for a call that will not be made."""


@attrs.define(eq=False)
class Pipe:
    """One direction of a connection. `due`: when the last of what was written arrives."""

    reader: SimPeer
    number: int
    due: float = 0.0
    unread: int = 0
    congested: bool = False
    closed: bool = False
    rests_until: float = 0.0
    """Its reader reads nothing before."""
    held: list[Callable[[], object]] = attrs.field(factory=list)
    """What has come meanwhile."""


@attrs.define(eq=False)
class Connection:
    """A connection. `ends[i]` is the pipe into the i-th peer: 0 dialled, 1 was dialled."""

    ends: tuple[Pipe, Pipe]

    def into(self, link: int) -> Pipe:
        """The pipe that is read where the connection has this number."""
        return self.ends[0] if self.ends[0].number == link else self.ends[1]

    def out_of(self, link: int) -> Pipe:
        """The pipe that is written there."""
        return self.ends[1] if self.ends[0].number == link else self.ends[0]


class World:
    """Virtual time, and the network between the peers.

    Args:
        seed: all chance in it comes from this.
        latency: one way, seconds, at least and at most; drawn anew for each write, without changing their order.
        bandwidth: bytes a second that each direction of a connection carries; 0: any number.
        loss: the share of packets that are lost on the way, 0 to 1. TCP sends them again: all that shows is lateness.
    """

    def __init__(
        self,
        seed: int = 0,
        config: Config = LAN,
        network: str = "sim",
        latency: tuple[float, float] = (0.0005, 0.005),
        verifier: IVerifier | None = None,
        bandwidth: float = 0.0,
        loss: float = 0.0,
    ) -> None:
        self.bandwidth, self.loss = bandwidth, loss
        self.seed, self.config, self.network, self.latency = seed, config, network, latency
        self.rng = random.Random(seed)
        self.verifier: IVerifier = CheapVerifier() if verifier is None else verifier
        self.access = Access()
        """The rules of who may join with which a new peer begins."""
        self.now = BEGINNING
        self.events = 0
        self.peers: list[SimPeer] = []
        self.listening: dict[Address, SimPeer] = {}
        self.on_write: Callable[[Write], object] | None = None
        """Called with whatever a peer writes to a link."""
        self.notes: list[str] = []
        """What a scenario has measured, for whoever reports it."""
        self._heap: list[tuple[float, int, Call | Callable[[], object]]] = []
        self._order = count()
        self._cuts: dict[Way, None] = {}
        self._unplugged: dict[SimPeer, None] = {}
        self._stalled: dict[Way, list[Callable[[], object]]] = {}

    # --- time

    def at(self, when: float, function: Callable[[], object]) -> Call:
        """Call `function` at a time, or now if that has passed."""
        call = Call(max(when, self.now), function)
        heappush(self._heap, (call.when, next(self._order), call))
        return call

    def _due(self, when: float, function: Callable[[], object]) -> None:
        """As `at`, for what nobody cancels."""
        heappush(self._heap, (when, next(self._order), function))

    def callLater(self, delay: float, function: Callable[..., object], *args: Any, **kwargs: Any) -> Call:
        """As IReactorTime has it."""
        return self.at(self.now + delay, lambda: function(*args, **kwargs))

    def seconds(self) -> float:
        """As IReactorTime has it."""
        return self.now

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, condition: Callable[[], object], limit: float) -> bool:
        """Let time pass until the condition holds, or `limit` seconds have passed; whether it holds."""
        end, heap = self.now + limit, self._heap
        while not condition():
            if not heap or heap[0][0] > end:
                self.now = end
                return bool(condition())
            self.now, _, call = heappop(heap)
            if isinstance(call, Call):
                function, call.function = call.function, None
                if function is None or function is _cancelled:
                    continue
                call = function
            self.events += 1
            call()
        return True

    # --- peers

    def add(
        self,
        name: str = "",
        config: Config | None = None,
        signer: ISigner | None = None,
        address: Address | None = None,
    ) -> SimPeer:
        """A new peer; it does nothing before `start`."""
        number = len(self.peers)
        name = name or f"peer{number}"
        if signer is None:
            signer = CheapSigner(blake2b(f"{self.seed} {name}".encode(), digest_size=32).hexdigest())
        if address is None:
            address = (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 5050)
        peer = SimPeer(self, name, address, config or self.config, signer)
        self.peers.append(peer)
        return peer

    def genesis(self, **options: Any) -> SimPeer:
        """A new genesis, started."""
        peer = self.add(**options)
        peer.start()
        peer.join([], genesis=True)
        return peer

    def newcomer(self, *through: SimPeer, **options: Any) -> SimPeer:
        """A new peer, started, that joins through the given ones, or through the first of all."""
        peer = self.add(**options)
        peer.start()
        peer.join([other.address for other in through or self.peers[:1]])
        return peer

    @property
    def running(self) -> list[SimPeer]:
        """The peers that are up."""
        return [peer for peer in self.peers if peer.running]

    @property
    def honest(self) -> list[SimPeer]:
        """Those of them that are not hostile."""
        return [peer for peer in self.peers if peer.running and peer.mask is None]

    # --- the network

    def cut(self, source: SimPeer, target: SimPeer, both: bool = True) -> None:
        """From now on nothing gets from `source` to `target`, nor back if `both`."""
        self._cuts[source, target] = None
        if both:
            self._cuts[target, source] = None

    def heal(self, left: Sequence[SimPeer] = (), right: Sequence[SimPeer] = ()) -> None:
        """All ways that were cut are open again, or those between two groups; what stalled goes on its way."""
        between = {way for one in left for other in right for way in ((one, other), (other, one))}
        self._cuts = {way: None for way in self._cuts if left and way not in between}
        self._release()

    def unplug(self, peer: SimPeer) -> None:
        """From now on nothing gets to this peer, nor from it, as if its cable were drawn."""
        self._unplugged[peer] = None

    def plug(self, peer: SimPeer) -> None:
        """It is connected again; what stalled goes on its way."""
        self._unplugged.pop(peer, None)
        self._release()

    def _release(self) -> None:
        for way in [way for way in self._stalled if self._is_open(way)]:
            for go in self._stalled.pop(way):
                go()

    def _is_open(self, way: Way) -> bool:
        return way not in self._cuts and way[0] not in self._unplugged and way[1] not in self._unplugged

    def partition(self, left: Sequence[SimPeer], right: Sequence[SimPeer]) -> None:
        """Cut every way between two groups."""
        for one in left:
            for other in right:
                self.cut(one, other)

    def _delay(self, retransmission: float = RETRANSMISSION) -> float:
        """Seconds that a packet takes, those included in which it was lost and sent again."""
        least, most = self.latency
        delay = least + (most - least) * self.rng.random()
        while self.loss and self.rng.random() < self.loss:
            delay += retransmission
            retransmission *= 2
        return delay

    def _send(self, source: SimPeer, target: SimPeer, go: Callable[[], object]) -> None:
        """Do `go` once the way from `source` to `target` is open."""
        if self._is_open((source, target)):
            go()
        else:
            self._stalled.setdefault((source, target), []).append(go)

    def dial(self, peer: SimPeer, action: Dial) -> None:
        """Connect, or fail: at once where nobody listens, after the time-out where no answer comes back."""
        target = self.listening.get((action.host, action.port))
        outcome: list[bool] = []
        life = peer.lives

        def fail() -> None:
            if not outcome and peer.lives == life:
                outcome.append(False)
                peer.do(lambda now: peer.core.dial_failed(action.dial, now))

        def answer() -> None:
            if target is None or not target.running:
                self._due(self.now + self._delay(SYN_RETRANSMISSION), fail)
            else:
                self._send(target, peer, lambda: self._due(self.now + self._delay(SYN_RETRANSMISSION), connected))

        def connected() -> None:
            if not outcome and target is not None and target.running and peer.running and peer.lives == life:
                outcome.append(True)
                self._connect(peer, target, action.dial)

        self._due(self.now + action.timeout, fail)
        if target is None:
            self._due(self.now + self._delay(SYN_RETRANSMISSION), fail)
        else:
            self._send(peer, target, lambda: self._due(self.now + self._delay(SYN_RETRANSMISSION), answer))

    def _connect(self, peer: SimPeer, target: SimPeer, dial: int) -> None:
        numbers = next(self._order), next(self._order)
        connection = Connection((Pipe(peer, numbers[0]), Pipe(target, numbers[1])))
        peer.connections[numbers[0]] = target.connections[numbers[1]] = connection
        target.do(lambda now: target.core.link_up(numbers[1], None, now, peer.address[0]))
        peer.do(lambda now: peer.core.link_up(numbers[0], dial, now, target.address[0]))

    def write(self, peer: SimPeer, action: Write) -> None:
        """Carry lines to the other end."""
        if self.on_write is not None:
            self.on_write(action)
        connection = peer.connections.get(action.link)
        if connection is None:
            return
        pipe = connection.out_of(action.link)
        if pipe.closed:
            return
        size = sum(map(len, action.lines)) + len(action.lines)
        peer.traffic.lines_out += len(action.lines)
        peer.traffic.bytes_out += size
        pipe.unread += size
        if pipe.unread > WINDOW and not pipe.congested:
            pipe.congested = True
            self.at(self.now, lambda: peer.do(lambda now: peer.core.congested(action.link, now)))

        arrive = partial(self._arrive, connection, pipe, peer, action.lines, size)
        if self._cuts or self._unplugged:
            self._send(peer, pipe.reader, lambda: self._carry(pipe, size, arrive))
        else:
            self._carry(pipe, size, arrive)

    def pause(self, peer: SimPeer, action: Pause) -> None:
        """`peer` reads nothing from a link for a while."""
        connection = peer.connections.get(action.link)
        if connection is not None:
            pipe = connection.into(action.link)
            pipe.rests_until = self.now + action.seconds
            self._due(pipe.rests_until, partial(self._resume, pipe))

    def _resume(self, pipe: Pipe) -> None:
        held, pipe.held = pipe.held, []
        for go in held:
            go()

    def _carry(self, pipe: Pipe, size: int, arrive: Callable[[], None]) -> None:
        when = self.now + self._delay()
        pipe.due = max(when, pipe.due) + (size / self.bandwidth if self.bandwidth else 0.0)
        self._due(pipe.due, arrive)

    def _arrive(self, connection: Connection, pipe: Pipe, writer: SimPeer, lines: list[bytes], size: int) -> None:
        reader = pipe.reader
        if reader.read_rate or reader._unread:
            reader._unread.append((size, partial(self._hand_over, connection, pipe, writer, lines, size)))
            if len(reader._unread) == 1:
                self._read_on(reader)
        else:
            self._hand_over(connection, pipe, writer, lines, size)

    def _read_on(self, reader: SimPeer) -> None:
        """Have a slow reader read what came first, and then the rest; once it is slow no more it reads all at once."""

        def read() -> None:
            if reader._unread:  # it may have been started anew meanwhile
                reader._unread.popleft()[1]()
            if reader._unread:
                self._read_on(reader)

        takes = reader._unread[0][0] / reader.read_rate if reader.read_rate else 0.0
        self._due(self.now + takes, read)

    def _hand_over(self, connection: Connection, pipe: Pipe, writer: SimPeer, lines: list[bytes], size: int) -> None:
        reader = pipe.reader
        if pipe.closed or not reader.running or pipe.number not in reader.connections:
            return
        if pipe.held or self.now < pipe.rests_until:
            pipe.held.append(lambda: self._hand_over(connection, pipe, writer, lines, size))
            return
        if reader.frozen:
            reader._waiting.append(lambda: self._hand_over(connection, pipe, writer, lines, size))
            return
        pipe.unread -= size
        reader.traffic.lines_in += len(lines)
        reader.traffic.bytes_in += size
        reader.receive(pipe.number, lines)
        if pipe.congested and pipe.unread <= WINDOW // 2:
            pipe.congested = False
            back = connection.out_of(pipe.number).number
            writer.do(lambda now: writer.core.drained(back, now))

    def close(self, connection: Connection, peer: SimPeer, link: int) -> None:
        """`peer` closes: the other end sees what was written before, then the end; it writes in vain from now on."""
        pipe = connection.out_of(link)
        connection.into(link).closed = True
        other = pipe.reader

        def end() -> None:
            if other.connections.pop(pipe.number, None) is not None:
                other.do(lambda now: other.core.link_down(pipe.number, Reason.CLOSED, now))

        def arrive() -> None:
            if pipe.held:
                pipe.held.append(end)
            elif other._unread:
                other._unread.append((0, end))
            else:
                end()

        def go() -> None:
            pipe.due = max(self.now + self._delay(), pipe.due)
            self.at(pipe.due, arrive)

        self._send(peer, other, go)
