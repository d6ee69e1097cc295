"""What may happen to links: dials that cross or find ourselves, ends of every kind, deaths at the worst time."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.live.network import Proxy, RawPeer
from tests.live.processes import POLL, TIMEOUT, Peers
from twisted_p2p import LAN, TEST, Changed, Config, Kind, Node
from twisted_p2p.core.actions import Reason
from twisted_p2p.sim.checks import violations
from twisted_p2p.sim.peer import SimPeer
from twisted_p2p.sim.scenarios import say
from twisted_p2p.sim.world import World

HAS_IPV6 = socket.has_ipv6 and Path("/proc/net/if_inet6").exists()


class Watched:
    """A node on real sockets in this process, with short time-outs; what it is told is kept."""

    def __init__(self, config: Config = TEST, **options: Any) -> None:
        from twisted.internet import reactor

        self.node = Node(reactor, config=config, **options)
        self.changes: list[Changed] = []
        self.heard: list[Any] = []
        self.node.on_change(self.changes.append)
        self.node.on_message(lambda message: self.heard.append(message.message))
        self.node.startService()

    @property
    def address(self) -> tuple[str, int]:
        return self.node.address

    @property
    def counts(self) -> Counter[str]:
        """What its core has counted."""
        return self.node.shell.core.turn.counts

    @property
    def timers(self) -> int:
        """How many deadlines its core has."""
        return len(self.node.shell.core.turn.timers)

    @property
    def others(self) -> set[str]:
        """Who is in its list but itself."""
        return {str(entry["peer"]) for entry in self.node.nodes_in_network} - {self.node.peer}

    @property
    def neighbours(self) -> list[str]:
        return [str(entry["peer"]) for entry in self.node.connections]

    @property
    def connections(self) -> dict[int, Any]:
        """All its connections, whatever they are for."""
        return self.node.shell._links

    @property
    def connections_so_far(self) -> int:
        """How many connections it has had, of all kinds."""
        return self.node.shell._numbers

    def told(self, *kinds: Kind) -> list[tuple[Kind, str]]:
        """The changes of these kinds, with their reasons."""
        return [(change.kind, change.reason) for change in self.changes if change.kind in kinds]

    def break_links(self) -> None:
        """All its connections are reset."""
        for link in [*self.connections.values()]:
            link.transport.abortConnection()

    def crash(self) -> Deferred[None]:
        """As by kill -9: the kernel closes the sockets, and nothing more is done or told."""
        shell = self.node.shell
        shell._close()
        port, shell._listening = shell._listening, None
        self.break_links()
        return port.stopListening()


async def until(happened: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> None:
    """Let the reactor run until this is true; an AssertionError that says `what` if it never is."""
    from twisted.internet import reactor

    end = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < end, f"not within {timeout:g} s: {what}"
        await deferLater(reactor, POLL)


class Nodes:
    """Makes nodes, and stops them."""

    def __init__(self) -> None:
        self.all: list[Watched] = []

    def start(self, *join: Watched | tuple[str, int], **options: Any) -> Watched:
        """One more node, which joins through these."""
        addresses = [each.address if isinstance(each, Watched) else each for each in join]
        self.all.append(Watched(join=addresses, **options))
        return self.all[-1]

    def genesis(self, *join: Watched, **options: Any) -> Watched:
        return self.start(*join, genesis=True, **options)

    async def stop(self) -> None:
        stopped = gatherResults([each.node.stopService() for each in self.all])
        await until(lambda: stopped.called, "all have stopped")


@pytest_twisted.async_yield_fixture
async def nodes() -> AsyncIterator[Nodes]:
    made = Nodes()
    yield made
    await made.stop()


@pytest.fixture
def proxies() -> Iterator[Callable[[int], Proxy]]:
    """Makes proxies to a port, and ends them."""
    made: list[Proxy] = []

    def make(target: int) -> Proxy:
        made.append(Proxy(target))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


# --- our own address


@pytest_twisted.ensureDeferred
async def test_own_address(nodes: Nodes, proxies: Callable[[int], Proxy]) -> None:
    """Row 16: a peer that is told to join itself, by whatever name, finds that out by one dial, and says so; it dials
    itself no more, and joins through any other address."""
    genesis = nodes.genesis()
    interface, names = ("::", ["::1", "::ffff:127.0.0.1"]) if HAS_IPV6 else ("127.0.0.1", [])
    found = []
    for host in ("127.0.0.1", "localhost", "a proxy", *names):
        peer = nodes.start(interface=interface, advertise=("127.0.0.1", None))
        port = peer.node.port
        own = ("127.0.0.1", proxies(port).port) if host == "a proxy" else (host, port)
        peer.node.join_network(*own)
        found.append((peer, own))
    for peer, own in found:
        await until(lambda peer=peer: len(peer.told(Kind.RETRY)) >= 5, "five attempts")
        assert {(change.ip_addr, change.port, change.reason) for change in peer.changes} == {(*own, "own-address")}
        assert peer.counts["link_end_own-address"] == 2  # both ends of one connection are ours
        peer.node.join_network(*genesis.address)
    for peer, _ in found:
        await until(lambda peer=peer: genesis.node.peer in peer.others, "joined through another address")


@pytest_twisted.ensureDeferred
async def test_genesis_with_its_own_address(nodes: Nodes, proxies: Callable[[int], Proxy]) -> None:
    """A genesis whose list of genesis peers has its own public address finds itself there once, and dials that no more,
    while it goes on looking for a peer that it has lost."""
    proxy = proxies(0)
    genesis = nodes.genesis(("127.0.0.1", proxy.port))
    proxy.target = genesis.node.port
    await until(lambda: genesis.counts["link_end_own-address"], "it has found itself")
    dialled = len(proxy.accepted)
    other = nodes.start(genesis)
    await until(lambda: genesis.neighbours == [other.node.peer], "a link")
    await other.crash()
    await until(lambda: not genesis.others, "the other one has failed", 30)
    assert len(proxy.accepted) == dialled
    assert genesis.counts["link_end_own-address"] == 2


# --- dials that cross


def break_all(peer: SimPeer) -> None:
    """All connections of a simulated peer break, for both ends in the same instant."""
    for connection in [*peer.connections.values()]:
        for pipe in connection.ends:
            pipe.closed = True
            if pipe.reader.connections.pop(pipe.number, None) is not None:
                pipe.reader.do(lambda now, pipe=pipe: pipe.reader.core.link_down(pipe.number, Reason.CLOSED, now))


def share_one_link(one: SimPeer, other: SimPeer) -> bool:
    """Whether these two are neighbours on one connection, and on no other."""
    ends = [
        (link.peer, peer.connections[link.id])
        for peer in (one, other)
        for link in peer.core.links.by_id.values()
        if link.is_neighbour
    ]
    return [peer for peer, _ in ends] == [other.peer, one.peer] and ends[0][1] is ends[1][1]


def test_crossing_dials_simulated() -> None:
    """Row 17: two peers lose their link and dial each other at once, a thousand times, with delays of all kinds, and
    talk meanwhile: each time they end with one link, the same for both, and no message is lost or doubled."""
    world, rng = World(17, latency=(0.05, 0.2)), random.Random(17)
    pairs = [(genesis, world.newcomer(genesis)) for genesis in [world.genesis() for _ in range(50)]]
    world.run(3)
    for _ in range(20):
        for one, other in pairs:
            break_all(one)
            for peer in (one, other) * 3:
                world.at(world.now + rng.uniform(0, 1), lambda peer=peer: say([peer]))
        world.run(1)
        end = world.now + 10
        while not all(share_one_link(*pair) for pair in pairs):
            assert world.now < end, "not within 10 s: one link for each pair"
            world.run(0.25)
    world.run(LAN.linger + 5)
    for pair in pairs:
        assert violations(world, pair) == []
        assert [len(peer.connections) for peer in pair] == [1, 1]
        assert [len(peer.received) for peer in pair] == [60, 60]
    assert sum(peer.core.turn.counts["link_end_replaced"] for peer in world.peers) > 20  # so the dials did cross


@pytest_twisted.ensureDeferred
async def test_crossing_dials(nodes: Nodes) -> None:
    """Row 17 on sockets: both ends lose their link in the same instant and dial each other, fifty times."""
    from twisted.internet import reactor

    config = attrs.evolve(TEST, refill_interval=0.01)  # both dial again after 2 ms, in which no handshake is done
    pairs = []
    for _ in range(10):
        genesis = nodes.genesis(config=config)
        pairs.append((genesis, nodes.start(genesis, config=config)))
    for _, other in pairs:
        await until(lambda other=other: other.told(Kind.READY), "joined")
    for number in range(5):
        for pair in pairs:
            await until(lambda pair=pair: are_linked(pair), "one link, the same for both")
        for peer in nodes.all:
            peer.node.broadcast(f"{number} before")
        await deferLater(reactor, 0)  # it is being written
        for peer in nodes.all:
            peer.break_links()
            peer.node.broadcast(f"{number} after")
        for peer in nodes.all:
            await until(lambda peer=peer, n=number: len(peer.told(Kind.LINK_DOWN)) > n, "the link is down")
    wanted = [f"{number} {when}" for number in range(5) for when in ("before", "after")]
    for pair in pairs:
        for peer in pair:
            await until(lambda peer=peer: len(peer.heard) >= len(wanted), "all messages")
        await until(lambda pair=pair: are_linked(pair) and all(len(peer.connections) == 1 for peer in pair), "one link")
        assert [peer.heard for peer in pair] == [wanted, wanted]


def are_linked(pair: Sequence[Watched]) -> bool:
    """Whether these two are neighbours on one connection, and on no other."""
    one, other = pair
    if (one.neighbours, other.neighbours) != ([other.node.peer], [one.node.peer]):
        return False
    numbers = [
        (peer, link.id)
        for peer in pair
        for link in peer.node.shell.core.links.by_id.values()
        if link.is_neighbour and link.id in peer.connections
    ]
    if [peer for peer, _ in numbers] != [one, other]:
        return False
    near, far = [peer.connections[number].transport for peer, number in numbers]
    return (near.getHost(), near.getPeer()) == (far.getPeer(), far.getHost())


# --- ends


@pytest_twisted.ensureDeferred
async def test_half_open(nodes: Nodes, proxies: Callable[[int], Proxy]) -> None:
    """Row 21: from one moment on nothing gets from one peer to another, and no end is told: the link is down at both
    once a ping has not been answered in time. When the way is open again they are linked, and what was said arrives."""
    one, two = proxies(0), proxies(0)
    genesis = nodes.genesis(advertise=("127.0.0.1", one.port))
    one.target = genesis.node.port
    other = nodes.start(genesis, advertise=("127.0.0.1", two.port))
    two.target = other.node.port
    pair = (genesis, other)
    await until(lambda: genesis.neighbours and other.told(Kind.READY), "a link")
    for proxy in (one, two):
        proxy.freeze()
    start = time.monotonic()
    await genesis.node.broadcast("into the void")
    for peer in pair:
        await until(lambda peer=peer: peer.told(Kind.LINK_DOWN), "down")
        assert peer.told(Kind.LINK_DOWN) == [(Kind.LINK_DOWN, "ping-timeout")]
    assert time.monotonic() - start < 1.2 * TEST.ping_interval + TEST.ping_timeout + 1
    for proxy in (one, two):
        proxy.thaw()
    await until(lambda: genesis.neighbours and other.neighbours, "a new link")
    await until(lambda: other.heard, "what was said")
    assert other.heard == ["into the void"]


def end_cleanly(raw: RawPeer) -> None:
    raw.become_neighbour()
    raw.close()


def end_by_reset(raw: RawPeer) -> None:
    raw.become_neighbour()
    raw.reset()


def end_in_a_line(raw: RawPeer) -> None:
    raw.become_neighbour()
    raw.socket.sendall(b'{"title":"#PI')
    raw.close()


def end_in_the_handshake(raw: RawPeer) -> None:
    raw.say_hello()
    raw.close()


def end_in_the_handshake_by_reset(raw: RawPeer) -> None:
    raw.say_hello()
    raw.reset()


ENDS = {
    "clean": (end_cleanly, 1),
    "reset": (end_by_reset, 1),
    "in a line": (end_in_a_line, 1),
    "in the handshake": (end_in_the_handshake, 0),
    "in the handshake by a reset": (end_in_the_handshake_by_reset, 0),
    "at once": (RawPeer.close, 0),
    "at once by a reset": (RawPeer.reset, 0),
}


@pytest.mark.parametrize("is_plain", [True, False])
@pytest_twisted.ensureDeferred
async def test_ends(nodes: Nodes, is_plain: bool) -> None:
    """Row 24: however a connection ends, the link is down once, without a word as its reason, and no deadline or
    delayed call is left over."""
    from twisted.internet import reactor

    genesis = nodes.genesis(plaintext=is_plain)
    timers, calls = genesis.timers, len(reactor.getDelayedCalls())
    for number, (name, (end, links)) in enumerate(ENDS.items(), 1):
        genesis.changes.clear()
        await deferToThread(lambda end=end: end(RawPeer(genesis.node.port, is_plain=is_plain)))
        await until(
            lambda n=number: genesis.connections_so_far == n and not genesis.connections, f"the end: {name}", 10
        )
        assert genesis.told(*Kind) == [(Kind.LINK_UP, ""), (Kind.LINK_DOWN, "closed")] * links, name
        assert genesis.timers <= timers and len(reactor.getDelayedCalls()) <= calls, name


def test_ends_of_a_process(peers: Peers) -> None:
    """A process whose connections have ended in every way tells one link-down for each, and then has nothing to do."""
    genesis = peers.genesis("--plaintext")
    genesis.wait("ready")
    for end, links in ENDS.values():
        raw = RawPeer(genesis.port)
        after = len(genesis.events)
        end(raw)
        if links:
            assert genesis.wait("link-down", after=after)["reason"] == "closed"
    last = RawPeer(genesis.port)
    last.shake_hands()
    assert len(genesis.find("link-down")) == len(genesis.find("link-up")) == sum(links for _, links in ENDS.values())
    last.close()
    before = processor_time(genesis.popen.pid)
    time.sleep(1)  # nothing happens in this second: that is what is measured
    assert processor_time(genesis.popen.pid) - before < 0.2


def processor_time(pid: int) -> float:
    """Seconds that a process has computed so far."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs Linux's /proc")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest_twisted.ensureDeferred
