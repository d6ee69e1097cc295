"""`Network` on real sockets: in one process, and in several."""

import gc
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.processes import Peers, wait_until
from twisted_p2p import CannotListen, JoinError, MessageTooBig, Network

PATIENCE = 60.0  # seconds for something to happen: what hangs must fail

PROGRAM = """
import sys
from twisted_p2p import Network

peer = Network("localhost")
peer.on_message(lambda message: print(message.message, flush=True))
peer.start()
peer.join_network(port=int(sys.argv[1]))
print("joined", len(peer.nodes_in_network), flush=True)
for line in sys.stdin:
    peer.broadcast(line.strip())
print("end", flush=True)
"""


class Heard:
    """What a peer hears, as its callbacks are called."""

    def __init__(self, peer: Network) -> None:
        self.messages: queue.Queue[Any] = queue.Queue()
        peer.on_message(self.messages.put)

    def next(self) -> Any:
        return self.messages.get(timeout=PATIENCE).message


@pytest.fixture
def peers() -> Iterator[list[Network]]:
    """Peers that are stopped at the end."""
    made: list[Network] = []
    yield made
    for peer in made:
        peer.stop()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Peers]:
    """Processes that are ended at the end."""
    running = Peers(tmp_path)
    yield running
    running.destroy()


@pytest.fixture
def pair(peers: list[Network]) -> tuple[Network, Network]:
    """Two peers in this process, of which the second has joined the first."""
    peers += [Network("localhost"), Network("localhost")]
    first, second = peers
    first.start()
    second.start(0)
    second.join_network("127.0.0.1", first.port)
    return first, second


def test_two_in_one_process(pair: tuple[Network, Network]) -> None:
    """Two peers in one program hear each other, and not themselves; both know both."""
    first, second = pair
    heard = [Heard(peer) for peer in pair]
    identity = first.broadcast("hello")
    message = heard[1].messages.get(timeout=PATIENCE)
    assert (message.id, message.title, message.message) == (identity, "#BROADCAST", "hello")
    assert message.origin == first.peer
    second.broadcast({"a": [1, None, 2.5]})
    assert heard[0].next() == {"a": [1, None, 2.5]}
    everybody = {first.peer: first.port, second.peer: second.port}
    for peer in pair:
        assert {node["peer"]: node["port"] for node in peer.nodes_in_network} == everybody
    assert [node["peer"] for node in first.connections] == [second.peer]
    assert first.nodes_in_network[0]["ip_addr"] == "127.0.0.1"


def test_bot(pair: tuple[Network, Network]) -> None:
    """A callback may broadcast."""
    first, second = pair
    heard = Heard(first)
    second.on_message(lambda message: second.broadcast(f"re: {message.message}"))
    first.broadcast("hello")
    assert heard.next() == "re: hello"


def test_many(pair: tuple[Network, Network]) -> None:
    """Every message of a loop arrives, once and in order, without a thought for speed."""
    first, second = pair
    heard = Heard(second)
    done = threading.Event()
    second.on_message(lambda message: message.message == 19_999 and done.set())
    for number in range(20_000):
        first.broadcast(number)
    assert done.wait(PATIENCE)
    assert [heard.messages.get_nowait().message for _ in range(20_000)] == list(range(20_000))


def test_last_words(pair: tuple[Network, Network]) -> None:
    """What was broadcast right before the stop still arrives."""
    first, second = pair
    heard = Heard(second)
    for number in range(500):
        first.broadcast(number)
    first.stop()
    assert [heard.next() for _ in range(500)] == list(range(500))


def test_again(pair: tuple[Network, Network]) -> None:
    """A stopped peer can be started again, as another one, and join again."""
    first, second = pair
    old, port = second.peer, second.port
    second.stop()
    second.start(port)
    assert second.peer != old
    second.join_network(port=first.port)
    heard = Heard(first)
    second.broadcast("back")
    assert heard.next() == "back"


def test_taken_port(pair: tuple[Network, Network], peers: list[Network]) -> None:
    """A port that somebody has is an error of `start`."""
    peers.append(Network())
    with pytest.raises(CannotListen, match=str(pair[0].port)):
        peers[-1].start(pair[0].port)


