"""The process of a peer: whose files it reads, what it says of its key, and what others can do to its terminal."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.live.network import RawPeer
from tests.live.processes import Peers, TwistdPeer, twisted_command
from twisted_p2p.core import wire

NOBODY = 65534
CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
"""What no output may have: all control characters but tab and newline."""
ORDERS = re.compile("[\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Beyond ASCII: further control characters, line ends, and what reorders a line."""
EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\x08\x7f\u202e\u2066\u2028\u0085 seen\nspoofed joined (10.0.0.1:1)"


# --- what comes from the network


def harmless(peer: TwistdPeer) -> str:
    """All that a peer has printed, logged and written as events, of which nothing controls a terminal."""
    outputs = [path.read_bytes() for path in (peer.stdout_path, peer.stderr_path, peer.events_path)]
    for output in outputs:
        assert not CONTROLS.search(output), CONTROLS.findall(output)
        text = output.decode()
        assert not ORDERS.search(text), ascii(ORDERS.findall(text))
    return b"".join(outputs).decode()


def bundle(peer: RawPeer, seq: int, *groups: object) -> bytes:
    """A bundle that a peer has signed, with these as its messages."""
    body = json.dumps(groups, ensure_ascii=False, separators=(",", ":")).encode()
    sig = peer.signer.sign(wire.bundle_bytes("p2p", peer.peer, 7, seq, body))
    return wire.bundle_line(peer.peer, 7, seq, sig, body) + b"\n"


def test_messages_control_no_terminal(peers: Peers) -> None:
    """Text and time of a message are shown without what a terminal obeys; what is no message at all is not shown."""
    genesis = peers.genesis("--plaintext")
    evil = RawPeer(genesis.port)
    evil.become_neighbour()
    evil.send(wire.Digest("streams", {}))
    plain = {"id": "0" * 64, "time": 1.5}
    first = plain | {"time": 1e300, "values": [EVIL]}
    unreadable = [plain | {"id": (EVIL + "0" * 64)[:64], "values": [EVIL]}, EVIL, {EVIL: EVIL}]
    several = plain | {"values": [{EVIL: [EVIL, {"a": EVIL}]}, "the end"]}
    evil.socket.sendall(bundle(evil, 1, first, *unreadable, several))
    genesis.wait("message", message="the end")
    genesis.wait_output("the end")
    assert genesis.find("message")[0]["message"] == EVIL
    shown = harmless(genesis)
    assert "seen⏎spoofed" in shown
    assert not re.search("^spoofed", shown, re.MULTILINE)
    evil.close()


def test_strangers_control_no_log(peers: Peers) -> None:
    """Nor do first bytes, names, hosts and reasons: what is no frame is quoted nowhere."""
    for options in ((), ("--plaintext",)):
        genesis = peers.genesis(*options)
        for first in (b"GET /\x1b[2J\x07 HTTP/1.0\r\n\r\n", b"SSH-\x1b]0;owned\x07\r\n", EVIL.encode() + b"\n"):
            with socket.create_connection(("127.0.0.1", genesis.port), 10) as client:
                client.sendall(first)
                with contextlib.suppress(ConnectionError):
                    client.recv(100)
        if options:
            odd_frames(genesis)
        genesis.say("still here")
        genesis.wait_output("hung up")
        assert genesis.stop() == -signal.SIGTERM
        assert "SSH, not p2p" in harmless(genesis)


def odd_frames(genesis: TwistdPeer) -> None:
    """Frames in whose fields there is what no name, host or reason may have, each on a connection of its own."""
    for odd in (
        {"title": "#BYE", "reason": EVIL},
        {"title": EVIL, "reason": EVIL},
        {"title": "#HELLO", "network": EVIL, "version": 1, "nonce": "0" * 32, "record": {}},
    ):
        with socket.create_connection(("127.0.0.1", genesis.port), 10) as client:
            client.sendall(json.dumps(odd, ensure_ascii=False).encode() + b"\n")
            client.settimeout(0.5)
            with contextlib.suppress(TimeoutError, ConnectionError):
                client.recv(1000)
    for field, value in (("ip_addr", "h\x1b[2J"), ("more", EVIL), ("peer", EVIL)):
        raw = RawPeer(genesis.port)
        hello = json.loads(wire.encode(wire.Hello(1, "p2p", raw.record(), raw.nonce)))
        hello["record"][field] = value
        raw.socket.sendall(json.dumps(hello).encode() + b"\n")
        assert raw.wait_end() == "bad-frame"
        raw.close()


