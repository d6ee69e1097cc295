"""Hostile members: a real core, and a mask before it that keeps to the protocol only as far as its kind does.

Each kind is a function that puts on the mask; its first line says what the others see. What is about single bytes
(slow-loris lines, lines without end) has no place in a simulation of whole lines: `tests/live` plays that on sockets.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import count, islice

import attrs

from twisted_p2p.core import wire
from twisted_p2p.core.actions import Actions, Write
from twisted_p2p.core.broadcast import Flow
from twisted_p2p.core.wire import Claim, Floor, Frame, Frontier, Graft, Position, Prune, Record
from twisted_p2p.interfaces import Stream
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.signing import CheapSigner

Lines = list[bytes]

FAR = 5_000
"""How far ahead of the truth a position is that is invented."""
MANY = 1_000
"""Streams, or peers, that are invented at once."""
YEAR = 365 * 86_400.0
_BUNDLE = b'{"title":"#BROADCAST","origin":"'
_WORD = b'{"id":"%b","time":1.5,"values":["%b"]}'


@attrs.define(eq=False)
class Hostile:
    """The mask of one hostile peer. Its kind sets what it does to lines on their way out and in."""

    peer: SimPeer
    rng: random.Random
    on_out: Callable[[int, Lines], Lines] = lambda link, lines: lines
    on_into: Callable[[int, Lines], Lines] = lambda link, lines: lines
    numbers: Iterator[int] = attrs.field(factory=lambda: count(1))

    def out(self, link: int, lines: Lines) -> Lines:
        """What is sent in place of these."""
        return self.on_out(link, lines)

    def into(self, link: int, lines: Lines) -> Lines:
        """What the core is given in place of these."""
        return self.on_into(link, lines)

    def every(self, seconds: float, act: Callable[[], object]) -> None:
        """Do it now, and again and again as long as the peer is up."""

        def again() -> None:
            if self.peer.running:
                act()
                self.peer.world.callLater(seconds, again)

        again()

    @property
    def flows(self) -> list[Flow]:
        """Its neighbour links that carry payload."""
        return [flow for flow in self.peer.core.spread.flows.values() if flow.live]

    def send(self, link: int, *frames: Frame) -> None:
        """Send frames, past its core."""
        self.send_lines(link, list(map(wire.encode, frames)))

    def send_lines(self, link: int, lines: Lines) -> None:
        """Send lines, past its core and its mask."""
        if link in self.peer.connections:
            self.peer.world.write(self.peer, Write(link, lines))

    def send_all(self, *frames: Frame) -> None:
        """Send frames to all neighbours."""
        for flow in self.flows:
            self.send(flow.link.id, *frames)

    def bundle(self, stream: Stream, seq: int, text: bytes = b"a lie") -> bytes:
        """The line of a bundle; its signature is good if the stream is its own."""
        body = b"[%b]" % (_WORD % (b"%064x" % self.rng.getrandbits(256), text))
        data = wire.bundle_bytes(self.peer.world.network, *stream, seq, body)
        return wire.bundle_line(*stream, seq, self.peer.signer.sign(data), body)

    def others(self) -> list[Record]:
        """All others that it knows to be alive."""
        return list(self.peer.core.membership.others())

    def streams(self) -> list[Stream]:
        """The streams of others that it knows."""
        return [stream for stream in self.peer.core.positions.streams() if stream[0] != self.peer.peer]

    def ahead(self) -> list[Position]:
        """Positions in all streams of others, far ahead of the truth."""
        return [(*stream, self.peer.core.positions.of(stream) + FAR) for stream in self.streams()]


Kind = Callable[[Hostile], None]
KINDS: dict[str, Kind] = {}


def kind(function: Kind) -> Kind:
    """Put it on the list, under its own name with hyphens."""
    KINDS[function.__name__.replace("_", "-")] = function
    return function


def turn(peer: SimPeer, name: str) -> Hostile:
    """From now on this peer is hostile, for all of its lives."""
    mask = peer.mask = Hostile(peer, random.Random(f"hostile {peer.world.seed} {peer.name}"))
    KINDS[name](mask)
    return mask


def _is_bundle_of_others(hostile: Hostile, line: bytes) -> bool:
    return line.startswith(_BUNDLE) and not line.startswith(hostile.peer.peer.encode(), len(_BUNDLE))


def _drop(hostile: Hostile, drops: Callable[[bytes], bool]) -> None:
    hostile.on_out = lambda link, lines: [line for line in lines if not drops(line)]


# --- what is not passed on


@kind
def black_hole(hostile: Hostile) -> None:
    """Takes bundles, tells truly that it has them, and never sends any but its own."""
    _drop(hostile, lambda line: _is_bundle_of_others(hostile, line))


@kind
def silent_hole(hostile: Hostile) -> None:
    """Takes bundles, and never sends any but its own, nor tells of any."""
    _drop(hostile, lambda line: _is_bundle_of_others(hostile, line) or line.startswith(b'{"title":"#FRONTIER"'))


@kind
def half_hole(hostile: Hostile) -> None:
    """Passes on one bundle in two, drawn by chance, so that it keeps its place in the tree."""
    _drop(hostile, lambda line: _is_bundle_of_others(hostile, line) and hostile.rng.random() < 0.5)


@kind
def leak(hostile: Hostile) -> None:
    """Passes on all bundles but one in a hundred, drawn by chance."""
    _drop(hostile, lambda line: _is_bundle_of_others(hostile, line) and hostile.rng.random() < 0.01)


@kind
def pruner(hostile: Hostile) -> None:
    """Asks all its neighbours, again and again, to push nothing to it."""

    def prune() -> None:
        for flow in hostile.flows:
            hostile.send(flow.link.id, Prune(flow.grafts_heard))

    hostile.every(0.1, prune)


# --- what it claims to have


@kind
def promiser(hostile: Hostile) -> None:
    """Claims to be far ahead in everybody's stream, and has nothing."""
    hostile.every(1.0, lambda: hostile.send_all(Frontier(hostile.ahead())))


