"""The program as a user runs it: two commands in one folder, lines piped in, signals, options that are wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.live.processes import ROOT, Peers, TwistdPeer, python_environment, twisted_command, wait_until

PROGRAMS = {"twistd -n": ("twistd", "-n"), "twistd": ("twistd",), "twist": ("twist",)}
HEX = re.compile("[0-9a-f]{64}")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody has right now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def pair(peers: Peers) -> tuple[TwistdPeer, TwistdPeer]:
    """A genesis and a peer that know each other."""
    genesis = peers.genesis(name="genesis")
    other = peers.peer(join=genesis, name="other")
    genesis.wait("joined", peer=other.peer)
    other.wait("joined", peer=genesis.peer)
    return genesis, other


# --- two commands


def test_two_commands(peers: Peers) -> None:
    """Two commands in one folder, without pid files: each shows the other, and what is typed at one, at the other."""
    before = set(os.listdir(peers.folder))
    genesis, other = pair(peers)
    genesis.say("hello", "  grüße 🎉")
    other.wait_messages("hello", "  grüße 🎉")
    other.say("and back")
    genesis.wait_messages("and back")
    assert [each["message"] for each in other.find("message")] == ["hello", "  grüße 🎉"]

    shown = other.wait_output("grüße")
    line = rf"^\d\d:\d\d:\d\d {genesis.peer[:8]} hello$"
    assert re.search(line, shown, re.MULTILINE)
    assert f"-- {genesis.peer[:8]} joined ({genesis.address})" in shown
    made = set(os.listdir(peers.folder)) - before
    assert {name for name in made if name.partition(".")[2] not in ("stdout", "stderr", "events")} == set()


def test_banner_names_the_next_command(peers: Peers) -> None:
    """The command that a genesis prints starts a peer that joins it."""
    genesis = peers.genesis("--network", "our-own")
    shown = genesis.wait_output("To start another peer")
    assert f"This peer is {genesis.peer}." in shown
    command = re.search("To start another peer on this machine: twistd -n p2p (.+)", shown)
    assert command is not None
    other = peers.peer(*command[1].split())
    genesis.wait("joined", peer=other.peer)


def test_several_genesis_peers(peers: Peers) -> None:
    """A genesis may join another one; who is given both reaches the network through either."""
    first = peers.genesis()
    second = peers.genesis(join=first)
    first.wait("joined", peer=second.peer)
    assert first.stop() == -signal.SIGTERM
    third = peers.peer("--join", first.address, "--join", second.address)
    second.wait("joined", peer=third.peer)


def test_ipv6(peers: Peers) -> None:
    """Peers listen at an IPv6 address, and join through it; the banner writes it with brackets."""
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    genesis = peers.genesis("--interface", "::1")
    assert f"--join [::1]:{genesis.port}" in genesis.wait_output("To start another peer")
    other = peers.peer("--interface", "::1", "--join", f"[::1]:{genesis.port}")
    assert genesis.wait("joined", peer=other.peer)["ip_addr"] == "::1"
    other.say("six")
    genesis.wait_messages("six")


def test_twist(peers: Peers) -> None:
    """`twist p2p` is the same program."""
    genesis = peers.genesis(program=("twist",))
    other = peers.peer(join=genesis, program=("twist",))
    other.say("hello")
    genesis.wait_messages("hello")
    assert other.stop() == -signal.SIGTERM
    genesis.wait("left", peer=other.peer)


def test_daemon(peers: Peers) -> None:
    """As a daemon it runs on, with a pid file of its own, and leaves when its process is told to end."""
    genesis = peers.genesis()
    daemon = peers.peer(join=genesis, program=("twistd",))
    assert daemon.wait_end() == 0, daemon.output
    pid = int((peers.folder / "twistd-p2p-0.pid").read_text())
    try:
        genesis.wait("joined", peer=wait_until(lambda: daemon.find("ready"), "ready")[0]["peer"])
    finally:
        os.kill(pid, signal.SIGTERM)
    genesis.wait("left")


# --- events


def test_events(peers: Peers) -> None:
    """Each event has just the fields that are documented, and none is about the peer itself."""
    start = time.time()
    genesis, other = pair(peers)
    genesis.wait("link-up")
    other.say("hello")
    genesis.wait("message")
    other.stop()
    genesis.wait("left")
    genesis.wait("link-down")

    fields = {
        "ready": {"peer", "port"},
        "joined": {"peer", "ip_addr", "port"},
        "left": {"peer"},
        "link-up": {"peer"},
        "link-down": {"peer", "reason"},
        "message": {"peer", "epoch", "seq", "id", "title", "message", "time", "cursor"},
    }
    for event in genesis.events:
        assert set(event) == fields[event["event"]] | {"event", "at"}
        assert start <= event["at"] <= time.time()
        assert (event["peer"] == genesis.peer) == (event["event"] == "ready")
        assert HEX.fullmatch(event["peer"])
    assert sorted(event["event"] for event in genesis.events) == sorted(fields)
    (joined,) = genesis.find("joined")
    assert (joined["ip_addr"], joined["port"]) == ("127.0.0.1", other.port)
    (message,) = genesis.find("message")
    assert (message["title"], message["message"], message["seq"]) == ("#BROADCAST", "hello", 1)
    assert HEX.fullmatch(message["id"])
    assert start <= message["time"] <= message["at"]


def test_killed_peer_failed(peers: Peers) -> None:
    """A peer that is killed is told to have failed, not to have left."""
    genesis, other = pair(peers)
    other.send_signal(signal.SIGKILL)
    assert set(genesis.wait("failed", peer=other.peer)) == {"event", "at", "peer"}
    assert genesis.find("left") == []


@pytest.mark.parametrize("program", ["twistd -n", "twist"])
def test_events_on_standard_output(program: str, peers: Peers) -> None:
    """With --events - standard output has JSON lines and nothing else; the log goes to standard error."""
    command = [*twisted_command(*PROGRAMS[program]), "p2p", "--genesis", "--port", "0", "--events", "-"]
    process = peers.process(*command)
    process.wait_output("This peer is")
    process.wait_output('"event":"ready"')
    ready = json.loads(process.stdout.splitlines()[0])
    other = peers.peer("--join", f"127.0.0.1:{ready['port']}")
    process.wait_output('"event":"joined","at":', timeout=60)
    other.say("hello")
    process.wait_output('"message":"hello"')
    assert process.stop() == -signal.SIGTERM
    events = [json.loads(line) for line in process.stdout.splitlines()]
    assert {"ready", "joined", "message"} <= {event["event"] for event in events}
    assert "This peer is" in process.stderr and '"event"' not in process.stderr


def test_no_console(peers: Peers) -> None:
    """With --no-console nothing is read from standard input, and messages are not shown."""
    genesis = peers.genesis("--no-console")
    other = peers.peer(join=genesis)
    genesis.say("into the void")
    other.say("hello")
    genesis.wait_messages("hello")
    genesis.stop()
    other.wait("left", peer=genesis.peer)
    assert other.find("message") == []
    assert "hello" not in genesis.output


# --- standard input


def test_piped_before_join(peers: Peers) -> None:
    """What is piped in at the very start is broadcast once the peer has joined."""
    genesis = peers.genesis()
    lines = peers.folder / "lines"
    lines.write_bytes(b"a\nb\r\n\nlast without an end")
    with lines.open("rb") as stdin:
        peers.peer(join=genesis, stdin=stdin)
    genesis.wait_messages("a", "b", "last without an end")
    assert [each["message"] for each in genesis.find("message")] == ["a", "b", "last without an end"]


@pytest.mark.parametrize("kind", ["null", "closed", "pipe"])
def test_end_of_input(kind: str, peers: Peers) -> None:
    """Without standard input, or at its end, a peer goes on."""
    genesis = peers.genesis()
    if kind == "closed":
        events = peers.folder / "closed.events"
        command = [*twisted_command("twistd", "-n"), "p2p", "--join", genesis.address, "--events", events]
        other = peers.process("/bin/sh", "-c", 'exec "$@" <&-', "sh", *command)
        assert "raceback" not in other.wait_output("Joined the network")
    else:
        peer = other = peers.peer(join=genesis, stdin=subprocess.DEVNULL if kind == "null" else subprocess.PIPE)
        if kind == "pipe":
            peer.end_input()
    genesis.wait("joined")
    genesis.say("are you there?")
    shown = other.wait_output("are you there?")
    assert "raceback" not in shown
    assert other.popen.poll() is None
    assert other.stop() == -signal.SIGTERM


def test_many_lines(peers: Peers) -> None:
    """A file of 20,000 lines arrives complete and in order."""
    genesis = peers.genesis()
    lines = peers.folder / "lines"
    wanted = [f"{number:05} {'x' * 60}" for number in range(20_000)]
    lines.write_text("\n".join(wanted) + "\n")
    with lines.open("rb") as stdin:
        peers.peer(join=genesis, stdin=stdin)
    genesis.wait_for(lambda: len(genesis.find("message")) >= len(wanted), "20,000 lines")
    assert [each["message"] for each in genesis.find("message")] == wanted


def test_flags_of_descriptors_stay(peers: Peers) -> None:
    """Programs that share standard input find it as it was: it still blocks."""
    genesis = peers.genesis()
    genesis.wait("ready")
    genesis.say("x")
    assert genesis.popen.stdin is not None
    assert os.get_blocking(genesis.popen.stdin.fileno())


def test_control_characters(peers: Peers) -> None:
    """What others say can neither control the terminal nor forge a line of the log."""
    genesis, other = pair(peers)
    genesis.say("\x1b[2J\x07evil\x9b5m\x85 \u202eback")
    other.wait_messages("\x1b[2J\x07evil\x9b5m\x85 \u202eback")
    shown = other.wait_output("evil")
    assert set(shown) & set("\x1b\x07\x9b\x85\u202e") == set()


# --- the end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_leaves_on_a_signal(number: signal.Signals, peers: Peers) -> None:
    """On a signal what was just said still goes out, the other shows that the peer left, and the process dies by it."""
    genesis, other = pair(peers)
    other.say("goodbye")
    other.send_signal(number)  # and once more, as the impatient do
    code = other.stop(number)
    assert code == -(signal.SIGTERM if number == signal.SIGQUIT else number)
    genesis.wait("left", peer=other.peer)
    genesis.wait_messages("goodbye")
    assert genesis.find("failed") == []
    assert "raceback" not in other.output
    genesis.wait_output(f"{other.peer[:8]} left")


def test_hang_up_without_terminal(peers: Peers) -> None:
    """A service that is told to read its settings again (SIGHUP) has none, says so, and goes on."""
    genesis, other = pair(peers)
    other.send_signal(signal.SIGHUP)
    other.wait_output("SIGHUP: there is nothing to read again")
    other.say("still here")
    genesis.wait_messages("still here")


def test_leaves_while_trying_to_join(peers: Peers) -> None:
    """Who has not joined yet ends as promptly."""
    peer = peers.peer("--join", f"127.0.0.1:{free_port()}")
    peer.wait_output("Trying again")
    assert peer.stop(signal.SIGINT) == -signal.SIGINT
    assert "raceback" not in peer.output
    assert peer.events == []


# --- what goes wrong

WRONG = {
    "port": ("--port x", "'x' is no port"),
    "port-range": ("--port 65536", "'65536' is no port"),
    "join": ("--join nowhere", "HOST:PORT"),
    "join-port": ("--join nowhere:0", "HOST:PORT"),
    "join-ipv6": ("--join ::1:5050", "[::1]:5050"),
    "any-interface": ("--interface 0.0.0.0", "--advertise"),
    "any-interface-6": ("--interface ::", "--advertise"),
    "any-advertise": ("--advertise 0.0.0.0:5050", "--advertise"),
    "advertise": ("--advertise :80", "--advertise"),
    "network": ("--network grüße", "--network"),
    "network-empty": ("--network=", "--network"),
    "unknown": ("--bogus", "--bogus"),
    "stray": ("stray", "'stray'"),
    "no-value": ("--port", "port"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("program", PROGRAMS)
def test_wrong_options(program: str, wrong: str, peers: Peers) -> None:
    """What is wrong with an option is said in one line on standard error; the exit code is 1."""
    options, said = WRONG[wrong]
    process = peers.process(*twisted_command(*PROGRAMS[program]), "p2p", *options.split())
    assert process.wait_end() == 1
    assert said in process.stderr
    assert process.stderr.count("\n") == 1
    assert process.stdout == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_taken_port(program: str, peers: Peers) -> None:
    """A port that somebody has ends the program with a clear line and exit code 1."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        process = peers.process(*twisted_command(*PROGRAMS[program]), "p2p", "--port", port)
        assert process.wait_end() == 1
    assert f"Cannot listen on 127.0.0.1 port {port}" in process.stderr
    assert "raceback" not in process.output
    # To its own line about a daemon twistd adds where the log is.
    assert process.stderr.count("\n") == (2 if program == "twistd" else 1)
    assert not list(peers.folder.glob("*.pid"))


