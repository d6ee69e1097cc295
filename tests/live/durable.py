"""Peers that are killed and started again on their data directories, and what their logs and events must then show."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.live.processes import Event, Peers, Process, TwistdPeer, wait_until
from tests.live.talk import Publishing
from twisted_p2p.core.actions import Bundle
from twisted_p2p.core.wire import read_bundle
from twisted_p2p.interfaces import Stream
from twisted_p2p.messages import Message, decode

Log = dict[tuple[str, int, int], bytes]
"""Lines by origin, epoch and seq."""


def free_port() -> int:
    """A port that nobody has right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Member:
    """A peer with a data directory, through all its lives: twistd, which is typed into, or a program of tests.

    Args:
        join: the port of whom it joins; 0: it is the genesis.
        rate: messages a second.
        is_program: it is tests/live/publisher.py, which notes what was accepted.
    """

    def __init__(
        self, peers: Peers, network: str, name: str, join: int = 0, rate: float = 0.0, is_program: bool = False
    ) -> None:
        self.name, self.port = name, free_port()
        self.data_dir = peers.folder / f"{name}.data"
        self.process: Process
        self._events_path = peers.folder / f"{name}.events"
        self._said_path = peers.folder / f"{name}.said"
        self._peers, self._network, self._join = peers, network, join
        self._rate, self._is_program = rate, is_program
        self._publishing: Publishing | None = None
        self._had = 0

    # --- its lives

    def start(self) -> None:
        """Start it, for the first time or again. In the first life it says nothing before `begin_talk`."""
        is_first = not self._events_path.exists()
        self._had = len(self.find("ready"))
        join = f"127.0.0.1:{self._join}" if self._join else ""
        if self._is_program:
            settings = [self.name, str(self.port), self._network, str(self._rate), join]
            command = [sys.executable, "-m", "tests.live.publisher", *settings]
            self.process = self._peers.process(*command, name=self.name)
            return
        options = ["--network", self._network, "--port", str(self.port), "--data-dir", str(self.data_dir)]
        options += ["--join", join] if join else ["--genesis"]
        self.process = self._peers.peer(*options, name=self.name)
        if not is_first:
            self.begin_talk()

    def begin_talk(self) -> None:
        """Talk, in its first life."""
        if self._is_program:
            self.process.send_signal(signal.SIGUSR2)
        elif self._rate:
            assert isinstance(self.process, TwistdPeer)
            self._publishing = Publishing(self.process, self._rate, 0)
            self._publishing.start()

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until this life has joined."""
        self.process.wait_for(lambda: len(self.find("ready")) > self._had, "ready", timeout)

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)

    def buried(self) -> Log:
        """What is in its log after it was killed."""
        self.process.wait_end()
        self.end_talk()
        with tempfile.TemporaryDirectory() as folder:
            # Whoever opens a log writes to it.
            copy = shutil.copytree(self.data_dir, Path(folder, "data")) if self.data_dir.exists() else Path(folder)
            return log_in(copy)

    def say_no_more(self) -> None:
        """End what it says, while it is up."""
        self.end_talk()
        if self._is_program:
            self.process.send_signal(signal.SIGUSR1)

    def end_talk(self) -> None:
        """Type no more."""
        if self._publishing is not None:
            self._publishing.end()
            self._publishing = None

    def stop(self) -> None:
        """Let it leave."""
        self.process.stop(signal.SIGINT)

    # --- what it shows

    @property
    def peer(self) -> str:
        """Its id, once it has been ready."""
        return str(self.find("ready")[0]["peer"])

    @property
    def log(self) -> Log:
        """What is in its log."""
        return log_in(self.data_dir)

    def find(self, kind: str) -> list[Event]:
        """Its events of this kind, of all its lives."""
        return [event for event in self.events() if event["event"] == kind]

    def events(self) -> list[Event]:
        """Its whole lines of events."""
        if not self._events_path.exists():
            return []
        lines = self._events_path.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def said(self, word: str) -> list[int]:
        """The numbers of which the program has noted this word."""
        if not self._said_path.exists():
            return []
        lines = (line.split() for line in self._said_path.read_text(encoding="ascii").splitlines())
        return [int(number) for noted, number in lines if noted == word]


def log_in(data_dir: Path) -> Log:
    """What the log in a data directory has, also while its peer runs."""
    path = data_dir / "messages.sqlite"
    if not path.exists():
        return {}
    wanted = "SELECT origin, epoch, seq, line FROM entries JOIN streams ON id = stream WHERE line IS NOT NULL"
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {(origin, epoch, seq): line for origin, epoch, seq, line in database.execute(wanted)}


def messages_in(log: Log) -> dict[Stream, list[Message]]:
    """The messages of each stream, in order."""
    found: dict[Stream, list[Message]] = {}
    for (origin, epoch, seq), line in sorted(log.items()):
        bundle = Bundle(origin, epoch, seq, read_bundle(line).messages, 0, False)
        found.setdefault((origin, epoch), []).extend(decode(bundle))
    return found


def wait_equal(members: Sequence[Member], timeout: float = 60.0) -> Log:
    """Wait until all logs are the same, and return it."""

    def equal() -> bool:
        first, *others = (member.log for member in members)
        return all(first == other for other in others)

    try:
        wait_until(equal, "equal logs", timeout)
    except AssertionError as error:
        logs = {member.name: member.log for member in members}
        every = set().union(*logs.values())
        lack = {name: sorted(every - log.keys())[:5] for name, log in logs.items()}
        raise AssertionError(f"{error}; lacking: {lack}") from None
    return members[0].log


def faults_of_events(members: Iterable[Member], log: Log) -> list[str]:
    """What is wrong with what the applications were told, where all logs are `log`: each is to have heard each message
    of the others once, in the order of its stream, and of no gap."""
    streams, found = messages_in(log), list[str]()
    for member in members:
        told: dict[Stream, list[str]] = {}
        for event in member.find("message"):
            told.setdefault((event["peer"], event["epoch"]), []).append(event["id"])
        for stream, messages in streams.items():
            wanted = [message.id for message in messages] if stream[0] != member.peer else []
            if told.get(stream, []) != wanted:
                heard = told.get(stream, [])
                found.append(f"{member.name} was told {len(heard)} ({len(set(heard))}) of {len(wanted)} of {stream}")
        found += [f"{member.name} was told of {event}" for kind in ("gap", "fork") for event in member.find(kind)]
        if told.keys() - streams.keys():
            found.append(f"{member.name} was told of streams that are in no log")
    return found


def begin(*members: Member) -> None:
    """Start them, one after the other; when all have joined, let them talk."""
    for member in members:
        member.start()
        member.wait_ready()
    for member in members:
        member.begin_talk()
