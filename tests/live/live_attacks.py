"""Attacks on a peer's processor, memory and descriptors, on sockets, while honest peers talk: what they cost it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from tests.live import attacks
from tests.live.network import LiveNetwork
from tests.live.siege import MIB, Attacker, Siege

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")

LATE = 2.0
"""Seconds within which 99 of 100 honest lines are heard during an attack."""
LINES = 15
"""Of the log, in a round, at most."""
RESIDUE = 4 * MIB
"""What the memory after a round may differ by from that after the round before: the allocator's holes."""
ROUNDS = 3
SECONDS = 20.0
"""After which an attacker gives up."""


@attrs.frozen
class Attack:
    """One attack, and what it may cost.

    Attributes:
        micros: of the victim's CPU, a unit of the attack.
        peak: bytes by which its memory may grow meanwhile.
        keeps: bytes that it may still have after each round, by its settings: of the log, and of positions.
    """

    run: Callable[[Attacker], None]
    micros: float
    peak: int = 8 * MIB
    keeps: int = 0
    rounds: int = ROUNDS


ATTACKS = {
    attack.run.__name__: attack
    for attack in (
        Attack(attacks.pings, 100),
        Attack(attacks.unknown, 100),
        Attack(attacks.asks, 1000),
        Attack(attacks.grafts, 1e6),
        Attack(attacks.frontiers, 1000),
        Attack(attacks.copies, 1000),
        Attack(attacks.origins, 10000),
        Attack(attacks.tiny, 10000),
        Attack(attacks.huge, 1e6),
        Attack(attacks.forged, 1e6),
        Attack(attacks.bombs, 1e6),
        Attack(attacks.urgent, 1e6),
        Attack(attacks.soup, 1e6),
        Attack(attacks.takes_nothing, 1e6),
        Attack(attacks.takes_a_byte, 1e6),
        Attack(attacks.strangers_lines, 1e6),
        Attack(attacks.members_lines, 1e6),
        Attack(attacks.drops, 1e6),
        Attack(attacks.bytes_alone, 1e6),
        Attack(attacks.key_updates, 1e6),
        Attack(attacks.connects, 1e6),
        Attack(attacks.handshakes, 1e6),
        Attack(attacks.half_open, 1e6),
    )
}


class Sieges:
    """One network for all attacks, as long as it is whole."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder, self._siege = folder, None

    def get(self) -> Siege:
        if self._siege is None or self._siege.is_broken:
            self.end()
            self._siege = Siege(LiveNetwork(self._folder()))
        return self._siege

    def end(self) -> None:
        if self._siege is not None:
            self._siege.end()


@pytest.fixture(scope="module")
def sieges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sieges]:
    made = Sieges(lambda: tmp_path_factory.mktemp("siege"))
    yield made
    made.end()


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(sieges: Sieges, name: str, request: pytest.FixtureRequest) -> None:
    """Whatever somebody does to a peer, honest peers hear each other..."""
    attack = ATTACKS[name]
    siege = sieges.get()
    with siege.watched():
        costs = []
        for _ in range(attack.rounds):
            costs.append(siege.round(attack.run, 1, SECONDS))
            print(f"\n{name}: {costs[-1]}", end="")
        print()
        assert siege.violations() == []