@pytest.mark.parametrize("program", ["twistd -n", "twist"])
def test_events_file_cannot_be_opened(program: str, peers: Peers) -> None:
    """An events file that can't be written is said in one line; the exit code is 1."""
    process = peers.process(*twisted_command(*PROGRAMS[program]), "p2p", "--events", "/nonexistent/events")
    assert process.wait_end() == 1
    assert process.stderr == "p2p: Can't write events to /nonexistent/events: No such file or directory.\n"


def test_events_into_a_pipe(peers: Peers) -> None:
    """A named pipe does for the events, and its reader may go away."""
    fifo = peers.folder / "fifo"
    os.mkfifo(fifo)
    process = peers.process(*twisted_command("twistd", "-n"), "p2p", "-g", "-p", "0", "--events", fifo)
    with fifo.open() as reader:
        ready = json.loads(reader.readline())
    assert ready["event"] == "ready"
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    other = peers.peer("--join", f"127.0.0.1:{ready['port']}")
    process.wait_output("Can't write to")
    process.say("still here")
    other.wait_messages("still here")


def test_genesis_later(peers: Peers) -> None:
    """A genesis that is not there yet is tried again and again, which is said; then the peer joins."""
    port = free_port()
    early = peers.peer("--join", f"127.0.0.1:{port}")
    said = f"Nobody answers at 127.0.0.1:{port}; is the genesis running? Trying again in "
    early.wait_for(lambda: early.stdout.count(said) >= 2, "two attempts")
    first, second = [float(after) for after in re.findall(re.escape(said) + r"([\d.]+) s", early.stdout)[:2]]
    assert 0.2 <= first <= 0.8 and 0.4 <= second <= 1.6
    assert early.find("ready") == []
    genesis = peers.peer("--genesis", "--port", str(port))
    genesis.wait("joined", peer=early.peer)
    early.wait_output("Joined the network")


