"""Who may join, as a user has it: key files, lists, SIGHUP, and what the refused and the refusing are told."""

from __future__ import annotations

import os
import pty
import secrets
import signal
from pathlib import Path

import pytest

from tests.live.live_twistd import PROGRAMS
from tests.live.network import LiveNetwork
from tests.live.processes import Peers, TwistdPeer, twisted_command, wait_until
from twisted_p2p import AccessError, JoinError, Network

RELOADED = "SIGHUP: who may join, and who is banned, was read again."


def key_file(folder: Path, name: str, *keys: str) -> Path:
    """A file with these keys, for its owner only."""
    path = folder / name
    path.touch(mode=0o600)
    path.write_text("# the network's keys\n" + "".join(f"{key}\n" for key in keys))
    return path


def reload(peer: TwistdPeer) -> None:
    """Let a peer read its files again."""
    before = peer.stdout.count(RELOADED)
    peer.send_signal(signal.SIGHUP)
    peer.wait_for(lambda: peer.stdout.count(RELOADED) > before, "files read again")


def check_secret(peer: TwistdPeer, *keys: str) -> None:
    """No key is in what a peer prints, logs or writes, nor in its command line."""
    peer.events  # noqa: B018  # whatever there is of them must be readable
    command = Path(f"/proc/{peer.popen.pid}/cmdline")
    shown = peer.output + peer.events_path.read_text() + (command.read_text() if command.exists() else "")
    assert "--network-key-file" in shown or not command.exists()
    assert not [key for key in keys if key in shown]


@pytest.mark.parametrize("plain", [[], ["--plaintext"]], ids=["tls", "plaintext"])
def test_network_key(plain: list[str], peers: Peers) -> None:
    """Who has the key joins and talks. Who has another one, or none, is refused; it hears a sentence, and the genesis
    has a line that says who and why. The key itself is nowhere (case 25)."""
    key, other = secrets.token_hex(32), secrets.token_hex(32)
    good, bad = key_file(peers.folder, "good", key), key_file(peers.folder, "bad", other)
    genesis = peers.genesis("--network-key-file", str(good), *plain)
    friend = peers.peer("--network-key-file", str(good), *plain, join=genesis)
    genesis.wait("joined", peer=friend.peer)
    friend.say("hello")
    genesis.wait_messages("hello")
    for options, why in (
        (["--network-key-file", str(bad)], "its network key is none of ours."),
        ([], "it has no network key, and this peer has one."),
    ):
        stranger = peers.peer(*options, *plain, join=genesis)
        stranger.wait_output(f"The peer at {genesis.address} does not admit this one")
        assert "check --network-key-file" in stranger.output
        genesis.wait_output(why)
        stranger.wait_for(lambda s=stranger: s.stdout.count("does not admit this one") > 2, "several attempts")
        assert stranger.find("ready") == stranger.find("joined") == []
        stranger.stop()
        assert genesis.stdout.count(why) == 1
        assert other not in stranger.output
    assert genesis.directory() == {friend.peer}
    for peer in (genesis, friend):
        check_secret(peer, key, other)


def test_key_not_wanted(peers: Peers) -> None:
    """A peer with a key does not join a network without one, and hears why."""
    genesis = peers.genesis()
    file = key_file(peers.folder, "key", secrets.token_hex(32))
    stranger = peers.peer("--network-key-file", str(file), join=genesis)
    stranger.wait_output(f"The peer at {genesis.address} does not admit this one")
    genesis.wait_output("it has a network key, and this peer has none.")
    assert stranger.find("joined") == genesis.find("joined") == []


