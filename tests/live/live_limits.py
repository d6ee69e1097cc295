"""What is at its limit: descriptors, the size of a message, what a network can take."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bench.meters import cpu_seconds, memory
from tests.live.conftest import Size
from tests.live.network import LiveNetwork, Proxy
from tests.live.processes import Peers, Process, TwistdPeer, wait_until
from tests.live.talk import Talk, numbers, spread
from twisted_p2p import LAN

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc and prlimit")

MIB = 2**20


# --- descriptors


class Crowd:
    """Strangers who connect to a peer, say nothing, and come again when they are hung up on: they take every descriptor
    that is free."""

    COUNT = 20
    PAUSE = 0.1

    def __init__(self, peer: TwistdPeer) -> None:
        self.hung_up = 0
        self._address = ("127.0.0.1", peer.port)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._come, daemon=True) for _ in range(self.COUNT)]
        for thread in self._threads:
            thread.start()

    def _come(self) -> None:
        while not self._ended.is_set():
            with socket.create_connection(self._address) as client:
                client.settimeout(self.PAUSE)
                while not self._ended.is_set():
                    try:
                        client.recv(1)
                        break
                    except TimeoutError:
                        continue
                    except ConnectionError:
                        break
            self.hung_up += 1
            self._ended.wait(self.PAUSE)

    def go(self) -> None:
        """All go away."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


def allow_descriptors(peer: TwistdPeer, count: int) -> int:
    """From now on it may have only so many open. Returns how many it could have before."""
    import resource

    before, hard = resource.prlimit(peer.popen.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(peer.popen.pid, resource.RLIMIT_NOFILE, (count, hard))
    return before


@needs_linux
def test_no_descriptor_left(network: LiveNetwork, size: Size) -> None:
    """Row 68: a peer may open no file any more, while strangers come and it would dial others: its links go on, it
    computes no more than it has to, and nobody is taken for dead. Once it may again, newcomers join through it."""
    genesis = network.start("--genesis", "--port", "0")
    network.start_many(size.peers - 1, genesis)
    network.wait_settled()
    poor = network.alive[-1]
    descriptors = len(os.listdir(f"/proc/{poor.popen.pid}/fd"))
    before = allow_descriptors(poor, 1 + max(map(int, os.listdir(f"/proc/{poor.popen.pid}/fd"))))
    crowd = Crowd(poor)
    try:
        with Talk(network, spread(network.alive)) as talk:
            talk.go_on()
            begin, used = time.monotonic(), cpu_seconds(poor.popen.pid)
            while time.monotonic() < begin + size.pause:
                talk.go_on()
            busy = (cpu_seconds(poor.popen.pid) - used) / (time.monotonic() - begin)
            crowd.go()
            allow_descriptors(poor, before)
            restored = time.monotonic()
            talk.joined(network.start("--join", poor.address))
    finally:
        crowd.go()
    talk.wait_quiet(f"no descriptor left for {restored - begin:.0f} s, {crowd.hung_up} hung up on", restored)
    assert crowd.hung_up > Crowd.COUNT * size.pause, "there were descriptors left"
    assert busy < 0.5
    few = "its descriptors are free again"
    wait_until(lambda: len(os.listdir(f"/proc/{poor.popen.pid}/fd")) < descriptors + LAN.active_max, few)
    # Whoever would probe it can't get in, and may take it for dead; it refutes that, by the links that it has.
    assert {event["peer"] for peer in network.alive for event in peer.find("failed")} <= {poor.peer}


# --- the size of a message


def test_oversized_line(peers: Peers) -> None:
    """Row 81: a line that makes too large a message is refused at once, with the limit in the text, and nothing of it
    is sent: what is typed next is the first that the other one hears."""
    genesis = peers.genesis()
    other = peers.peer(join=genesis)
    other.wait("ready")
    genesis.say("x" * LAN.message_max, "next")
    assert "Not broadcast: " in genesis.wait_output(f"the limit is {LAN.message_max}")
    other.wait_messages("next")
    assert [(event["message"], event["seq"]) for event in other.find("message")] == [("next", 1)]


# --- what a network can take


PUBLISHER = """
import json, sys, time
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted_p2p import Node

port, rate, size, seconds = map(int, sys.argv[1:])
node = Node(reactor, genesis=True, advertise=("127.0.0.1", port))
said, longest = 0, 0.0

async def publish():
    global said, longest
    begin = time.monotonic()
    while (now := time.monotonic() - begin) < seconds:
        if said * size > rate * now:
            await deferLater(reactor, 0.01)
            continue
        await node.broadcast(f"{said} ".ljust(size, "x"))
        longest = max(longest, time.monotonic() - begin - now)
        said += 1
    tell(said=said, longest=longest)

def tell(**fields):
    print(json.dumps(fields), flush=True)

node.startService()
deferToThread(sys.stdin.readline).addCallback(lambda _: Deferred.fromCoroutine(publish()))
tell(port=node.port)
reactor.run()
"""


@pytest.fixture
def narrow() -> Iterator[Proxy]:
    """A way that takes 1 MiB a second."""
    proxy = Proxy(0, rate=MIB)
    yield proxy
    proxy.close()


@needs_linux
def test_publisher_above_capacity(peers: Peers, narrow: Proxy) -> None:
    """Row 84: a program would publish ten times what its only way to the others takes. Its Deferreds fire late, its
    memory holds what it has published and no more, and all of that arrives, once and in order."""
    size, seconds, rate = 8192, 6, 10 * MIB
    publisher = peers.process(sys.executable, "-c", PUBLISHER, *map(str, (narrow.port, rate, size, seconds)))
    narrow.target = answer(publisher, 0)["port"]
    before = memory(publisher.popen.pid)
    reader = peers.peer("--join", f"127.0.0.1:{narrow.port}", "--no-console")
    reader.wait("ready")
    publisher.say("go")
    done = answer(publisher, 1)
    grown = memory(publisher.popen.pid) - before
    said = done["said"]
    reader.wait_for(lambda: len(reader.find("message")) >= said, f"all {said} messages")
    (origin,) = reader.directory()
    published = said * size / MIB
    print(
        f"\n{published:.1f} of {rate * seconds / MIB:g} MiB published, memory grew by {grown:.1f} MiB;"
        f" the longest wait of a broadcast: {done['longest']:.2f} s"
    )
    assert numbers(reader, origin) == list(range(said))
    assert reader.find("gap") == []
    assert published < 0.5 * rate * seconds / MIB
    assert done["longest"] > 0.05
    assert grown < 2 * published + 8


def answer(process: Process, number: int) -> dict[str, Any]:
    """Line `number` of what a program prints: one JSON object each."""

    def line() -> str:
        lines = process.stdout.split("\n")[:-1]
        return lines[number] if len(lines) > number else ""

    return dict(json.loads(process.wait_for(line, f"answer {number}")))
