"""Peers as a user has them: twistd in processes, followed through their events and what they print."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

TIMEOUT = 60.0  # seconds for anything to happen: what hangs must fail
POLL = 0.02  # seconds between looks at a file
ROOT = Path(__file__).resolve().parents[2]

Event = dict[str, Any]
T = TypeVar("T")


@attrs.frozen
class Host:
    """Where a peer runs.

    Attributes:
        address: at which others reach it.
        command: what starts a program there, before the program itself.
        options: what tells p2p of the address.
    """

    address: str = "127.0.0.1"
    command: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


HERE = Host()


def wait_until(happened: Callable[[], T | None], what: str, timeout: float = TIMEOUT) -> T:
    """What `happened` returns, once that is true; an AssertionError that says `what` if it never is."""
    end = time.monotonic() + timeout
    while True:
        result = happened()
        if result:
            return result
        assert time.monotonic() < end, f"not within {timeout:g} s: {what}"
        time.sleep(POLL)


def python_environment(folder: Path) -> dict[str, str]:
    """Ours, with this tree on the path of every Python, and with a folder in which peers keep what they keep."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "XDG_STATE_HOME": str(folder / "state")}


class Process:
    """A program that runs: its output goes to files, so that it never waits for us.

    Args:
        command: with its arguments.
        folder: an existing one in which it runs; others may run there, too.
        name: of its files.
        stdin: as for Popen; by default a pipe, which stays open: `say` writes to it.
    """

    def __init__(self, command: Sequence[str | Path], folder: Path, name: str, stdin: Any = subprocess.PIPE) -> None:
        self.name = name
        self.stdout_path = folder / f"{name}.stdout"
        self.stderr_path = folder / f"{name}.stderr"
        with self.stdout_path.open("wb") as out, self.stderr_path.open("wb") as err:
            self.popen = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                env=python_environment(folder),
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(encoding="utf-8", errors="replace")

    @property
    def output(self) -> str:
        return f"--- {self.name}: stdout\n{self.stdout}\n--- {self.name}: stderr\n{self.stderr}"

    def wait_output(self, text: str, timeout: float = TIMEOUT) -> str:
        """Wait until `text` was printed, to either output. Returns all that was printed."""
        return self.wait_for(lambda: self.output if text in self.stdout + self.stderr else None, repr(text), timeout)

    def wait_for(self, happened: Callable[[], T | None], what: str, timeout: float = TIMEOUT) -> T:
        """As `wait_until`, but fails at once when the program has ended without it, and shows its output."""
        ended = False

        def check() -> T | None:
            nonlocal ended
            last_look, ended = ended, self.popen.poll() is not None
            result = happened()
            assert result or not last_look, f"{self.name} ended with {self.popen.returncode} before {what}"
            return result

        try:
            return wait_until(check, what, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output[-5000:]}") from None

    def say(self, *lines: str) -> None:
        """Type lines into it."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.popen.stdin.flush()

    def end_input(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.close()

    def send_signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait_end(self, timeout: float = TIMEOUT) -> int:
        """Wait until it has ended. Returns its exit code, negative for a signal."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {timeout:g} s\n{self.output[-5000:]}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Let it leave properly. Returns its exit code, negative for a signal."""
        self.send_signal(number)
        return self.wait_end()

    def destroy(self) -> None:
        """End it whatever it does; nothing where it has ended."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        if self.popen.stdin is not None:
            # Lines may be left that nobody reads any more.
            with contextlib.suppress(BrokenPipeError):
                self.popen.stdin.close()


class TwistdPeer(Process):
    """`twistd -n p2p` with --events, which are read as they come."""

    def __init__(
        self,
        options: Sequence[str],
        folder: Path,
        name: str,
        stdin: Any = subprocess.PIPE,
        program: Sequence[str] = ("twistd", "-n"),
        host: Host = HERE,
    ) -> None:
        self.host = host
        self.events_path = folder / f"{name}.events"
        self._read = 0
        self._events: list[Event] = []
        self._ready: Event | None = None
        self._directory: set[str] = set()
        self._neighbours: set[str] = set()
        self._heard: dict[str, list[Any]] = {}
        command = [*host.command, *twisted_command(*program), "p2p", *options, *host.options]
        super().__init__([*command, "--events", self.events_path], folder, name, stdin)

    @property
    def events(self) -> list[Event]:
        """All events so far."""
        if self.events_path.exists():
            with self.events_path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
            whole = data.rpartition(b"\n")[0]
            if whole:
                self._read += len(whole) + 1
                for line in whole.split(b"\n"):
                    self._take(json.loads(line))
        return self._events

    def _take(self, event: Event) -> None:
        self._events.append(event)
        kind, peer = event["event"], event.get("peer", "")
        if kind == "message":
            self._heard.setdefault(peer, []).append(event["message"])
        elif kind == "ready":
            self._ready = event
        elif kind == "joined":
            self._directory.add(peer)
        elif kind in ("left", "failed"):
            self._directory.discard(peer)
        elif kind == "link-up":
            self._neighbours.add(peer)
        elif kind == "link-down":
            self._neighbours.discard(peer)

    def find(self, event: str, after: int = 0, **fields: Any) -> list[Event]:
        """The events of a kind, with these values, beginning with number `after` of all."""
        wanted = {"event": event, **fields}.items()
        return [each for each in self.events[after:] if wanted <= each.items()]

    def wait(self, event: str, timeout: float = TIMEOUT, after: int = 0, **fields: Any) -> Event:
        """The first event of a kind, with these values, beginning with number `after` of all; waits for it."""
        what = f"{event} {fields or ''}"
        return self.wait_for(lambda: self.find(event, after, **fields), what, timeout)[0]

    def wait_messages(self, *messages: Any, timeout: float = TIMEOUT) -> None:
        """Wait until all of these have arrived, in any order."""

        def all_there() -> bool:
            there = [each["message"] for each in self.find("message")]
            return all(message in there for message in messages)

        self.wait_for(all_there, f"messages {messages}", timeout)

    @property
    def peer(self) -> str:
        """Its id, once it is ready."""
        return str((self._ready or self.wait("ready"))["peer"])

    @property
    def port(self) -> int:
        """The port on which it listens, once it is ready."""
        return int((self._ready or self.wait("ready"))["port"])

    @property
    def address(self) -> str:
        return f"{self.host.address}:{self.port}"

    def directory(self) -> set[str]:
        """The ids of the others whom it knows, from its events."""
        return self._directory if self.events else set()

    def neighbours(self) -> set[str]:
        """The ids of its neighbours, from its events."""
        return self._neighbours if self.events else set()

    def heard_from(self, origin: str) -> list[Any]:
        """What it was told of this peer's messages so far, in the order in which it was."""
        return self._heard.get(origin, []) if self.events else []