def test_rotation(network: LiveNetwork, tmp_path: Path) -> None:
    """The key of a network is changed in three steps, one half of it after the other, while it talks. After each step
    new peers join through either half; nobody misses anything, and nobody is taken to have failed (case 26)."""
    old, new = secrets.token_hex(32), secrets.token_hex(32)
    files: dict[str, Path] = {}

    def start(*keys: str, join: TwistdPeer | None = None) -> TwistdPeer:
        file = key_file(tmp_path, f"key{len(files)}", *keys)
        options = ["--genesis", "--port", "0"] if join is None else ["--join", join.address]
        peer = network.start("--network-key-file", str(file), *options)
        files[peer.name] = file
        return peer

    genesis = start(old)
    first = [genesis, *[start(old, join=genesis) for _ in range(2)]]
    second = [start(old, join=genesis) for _ in range(3)]
    network.wait_settled()
    for number, (step, halves) in enumerate(
        (((old, new), (first, second)), ((new, old), (second, first)), ((new,), (first, second)))
    ):
        for half in halves:
            for peer in half:
                files[peer.name].write_text("".join(f"{key}\n" for key in step))
                reload(peer)
            network.talk(f"step {number}, half {halves.index(half)} has switched")
        for half, other in (halves, halves[::-1]):
            half.append(start(*step, join=other[0]))
        network.wait_settled()
        network.talk(f"after step {number}")
    for peer in network.started:
        assert peer.find("failed") == []
        check_secret(peer, old, new)


def test_deny(peers: Peers) -> None:
    """A peer that is put on the deny list loses its link on SIGHUP, and is told why; taken off it, it is back."""
    deny = peers.folder / "deny"
    deny.write_text("# nobody\n")
    genesis = peers.genesis("--deny", str(deny))
    other = peers.peer(join=genesis)
    genesis.wait("link-up", peer=other.peer)
    deny.write_text(f"{other.peer}  # talks too much\n")
    reload(genesis)
    genesis.wait("link-down", peer=other.peer, reason="not-admitted")
    other.wait("link-down", peer=genesis.peer, reason="not-admitted")
    genesis.wait_output(f"No link with {other.peer} at 127.0.0.1: it is on the deny list.")
    other.wait_output(f"No link with {genesis.peer} at 127.0.0.1: it does not admit this peer")
    known = len(genesis.events)
    deny.write_text("127.0.0.0/8 is not written so\n")
    genesis.send_signal(signal.SIGHUP)
    genesis.wait_output("line 1: '127.0.0.0/8 is not written so' is no peer's id")
    genesis.wait_output("Who may join stays as it was.")
    deny.write_text("")
    reload(genesis)
    genesis.wait("link-up", after=known, peer=other.peer)
    other.say("back")
    genesis.wait_messages("back")
    assert genesis.find("failed") == other.find("failed") == []


def test_denied_address(peers: Peers) -> None:
    """Who connects from a denied address is closed on at once, and a line says so."""
    deny = peers.folder / "deny"
    deny.write_text("127.0.0.0/8\n")
    genesis = peers.genesis("--deny", str(deny))
    genesis.wait("ready")
    stranger = peers.peer(join=genesis)
    genesis.wait_output("No link with somebody at 127.0.0.1: it is on the deny list.")
    stranger.wait_for(lambda: stranger.stdout.count("Trying again") > 3, "several attempts")
    assert stranger.find("ready") == genesis.find("joined") == []
    assert genesis.stdout.count("No link with somebody") == 1


def test_allow(peers: Peers) -> None:
    """With an allow list only who is on it gets in."""
    allow = peers.folder / "allow"
    allow.write_text("")
    genesis = peers.genesis("--allow", str(allow))
    friend, stranger = peers.peer(join=genesis, name="friend"), peers.peer(join=genesis, name="stranger")
    for peer in (friend, stranger):
        peer.wait_output("Trying again in")
    found = friend.stdout.partition("This peer is ")[2][:64]
    allow.write_text(f"{found}\n")
    reload(genesis)
    friend.wait("ready")
    genesis.wait("joined", peer=found)
    genesis.wait_output("it is not on the allow list.")
    assert genesis.directory() == {found} and stranger.find("ready") == []