def test_whom_one_joins_controls_no_terminal(peers: Peers) -> None:
    """Whoever is at the address that one joins may say what it likes: the reason that is told is one of ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        joiner = peers.peer("--plaintext", "--join", f"127.0.0.1:{server.getsockname()[1]}")
        client, _ = server.accept()
        with client:
            client.sendall(json.dumps({"title": "#BYE", "reason": EVIL}, ensure_ascii=False).encode() + b"\n")
            joiner.wait_output("Trying again")
    joiner.stop()
    assert "does not speak as a peer does" in harmless(joiner)


# --- the key


def forms_of(seed: bytes) -> list[bytes]:
    """How a key could stand in a text."""
    encoded = base64.b64encode(seed).rstrip(b"=")
    return [
        seed,
        seed.hex().encode(),
        seed.hex().upper().encode(),
        seed.hex(" ").encode(),
        encoded,
        base64.urlsafe_b64encode(seed).rstrip(b"="),
        repr(seed)[2:-1].encode(),
        b", ".join(b"%d" % byte for byte in seed),
    ]


def test_key_is_told_nobody(peers: Peers) -> None:
    """The key is in its file, for its owner alone, and in no output, event, log, argument or other file."""
    data = peers.folder / "data"
    genesis = peers.genesis("--data-dir", str(data))
    other = peers.peer(join=genesis, name="other")
    other.say("hello")
    genesis.wait_messages("hello")
    key = data / "key"
    seed = bytes.fromhex(key.read_text())
    process = Path(f"/proc/{genesis.popen.pid}")
    told = [(process / "cmdline").read_bytes(), (process / "environ").read_bytes()]
    with socket.create_connection(("127.0.0.1", genesis.port)) as client:
        client.sendall(b"\x16\x03\x01\x00\x05junk!")
    genesis.send_signal(signal.SIGHUP)
    genesis.stop()
    told += [path.read_bytes() for path in peers.folder.rglob("*") if path.is_file() and path != key]
    for form in forms_of(seed):
        for text in told:
            assert form not in text
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for file in data.iterdir():
        assert file.name == "version" or not stat.S_IMODE(file.stat().st_mode) & 0o077, file


def test_damaged_key_is_not_quoted(peers: Peers) -> None:
    """Who finds the key's file damaged, or readable for others, says so without what is in it."""
    data = peers.folder / "data"
    genesis = peers.genesis("--data-dir", str(data))
    genesis.wait("ready")
    genesis.stop()
    key = data / "key"
    seed = key.read_text()
    for text, mode, word in ((seed[:-3], 0o600, "is damaged"), (seed, 0o644, "chmod 600")):
        key.write_text(text)
        key.chmod(mode)
        refused = peers.genesis("--data-dir", str(data))
        assert refused.wait_end() == 1
        lines = (refused.stdout + refused.stderr).splitlines()
        assert len(lines) == 1 and word in lines[0], lines
        assert seed[:16] not in refused.output


# --- an unprivileged user


AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
READS_ALL = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
"""The right to read what is closed to it, such as a Python in root's home; none to write."""


@attrs.frozen
class Nobody:
    """A user to whom nothing here belongs but one folder.

    Attributes:
        command: what starts a program as that user.
    """

    command: tuple[str, ...]
    folder: Path


@pytest.fixture
def nobody() -> Iterator[Nobody]:
    """One, if it can be had."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a program as somebody else")
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv here")
    folder = Path(tempfile.mkdtemp(prefix="p2p-nobody-"))
    os.chown(folder, NOBODY, NOBODY)
    try:
        for rights in ((), READS_ALL):
            command = (*AS_NOBODY, *rights, "env", f"--chdir={folder}")
            tried = subprocess.run([*command, *twisted_command("twistd", "--version")], capture_output=True)
            if tried.returncode == 0:
                break
        else:
            pytest.skip(f"no other user can run this Python: {tried.stderr.decode()}")
        yield Nobody(command, folder)
    finally:
        shutil.rmtree(folder)


def test_unprivileged(peers: Peers, nobody: Nobody) -> None:
    """A user without any rights runs a peer with a data directory, and is told in one line if that is not its own."""
    folder, events = nobody.folder, nobody.folder / "events"
    command = [*nobody.command, *twisted_command("twistd", "-n"), "p2p", "-g", "--port", "0", "--data-dir"]
    peer = peers.process(*command, folder / "data", "--events", events, name="nobody")
    ready = re.compile('"event":"ready".*"port":([0-9]+)')
    port = peer.wait_for(lambda: events.exists() and ready.search(events.read_text()), "ready")[1]
    joined = peers.peer("--join", f"127.0.0.1:{port}", name="joined")
    joined.wait("ready")
    joined.say("hello")
    peer.wait_output("hello")
    owners = {file.name: file.stat().st_uid for file in (folder / "data").iterdir()}
    assert set(owners.values()) == {NOBODY}, owners
    assert Path(f"/proc/{peer.popen.pid}").stat().st_uid == NOBODY
    peer.send_signal(signal.SIGTERM)
    peer.wait_end()

    roots = Path(tempfile.mkdtemp(prefix="p2p-root-"))
    try:
        refused = peers.process(*command, roots, name="refused")
        assert refused.wait_end() == 1
        lines = (refused.stdout + refused.stderr).splitlines()
        assert lines == [
            f"p2p: The data directory {roots} may not be used by this program: let it read and write there."
        ]
    finally:
        shutil.rmtree(roots)


def test_default_interface(peers: Peers) -> None:
    """Who says nothing of it listens on this machine's own address alone."""
    genesis = peers.genesis("--network", secrets.token_hex(4))
    genesis.wait("ready")
    listening = set()
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{genesis.popen.pid}/net/{table}")
        if path.exists():
            for line in path.read_text().splitlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                if state == "0A" and int(local.split(":")[1], 16) == genesis.port:
                    listening.add(local.split(":")[0])
    assert listening == {"0100007F"}, listening
