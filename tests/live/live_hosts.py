"""Peers on several hosts, with a network between them that is slow, loses frames, and is cut; with --full on twenty.

    python -m pytest -s tests/live/live_hosts.py --full

The hosts are network namespaces. Where these are not permitted the tests are skipped. Each test prints how long it took
until the network was quiet again, as those of live_faults.py do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest

from tests.live.conftest import Size
from tests.live.netlab import Lab, available
from tests.live.network import LiveNetwork
from tests.live.processes import Host, TwistdPeer, wait_until
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
