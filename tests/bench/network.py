"""Many twistd peers on this machine: how long a join takes, degrees, memory, and what they cost when nothing happens.

    python tests/bench/network.py [--peers 100] [--one-by-one] [--idle 20]

Join time counts from the moment when all processes are up, or for each peer where they come one by one. Memory is the
proportional set size, a peer. Linux only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.live.network import LiveNetwork
from tests.live.processes import Process, wait_until

BANNER = "It listens at"
"""What a peer prints as soon as it listens."""


def cpu_seconds(peer: Process) -> float:
    """What its process has used so far."""
    fields = Path(f"/proc/{peer.popen.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(peer: Process) -> float:
    """MiB of proportional set size."""
    for line in Path(f"/proc/{peer.popen.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no Pss in smaps_rollup")


def main() -> None:
    """Play it, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=100)
    parser.add_argument("--one-by-one", action="store_true")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds over which idle CPU is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        network = LiveNetwork(Path(folder))
        try:
            play(network, options.peers, options.one_by_one, options.idle)
        finally:
            network.destroy()


def play(network: LiveNetwork, peers: int, one_by_one: bool, idle: float) -> None:
    """Join, talk, rest."""
    genesis = network.start("--genesis", "--port", "0")
    if one_by_one:
        took = []
        for _ in range(peers - 1):
            peer = network.start("--join", genesis.address)
            peer.wait_output(BANNER)
            begin = time.monotonic()
            peer.wait("ready")
            took.append(time.monotonic() - begin)
        print(f"join, one after another: median {statistics.median(took):.2f} s, longest {max(took):.2f} s")
    else:
        started = network.start_many(peers - 1, genesis)
        wait_until(lambda: all(BANNER in peer.output for peer in started), "all processes up", 180)
        begin = time.monotonic()
        for peer in started:
            peer.wait("ready", timeout=180)
        print(f"join, all at once: {time.monotonic() - begin:.2f} s from all processes up to the last one's join")
    network.wait_settled(180)
    degrees = [len(peer.neighbours()) for peer in network.alive]
    spread = f"{min(degrees)} to {max(degrees)}, mean {statistics.mean(degrees):.1f}"
    print(f"directories complete; degrees {spread}, of the genesis {len(genesis.neighbours())}")
    begin = time.monotonic()
    network.talk("hello", 180)
    print(f"one message of each at all others, once: {time.monotonic() - begin:.2f} s, polling for it included")
    sizes = [memory(peer) for peer in network.alive]
    print(f"memory: median {statistics.median(sizes):.1f} MiB a process, largest {max(sizes):.1f}")
    before = sum(map(cpu_seconds, network.alive))
    time.sleep(idle)
    used = sum(map(cpu_seconds, network.alive)) - before
    print(f"idle: {used / idle * 100:.1f} % of a core for all {peers}, {used / idle / peers * 100:.2f} % a peer")


if __name__ == "__main__":
    main()