WRONG = {
    "missing": (None, 0, "The file {file} can't be read: No such file or directory."),
    "readable": (
        "x" * 64,
        0o644,
        "Others can read the network key file {file}: make it yours alone, by: chmod 600 '{file}'",
    ),
    "short": (
        "too-short",
        0o600,
        "{file}, line 1: a key has at least 16 characters; make one by: openssl rand -hex 32",
    ),
    "empty": ("# nothing", 0o600, "The network key file {file} has no key in it; make one by: openssl rand -hex 32"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("program", PROGRAMS)
def test_wrong_key_files(program: str, wrong: str, peers: Peers) -> None:
    """What is wrong with a key file is said in one line on standard error; the exit code is 1."""
    held, mode, said = WRONG[wrong]
    file = peers.folder / "key"
    if held is not None:
        file.write_text(held)
        file.chmod(mode)
    process = peers.process(*twisted_command(*PROGRAMS[program]), "p2p", "-g", "-p", "0", "--network-key-file", "key")
    assert process.wait_end() == 1
    assert process.stderr == f"p2p: {said.format(file=file)}\n"
    assert process.stdout == ""
    assert held is None or held not in process.output


def test_daemon(peers: Peers) -> None:
    """A daemon, which has changed its folder, reads the same file again."""
    file = key_file(peers.folder, "key", secrets.token_hex(32))
    pid, log = peers.folder / "pid", peers.folder / "log"
    daemon = twisted_command("twistd", "--logfile", str(log), "--pidfile", str(pid), "--rundir", "/")
    process = peers.process(*daemon, "p2p", "-g", "-p", "0", "--network-key-file", "key")
    assert process.wait_end() == 0, process.output
    number = int(pid.read_text())
    try:
        for said, text in ((RELOADED, f"{secrets.token_hex(32)}\n"), (f"SIGHUP: {file}, line 1: a key has", "short\n")):
            file.write_text(text)
            os.kill(number, signal.SIGHUP)
            wait_until(lambda said=said: said in log.read_text(), said)
    finally:
        os.kill(number, signal.SIGTERM)
    wait_until(lambda: not pid.exists(), "the daemon's end")


def test_terminal(peers: Peers) -> None:
    """With a terminal SIGHUP reads the files again, too; when the terminal is gone it means to leave."""
    deny = peers.folder / "deny"
    deny.write_text("")
    genesis = peers.genesis()
    genesis.wait("ready")
    log = peers.folder / "log"
    pid, terminal = pty.fork()
    if not pid:
        command = twisted_command("twistd", "-n", "--logfile", str(log))
        os.chdir(peers.folder)
        os.execv(command[0], [*command, "p2p", "--join", genesis.address, "--deny", str(deny), "--no-console"])
    try:
        wait_until(lambda: genesis.find("joined"), "the peer with a terminal")
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: RELOADED in log.read_text(), "files read again")
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        os.close(terminal)
        genesis.wait_for(lambda: genesis.find("left"), "it leaves")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise


def test_plain_program(peers: Peers) -> None:
    """A plain program has the same: files at the start, `reload`, and an error that says what is wrong."""
    key = secrets.token_hex(32)
    file, other = key_file(peers.folder, "key", key), key_file(peers.folder, "other", secrets.token_hex(32))
    with Network(network_key_file=file) as genesis, Network(network_key_file=other) as peer:
        with pytest.raises(JoinError, match="check --network-key-file"):
            peer.join_network(port=genesis.port, timeout=2)
        other.write_text(f"{key}\n")
        peer.reload()
        peer.join_network(port=genesis.port)
        wait_until(lambda: len(genesis.nodes_in_network) == 2, "two peers")
        other.write_text("short\n")
        with pytest.raises(AccessError, match="line 1"):
            peer.reload()
        assert peer.connections
    with pytest.raises(AccessError, match="line 1"):
        Network(network_key_file=other).start()
