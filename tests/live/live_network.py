"""A network of twenty twistd processes lives through what happens to networks."""

from __future__ import annotations

import signal

from tests.live.network import LiveNetwork

PEERS = 20


def test_life_of_a_network(network: LiveNetwork) -> None:
    """Twenty join at once; one is killed and has failed, one is stopped and has left; the genesis dies, and the others
    go on and take in a newcomer; the genesis returns with nothing, and all is one network again."""
    genesis = network.start("--genesis", "--port", "0")
    network.start_many(PEERS - 1, genesis)
    network.wait_settled()
    network.talk("hello")

    killed, stopped = network.alive[-1], network.alive[-2]
    network.gone(killed)
    killed.send_signal(signal.SIGKILL)
    network.wait_everyone_saw("failed", killed.peer, timeout=30)
    network.gone(stopped)
    assert stopped.stop(signal.SIGINT) == -signal.SIGINT
    network.wait_everyone_saw("left", stopped.peer)
    assert not any(peer.find("failed", peer=stopped.peer) for peer in network.alive)

    network.gone(genesis)
    genesis.send_signal(signal.SIGKILL)
    network.talk("we go on")
    network.wait_everyone_saw("failed", genesis.peer, timeout=30)
    newcomer = network.start("--join", network.alive[3].address)
    network.wait_settled()

    again = network.start("--genesis", "--port", str(genesis.port))
    network.wait_settled()
    network.talk("one network")
    for late in (newcomer, again):
        assert not [each for each in late.find("message") if each["message"].startswith("hello")]
    for peer in network.started:
        assert "Traceback" not in peer.output


def test_a_sample_each(network: LiveNetwork) -> None:
    """With --max-known nobody knows everybody, and a broadcast reaches them all; who knows everybody is refused."""
    genesis = network.start("--genesis", "--port", "0", "--max-known", "16")
    for _ in range(PEERS - 1):
        network.start("--join", genesis.address, "--max-known", "16")
    for peer in network.alive:
        peer.wait("ready")
    network.talk("hello")
    known = [len(peer.find("joined")) - len(peer.find("forgotten")) for peer in network.alive]
    assert max(known) <= 16
    other = network.start("--join", genesis.address)
    other.wait_output("use --max-known for both, or none")
    network.gone(other)
