"""One attacker with many keys behind few address ranges, for a simulated network.

Each key is a light stand-in for a peer, without a core: it shakes hands, asks to be a neighbour, says yes to everybody,
vouches for its fellows, answers whatever keeps a link, and pretends to be level on everything. Bundles it swallows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, cast

import attrs

from twisted_p2p.core import wire
from twisted_p2p.core.actions import Actions, Dial, Hangup, Reason, Write
from twisted_p2p.sim.peer import Address, SimPeer, Traffic
from twisted_p2p.sim.signing import CheapSigner

if TYPE_CHECKING:
    from twisted_p2p.sim.world import Connection, World

_TOLD = 100
"""Fellows that one answer names."""


@attrs.define(eq=False)
class _Meeting:
    """A connection of one key. `theirs`: the nonce of the other end, once it has said it."""

    nonce: str
    peer: str = ""
    theirs: str = ""


@attrs.define(eq=False)
class Puppet:
    """One key of the attacker. What a world needs of a peer, and of a core, it is itself."""

    swarm: Swarm
    signer: CheapSigner
    address: Address
    record: wire.Record
    running: bool = True
    frozen: bool = False
    lives: int = 1
    read_rate: float = 0.0
    connections: dict[int, Connection] = attrs.field(factory=dict)
    traffic: Traffic = attrs.field(factory=Traffic)
    neighbours: int = 0
    """How often it has been somebody's neighbour."""
    _unread: tuple[()] = ()
    _meetings: dict[int, _Meeting] = attrs.field(factory=dict)
    _dials: int = 0

    @property
    def peer(self) -> str:
        """Its id."""
        return self.signer.peer

    @property
    def core(self) -> Puppet:
        """What a world calls where a peer has a core."""
        return self

    # --- what a world calls

    def do(self, call: Callable[[float], Actions]) -> None:
        """Have something happen, and do what follows from it."""
        world, as_peer = self.swarm.world, cast(SimPeer, self)
        for action in call(world.now):
            if isinstance(action, Write):
                world.write(as_peer, action)
            elif isinstance(action, Hangup) and (connection := self.connections.pop(action.link, None)) is not None:
                self._meetings.pop(action.link, None)
                world.close(connection, as_peer, action.link)

    def link_up(self, number: int, dial: int | None, now: float, host: str = "") -> Actions:
        """Who has dialled speaks first."""
        self._meetings[number] = _Meeting(f"{self.swarm.rng.getrandbits(128):032x}")
        return [] if dial is None else [self._write(number, self._hello(number))]

    def link_down(self, number: int, reason: Reason, now: float) -> Actions:
        """It does not matter why."""
        self._meetings.pop(number, None)
        return []

    def dial_failed(self, dial: int, now: float) -> Actions:
        """It will dial another one."""
        return []

    def congested(self, number: int, now: float) -> Actions:
        """Nothing is held back."""
        return []

    def drained(self, number: int, now: float) -> Actions:
        """Nothing was held back."""
        return []

    def receive(self, link: int, lines: list[bytes]) -> None:
        """As a SimPeer has it."""
        self.do(lambda now: self.lines_received(link, lines, now))

    def lines_received(self, number: int, lines: Sequence[bytes], now: float) -> Actions:
        """Answer what is answered; a connection that the other end gives up is closed."""
        answers: list[wire.Frame] = []
        for line in lines:
            frame = wire.decode(line)
            if isinstance(frame, wire.Bye):
                return [Hangup(number, Reason.DONE)]
            if frame is not None and number in self._meetings:
                answers += self._answer(number, frame)
        return [self._write(number, *answers)] if answers else []

    # --- what it does

    def dial(self, address: Address) -> None:
        """Connect to somebody."""
        self._dials += 1
        self.swarm.world.dial(cast(SimPeer, self), Dial(self._dials, *address, 4.0))

    def _write(self, number: int, *frames: wire.Frame) -> Write:
        return Write(number, [wire.encode(frame) for frame in frames])

    def _hello(self, number: int) -> wire.Hello:
        return wire.Hello(wire.VERSION, self.swarm.world.network, self.record, self._meetings[number].nonce, True)

    def _greet(self, number: int, frame: wire.Hello) -> list[wire.Frame]:
        """Prove the key, and ask to be a neighbour at once: who has dialled may, once its own proof is there."""
        meeting, network = self._meetings[number], self.swarm.world.network
        meeting.peer, meeting.theirs = frame.record.peer, frame.nonce
        data = wire.proof_bytes(network, self.peer, meeting.peer, meeting.theirs, meeting.nonce)
        return [wire.Proof(self.signer.sign(data))]

    def _answer(self, number: int, frame: wire.Frame) -> list[wire.Frame]:
        answers: list[wire.Frame] = []
        if isinstance(frame, wire.Hello):
            is_dialler = not self._was_dialled(number)
            answers = [] if is_dialler else [self._hello(number)]
            answers += self._greet(number, frame)
            if is_dialler:
                answers += [wire.NodeConnAddr(urgent=True), wire.NodesInNetwork(self._fellows())]
        elif isinstance(frame, wire.Ping):
            answers = [wire.Pong(frame.n)]
        elif isinstance(frame, wire.NodeConnAddr):
            answers = [wire.NodeConnAnswer(True)]
        elif isinstance(frame, wire.NodeConnAnswer):
            self.neighbours += frame.accepted
        elif isinstance(frame, wire.AskRandomNode):
            answers = [wire.ResponseRandomNode(self._fellows(1)[0])]
        elif isinstance(frame, wire.AskNodesToConnect):
            answers = [wire.ConnectableNodes([self.record, *self._fellows(8)])]
        elif isinstance(frame, wire.GiveNodesInNetwork):
            answers = [wire.NodesInNetwork([self.record, *self._fellows()], streams=[])]
        elif isinstance(frame, wire.Roots):
            answers = [wire.Roots(frame.nodes, frame.streams, False)] if frame.answer else []
        elif isinstance(frame, wire.Digest) and frame.of == "streams":
            answers = [frame]
        elif isinstance(frame, wire.Suspect):
            answers = [wire.Verdict(frame.peer, frame.incarnation, True)]
        return answers

    def _was_dialled(self, number: int) -> bool:
        """Whether the other end has dialled: the pipe into who was dialled is the second one."""
        return self.connections[number].ends[1].number == number

    def _fellows(self, number: int = _TOLD) -> list[wire.Record]:
        some = self.swarm.rng.sample(self.swarm.puppets, min(number, len(self.swarm.puppets)))
        return [puppet.record for puppet in some]


