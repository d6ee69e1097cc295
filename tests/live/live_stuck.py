"""Others who hold links and do nothing useful with them, or not what they should; with TLS, as peers are by default."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable

import attrs
import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.live.live_links import Nodes, Watched, until
from tests.live.network import RawPeer
from tests.live.processes import Peers
from twisted_p2p import TEST, Kind
from twisted_p2p.core import wire

ROOM = 40
"""Links that a peer with little room has."""


@pytest_twisted.async_yield_fixture
async def nodes() -> AsyncIterator[Nodes]:
    made = Nodes()
    yield made
    await made.stop()


# --- frames at the wrong time


def second_hello(raw: RawPeer) -> None:
    raw.shake_hands()
    raw.send(wire.Hello(wire.VERSION, raw.network, raw.record(), raw.nonce))


def hello_after_data(raw: RawPeer) -> None:
    raw.send(wire.Ping(1), wire.Hello(wire.VERSION, raw.network, raw.record(), raw.nonce))


def data_before_hello(raw: RawPeer) -> None:
    raw.send(wire.NodeConnAddr(urgent=True))


def proof_where_tls_proves(raw: RawPeer) -> None:
    raw.send(raw.proof(raw.say_hello()))


@pytest.mark.parametrize("speak", [second_hello, hello_after_data, data_before_hello, proof_where_tls_proves])
def test_out_of_order(peers: Peers, speak: Callable[[RawPeer], None]) -> None:
    """Row 15: whoever does not keep to the order of the handshake is told so and hung up on, and is nobody's
    neighbour."""
    genesis = peers.genesis()
    genesis.wait("ready")
    raw = RawPeer(genesis.port, is_plain=False)
    speak(raw)
    assert raw.wait_end() == "bad-frame"
    friend = RawPeer(genesis.port, is_plain=False)
    friend.shake_hands()
    assert friend.ping(1) < 2
    assert genesis.find("link-up") == []
    assert "raceback" not in genesis.output


def test_claimed_id(peers: Peers) -> None:
    """Row 19: who shows its own key in TLS and then another peer's record is refused; that peer's link is not touched,
    and goes on."""
    genesis = peers.genesis()
    other = peers.peer(join=genesis)
    genesis.wait("link-up", peer=other.peer)
    asking = RawPeer(genesis.port, is_plain=False)
    asking.shake_hands()
    asking.send(wire.AskNodesToConnect())
    [record] = [node for node in asking.wait(wire.ConnectableNodes).nodes if node.peer == other.peer]
    liar = RawPeer(genesis.port, is_plain=False)
    liar.send(wire.Hello(wire.VERSION, liar.network, record, liar.nonce), wire.NodeConnAddr(urgent=True))
    assert liar.wait_end() == "bad-signature"
    other.say("still here")
    genesis.wait_messages("still here")
    for peer in (genesis, other):
        assert len(peer.find("link-up")) == 1 and peer.find("link-down") == []


# --- those who talk, and do not answer


def talk_without_answers(raw: RawPeer) -> float:
    """Be a neighbour that asks for answers, and gives none that were asked for; how long that went."""
    raw.become_neighbour()
    begun = time.monotonic()
    raw.socket.settimeout(0.05)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while time.monotonic() < begun + 20:
            time.sleep(0.05)
            raw.send(wire.Ping(7), wire.Pong(0), wire.Pong(1_000_000))
            with contextlib.suppress(TimeoutError):  # nothing has come
                if not raw.socket.recv(65_536):
                    break
    return time.monotonic() - begun


@pytest_twisted.ensureDeferred
async def test_answers_nothing(nodes: Nodes) -> None:
    """Row 22: a neighbour that pings all the time, and answers pings by numbers that were not asked for, is dropped at
    the deadline of the first ping, though it talks."""
    genesis = nodes.genesis()
    took = await deferToThread(lambda: talk_without_answers(RawPeer(genesis.node.port, is_plain=False)))
    await until(lambda: genesis.told(Kind.LINK_DOWN), "down")
    assert genesis.told(Kind.LINK_DOWN) == [(Kind.LINK_DOWN, "ping-timeout")]
    assert TEST.ping_timeout < took < 1.2 * TEST.ping_interval + TEST.ping_timeout + 1
    assert genesis.counts["pong_unasked"] > 10


# --- those who hold links


def hold(port: int, count: int) -> list[RawPeer]:
    """So many links, each by another key, open and idle."""
    held = []
    for _ in range(count):
        held.append(RawPeer(port, is_plain=False))
        held[-1].shake_hands()
    return held


@pytest_twisted.ensureDeferred
async def test_all_links_held(nodes: Nodes) -> None:
    """Row 65: others hold more links to a peer than it has room for, again and again: its neighbour stays, and a
    newcomer joins through it while they do."""
    genesis = nodes.genesis(config=attrs.evolve(TEST, max_links=ROOM))
    friend = nodes.start(genesis)
    await until(lambda: friend.told(Kind.READY), "a neighbour")
    for _ in range(3):
        held = await deferToThread(hold, genesis.node.port, ROOM + 20)
        assert len(genesis.node.shell.core.links.by_id) <= ROOM
        newcomer: Watched = nodes.start(genesis)
        await until(lambda newcomer=newcomer: newcomer.told(Kind.READY), "joined", 5)
        for raw in held:
            raw.close()
    assert genesis.told(Kind.LINK_DOWN) == friend.told(Kind.LINK_DOWN) == []
    await genesis.node.broadcast("all is well")
    await until(lambda: "all is well" in friend.heard, "heard")
