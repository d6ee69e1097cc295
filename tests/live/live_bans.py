"""Bans, as a user has them: who breaks the rules is refused, shown by the command, and let in again by it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.live.network import RawPeer
from tests.live.processes import Peers, TwistdPeer, python_environment
from twisted_p2p.core import wire
from twisted_p2p.identity import Ed25519Signer

RELOADED = "SIGHUP: who may join, and who is banned, was read again."


def bans(folder: Path, data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the command says."""
    command = [sys.executable, "-m", "twisted_p2p.bans", str(data_dir), *arguments]
    environment = python_environment(folder)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)


def come(peer: TwistdPeer, signer: Ed25519Signer) -> RawPeer:
    """One with this key has connected and introduced itself; it waits for an answer."""
    raw = RawPeer(peer.port)
    raw.signer, raw.peer = signer, signer.peer
    raw.send(wire.Hello(wire.VERSION, "p2p", raw.record(), raw.nonce))
    return raw


def offend(peer: TwistdPeer, signer: Ed25519Signer) -> None:
    """One with this key breaks the rules once it has proven that."""
    raw = come(peer, signer)
    raw.send(raw.proof(raw.wait(wire.Hello)))
    raw.wait(wire.Proof)
    raw.socket.sendall(b"junk\n")
    assert raw.wait_end() == "bad-frame"


def test_banned(peers: Peers) -> None:
    """The third offence gets a peer banned, through a restart too. The command shows it; lifted, it is let in again,
    and nobody else was refused meanwhile."""
    folder, signer = peers.folder / "data", Ed25519Signer()
    options = ("--plaintext", "--data-dir", str(folder))
    genesis = peers.genesis(*options)
    genesis.wait("ready")
    for _ in range(3):
        offend(genesis, signer)
    assert come(genesis, signer).wait_end() == "banned"
    assert f"{signer.peer} " in genesis.stdout
    shown = bans(peers.folder, folder)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"{signer.peer} 20") and shown.stdout.endswith(" bad-frame\n")
    friend = peers.peer("--plaintext", join=genesis)
    genesis.wait("joined", peer=friend.peer)
    genesis.stop()
    again = peers.genesis(*options)
    again.wait("ready")
    assert come(again, signer).wait_end() == "banned"
    lifted = bans(peers.folder, folder, "--lift", signer.peer)
    assert lifted.stdout == f"The peer is running: it takes this in at once by: kill -HUP {again.popen.pid}\n"
    again.send_signal(signal.SIGHUP)
    again.wait_output(RELOADED)
    assert come(again, signer).wait(wire.Hello).record.peer == again.peer