def twisted_command(name: str, *arguments: str) -> list[str]:
    """twistd or twist, of the Python that runs the tests."""
    script = Path(sys.executable).with_name(name)
    if script.exists():
        return [str(script), *arguments]
    module = {"twistd": "twisted.scripts.twistd", "twist": "twisted.application.twist._twist"}[name]
    run = "Twist.main(sys.argv)" if name == "twist" else "run()"
    what = "Twist" if name == "twist" else "run"
    return [sys.executable, "-c", f"import sys; from {module} import {what}; {run}", *arguments]


class Peers:
    """Starts peers in one folder, and ends whatever is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all: list[Process] = []

    def peer(
        self,
        *options: str,
        join: TwistdPeer | None = None,
        name: str = "",
        stdin: Any = subprocess.PIPE,
        program: Sequence[str] = ("twistd", "-n"),
        host: Host = HERE,
    ) -> TwistdPeer:
        """Start a twistd with these options of p2p; `join` is whom it joins."""
        given = [*options, *(["--join", join.address] if join is not None else [])]
        name = name or f"peer{len(self._all)}"
        peer = TwistdPeer(given, self.folder, name, stdin, program, host)
        self._all.append(peer)
        return peer

    def genesis(self, *options: str, **settings: Any) -> TwistdPeer:
        """Start a genesis on any free port."""
        return self.peer("--genesis", "--port", "0", *options, **settings)

    def process(self, *command: str | Path, name: str = "", stdin: Any = subprocess.PIPE) -> Process:
        """Start any other program."""
        process = Process(command, self.folder, name or f"process{len(self._all)}", stdin)
        self._all.append(process)
        return process

    def destroy(self) -> None:
        for process in self._all:
            process.destroy()
