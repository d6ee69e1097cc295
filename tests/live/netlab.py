"""Several hosts on one machine, with a network between them that can be slow, lossy or cut.

Each host is a network namespace with one address, 10.99.0.N. The wire is a switch in this process: it reads Ethernet
frames from one TAP device a host and passes them on after a delay, or not at all. That needs root, /dev/net/tun and
iproute2, and no netem, which many kernels lack. No frame leaves the namespaces.

    with Lab(hosts=4, delay=0.05, jitter=0.02, loss=0.05, seed=1) as lab:
        peers.peer("--genesis", host=lab.hosts[0])
        lab.cut(lab.hosts[:2], lab.hosts[2:])
        lab.heal()

It passes on some tens of thousands of frames a second: enough for faults, not for speed.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import heapq
import os
import random
import selectors
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.live.processes import Host

PREFIX = "p2plab"
NAMESPACES = Path("/run/netns")
TUN = Path("/dev/net/tun")
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x2, 0x1000
_FRAME_MAX = 65536
_READS = 64
"""Frames taken from one host before the others have their turn."""
_LONGEST_WAIT = 0.05
"""Seconds after which the switch looks whether it is to end."""


class NoLab(Exception):
    """Why a lab can't be made here."""


def available() -> str:
    """Why a lab can't be made here; "" where it can."""
    try:
        with Lab(hosts=1):
            return ""
    except NoLab as error:
        return str(error)


class Lab:
    """Hosts on one switched network; to be used in a `with`.

    Args:
        hosts: how many.
        delay: seconds that a frame takes, one way.
        jitter: seconds by which that varies at most, up and down, uniformly; frames from one host to another keep their
            order.
        loss: share of the frames that are lost, 0 to 1.
        seed: of the jitter and the loss.
    Raises:
        NoLab: on entering it: not permitted here, or something that it needs is missing.
    """

    def __init__(self, hosts: int, delay: float = 0.0, jitter: float = 0.0, loss: float = 0.0, seed: int = 0) -> None:
        self.delay, self.jitter, self.loss = delay, jitter, loss
        names = [f"{PREFIX}{os.getpid()}-{number}" for number in range(1, hosts + 1)]
        self.hosts = [_host(name, number) for number, name in enumerate(names, 1)]
        self._names = dict(zip(self.hosts, names, strict=True))
        self._taps: dict[Host, int] = {}
        self._random = random.Random(seed)
        self._cut: frozenset[tuple[Host, Host]] = frozenset()
        self._where: dict[bytes, Host] = {}
        self._queue: list[tuple[float, int, Host, bytes]] = []
        self._last_due: dict[tuple[Host, Host], float] = {}
        self._count = 0
        self._ended = threading.Event()
        self._switch = threading.Thread(target=self._run, name="p2p lab", daemon=True)

    def __enter__(self) -> Lab:
        """Make the hosts, and begin to pass frames on."""
        if os.geteuid() != 0:
            raise NoLab("network namespaces need root")
        if not TUN.exists():
            raise NoLab(f"there is no {TUN}")
        remove_leftovers()
        # A run that ends by an exception of its own still takes its namespaces along.
        atexit.register(self._remove)
        try:
            for host, name in self._names.items():
                _ip("netns", "add", name)
                self._taps[host] = _plug_in(name)
                _ip("-n", name, "link", "set", "lo", "up")
                _ip("-n", name, "address", "add", f"{host.address}/24", "dev", "eth0")
                _ip("-n", name, "link", "set", "eth0", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            self._remove()
            raise NoLab(f"network namespaces are not permitted here: {_words(error)}") from error
        self._switch.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what still runs on the hosts, and remove them."""
        self._ended.set()
        self._switch.join()
        self._remove()

    def cut(self, sources: Iterable[Host], targets: Iterable[Host]) -> None:
        """From now on no frame gets from one of the sources to one of the targets; the other way is left as it is."""
        targets = list(targets)
        self._cut |= {(source, target) for source in sources for target in targets}

    def partition(self, *sides: Sequence[Host]) -> None:
        """Cut every way between hosts of different sides."""
        for side in sides:
            self.cut(side, [host for other in sides if other is not side for host in other])

    def heal(self) -> None:
        """Undo every cut."""
        self._cut = frozenset()

    # --- the switch, in its thread

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for host, tap in self._taps.items():
                selector.register(tap, selectors.EVENT_READ, host)
            while not self._ended.is_set():
                due = self._queue[0][0] - time.monotonic() if self._queue else _LONGEST_WAIT
                for key, _ in selector.select(max(0.0, min(due, _LONGEST_WAIT))):
                    self._take(key.data, key.fd)
                self._pass_on()

    def _take(self, source: Host, tap: int) -> None:
        for _ in range(_READS):
            try:
                frame = os.read(tap, _FRAME_MAX)
            except BlockingIOError:
                return
            self._where[frame[6:12]] = source
            known = self._where.get(frame[:6])
            for target in [host for host in self.hosts if host is not source] if known is None else [known]:
                self._send(source, target, frame)

    def _send(self, source: Host, target: Host, frame: bytes) -> None:
        if (source, target) in self._cut or self._random.random() < self.loss:
            return
        due = time.monotonic() + self.delay + self._random.uniform(-self.jitter, self.jitter)
        due = self._last_due[source, target] = max(due, self._last_due.get((source, target), 0.0))
        self._count += 1
        heapq.heappush(self._queue, (due, self._count, target, frame))

    def _pass_on(self) -> None:
        now = time.monotonic()
        while self._queue and self._queue[0][0] <= now:
            _, _, target, frame = heapq.heappop(self._queue)
            # A host whose queue is full drops, as a wire does.
            with contextlib.suppress(BlockingIOError):
                os.write(self._taps[target], frame)

    def _remove(self) -> None:
        atexit.unregister(self._remove)
        while self._taps:
            os.close(self._taps.popitem()[1])
        for name in self._names.values():
            remove(name)


def _host(name: str, number: int) -> Host:
    address = f"10.99.0.{number}"
    # `ip netns exec` becomes the program: the process is the program's own.
    return Host(address, ("ip", "netns", "exec", name), ("--interface", address))


def _plug_in(namespace: str) -> int:
    """A non-blocking TAP descriptor whose device lies in the namespace as eth0."""
    tap = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # The kernel puts a number in place of %d.
        made = fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22s", b"p2plab%d", _IFF_TAP | _IFF_NO_PI, b""))
        _ip("link", "set", made[:16].rstrip(b"\0").decode(), "netns", namespace, "name", "eth0")
    except BaseException:
        os.close(tap)
        raise
    return tap


def remove_leftovers() -> None:
    """Remove the namespaces of runs that were killed."""
    for path in NAMESPACES.glob(f"{PREFIX}*-*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            remove(path.name)


def remove(namespace: str) -> None:
    """Kill what runs in a namespace, and remove it; nothing where there is none."""
    if (NAMESPACES / namespace).exists():
        for process in _ip("netns", "pids", namespace).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        _ip("netns", "delete", namespace)


def _ip(*arguments: str) -> str:
    """What iproute2 prints."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _words(error: OSError | subprocess.CalledProcessError) -> str:
    return str(error.stderr).strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
