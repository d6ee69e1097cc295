"""A network that talks while one of its peers is attacked, and what the attack cost either side."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from tests.bench.meters import cpu_seconds
from tests.live.network import LiveNetwork, RawPeer
from tests.live.processes import Process, TwistdPeer, wait_until
from tests.live.talk import Talk, numbers
from twisted_p2p.core import wire
from twisted_p2p.identity import Ed25519Signer

MIB = 2**20
PEERS = 4
TALK_RATE = 10.0
"""Lines a second that each honest peer says."""
SLICE = 65_536
"""Bytes that an attacker writes before it looks whether something is to be read."""
LOGGED = re.compile(r"^\d{4}-\d\d-\d\dT", re.MULTILINE)
"""How a line of the log begins, in contrast to one of the console."""


@attrs.frozen
class Vitals:
    """How a process is. `cpu`: seconds so far; `resident`, `peak`: bytes; `lines`: of its log so far."""

    cpu: float
    resident: int
    peak: int
    descriptors: int
    threads: int
    lines: int

    @classmethod
    def of(cls, peer: Process) -> Vitals:
        """How it is now; the peak is the highest since `forget_peak`."""
        folder = Path(f"/proc/{peer.popen.pid}")
        status = dict(re.findall(r"^(\w+):\s+(\d+)", (folder / "status").read_text(), re.MULTILINE))
        resident, peak = (int(status[name]) * 1024 for name in ("VmRSS", "VmHWM"))
        lines = len(LOGGED.findall(peer.stdout + peer.stderr))
        cpu, files = cpu_seconds(peer.popen.pid), len(os.listdir(folder / "fd"))
        return cls(cpu, resident, peak, files, int(status["Threads"]), lines)


def forget_peak(peer: Process) -> None:
    """The peak of its memory is measured from now on (proc(5), clear_refs)."""
    Path(f"/proc/{peer.popen.pid}/clear_refs").write_text("5")


class Attacker:
    """Whoever attacks a peer, from one thread: it makes connections, and notes what it sends.

    Args:
        port: of the victim.
        network: the name of its network.
        is_plain: nobody there speaks TLS.
        size: how many times as much as usual it does.
        seconds: after which it sends nothing more.
    """

    def __init__(self, port: int, network: str, is_plain: bool, size: int, seconds: float) -> None:
        self.port, self.network, self.is_plain, self.size = port, network, is_plain, size
        self.units = self.sent = self.hung_up = 0
        """What it did, in the attack's own unit; bytes before encryption; connections on which it was hung up on."""
        self._end = time.monotonic() + seconds
        self._signer = Ed25519Signer()
        self._open: list[RawPeer] = []

    @property
    def is_late(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() > self._end

    def connect(self, is_new: bool = True) -> RawPeer:
        """A connection, encrypted where the network is; with a new key, or always the same one."""
        signer = Ed25519Signer() if is_new else self._signer
        raw = RawPeer(self.port, network=self.network, is_plain=self.is_plain, signer=signer)
        self._open.append(raw)
        return raw

    def member(self) -> RawPeer:
        """A neighbour of the victim."""
        raw = self.connect()
        raw.go_live()
        return raw

    def pour(self, raw: RawPeer, data: bytes, reads: bool = True) -> bool:
        """Send all of this, and drop what comes meanwhile; whether it was taken before the time was over."""
        view = memoryview(data)
        raw.socket.settimeout(max(0.1, self._end - time.monotonic()))
        for at in range(0, len(data), SLICE):
            if self.is_late:
                return False
            try:
                raw.socket.sendall(view[at : at + SLICE])
                self.sent += len(view[at : at + SLICE])
                if reads:
                    drain(raw)
            except TimeoutError:
                return False
            except OSError:
                self.hung_up += 1
                return False
        return True

    def flood(self, raw: RawPeer, lines: list[bytes]) -> None:
        """Send these lines, each of them a unit, and wait until they have been worked through."""
        data, before = b"".join(line + b"\n" for line in lines), self.sent
        if self.pour(raw, data):
            self.wait_worked(raw)
        self.units += len(lines) * (self.sent - before) // len(data)

    def wait_worked(self, raw: RawPeer) -> None:
        """Wait until all that was sent has been worked through, or the link is ended."""
        n, received = 2**50, bytearray()
        with contextlib.suppress(OSError):
            raw.socket.settimeout(60)
            raw.send(wire.Ping(n))
            while b'"n":%d' % n not in received:
                data = raw.socket.recv(SLICE)
                if not data:
                    break
                received = received[-100:] + data
            else:
                return
        self.hung_up += 1

    def wait_end(self, raw: RawPeer) -> None:
        """Wait until it is hung up on."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            raw.socket.settimeout(60)
            while raw.socket.recv(SLICE):
                pass
        self.hung_up += 1

    def close(self) -> None:
        """End all its connections."""
        for raw in self._open:
            with contextlib.suppress(OSError):
                raw.reset()
        self._open.clear()


def drain(raw: RawPeer) -> None:
    """Drop what has come; OSError when the connection has ended."""
    timeout = raw.socket.gettimeout()
    raw.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
        while raw.socket.recv(SLICE):
            pass
        raise ConnectionResetError
    raw.socket.settimeout(timeout)


@attrs.frozen
class Cost:
    """What one round of an attack cost.

    Attributes:
        units: of what the attacker did.
        sent: bytes that it sent, before encryption.
        hung_up: connections on which it was hung up on.
        attacker, victim, others: seconds of CPU, of the others all together.
        seconds: how long it took.
        peak: bytes by which the victim's memory grew at most.
        resident: bytes of its memory after it.
        lines: that the victim logged.
        ages: seconds from each honest line to an honest peer that heard it meanwhile.
    """

    units: int
    sent: int
    hung_up: int
    attacker: float
    victim: float
    others: float
    seconds: float
    peak: int
    resident: int
    lines: int
    ages: list[float]

    @property
    def micros(self) -> float:
        """Of the victim's CPU, a unit."""
        return self.victim / max(1, self.units) * 1e6

    @property
    def p99(self) -> float:
        """Seconds within which 99 of 100 honest lines were heard."""
        return sorted(self.ages)[int(len(self.ages) * 0.99)]

    def __str__(self) -> str:
        units = max(1, self.units)
        return (
            f"{self.units} units, {self.sent:,} bytes, {self.seconds:.1f} s;"
            f" CPU a unit: victim {self.micros:.1f} µs, attacker {self.attacker / units * 1e6:.1f} µs,"
            f" others {self.others / units * 1e6:.1f} µs;"
            f" in all: victim {self.victim:.2f} s, attacker {self.attacker:.2f} s;"
            f" peak +{self.peak / MIB:.1f} MiB, then {self.resident / MIB:.1f};"
            f" hung up on {self.hung_up}; {self.lines} lines logged;"
            f" p99 of {len(self.ages)} honest lines {self.p99 * 1000:.0f} ms"
        )


class Siege:
    """Honest peers that all talk; the first one, the victim, is a genesis, at whose port everybody comes first.

    Args:
        network: not started yet.
        is_plain: without TLS.
    """

    def __init__(self, network: LiveNetwork, is_plain: bool = False) -> None:
        self.network, self.is_plain = network, is_plain
        self.is_broken = False
        options = ["--plaintext"] * is_plain
        self.victim = network.start("--genesis", "--port", "0", *options)
        for _ in range(PEERS - 1):
            network.start("--join", self.victim.address, *options)
        network.wait_settled()
        self.talk = Talk(network, network.alive, TALK_RATE)
        self.talk.__enter__()
        self.talk.go_on(1)
        self.calm = Vitals.of(self.victim)

    @property
    def now(self) -> Vitals:
        """How the victim is."""
        return Vitals.of(self.victim)

    def end(self) -> None:
        """Nobody talks any more."""
        self.talk.end()
        self.network.destroy()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Whatever fails in here leaves a network that is of no more use."""
        self.is_broken = True
        yield
        self.is_broken = False

    def round(self, attack: Callable[[Attacker], None], size: int, seconds: float) -> Cost:
        """Attack once; what honest peers say is heard meanwhile, and all is as before when it is over."""
        attacker = Attacker(self.victim.port, self.network.name, self.is_plain, size, seconds)
        others = self.network.alive[1:]
        heard = [len(peer.events) for peer in self.network.alive]
        before, others_before = Vitals.of(self.victim), sum(cpu_seconds(other.popen.pid) for other in others)
        forget_peak(self.victim)
        begun, used, failures = time.monotonic(), [0.0], list[BaseException]()

        def run() -> None:
            try:
                attack(attacker)
            except BaseException as error:  # noqa: BLE001  # it is raised in the thread that waits
                failures.append(error)
            used[0] = time.thread_time()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        took = time.monotonic() - begun
        attacker.close()
        if failures:
            raise failures[0]
        self.talk.go_on(0.5)
        self.wait_calm()
        after = Vitals.of(self.victim)
        return Cost(
            attacker.units,
            attacker.sent,
            attacker.hung_up,
            used[0],
            after.cpu - before.cpu,
            sum(cpu_seconds(other.popen.pid) for other in others) - others_before,
            took,
            after.peak - before.resident,
            after.resident,
            after.lines - before.lines,
            [age for peer, since in zip(self.network.alive, heard, strict=True) for age in self._ages(peer, since)],
        )

    def wait_calm(self) -> None:
        """Wait until the victim has no more descriptors and threads than before the first attack."""

        def calm() -> bool:
            now = Vitals.of(self.victim)
            # A probe between honest peers may be under way.
            spare = PEERS - 1
            return now.descriptors <= self.calm.descriptors + spare and now.threads <= self.calm.threads

        wait_until(calm, f"as few descriptors and threads as before: {self.calm}")

    def _ages(self, peer: TwistdPeer, since: int) -> list[float]:
        """How old each honest line was when this peer heard it."""
        found = peer.find("message", since)
        return [event["at"] - event["time"] for event in found if event["peer"] in self.talk.senders]

    def violations(self) -> list[str]:
        """What honest peers did not hear from each other once and in order, or tell of each other."""
        found = []
        for peer in self.network.alive:
            for origin in self.talk.senders.keys() - {peer.peer}:
                said = numbers(peer, origin)
                if said != list(range(len(said))):
                    found.append(f"{peer.name} heard {said} of {origin}")
            found += [f"{peer.name} was told of {event}" for event in peer.find("gap")]
            found += [f"{peer.name} took {origin} for failed" for origin in self._failed(peer)]
            if "raceback" in peer.output:
                found.append(peer.output[-5000:])
        return found

    def _failed(self, peer: TwistdPeer) -> list[str]:
        return [event["peer"] for event in peer.find("failed") if event["peer"] in self.talk.senders]
