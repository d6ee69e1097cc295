"""Peers on several hosts, with a network between them that is slow, loses frames, and is cut; with --full on twenty.

    python -m pytest -s tests/live/live_hosts.py --full

The hosts are network namespaces. Where these are not permitted the tests are skipped. Each test prints how long it took
until the network was quiet again, as those of live_faults.py do.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.live.conftest import Size
from tests.live.netlab import Lab, available
from tests.live.network import LiveNetwork
from tests.live.processes import Host, Peers, TwistdPeer, wait_until
from tests.live.talk import QUIET, Talk, spread

DELAY, JITTER, LOSS = 0.05, 0.02, 0.05


@pytest.fixture
def lab(size: Size, network: LiveNetwork) -> Iterator[Lab]:
    """Hosts for the peers of `network`, with an undisturbed network between them."""
    why_not = available()
    if why_not:
        pytest.skip(why_not)
    with Lab(size.hosts, seed=size.hosts) as lab:
        yield lab
        # Those who leave properly would wait for one another.
        network.destroy()


DATAGRAMS = """
import json, socket, sys, threading, time

own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind((sys.argv[1], 9))

def listen():
    while True:
        sent = json.loads(own.recv(1000))
        print(json.dumps([sent["from"], time.time() - sent["at"]]), flush=True)

threading.Thread(target=listen, daemon=True).start()
for line in sys.stdin:
    address, count = line.split()
    for _ in range(int(count)):
        own.sendto(json.dumps({"from": sys.argv[1], "at": time.time()}).encode(), (address, 9))
        time.sleep(0.002)
    print("sent", flush=True)
"""


class Datagrams:
    """A program on a host that sends datagrams, and tells what comes."""

    def __init__(self, peers: Peers, host: Host) -> None:
        self.address = host.address
        self._process = peers.process(*host.command, sys.executable, "-c", DATAGRAMS, host.address)
        self._sent = 0

    def send(self, other: Datagrams, count: int) -> None:
        """Send so many, 500 a second; returns when they are sent."""
        self._process.say(f"{other.address} {count}")
        self._sent += 1
        self._process.wait_for(lambda: self._process.stdout.count("sent\n") >= self._sent, "all sent")

    def ages(self) -> list[float]:
        """Of all that have come so far, how many seconds they took."""
        lines = self._process.stdout.split("\n")[:-1]
        return [json.loads(line)[1] for line in lines if line != "sent"]

    def meet(self, other: Datagrams) -> int:
        """Send until something comes. Returns how many have come to that one so far, once no more are on the way."""
        before = len(other.ages())

        def comes() -> bool:
            self.send(other, 1)
            return len(other.ages()) > before

        wait_until(comes, f"a way from {self.address} to {other.address}")
        return other.drained()

    def drained(self) -> int:
        """How many have come so far, once nothing comes any more."""
        counts = [-1]

        def quiet() -> bool:
            time.sleep(5 * DELAY)
            counts.append(len(self.ages()))
            return counts[-1] == counts[-2]

        wait_until(quiet, "no more datagrams")
        return counts[-1]


def test_lab(lab: Lab, peers: Peers) -> None:
    """The network between the hosts delays, loses and cuts as it is told: what the other tests rest on."""
    one, other = (Datagrams(peers, host) for host in lab.hosts[:2])
    lab.delay, lab.jitter = DELAY, JITTER
    other.meet(one)
    before = one.meet(other)
    one.send(other, 400)
    assert other.drained() == before + 400
    ages = other.ages()[before:]
    assert min(ages) > DELAY - JITTER
    assert 0.9 * DELAY < statistics.mean(ages) < 4 * DELAY

    lab.loss = LOSS
    one.send(other, 1000)
    assert 0.5 * LOSS < 1 - (other.drained() - before - 400) / 1000 < 2 * LOSS

    lab.loss = 0.0
    lab.cut(lab.hosts[:1], lab.hosts[1:])
    before, back = other.drained(), one.drained()
    one.send(other, 10)
    other.send(one, 10)
    assert (other.drained(), one.drained()) == (before, back + 10)
    lab.partition(lab.hosts[:1], lab.hosts[1:])
    other.send(one, 10)
    assert one.drained() == back + 10
    lab.heal()
    assert one.meet(other) > before and other.meet(one) > back + 10


def start(network: LiveNetwork, hosts: Sequence[Host]) -> list[TwistdPeer]:
    """A peer on each of the hosts; the first is the genesis."""
    genesis = network.start("--genesis", "--port", "0", host=hosts[0])
    for host in hosts[1:]:
        network.start("--join", genesis.address, host=host)
    network.wait_settled(3 * QUIET)
    return [*network.alive]


def halves(peers: Sequence[TwistdPeer]) -> tuple[Sequence[TwistdPeer], Sequence[TwistdPeer]]:
    """Those with the genesis, and the others."""
    return peers[: len(peers) // 2], peers[len(peers) // 2 :]


def on(peers: Sequence[TwistdPeer]) -> list[Host]:
    """The hosts on which they are."""
    return [peer.host for peer in peers]


def test_loss_and_delay(lab: Lab, network: LiveNetwork, size: Size) -> None:
    """Every frame takes 50 ± 20 ms, and 5 % are lost: peers join, talk for a while, and nobody is taken for dead."""
    lab.delay, lab.jitter, lab.loss = DELAY, JITTER, LOSS
    peers = start(network, lab.hosts)
    with Talk(network, spread(peers)) as talk:
        begin = time.monotonic()
        while time.monotonic() < begin + size.pause:
            talk.go_on()
        ended = time.monotonic()
    talk.wait_quiet(f"{LOSS:.0%} loss, {DELAY * 1000:g} ± {JITTER * 1000:g} ms, for {ended - begin:.0f} s", ended)
    assert not [event for peer in peers for event in peer.find("failed")]


def test_partition(lab: Lab, network: LiveNetwork, size: Size) -> None:
    """The network is cut in two halves, and both go on talking; once it is healed, all get what the others said."""
    peers = start(network, lab.hosts)
    with Talk(network, spread(peers)) as talk:
        talk.go_on()
        one, other = halves(peers)
        lab.partition(on(one), on(other))
        begin = time.monotonic()
        while time.monotonic() < begin + size.pause:
            talk.go_on(among=one)
            talk.go_on(among=other)
        wait_until(lambda: linked(one, other) == 0, "no link between the halves", QUIET)
        lab.heal()
        healed = time.monotonic()
        talk.go_on()
    talk.wait_quiet(f"halves cut for {healed - begin:.0f} s", healed)


def test_one_way(lab: Lab, network: LiveNetwork, size: Size) -> None:
    """Nothing gets from one half of the network to the other any more, while the way back is open: both halves go on;
    when it is healed, all get everything."""
    peers = start(network, lab.hosts)
    with Talk(network, spread(peers)) as talk:
        talk.go_on()
        deaf, heard = halves(peers)
        lab.cut(on(heard), on(deaf))
        begin = time.monotonic()
        while time.monotonic() < begin + size.pause:
            talk.go_on(among=deaf)
            talk.go_on(among=heard)
        wait_until(lambda: linked(deaf, heard) == 0, "no link between the halves", QUIET)
        lab.heal()
        healed = time.monotonic()
        talk.go_on()
    talk.wait_quiet(f"one way cut for {healed - begin:.0f} s", healed)


def linked(one: Sequence[TwistdPeer], other: Sequence[TwistdPeer]) -> int:
    """How many of these have neighbours among those."""
    ids = {peer.peer for peer in other}
    return sum(bool(peer.neighbours() & ids) for peer in one)
