"""Processes that die, stand still, come late or leave, while others talk; with --full fifty of them.

    python -m pytest -s tests/live/live_faults.py --full

Each test prints how long it took until the network was quiet again: everybody has heard everything once and in order,
every directory holds the living and nobody else, neighbours have each other and are neither too few nor too many.
"""

from __future__ import annotations

import signal
import time

from tests.live.conftest import Size
from tests.live.network import Listener, LiveNetwork
from tests.live.processes import TwistdPeer
from tests.live.talk import QUIET, Talk, next_number, spread
from twisted_p2p import LAN

MID_STREAM = 50.0
"""Lines a second of each sender, so that some are on the way wherever peers are killed."""
DECLARED_FAILED = 30.0
"""Seconds within which a peer that gives no sign of life is taken off all directories."""


def started(network: LiveNetwork, size: Size) -> list[TwistdPeer]:
    """All peers of a network that has come to rest; the first is its genesis."""
    genesis = network.start("--genesis", "--port", "0")
    network.start_many(size.peers - 1, genesis)
    network.wait_settled(3 * QUIET)
    return [*network.alive]


def test_a_third_is_killed(network: LiveNetwork, size: Size) -> None:
    """30 % are killed at once, some of them while they talk: the others go on, and have the same of what these said."""
    peers = started(network, size)
    with Talk(network, spread(peers), MID_STREAM) as talk:
        talk.go_on()
        network.kill(*peers[-(3 * size.peers // 10) :])
        killed = time.monotonic()
        talk.go_on()
    talk.wait_quiet("30 % killed", killed)


def test_one_is_stopped(network: LiveNetwork, size: Size) -> None:
    """A peer that talks is stopped and continued: nobody else notices, it catches up, and what it was told to say in
    the meantime is said."""
    peers = started(network, size)
    stopped, others = peers[-1], peers[:-1]
    with Talk(network, spread(peers)) as talk:
        talk.go_on()
        stopped.send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        while time.monotonic() < begin + size.pause:
            talk.go_on(among=others)
        if size.pause > DECLARED_FAILED:
            assert all(other.find("failed", peer=stopped.peer) for other in others)
        stopped.send_signal(signal.SIGCONT)
        continued = time.monotonic()
        talk.go_on()
    talk.wait_quiet(f"stopped for {continued - begin:.0f} s", continued)
    assert not any(peer.find("failed", peer=other.peer) for peer in peers for other in others)


def test_genesis_is_killed(network: LiveNetwork, size: Size) -> None:
    """The genesis dies: newcomers join through any other peer, or wait until it is there again, and then join by it;
    all is one network."""
    genesis, *others = started(network, size)
    with Talk(network, spread(others), MID_STREAM) as talk:
        talk.go_on()
        network.kill(genesis)
        killed = time.monotonic()
        through = [network.start("--join", other.address) for other in others[:2]]
        waiting = [network.start("--join", genesis.address) for _ in range(2)]
        for newcomer in through:
            talk.joined(newcomer)
        for newcomer in waiting:
            newcomer.wait_output("Trying again")
            assert not newcomer.find("ready")
            network.gone(newcomer)
        talk.go_on()
        network.wait_settled()
        print(f"\ngenesis killed, newcomers joined through others: settled {time.monotonic() - killed:.1f} s later")
        returned = time.monotonic()
        again = network.start("--genesis", "--port", str(genesis.port))
        network.alive += waiting
        for newcomer in waiting:
            talk.joined(newcomer)
        talk.met(again)
        talk.go_on()
    talk.wait_quiet("genesis back, newcomers joined through it", returned)


def test_one_leaves(network: LiveNetwork, size: Size) -> None:
    """Row 56: a peer that talks is told to end. It says what it was told to say, and has left; it has not failed, and
    nobody sends it anything afterwards but now and then a greeting, in case it is back."""
    peers = started(network, size)
    leaver, others = peers[-1], peers[:-1]
    with Talk(network, spread(peers)) as talk:
        talk.go_on()
        talk.senders[leaver.peer].end()
        network.gone(leaver)
        assert leaver.stop(signal.SIGINT) == -signal.SIGINT
        left = time.monotonic()
        network.wait_everyone_saw("left", leaver.peer)
        told = time.monotonic() - left
        with Listener(leaver.port) as listener:
            while time.monotonic() < left + size.pause:
                talk.go_on()
        ended = time.monotonic()
    talk.wait_quiet(f"one left, known to all {told:.1f} s later; then {ended - left:.0f} s of talk", ended)
    said = talk.senders[leaver.peer].said
    assert {next_number(peer, leaver.peer) for peer in others} == {said}
    assert not any(peer.find("failed") for peer in others)
    # Each comes no further than the beginning of the handshake of TLS, which nobody answers.
    assert all(received[:2] in (b"", b"\x16\x03") and len(received) < 4_000 for received in listener.received)
    assert len(listener.received) < 2 * len(others) * (1 + size.pause / LAN.departed_probe_interval)


def test_all_but_two_are_killed(network: LiveNetwork, size: Size) -> None:
    """All but two die at once, who need not be neighbours: these find each other, and go on."""
    peers = started(network, size)
    senders = spread(peers)
    left = [senders[1], max(peers, key=lambda peer: peer not in senders and peer.peer not in senders[1].neighbours())]
    with Talk(network, senders, MID_STREAM) as talk:
        talk.go_on()
        network.kill(*[peer for peer in peers if peer not in left])
        killed = time.monotonic()
        talk.go_on()
    talk.wait_quiet("all but two killed", killed)