async def test_leaves(nodes: Nodes) -> None:
    """Row 56: whoever leaves has left and has not failed. Nobody suspects it, or asks others about it, while all go on
    probing."""
    genesis = nodes.genesis()
    members = [genesis, *[nodes.start(genesis) for _ in range(9)]]
    ids = {each.node.peer for each in members}
    for each in members:
        await until(lambda each=each: each.others | {each.node.peer} == ids, "all know each other")
    leaver = members.pop()
    suspicions = [each.counts["suspicions"] for each in members]
    stopped = leaver.node.stopService()
    for each in members:
        await until(lambda each=each: each.told(Kind.LEFT), "it has left")
    probes = sum(each.connections_so_far for each in members) + 60
    await until(lambda: sum(each.connections_so_far for each in members) >= probes, "probes")
    assert stopped.called
    assert [each.counts["suspicions"] for each in members] == suspicions
    assert not [change for each in members for change in each.told(Kind.FAILED)]


# --- deaths


@pytest_twisted.ensureDeferred
async def test_dies_and_comes_back(nodes: Nodes) -> None:
    """A peer is killed and started again on the same port, fifty times: each time it is back at once, in the lists too,
    and what it says then arrives."""
    genesis = nodes.genesis()
    steady = [genesis, nodes.start(genesis), nodes.start(genesis)]
    victim = nodes.start(genesis)
    await until(lambda: victim.told(Kind.READY), "joined")
    for number in range(50):
        port = victim.node.port
        await victim.crash()
        nodes.all.remove(victim)
        start = time.monotonic()
        victim = nodes.start(genesis, port=port)
        await until(lambda victim=victim: victim.told(Kind.READY), f"life {number}", 5)
        await victim.node.broadcast(number)
        for peer in steady:
            await until(lambda peer=peer, number=number: number in peer.heard, f"{number} is heard", 5)
            await until(lambda peer=peer, victim=victim: victim.node.peer in peer.others, "it is listed", 5)
        assert time.monotonic() - start < 5
    assert [peer.heard for peer in steady] == [list(range(50))] * 3
    last = {peer.node.peer for peer in (*steady, victim)}
    for peer in steady:
        await until(lambda peer=peer: {peer.node.peer, *peer.others} == last, "the former lives have failed", 30)


