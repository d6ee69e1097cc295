"""What strangers may do to a peer's port: sit on it, speak something else, send junk, claim to be another."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.live.network import RawPeer
from tests.live.processes import Peers, TwistdPeer
from twisted_p2p import LAN, Network
from twisted_p2p.core import wire
from twisted_p2p.net.boundedlog import LINES

MEGABYTE = 1_000_000


def connect(peer: TwistdPeer) -> socket.socket:
    """A stranger's connection to a peer; whatever takes long on it fails."""
    return socket.create_connection(("127.0.0.1", peer.port), 30)


def rest_of(client: socket.socket) -> bytes:
    """All that comes until the other end closes; then it is closed at this end, too."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := client.recv(65536):
            data += more
    client.close()
    return data


def drip(client: socket.socket) -> bytes:
    """Send a byte each half second until the other end closes. Returns what came."""
    client.settimeout(0.5)
    while True:
        try:
            return client.recv(65536)
        except TimeoutError:
            client.sendall(b" ")


def open_sockets(peer: TwistdPeer) -> int:
    """How many sockets a process has open, the one that listens included."""
    count = 0
    for descriptor in Path(f"/proc/{peer.popen.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(descriptor).startswith("socket:")
    return count


def memory(peer: TwistdPeer) -> int:
    """The bytes that a process has had in memory at most."""
    status = Path(f"/proc/{peer.popen.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


PLAIN = "--plaintext"
"""Strangers without TLS get furthest with a peer that speaks none either."""


def still_good(peer: TwistdPeer, is_plain: bool = True) -> None:
    """A peer goes on, and whoever comes is served at once."""
    if is_plain:
        friend = RawPeer(peer.port)
        friend.shake_hands()
        assert friend.ping(1) < 2
        friend.close()
    else:
        with Network() as newcomer:
            newcomer.join_network(port=peer.port, timeout=5)
    assert peer.popen.poll() is None
    assert "raceback" not in peer.output


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


@needs_proc
@pytest.mark.parametrize("is_plain", [True, False])
def test_silent_clients(peers: Peers, is_plain: bool) -> None:
    """500 clients connect and never introduce themselves: a peer joins at once all the same. The eldest go at once for
    those who come after them, the last ones at the deadline of the handshake, also who says a byte now and then; each
    is told why, but for TLS where that was expected. It takes little memory, and leaves nothing open."""
    genesis = peers.genesis(*[PLAIN] * is_plain)
    genesis.wait("ready")
    sockets, bytes_before = open_sockets(genesis), memory(genesis)
    start = time.monotonic()
    clients = [connect(genesis) for _ in range(500)]
    for client in clients[::2]:
        client.sendall(b"{" if is_plain else b"\x16")
    with Network(plaintext=is_plain) as peer:
        begun = time.monotonic()
        peer.join_network(port=genesis.port)
        assert time.monotonic() - begun < 1
        genesis.wait("joined", peer=peer.peer)
        # The peer that joined may have taken the place of some more of them.
        early, late = clients[: -LAN.max_handshakes], clients[8 - LAN.max_handshakes :]
        ends = [rest_of(client) for client in early]
        assert time.monotonic() - start < LAN.handshake_timeout - 1
        if is_plain:
            assert {json.loads(end)["reason"] for end in ends} == {"too-many-links"}
        ends = [drip(late[0]) if is_plain else rest_of(late[0])]
        assert LAN.handshake_timeout - 1 < time.monotonic() - start
        ends += [rest_of(client) for client in late[1:]]
        assert time.monotonic() - start < LAN.handshake_timeout + 5
        if is_plain:
            assert {json.loads(end)["reason"] for end in ends} == {"handshake-timeout"}
        assert [entry["peer"] for entry in peer.connections] == [genesis.peer]
    assert memory(genesis) - bytes_before < (32 if is_plain else 64) * MEGABYTE
    genesis.wait_for(lambda: open_sockets(genesis) <= sockets, "all of them are closed")
    still_good(genesis, is_plain)


SPOKEN = {
    "HTTP, not p2p": b"GET /\x1b[2J HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS, not p2p": bytes.fromhex("160301002f0100002b0303") + bytes(32) + bytes.fromhex("0000021301010000"),
    "SSH, not p2p": b"SSH-2.0-OpenSSH_9.6\x07\r\n",
    "the first version of p2p": b'0000000046{"title": "#ASK_RANDOM_NODE", "sender_ip": ""}',
}


@pytest.mark.parametrize("is_plain", [True, False])
def test_other_protocols(peers: Peers, is_plain: bool) -> None:
    """Who speaks HTTP, TLS, SSH or our own first version is hung up on at once, in the middle of a line too; one line
    in the log says who spoke what, and nothing that it sent is in it. TLS without our key in it is not ours either."""
    genesis = peers.genesis(*[PLAIN] * is_plain)
    genesis.wait("ready")
    for spoke, said in SPOKEN.items():
        if not is_plain and spoke.startswith("TLS"):
            continue
        client = connect(genesis)
        host, port = client.getsockname()
        start = time.monotonic()
        client.sendall(said)
        assert not is_plain or json.loads(rest_of(client))["reason"] == "bad-frame"
        assert is_plain or rest_of(client) == b""
        assert time.monotonic() - start < LAN.handshake_timeout / 2
        shown = genesis.wait_output(f"A client at {host} port {port} spoke {spoke}")
        [line] = [line for line in shown.splitlines() if f"port {port}" in line]
        assert line.endswith(": hung up.") and line.isprintable()
    assert set(genesis.stdout) & {chr(code) for code in range(32)} <= {"\n"}
    still_good(genesis, is_plain)


def test_many_of_other_protocols(peers: Peers) -> None:
    """Who comes again and again does not fill the log."""
    genesis = peers.genesis(PLAIN)
    genesis.wait("ready")
    for _ in range(10 * LINES):
        client = connect(genesis)
        client.sendall(SPOKEN["HTTP, not p2p"])
        rest_of(client)
    still_good(genesis)
    assert genesis.stdout.count("hung up") == LINES
    assert genesis.stdout.count("Further such clients are not logged") == 1


JUNK = [
    b"x" * 4 * MEGABYTE,  # one line without an end
    b"[" * 4 * MEGABYTE,  # the same, and it could be JSON
    b"".join(
        b'{"title":"#NEW","junk":"%b"}\n' % (b"x" * MEGABYTE) for _ in range(4)
    ),  # unknown frames, which are ignored
    random.Random(14).randbytes(4 * MEGABYTE),
]


def send_junk(port: int, sent: list[int]) -> None:
    """20 times 4 MB, half of it as a stranger and half of it on an open link."""
    for number in range(20):
        sender = RawPeer(port)
        with contextlib.suppress(ConnectionError):
            if number % 2:
                sender.shake_hands()
            sender.socket.sendall(JUNK[number // 2 % len(JUNK)])
        sender.close()
        sent.append(number)


def test_junk(peers: Peers) -> None:
    """Others send 80 times 4 MB of junk, by four connections at a time: meanwhile a neighbour's 20 pings are answered,
    and it stays connected."""
    genesis = peers.genesis(PLAIN)
    friend = RawPeer(genesis.port)
    friend.become_neighbour()
    sent: list[int] = []
    for _ in range(4):
        threading.Thread(target=send_junk, args=[genesis.port, sent], daemon=True).start()
    for n in range(1, 21):
        assert friend.ping(n) < 2
        genesis.wait_for(lambda n=n: len(sent) >= 4 * n, f"{4 * n} times 4 MB")
    assert friend.ping(21) < 2
    assert genesis.find("link-down") == []
    still_good(genesis)


def test_claimed_id(peers: Peers) -> None:
    """Who shows another peer's record, and does not have its key, is refused; that peer's own link is not touched."""
    genesis = peers.genesis(PLAIN)
    other = peers.peer(PLAIN, join=genesis)
    genesis.wait("link-up", peer=other.peer)
    asking = RawPeer(genesis.port)
    asking.shake_hands()
    asking.send(wire.AskNodesToConnect())
    [record] = [node for node in asking.wait(wire.ConnectableNodes).nodes if node.peer == other.peer]
    for proofs in (1, 0):
        attacker = RawPeer(genesis.port)
        hello = attacker.say_hello(record)
        proof = attacker.proof(hello, record.peer)
        frames = [wire.NodeConnAddr(urgent=True), wire.Ping(1)]
        attacker.send(*[proof] * proofs, *frames)
        assert attacker.wait_end() == ("bad-signature" if proofs else "bad-frame")
    other.say("still here")
    genesis.wait_messages("still here")
    genesis.say("you too")
    other.wait_messages("you too")
    for peer in (genesis, other):
        assert len(peer.find("link-up")) == 1 and peer.find("link-down") == []
