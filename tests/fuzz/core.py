"""One PeerCore among peers that say anything at any time."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import attrs

from tests.core.puppet import FIRST, NETWORK, OWN, message
from tests.fuzz.choices import Choices
from tests.fuzz.mutation import mutated
from tests.fuzz.shell import BINDING, LENIENT, SAMPLE, SMALL, End, Shell
from tests.fuzz.values import HOSTS, PEERS, TITLES, Values
from twisted_p2p.core import wire
from twisted_p2p.core.access import Access, PeerList, Role, admission, derive_key
from twisted_p2p.core.actions import Reason
from twisted_p2p.sim.signing import cheap_signature

CONFIGS = (LENIENT, SMALL, LENIENT, SAMPLE)
TIMES = (0.0, 0.05, 0.3, 1.0, 1.0, 3.0, 7.0, 20.0, 60.0, 700.0, 2_500.0)
"""Seconds that pass in one step; the last ones are beyond retention and the memory of the departed."""
STORM = 150
"""Frames in a storm: more than any table may keep of them."""
KEY = derive_key(b"a key of the network", NETWORK)
RANGES = [ip_network(text) for text in ("10.0.1.0/24", "10.0.1.16/32", "127.0.0.0/8", "::1/128")]
LINES_MAX = 1_500
"""Lines in one input: what is beyond takes time, and shows no more."""
LOOK_EACH = 40
"""Steps from one look at all tables to the next."""


@attrs.define(eq=False)
class Play:
    """What one input has happen."""

    choices: Choices
    shell: Shell
    values: Values
    lines: int = 0
    """So many have been sent."""
    has_key: bool = False
    """Whether those who come have the network's key."""

    def end(self) -> End | None:
        """One of the connections that are there."""
        ends = [*self.shell.ends.values()]
        if ends and self.choices.chance(2):
            return ends[-1]
        return self.choices.pick(ends) if ends else None

    def send(self, end: End, lines: list[bytes]) -> None:
        """Lines in one read, unless the core has hung up."""
        if not end.hung_up:
            self.lines += len(lines)
            self.shell.send(end, lines)

    # --- steps

    def connect(self) -> None:
        """Somebody connects, and most say at once who they are."""
        peer = self.choices.pick(PEERS)
        secured = not self.choices.chance(4)
        end = self.shell.connect(peer, self.choices.pick(HOSTS), secured=secured)
        self._introduce(end, secured)

    def answer_dial(self) -> None:
        """Whoever the core has dialled is there, or not, or is somebody else."""
        dials = [*self.shell.dials]
        if not dials:
            return
        dial = self.choices.pick(dials)
        way = self.choices.below(4)
        if way == 0:
            self.shell.fail(dial, self.choices.pick([Reason.UNREACHABLE, Reason.NO_RESOURCES]))
        else:
            at = self.shell.dials[dial].host, self.shell.dials[dial].port
            known = self.shell.core.membership.at(*at)
            peer = known[0] if known and way > 1 else self.choices.pick(PEERS)
            self._introduce(self.shell.connect(peer, at[0], dial), True)

    def meet(self) -> None:
        """Somebody connects, says who it is, and becomes a neighbour."""
        peer = self.choices.pick(PEERS[:-1])
        self._introduce(self.shell.connect(peer, self.choices.pick(HOSTS)), True)
        self.befriend()

    def _introduce(self, end: End, secured: bool) -> None:
        if self.choices.chance(8):
            return
        record, nonce = self.values.record(end.peer, self.choices.below(4)), f"{end.number:032x}"
        sample = self.shell.config.max_known > 0
        is_giver = not self.choices.chance(3)
        role = Role.DIALLER if end.is_inbound else Role.DIALLED
        proof = admission(KEY, role, end.peer, OWN, f"exporter {BINDING.hex()}") if self.has_key else ""
        hello = wire.Hello(wire.VERSION, NETWORK, record, nonce, is_giver, sample, proof)
        self.send(end, [wire.encode(hello)])
        if not secured and end.nonce:
            data = wire.proof_bytes(NETWORK, end.peer, OWN, end.nonce, nonce)
            self.send(end, [wire.encode(wire.Proof(cheap_signature(end.peer, data)))])

    def befriend(self) -> None:
        """Somebody asks to be a neighbour, and in most cases is as far as the core: payload flows at once."""
        end = self.end()
        if end is not None:
            self.send(end, [wire.encode(wire.NodeConnAddr(urgent=not self.choices.chance(4)))])
            digests = [line for line in end.written if b'"#DIGEST","of":"streams"' in line]
            if digests and not self.choices.chance(8):
                self.send(end, digests[-1:])

    def say(self) -> None:
        """A few frames in one read."""
        end = self.end()
        if end is not None:
            self.send(end, [self._line() for _ in range(self.choices.below(4) + 1)])

    def say_bundles(self) -> None:
        """A few bundles in one read."""
        end = self.end()
        if end is not None:
            self.send(end, [self.values.bundle() for _ in range(self.choices.below(6) + 1)])

    def say_wrong(self) -> None:
        """A line that was a frame before it was changed."""
        end = self.end()
        if end is not None:
            self.send(end, [mutated(self._line(), self.choices)])

    def echo(self) -> None:
        """What the core has said comes back, perhaps from somebody else, perhaps changed."""
        one, other = self.end(), self.end()
        if one is not None and other is not None and one.written:
            line = self.choices.pick(one.written)
            self.send(other, [mutated(line, self.choices) if self.choices.chance(4) else line])

    def answer(self) -> None:
        """All pings on one connection are answered, and offers to be neighbours accepted."""
        end = self.end()
        if end is None:
            return
        answers: list[wire.Frame] = []
        for line in end.written:
            frame = wire.decode(line)
            if isinstance(frame, wire.Ping):
                answers.append(wire.Pong(frame.n))
            elif isinstance(frame, wire.NodeConnAddr):
                answers.append(wire.NodeConnAnswer(not self.choices.chance(4)))
            elif isinstance(frame, wire.Roots):
                answers.append(wire.Roots(*self.choices.pick([(frame.nodes, frame.streams), ("1" * 16, "2" * 16)])))
            elif isinstance(frame, wire.Digest):
                answers.append(frame)
        self.send(end, [wire.encode(frame) for frame in answers])

    def storm(self) -> None:
        """The same frame again and again, with another peer, stream and number each time."""
        end = self.end()
        if end is None:
            return
        line, salt = self._line(), self.choices.byte()
        peer, read = self.choices.pick(PEERS).encode(), list[bytes]()
        for number in range(STORM):
            other = line.replace(peer, f"{salt:02x}{number:062x}".encode(), 1 + number % 2)
            other = other.replace(b":7,", b":%d," % (1_000 + number)).replace(b"%d" % FIRST, b"%d" % (FIRST + number))
            read.append(self._signed_again(other))
        self.send(end, read)

    def _signed_again(self, line: bytes) -> bytes:
        """The frame with good signatures, as far as it is one about a peer that can be anybody."""
        try:
            frame = wire.decode(line)
        except wire.BadFrame:
            return line
        if isinstance(frame, wire.Broadcast):
            body = bytes(frame.messages)
            data = wire.bundle_bytes(NETWORK, frame.origin, frame.epoch, frame.seq, body)
            return wire.bundle_line(*frame.stream, frame.seq, cheap_signature(frame.origin, data), body)
        if isinstance(frame, (wire.JoinedInNetwork, wire.Disconnect)):
            record = frame.record
            sig = cheap_signature(record.peer, record.signed_bytes(NETWORK)).encode()
            return line.replace(record.sig.encode(), sig)
        if isinstance(frame, wire.FailedInNetwork):
            claim = frame.claim
            sig = cheap_signature(claim.accuser, claim.signed_bytes(NETWORK)).encode()
            return line.replace(claim.sig.encode(), sig)
        return line

    def _line(self) -> bytes:
        title = self.choices.pick(TITLES)
        return wire.encode(self.values.frame(title)) if title != "#BROADCAST" else self.values.bundle()

    def offend(self) -> None:
        """Some peers, each with a key of its own, break the rules again and again."""
        salt = self.choices.byte()
        for number in range(6):
            for _ in range(3):
                end = self.shell.connect(f"{salt:02x}{number:062x}", self.choices.pick(HOSTS))
                self.send(end, [b"[]"])

    def pass_time(self) -> None:
        """Time passes."""
        self.shell.pass_time(self.choices.pick(TIMES))

    def stand_still(self) -> None:
        """Time passes without a call: the machine is suspended."""
        self.shell.now += self.choices.pick(TIMES)

    def close(self) -> None:
        """A connection is lost."""
        end = self.end()
        if end is not None:
            self.shell.close(end, self.choices.pick([Reason.CLOSED, Reason.NO_TLS]))

    def break_framing(self) -> None:
        """The shell finds that somebody speaks another protocol."""
        end = self.end()
        if end is not None:
            reason = self.choices.pick([Reason.LINE_TOO_LONG, Reason.BAD_FRAME])
            self.shell.perform(self.shell.core.link_fault(end.number, reason, self.shell.now))

    def congest(self) -> None:
        """Somebody reads no more, or again."""
        end, core = self.end(), self.shell.core
        if end is not None:
            tell = core.congested if self.choices.chance(2) else core.drained
            self.shell.perform(tell(end.number, self.shell.now))

    def broadcast(self) -> None:
        """The application says something."""
        texts = [message(f"{n}" * self.choices.pick([1, 100])) for n in range(self.choices.below(4) + 1)]
        self.shell.perform(self.shell.core.broadcast(texts, self.shell.now))

    def join(self) -> None:
        """The application joins."""
        genesis = self.choices.chance(2)
        addresses = [("10.0.1.16", 5050), ("name", 5050)][: self.choices.below(3 if genesis else 2) + (not genesis)]
        self.shell.perform(self.shell.core.join(addresses, self.shell.now, genesis=genesis))

    def leave(self) -> None:
        """The application leaves; in most cases not yet."""
        if self.choices.chance(8):
            self.shell.perform(self.shell.core.leave(self.shell.now))

    def admit(self) -> None:
        """The user changes the network's key, or the lists; most of those who come know the key."""
        if not self.choices.chance(4):
            return
        self.has_key = self.choices.chance(2)
        keys = (KEY,) if self.has_key != self.choices.chance(4) else ()
        peers, ranges = [self.choices.pick(PEERS)], [self.choices.pick(RANGES)]
        access = self.choices.pick(
            [
                Access(keys),
                Access(keys),
                Access(keys, deny=PeerList.of(peers, ranges)),
                Access(keys, allow=PeerList.of(peers, ranges)),
            ]
        )
        self.shell.perform(self.shell.core.admit(access, self.shell.now))

    def restart(self) -> None:
        """The process ends, and a new one goes on with its log; in most cases not yet."""
        if self.choices.chance(8):
            self.shell.begin()