def test_process_dies_and_comes_back(peers: Peers) -> None:
    """The same with processes and kill -9, five times."""
    genesis = peers.genesis()
    steady = peers.peer(join=genesis)
    victim = peers.peer(join=genesis)
    for number in range(5):
        port = victim.port
        genesis.wait("joined", peer=victim.peer)
        victim.send_signal(signal.SIGKILL)
        victim.wait_end()
        victim = peers.peer("--port", str(port), join=genesis)
        victim.wait_output("It listens at")
        victim.wait("ready", timeout=5)
        victim.say(f"life {number}")
        for peer in (genesis, steady):
            peer.wait_messages(f"life {number}", timeout=5)


@pytest_twisted.ensureDeferred
async def test_dies_between_list_and_dial(nodes: Nodes) -> None:
    """Most peers die in the moment in which newcomers are sent to them: these go on to the next, and join."""
    genesis = nodes.genesis()
    members = [nodes.start(genesis) for _ in range(8)]
    everybody = {each.node.peer for each in nodes.all}
    for each in nodes.all:
        await until(lambda each=each: each.others | {each.node.peer} == everybody, "all know each other")
    await gatherResults([dead.crash() for dead in members[1:]])
    nodes.all[2:] = []
    newcomers = [nodes.start(through) for through in (genesis, members[0]) * 3]
    for each in newcomers:
        await until(lambda each=each: each.told(Kind.READY), "joined", 2 * TEST.handshake_timeout)
        assert each.told(Kind.RETRY) == []
    alive = {each.node.peer for each in nodes.all}
    for each in nodes.all:
        await until(lambda each=each: each.others | {each.node.peer} == alive, "the living, and nobody else", 30)


