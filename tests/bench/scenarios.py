"""What is played, the same for each system; each returns what was measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs

from tests.bench.network import Network, wait

PUBLISHER = 1
"""Who publishes alone: not the genesis, which everybody joined through, and not the root of the bare relay's tree."""
WARM, WARM_SECONDS = 50, 2.5
"""So many messages, for so long, before anything is measured, by those who publish: the tree is found meanwhile."""
UNLOADED = 320.0
"""Deliveries a second that leave the machine idle for most of the time."""


@attrs.frozen
class Load:
    """How much is done.

    Attributes:
        messages: in a run at full speed, of all publishers together.
        size: bytes of a text.
        burst: messages that are broadcast in one turn.
        idle: seconds over which idle cost is measured.
    """

    messages: int = 60_000
    size: int = 100
    burst: int = 100
    idle: float = 10.0


def warm(network: Network, publishers: list[int]) -> None:
    """Let them publish a little, so that the tree is found."""
    count = max(2, WARM // len(publishers))
    network.publish(dict.fromkeys(publishers, count), 100, 1, count / WARM_SECONDS)


def one(network: Network, load: Load) -> dict[str, Any]:
    """One publisher at full speed."""
    warm(network, [PUBLISHER])
    return network.publish({PUBLISHER: load.messages}, load.size, load.burst)


def everyone(network: Network, load: Load) -> dict[str, Any]:
    """All publish at full speed."""
    peers = [*range(len(network.workers))]
    warm(network, peers)
    return network.publish(dict.fromkeys(peers, load.messages // len(peers)), load.size, load.burst)


def latency(network: Network, load: Load) -> dict[str, Any]:
    """One message at a time in an idle network: how long to the last peer?"""
    warm(network, [PUBLISHER])
    rate = min(40.0, UNLOADED / len(network.workers))
    return network.publish({PUBLISHER: max(50, int(5 * rate))}, load.size, 1, rate)


def big(network: Network, load: Load) -> dict[str, Any]:
    """Messages of 64 KiB at full speed."""
    warm(network, [PUBLISHER])
    return network.publish({PUBLISHER: max(20, load.messages // 300)}, 65_536, 1)


def idle(network: Network, load: Load) -> dict[str, Any]:
    """Nobody says anything."""
    time.sleep(5)  # what a join leaves to do
    before = network.usage()
    time.sleep(load.idle)
    after = network.usage()
    share = (after.at - before.at) * len(network.workers)
    return {
        "core_percent": (after.cpu - before.cpu) / share * 100,
        "bytes_a_second": (after.wire - before.wire) / share,
        "frames_a_second": (after.frames - before.frames) / share,
        "pss_mib": network.memory(),
    }


def late(network: Network, load: Load) -> dict[str, Any]:
    """A peer comes that wants all that was said before: how soon has it that?"""
    warm(network, [PUBLISHER])
    said = network.publish({PUBLISHER: load.messages}, load.size, load.burst)
    count = load.messages + WARM
    worker = network.join_late()
    before, begin = network.usage(), time.monotonic()
    worker.tell(do="join", ports=network.ports)
    [report] = wait([worker], [count])
    after = network.usage()
    wall = report["last"] - begin
    return {
        "seconds": wall,
        "a_second": report["got"] / wall,
        "cpu_us": (after.cpu - before.cpu) / max(1, report["got"]) * 1e6,
        "lost": said["lost"] + count - report["got"],
        "wrong": said["wrong"] + report["wrong"],
    }


SCENARIOS: dict[str, Callable[[Network, Load], dict[str, Any]]] = {
    "idle": idle,
    "latency": latency,
    "one": one,
    "all": everyone,
    "big": big,
    "late": late,
}
"""In an order in which none disturbs the next. Each has the time of the join as well."""