@attrs.define(eq=False)
class Swarm:
    """The attacker.

    Attributes:
        keys: how many it has.
        ranges: in how many /24 of one /16 they are, at the same addresses four to one at most.
        pause: seconds from one dial of a key to the next.
    """

    world: World
    keys: int
    ranges: int = 1
    pause: float = 2.0
    targets: list[Address] = attrs.field(factory=list)
    puppets: list[Puppet] = attrs.field(factory=list)
    rng: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(f"{self.world.seed} swarm")
        for number in range(self.keys):
            place, turn = number // self.ranges, number % self.ranges
            address = f"66.6.{turn}.{place % 250 + 1}", 5050 + place // 250
            signer = CheapSigner(blake2b(f"{self.world.seed} key {number}".encode(), digest_size=32).hexdigest())
            puppet = Puppet(self, signer, address, self.signed(signer, address))
            self.puppets.append(puppet)
            self.world.listening[address] = cast(SimPeer, puppet)

    @property
    def ids(self) -> set[str]:
        """All its ids."""
        return {puppet.peer for puppet in self.puppets}

    def signed(self, signer: CheapSigner, address: Address) -> wire.Record:
        """A record of one of its keys, at any address."""
        incarnation = int(self.world.now * 1000)
        data = wire.record_bytes(self.world.network, signer.peer, incarnation, "alive", *address, "")
        return wire.Record(signer.peer, incarnation, "alive", *address, signer.sign(data))

    def attack(self, *targets: SimPeer) -> None:
        """From now on every key dials these, one after another in an order of chance, for ever."""
        begins = not self.targets
        self.targets += [peer.address for peer in targets]
        for puppet in self.puppets if begins else ():
            self.world.callLater(self.rng.uniform(0, self.pause), self._go_on, puppet)

    def _go_on(self, puppet: Puppet) -> None:
        puppet.dial(self.rng.choice(self.targets))
        self.world.callLater(self.pause, self._go_on, puppet)