def test_name_does_not_resolve(peers: Peers) -> None:
    """A name that does not resolve yet is tried again, too, and another address meanwhile."""
    genesis = peers.genesis()
    peer = peers.peer("--join", "nowhere.invalid:5050")
    peer.wait_output("nowhere.invalid:5050; is the genesis running? Trying again in")
    other = peers.peer("--join", "nowhere.invalid:5050", "--join", genesis.address)
    genesis.wait("joined", peer=other.peer)


def test_another_network(peers: Peers) -> None:
    """A genesis of another network refuses, and the reason is said."""
    genesis = peers.genesis("--network", "one")
    peer = peers.peer("--network", "two", join=genesis)
    peer.wait_output(f"The peer at {genesis.address} is not in the network two, but in another one")
    assert peer.find("ready") == [] and genesis.find("joined") == []


def test_not_a_peer(peers: Peers) -> None:
    """What listens at the genesis's address may be anything: it is said, and tried again."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        peer = peers.peer("--join", f"127.0.0.1:{server.getsockname()[1]}")
        connection = server.accept()[0]
        connection.sendall(b"220 mail.example.org ESMTP\r\n")
        peer.wait_output("does not speak as a peer does; is it the right port? Trying again")
        connection.close()


def test_help_and_version(tmp_path: Path) -> None:
    """--help shows every option with its default, --version our own version."""
    command, environment = [*twisted_command("twistd"), "p2p"], python_environment(tmp_path)
    shown = subprocess.run([*command, "--help"], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0
    for option in ("genesis", "port", "interface", "advertise", "join", "network", "events", "no-console"):
        assert f"--{option}" in shown.stdout
    for option in ("data-dir", "ephemeral", "synchronous", "history", "network-key-file", "allow", "deny"):
        assert f"--{option}" in shown.stdout
    shown = subprocess.run([*command, "--version"], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout.startswith("twisted_p2p version:")