def test_nobody_there(peers: list[Network]) -> None:
    """Where nobody listens, joining fails in time, and says where."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        peers.append(Network())
        peers[-1].start()
        with pytest.raises(JoinError, match=f"Nobody answers at 127.0.0.1:{port}"):
            peers[-1].join_network(port=port, timeout=0.5)


def test_other_network(peers: list[Network]) -> None:
    """A peer of another network refuses us, and we are told at once."""
    peers += [Network(network="one"), Network(network="two")]
    for peer in peers:
        peer.start()
    with pytest.raises(JoinError, match="is not in the network two"):
        peers[1].join_network(port=peers[0].port, timeout=None)


def test_two_networks(peers: list[Network]) -> None:
    """Networks in one process know nothing of one another."""
    peers += [Network(network=name) for name in ("one", "one", "two", "two")]
    for peer in peers:
        peer.start()
    peers[1].join_network(port=peers[0].port)
    peers[3].join_network(port=peers[2].port)
    heard = [Heard(peer) for peer in peers]
    peers[0].broadcast("to one")
    peers[2].broadcast("to two")
    assert (heard[1].next(), heard[3].next()) == ("to one", "to two")
    assert len(peers[0].nodes_in_network) == len(peers[2].nodes_in_network) == 2
    assert heard[0].messages.empty()


def test_joining_twice(pair: tuple[Network, Network]) -> None:
    """Who is in the network already may join it again, from either side."""
    first, second = pair
    second.join_network(port=first.port)
    first.join_network(port=second.port)


def test_too_big(pair: tuple[Network, Network]) -> None:
    """A message over the limit is an error; one just under it arrives."""
    first, second = pair
    heard = Heard(second)
    with pytest.raises(MessageTooBig):
        first.broadcast("x" * 262_144)
    first.broadcast("x" * 261_000)
    assert len(heard.next()) == 261_000


def test_processes() -> None:
    """Two programs talk. One that just ends leaves properly: the other sees that within moments."""
    with Network() as peer:
        heard = Heard(peer)
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(peer.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with program:
            timer = threading.Timer(PATIENCE, program.kill)
            timer.start()
            assert program.stdin is not None and program.stdout is not None and program.stderr is not None
            assert program.stdout.readline() == "joined 2\n"
            peer.broadcast("hello")
            assert program.stdout.readline() == "hello\n"
            program.stdin.write("one\ntwo\n")
            program.stdin.close()
            assert [heard.next(), heard.next()] == ["one", "two"]
            assert program.stdout.read() == "end\n"
            assert program.wait() == 0
            assert program.stderr.read() == ""
            timer.cancel()
        assert len(peer.nodes_in_network) == 1


FIRST = """
from twisted_p2p import Network
peer = Network("localhost")
peer.on_message(lambda message: print(message.message, flush=True))
peer.start(0)
print(peer.port, flush=True)
input()
peer.stop()
"""

SECOND = """
import sys
from twisted_p2p import Network
peer = Network("localhost")
peer.on_message(lambda message: print(message.message))
peer.start(0)
peer.join_network("127.0.0.1", int(sys.argv[1]))
peer.broadcast("hello")
print(len(peer.nodes_in_network), len(peer.connections), peer.port > 0)
peer.stop()
"""

UNFINISHED = """
import sys
from twisted_p2p import Network
peer = Network()
peer.start()
peer.join_network("127.0.0.1", int(sys.argv[1]))
peer.broadcast("bye")
"""


def test_two_scripts(processes: Peers) -> None:
    """Two plain scripts: what the second broadcasts right before it stops, the first prints."""
    first = processes.process(sys.executable, "-c", FIRST)
    (port,) = first.wait_for(lambda: first.stdout.split(), "its port")
    second = processes.process(sys.executable, "-c", SECOND, port)
    assert second.wait_end() == 0, second.output
    assert (second.stdout, second.stderr) == ("2 1 True\n", "")
    first.wait_output("hello")
    first.say("")
    assert first.wait_end() == 0
    assert first.stderr == ""


def test_with_twistd(processes: Peers, peers: list[Network]) -> None:
    """A plain program joins a network of twistd peers; when it stops, they are told that it left."""
    genesis = processes.genesis()
    peer = Network()
    peers.append(peer)
    heard = Heard(peer)
    peer.start()
    peer.join_network("localhost", genesis.port)
    genesis.wait("joined", peer=peer.peer, port=peer.port)
    value = {"any": ["JSON", 1, 2.5, None, True, "🎉"]}
    identity = peer.broadcast(value)
    genesis.wait("message", peer=peer.peer, id=identity, message=value)
    genesis.say("hello")
    assert heard.next() == "hello"
    assert [entry["peer"] for entry in peer.connections] == [genesis.peer]
    own = peer.peer
    peer.stop()
    genesis.wait("left", peer=own)


@pytest.mark.parametrize("end", ["", "1 / 0"])
def test_program_that_ends(end: str, processes: Peers) -> None:
    """A program that ends without `stop`, even by an error, has still said what it had to say, and left."""
    genesis = processes.genesis()
    program = processes.process(sys.executable, "-c", UNFINISHED + end, str(genesis.port))
    assert program.wait_end() == bool(end)
    genesis.wait("left")
    genesis.wait("message", message="bye")
    assert genesis.find("failed") == []


def test_join_elsewhere(pair: tuple[Network, Network], peers: list[Network]) -> None:
    """Who could not join at one address may try another one."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        late = Network()
        peers.append(late)
        late.start()
        with pytest.raises(JoinError):
            late.join_network("127.0.0.1", silent.getsockname()[1], timeout=0.5)
        late.join_network("127.0.0.1", pair[0].port)
    wait_until(lambda: len(pair[1].nodes_in_network) == len(late.nodes_in_network) == 3, "all know each other")


def test_stop_in_callback(pair: tuple[Network, Network]) -> None:
    """A callback may stop its own peer."""
    first, second = pair
    stopped = threading.Event()
    second.on_message(lambda _: (second.stop(), stopped.set()))
    first.broadcast("stop")
    assert stopped.wait(PATIENCE)
    wait_until(lambda: len(first.nodes_in_network) == 1, "it has left")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
def test_nothing_stays_open() -> None:
    """Starting and stopping leaves no thread and no open file behind."""
    peer = Network()

    def once() -> tuple[int, int]:
        peer.start()
        peer.stop()
        gc.collect()
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    before = once()
    for _ in range(3):
        assert once() == before
