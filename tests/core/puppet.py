"""A PeerCore under test, driven by hand, and puppets: remote peers that say only what the test has them say."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from twisted_p2p.core import wire
from twisted_p2p.core.access import Access
from twisted_p2p.core.actions import (
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
    Kind,
    Pause,
    Reason,
    Refused,
    Write,
)
from twisted_p2p.core.config import LAN, Config
from twisted_p2p.core.peer import PeerCore
from twisted_p2p.core.streamlog import MemoryLog
from twisted_p2p.core.wire import Claim, Frame, Record
from twisted_p2p.sim.signing import CheapSigner, CheapVerifier

NETWORK = "test"
BEGINNING = 1_600_000_000.0
FIRST = int(BEGINNING * 1000)
"""The incarnation of a peer that starts at that time; a puppet's are by some lives more."""
OWN = "80" * 32
"""The id of the peer under test; puppets are below or above it."""


def peer_id(number: int) -> str:
    """An id; ids are ordered as their numbers, and lie in different buckets."""
    return f"{number:02x}" * 32


def message(text: str) -> bytes:
    """An encoded message."""
    return b'{"id":"%b","time":1.5,"values":["%b"]}' % (b"0" * 64, text.encode())


class CountingVerifier:
    """Checks signatures, and counts the checks by what was signed."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def verify(self, peer: str, data: bytes, signature: str) -> bool:
        """Whether `peer` signed `data`."""
        self.calls[data.split(b"\n", 1)[0].decode()] += 1
        return CheapVerifier().verify(peer, data, signature)


class Puppet:
    """A remote peer: a key, an address, and what it would sign."""

    def __init__(self, number: int, network: str = NETWORK) -> None:
        self.network, self.signer = network, CheapSigner(peer_id(number))
        self.peer = self.signer.peer
        self.address = (f"10.0.1.{number}", 5050)
        self.epoch = 7

    @property
    def stream(self) -> tuple[str, int]:
        """What it broadcasts."""
        return self.peer, self.epoch

    def record(self, life: int = 1, state: str = "alive", address: tuple[str, int] | None = None) -> Record:
        """What it says of itself."""
        incarnation, (host, port) = FIRST + life, address or self.address
        data = wire.record_bytes(self.network, self.peer, incarnation, state, host, port, "")
        return Record(self.peer, incarnation, state, host, port, self.signer.sign(data))  # type: ignore[arg-type]

    def claim(self, peer: str, life: int = 1, time: float = BEGINNING) -> Claim:
        """What it says of another one that it thinks dead."""
        incarnation, ms = FIRST + life, int(time * 1000)
        data = wire.claim_bytes(self.network, peer, incarnation, self.peer, ms)
        return Claim(peer, incarnation, self.peer, ms, self.signer.sign(data))

    def bundle(self, seq: int, text: str = "", epoch: int | None = None) -> bytes:
        """The line of a bundle of its stream."""
        epoch = self.epoch if epoch is None else epoch
        body = b"[%b]" % message(text or f"{seq}")
        sig = self.signer.sign(wire.bundle_bytes(self.network, self.peer, epoch, seq, body))
        return wire.bundle_line(self.peer, epoch, seq, sig, body)

    def proof(self, judge: str, judges_nonce: str, own_nonce: str) -> wire.Proof:
        """The proof that it holds its key."""
        return wire.Proof(self.signer.sign(wire.proof_bytes(self.network, self.peer, judge, judges_nonce, own_nonce)))


class Line:
    """A connection between the core and a puppet, seen from the puppet's end."""

    def __init__(self, stage: Stage, puppet: Puppet, number: int) -> None:
        self.stage, self.puppet, self.number = stage, puppet, number
        self.nonce = f"{number:032x}"
        self.written: list[bytes] = []
        self.ended: Hangup | None = None
        self.answers = True
        """Whether pings are answered."""

    # --- what the puppet does

    def send(self, *frames: Frame) -> None:
        """Send frames, in one read."""
        self.send_lines(*map(wire.encode, frames))

    def send_lines(self, *lines: bytes) -> None:
        """Send lines, in one read."""
        self.stage.perform(self.stage.core.lines_received(self.number, list(lines), self.stage.now))

    def close(self) -> None:
        """Close the connection without a word."""
        self.stage.perform(self.stage.core.link_down(self.number, Reason.CLOSED, self.stage.now))

    def congest(self) -> None:
        """Read no more."""
        self.stage.perform(self.stage.core.congested(self.number, self.stage.now))

    def drain(self) -> None:
        """Have read everything."""
        self.stage.perform(self.stage.core.drained(self.number, self.stage.now))

    # --- what the core wrote

    def take(self) -> list[Frame]:
        """The frames that came since this was last called, pings and pongs left out."""
        frames = [frame for frame in self.take_all() if not isinstance(frame, (wire.Ping, wire.Pong))]
        return frames

    def take_all(self) -> list[Frame]:
        """The frames that came since this was last called."""
        lines, self.written = self.written, []
        return [_decoded(line) for line in lines]

    def take_kind(self, kind: type) -> list[Frame]:
        """Those of one kind that came since this was last called; all others are forgotten."""
        return [frame for frame in self.take_all() if isinstance(frame, kind)]

    def take_seqs(self) -> list[int]:
        """The seqs of the bundles that came since this was last called; all else is forgotten."""
        return [frame.seq for frame in self.take_all() if isinstance(frame, wire.Broadcast)]

    @property
    def is_live(self) -> bool:
        """Whether payload flows."""
        flow = self.stage.core.spread.flows.get(self.number)
        return flow is not None and flow.live

    # --- common courses

    def hello(self, baseline: bool = True, life: int = 1) -> wire.Hello:
        """The puppet's HELLO on this connection."""
        return wire.Hello(wire.VERSION, self.puppet.network, self.puppet.record(life), self.nonce, baseline)

    def shake_hands(self, baseline: bool = True, life: int = 1) -> None:
        """Introduce the puppet and prove its key."""
        self.send(self.hello(baseline, life))
        [theirs] = [frame for frame in self.take_all() if isinstance(frame, wire.Hello)]
        self.send(self.puppet.proof(OWN, theirs.nonce, self.nonce))

    def become_neighbour(self, urgent: bool = False) -> bool:
        """Ask to be neighbours; whether that was accepted."""
        self.send(wire.NodeConnAddr(urgent=urgent))
        answers = [frame for frame in self.peek() if isinstance(frame, wire.NodeConnAnswer)]
        return bool(answers) and answers[-1].accepted

    def peek(self) -> list[Frame]:
        """The frames that came since they were last taken."""
        return [_decoded(line) for line in self.written]

    def go_live(self, *streams: tuple[str, int, int]) -> None:
        """Do the first comparison: the puppet's positions are the core's, but for these."""
        [digest] = [f for f in self.peek() if isinstance(f, wire.Digest) and f.of == "streams"]
        if not streams:
            self.send(digest)
        else:
            buckets = {int(origin[:2], 16): "0" * 16 for origin, _, _ in streams}
            ours = digest.buckets | {str(bucket): value for bucket, value in buckets.items()}
            self.send(wire.Digest("streams", ours))
            self.send(wire.Positions(list(streams), list(buckets)))
        self.take()