STEPS: tuple[Callable[[Play], None], ...] = (
    Play.connect,
    Play.meet,
    Play.meet,
    Play.answer_dial,
    Play.answer_dial,
    Play.befriend,
    Play.say,
    Play.say,
    Play.say,
    Play.say,
    Play.say_bundles,
    Play.say_bundles,
    Play.say_wrong,
    Play.echo,
    Play.answer,
    Play.answer,
    Play.storm,
    Play.offend,
    Play.pass_time,
    Play.pass_time,
    Play.stand_still,
    Play.close,
    Play.break_framing,
    Play.congest,
    Play.broadcast,
    Play.join,
    Play.leave,
    Play.restart,
    Play.admit,
    Play.meet,
    Play.say_bundles,
    Play.answer,
)
"""32 of them: a new one takes the place of one that is there twice, so that inputs that are kept mean what they did."""


def fuzz_core(data: bytes) -> None:
    """Settings, whether it has joined, then one step after the other, until the bytes end or it has left."""
    choices = Choices(data)
    shell = Shell(choices.pick(CONFIGS))
    play = Play(choices, shell, Values(choices, shell.hashes))
    if not choices.chance(3):
        shell.perform(shell.core.join([], shell.now, genesis=True))
    steps = 0
    while choices.left and play.lines < LINES_MAX and not shell.finished:
        choices.pick(STEPS)(play)
        steps += 1
        if steps % LOOK_EACH == 0:
            shell.check_tables()
    shell.check_tables()
    shell.pass_time(10.0)
    shell.check_tables()
