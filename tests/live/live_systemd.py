"""docs/twisted-p2p.service: systemd accepts it, and a peer needs nothing that it takes away."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.live.processes import ROOT, Host, Peers, twisted_command
from twisted_p2p.options import Options

UNIT = ROOT / "docs" / "twisted-p2p.service"
INSTALLED = "/opt/twisted-p2p/bin/twistd"
EXPOSURE = 2.0
"""systemd's own measure, from 0 to 10; a service without any of these settings has 9.6."""


def setting(name: str) -> list[str]:
    """The values of a setting, in the order in which the unit has them."""
    text = UNIT.read_text().replace("\\\n", " ")
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """systemd-analyze, where it is installed."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here (apt-get install systemd)")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is there."""
    file = tmp_path / UNIT.name
    # systemd-analyze wants a command to be there; what it does is not run.
    file.write_text(UNIT.read_text().replace(INSTALLED, twisted_command("twistd")[0]))
    return file


def test_is_valid(unit: Path) -> None:
    """systemd-analyze verify has nothing to say."""
    done = analyze("verify", unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_is_hardened(unit: Path) -> None:
    """systemd-analyze security rates it as OK."""
    done = analyze("security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    print(found[0])
    assert float(found[1]) <= EXPOSURE


def test_options() -> None:
    """What it starts is a peer, with options that there are; it keeps its things where systemd lets it write."""
    [line] = setting("ExecStart")
    words = shlex.split(line)
    assert words[:3] == [INSTALLED, "-n", "p2p"]
    options = Options()
    options.parseOptions([word.replace("${STATE_DIRECTORY}", "/var/lib/twisted-p2p") for word in words[3:]])
    assert options["data-dir"] == "/var/lib/twisted-p2p/data"
    assert setting("StateDirectory") == ["twisted-p2p"]


def calls_of(name: str) -> set[str]:
    """The system calls of one of systemd's sets, those of the sets in it included."""
    found = set[str]()
    for line in analyze("syscall-filter", name).stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= calls_of(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


def allowed_calls() -> set[str]:
    """What SystemCallFilter leaves."""
    allowed = set[str]()
    for line in setting("SystemCallFilter"):
        for name in line.removeprefix("~").split():
            allowed = allowed - calls_of(name) if line.startswith("~") else allowed | calls_of(name)
    return allowed


def test_system_calls(peers: Peers) -> None:
    """A peer that joins, listens, talks, keeps a log and leaves makes no system call that the filter refuses."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here (apt-get install strace)")
    trace = peers.folder / "trace"
    traced = Host(command=("strace", "-f", "-qq", "-s", "0", "-o", str(trace)))
    genesis = peers.genesis()
    peer = peers.peer(
        "--no-console",
        "--port",
        "0",
        "--data-dir",
        str(peers.folder / "data"),
        join=genesis,
        host=traced,
        name="traced",
    )
    genesis.wait("joined", timeout=120)
    genesis.say("hello")
    peer.wait_messages("hello")
    # strace keeps signals to itself.
    strace = peer.popen.pid
    os.kill(int(Path(f"/proc/{strace}/task/{strace}/children").read_text().split()[0]), signal.SIGTERM)
    peer.wait_end()
    text = trace.read_text(errors="replace")
    made = set(re.findall(r"^\d+ +(\w+)\(", text, re.MULTILINE))
    assert made >= {"bind", "listen", "connect", "epoll_wait", "flock", "fsync"}, made
    # SQLite gives its files the owner of the database where root runs it, and only there.
    allowed = allowed_calls() | ({"fchown"} if os.geteuid() == 0 else set())
    assert made <= allowed, made - allowed
    [families] = setting("RestrictAddressFamilies")
    used = set(re.findall(r"\bsocket(?:pair)?\((AF_\w+)", text))
    assert used <= set(families.split()), used