def _decoded(line: bytes) -> Frame:
    frame = wire.decode(line)
    assert frame is not None, line
    return frame


class Stage:
    """One PeerCore, its time, and everything that it asked for.

    It is a genesis, and ready, unless `joined` is false: then it has been started only. `log`: of an earlier life.
    """

    line = Line
    """What a connection is."""

    def __init__(
        self,
        config: Config = LAN,
        joined: bool = True,
        seed: int = 0,
        log: MemoryLog | None = None,
        history: wire.History | None = None,
        now: float = BEGINNING,
        access: Access | None = None,
    ) -> None:
        self.now = now
        self.address = ("10.0.0.1", 5050)
        self.verifier = CountingVerifier()
        self.log = MemoryLog(config) if log is None else log
        self.core = PeerCore(
            config=config,
            network=NETWORK,
            signer=CheapSigner(OWN),
            verifier=self.verifier,
            log=self.log,
            rng=random.Random(seed),
            history=history,
            access=access,
        )
        self.lines: dict[int, Line] = {}
        self.dials: list[Dial] = []
        self.received: list[Bundle] = []
        self.gaps: list[Gap] = []
        self.forks: list[Fork] = []
        self.changes: list[Changed] = []
        self.pauses: list[Pause] = []
        self.bans: list[Banned] = []
        self.refused: list[Refused] = []
        self.finished = False
        self._numbers = 0
        self.perform(self.core.start(self.address, self.now))
        if joined:
            self.perform(self.core.join([], self.now, genesis=True))

    # --- running it

    def perform(self, actions: Actions) -> None:
        """Do as a shell does."""
        self.log.commit()
        for action in actions:
            if isinstance(action, Write):
                self.lines[action.link].written += action.lines
            elif isinstance(action, Dial):
                self.dials.append(action)
            elif isinstance(action, Hangup):
                self.lines[action.link].ended = action
            elif isinstance(action, Deliver):
                self.received += action.bundles
            elif isinstance(action, Gap):
                self.gaps.append(action)
            elif isinstance(action, Fork):
                self.forks.append(action)
            elif isinstance(action, Pause):
                self.pauses.append(action)
            elif isinstance(action, Banned):
                self.bans.append(action)
            elif isinstance(action, Finished):
                self.finished = True
            elif isinstance(action, Refused):
                self.refused.append(action)
            else:
                self.changes.append(action)
        for line in self.lines.values():
            self._answer_pings(line)

    def _answer_pings(self, line: Line) -> None:
        pings = [frame.n for frame in line.peek() if isinstance(frame, wire.Ping)] if line.written else []
        if pings and line.answers and line.ended is None:
            line.written = [written for written in line.written if not written.startswith(b'{"title":"#PING"')]
            line.send(*(wire.Pong(n) for n in pings))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with every deadline kept on time."""
        end = self.now + seconds
        while (wake := self.core.next_wake) is not None and wake <= end:
            self.now = max(self.now, wake)
            self.perform(self.core.wake(self.now))
        self.now = end

    def stand_still(self, seconds: float) -> None:
        """Let time pass without a call into the core."""
        self.now += seconds

    def broadcast(self, *texts: str) -> None:
        """Broadcast messages, in one turn."""
        self.perform(self.core.broadcast([message(text) for text in texts], self.now))

    def leave(self) -> None:
        """Leave gracefully."""
        self.perform(self.core.leave(self.now))

    # --- connections

    def connect(self, puppet: Puppet, dial: Dial | None = None, host: str = "") -> Line:
        """The puppet connects from a host, or is what a dial of the core finds."""
        self._numbers += 1
        line = self.lines[self._numbers] = self.line(self, puppet, self._numbers)
        self.perform(self.core.link_up(line.number, None if dial is None else dial.dial, self.now, host))
        return line

    def fail(self, dial: Dial, reason: Reason = Reason.UNREACHABLE) -> None:
        """Nobody is where the core has dialled."""
        self.perform(self.core.dial_failed(dial.dial, self.now, reason))

    def take_dials(self) -> list[Dial]:
        """What was dialled since this was last called."""
        dials, self.dials = self.dials, []
        return dials

    def meet(self, puppet: Puppet, baseline: bool = True, host: str = "") -> Line:
        """An open link from the puppet."""
        line = self.connect(puppet, host=host)
        line.shake_hands(baseline)
        line.take()
        return line

    def befriend(self, puppet: Puppet, *streams: tuple[str, int, int]) -> Line:
        """A neighbour link on which payload flows; the puppet's positions are the core's, but for `streams`."""
        line = self.meet(puppet, baseline=False)
        assert line.become_neighbour()
        line.go_live(*streams)
        assert line.is_live
        line.send(wire.JoinedInNetwork(puppet.record()))
        return line

    def told(self, *kinds: Kind) -> list[tuple[Kind, str]]:
        """What the application was told of these kinds, as (kind, peer)."""
        return [(change.kind, change.peer) for change in self.changes if change.kind in kinds]

    def seqs(self, stream: tuple[str, int]) -> list[int]:
        """What was delivered of a stream, in order."""
        return [bundle.seq for bundle in self.received if (bundle.origin, bundle.epoch) == stream]

    @property
    def counts(self) -> Counter[str]:
        """The core's counters."""
        return self.core.turn.counts


def seqs_in(frames: Sequence[Frame]) -> list[int]:
    """The seqs of the bundles among frames."""
    return [frame.seq for frame in frames if isinstance(frame, wire.Broadcast)]