@pytest_twisted.ensureDeferred
async def test_genesis_comes_late(nodes: Nodes, proxies: Callable[[int], Proxy]) -> None:
    """Twenty peers wait for their genesis: they dial it ever more rarely, and not all at once; within 5 s after it has
    appeared all have joined."""
    proxy = proxies(0)
    waiting = [nodes.start(("127.0.0.1", proxy.port), config=LAN) for _ in range(20)]
    await until(lambda: all(len(each.told(Kind.RETRY)) >= 2 for each in waiting), "two attempts each")
    first = [at - proxy.accepted[0] for at in proxy.accepted]
    assert len(first) <= 3 * len(waiting)
    second = first[len(waiting) : 2 * len(waiting)]
    assert second[-1] - second[0] > LAN.retry_first / 5
    genesis = nodes.genesis(config=LAN, advertise=("127.0.0.1", proxy.port))
    proxy.target = genesis.node.port
    start = time.monotonic()
    for each in waiting:
        await until(lambda each=each: each.told(Kind.READY), "joined", max(0.0, start + 5 - time.monotonic()))
    assert len(proxy.accepted) - len(first) <= 3 * len(waiting)
    assert busiest_second(proxy.accepted) <= 3 * len(waiting)
    assert len(genesis.neighbours) <= LAN.active_max


def busiest_second(times: Sequence[float]) -> int:
    """The greatest number of these within any second."""
    return max(sum(begin <= at < begin + 1 for at in times) for begin in times)