@kind
def inventor(hostile: Hostile) -> None:
    """Claims to have streams of ever more origins that nobody has heard of."""

    def invent() -> None:
        names = islice(hostile.numbers, MANY)
        hostile.send_all(Frontier([(_invented(hostile, n), 1, 2) for n in names]))

    hostile.every(1.0, invent)


@kind
def silent_inventor(hostile: Hostile) -> None:
    """Claims every half second to have streams of other origins that nobody has heard of, and gives no answer."""

    def invent() -> None:
        names = islice(hostile.numbers, MANY // 2)
        hostile.send_all(Frontier([(_invented(hostile, n), 1, 2) for n in names]))

    hostile.on_into = lambda link, lines: [line for line in lines if not line.startswith(b'{"title":"#GRAFT"')]
    hostile.every(0.5, invent)


@kind
def floor_liar(hostile: Hostile) -> None:
    """Claims to be far ahead in everybody's stream, and tells whoever asks that it is gone; it serves nothing."""

    def into(link: int, lines: Lines) -> Lines:
        left = Lines()
        for line in lines:
            frame = wire.decode(line) if line.startswith(b'{"title":"#GRAFT"') else None
            if isinstance(frame, Graft) and frame.streams:
                floors = [
                    Floor(origin, epoch, asked, asked + FAR, asked + FAR) for origin, epoch, asked in frame.streams
                ]
                hostile.send(link, *floors)
            else:
                left.append(line)
        return left

    hostile.on_into = into
    hostile.every(1.0, lambda: hostile.send_all(Frontier(hostile.ahead())))


# --- what it asks for


@kind
def grafter(hostile: Hostile) -> None:
    """Asks all its neighbours ten times a second for all streams from their beginning on."""

    def graft() -> None:
        for flow in hostile.flows:
            flow.grafts_sent += 1
            streams = [(*stream, 1) for stream in hostile.peer.core.positions.streams()]
            hostile.send(flow.link.id, Graft(streams, flow.grafts_sent))

    hostile.every(0.1, graft)


@kind
def asker(hostile: Hostile) -> None:
    """Asks all its neighbours ten times a second whatever has a long answer."""
    questions: Sequence[Frame] = (
        wire.Digest("nodes", {}),
        wire.Digest("streams", {}),
        wire.GiveNodesInNetwork(),
        wire.GiveNodesInNetwork(history=wire.History()),
        wire.AskNodesToConnect(),
        wire.AskRandomNode(),
        wire.Roots("0" * 16, "0" * 16, answer=True),
        wire.Ping(1),
    )
    hostile.every(0.1, lambda: hostile.send_all(*questions))


# --- what it says of others, and of itself


@kind
def accuser(hostile: Hostile) -> None:
    """Claims every second that everybody else has failed."""

    def accuse() -> None:
        claims = [_claim(hostile, record) for record in hostile.others()]
        hostile.send_all(wire.NodesInNetwork([], claims))

    hostile.every(1.0, accuse)


def _claim(hostile: Hostile, record: Record) -> Claim:
    said = (record.peer, record.incarnation, hostile.peer.peer, int(hostile.peer.world.now * 1000))
    return Claim(*said, hostile.peer.signer.sign(wire.claim_bytes(hostile.peer.world.network, *said)))


@kind
def verdict_liar(hostile: Hostile) -> None:
    """Has everybody look for everybody else all the time, and tells whoever asks it that nobody is there."""

    def out(link: int, lines: Lines) -> Lines:
        return [line.replace(b'"reached":true', b'"reached":false') if b"#VERDICT" in line else line for line in lines]

    def suspect() -> None:
        for record in hostile.others():
            hostile.send_all(wire.Suspect(record.peer, record.incarnation))
            hostile.send_all(wire.Verdict(record.peer, record.incarnation, reached=False))

    hostile.on_out = out
    hostile.every(1.0, suspect)


@kind
def suspecter(hostile: Hostile) -> None:
    """Asks all its neighbours two hundred times a second whether one peer is there, so that they ask that one."""

    def ask() -> None:
        target = min(hostile.others(), key=lambda record: record.peer, default=None)
        for flow in hostile.flows:
            if target is not None and flow.link.peer != target.peer:
                hostile.send(flow.link.id, wire.Suspect(target.peer, target.incarnation))

    hostile.every(0.005, ask)


@kind
def introducer(hostile: Hostile) -> None:
    """Introduces a hundred peers a second that are not there, some of them at the addresses of others."""

    def introduce() -> None:
        addresses = [(record.ip_addr, record.port) for record in hostile.others()]
        made = [_stranger(hostile, n, hostile.rng.choice(addresses)) for n in islice(hostile.numbers, 100)]
        hostile.send_all(wire.NodesInNetwork(made))

    hostile.every(1.0, introduce)


def _stranger(hostile: Hostile, number: int, address: tuple[str, int]) -> Record:
    """The record of an invented peer; of two one is at that address, the other one nowhere."""
    peer = _invented(hostile, number)
    host, port = address if number % 2 else (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 9)
    said = (peer, int(hostile.peer.world.now * 1000), "alive", host, port, "")
    sig = CheapSigner(peer).sign(wire.record_bytes(hostile.peer.world.network, *said))
    return Record(*said[:2], "alive", host, port, sig)


def _invented(hostile: Hostile, number: int) -> str:
    """An id of nobody; each hostile peer has its own."""
    return blake2b(f"{hostile.peer.peer} {number}".encode(), digest_size=32).hexdigest()


@kind
def restless(hostile: Hostile) -> None:
    """Says something new of itself twenty times a second."""

    def introduce(now: float) -> Actions:
        membership = hostile.peer.core.membership
        membership.introduce(*hostile.peer.address, above=membership.own.incarnation)
        return hostile.peer.core.wake(now)

    hostile.every(0.05, lambda: hostile.peer.do(introduce))


@kind
def clock_ahead(hostile: Hostile) -> None:
    """Its clock is a year ahead, and so are its epochs, incarnations and claims."""
    hostile.peer.clock_error += YEAR


@kind
def clock_behind(hostile: Hostile) -> None:
    """Its clock is a year behind."""
    hostile.peer.clock_error -= YEAR


# --- bundles


@kind
def forger(hostile: Hostile) -> None:
    """Sends, every second, what others would say next, with its own signature, and alters what it passes on."""

    def forge() -> None:
        streams = hostile.streams()
        for flow in hostile.flows if streams else ():
            stream = hostile.rng.choice(streams)
            hostile.send_lines(flow.link.id, [hostile.bundle(stream, hostile.peer.core.positions.of(stream))])

    def alter(link: int, lines: Lines) -> Lines:
        return [line.replace(b"says", b"lies") if _is_bundle_of_others(hostile, line) else line for line in lines]

    hostile.on_out = alter
    hostile.every(1.0, forge)


@kind
def replayer(hostile: Hostile) -> None:
    """Sends all that it has ever heard once more, every second."""
    heard: dict[bytes, None] = {}

    def into(link: int, lines: Lines) -> Lines:
        heard.update(dict.fromkeys(line for line in lines if line.startswith(_BUNDLE)))
        return lines

    def replay() -> None:
        for flow in hostile.flows:
            hostile.send_lines(flow.link.id, list(heard))

    hostile.on_into = into
    hostile.every(1.0, replay)


@kind
def forker(hostile: Hostile) -> None:
    """Signs, every second, two bundles for one number of its stream, and sends each to half of its neighbours."""
    stream = (hostile.peer.peer, 7)

    def fork() -> None:
        seq = next(hostile.numbers)
        bodies = [hostile.bundle(stream, seq, text) for text in (b"yes", b"no")]
        for n, flow in enumerate(hostile.flows):
            hostile.send_lines(flow.link.id, [bodies[n % 2]])

    hostile.every(1.0, fork)


@kind
def early_bird(hostile: Hostile) -> None:
    """Sends two hundred bundles a second of streams of its own, each of which lacks its beginning."""

    def send() -> None:
        seq = next(hostile.numbers)
        lines = [hostile.bundle((hostile.peer.peer, epoch), 1 + 2 * seq, b"x" * 1_000) for epoch in range(20)]
        for flow in hostile.flows:
            hostile.send_lines(flow.link.id, lines)

    hostile.every(0.1, send)


@kind
def chatterbox(hostile: Hostile) -> None:
    """Broadcasts two hundred bundles a second with hardly anything in them."""
    word = _WORD % (b"0" * 64, b"")
    hostile.every(
        0.1, lambda: [hostile.peer.do(lambda now: hostile.peer.core.broadcast([word], now)) for _ in range(20)]
    )


@kind
def shouter(hostile: Hostile) -> None:
    """Broadcasts five messages a second, each as long as a message may be."""
    word = _WORD % (b"0" * 64, b"x" * 262_000)
    hostile.every(0.2, lambda: hostile.peer.do(lambda now: hostile.peer.core.broadcast([word], now)))


BOMBS: Sequence[bytes] = (
    b'{"title":"#POSITIONS","streams":' + b"[" * 100_000,
    b'{"title":"#PING","n":1' + b"0" * 400 + b"}",
    b'{"title":"#PING","n":1e400}',
    b'{"title":"#SUSPECT","peer":"' + b"a" * 500_000 + b'","incarnation":1}',
    b'{"title":"#BYE","reason":"\xff\xfe"}',
    b'{"title":"#PING","n":1,"n":2}',
    b'{"title":"#PING","n":1,"x":' + b'{"x":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    b"\x00" * 100_000,
    b'{"title":"#GRAFT","streams":[' + b",".join([b'["%b",1,1]' % (b"a" * 64)] * 4_001) + b"]}",
)
"""Lines that are no frames, and were made to be dear to whoever finds that out."""


@kind
def bomber(hostile: Hostile) -> None:
    """Sends, every second, a line that is no frame: deep, long, with huge numbers, not UTF-8, with a name twice."""

    def throw() -> None:
        for flow in hostile.flows:
            hostile.send_lines(flow.link.id, [BOMBS[next(hostile.numbers) % len(BOMBS)]])

    hostile.every(1.0, throw)
