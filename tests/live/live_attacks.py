"""Attacks on a peer's processor, memory, descriptors and log, on sockets, while honest peers talk: what they cost.

Each attack is played some times against one peer of a small network. With -s each time is printed: what the attacker
did, the processor time of both sides, how far the peer's memory grew, and how late honest messages came. The table is
in docs/security.md. What is asserted is several times what was measured, for slower machines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from tests.live import attacks
from tests.live.network import LiveNetwork
from tests.live.siege import MIB, Attacker, Siege
from twisted_p2p import LAN
from twisted_p2p.net.boundedlog import LINES
from twisted_p2p.net.service import BACKLOG

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")

LATE = 2.0
"""Seconds within which 99 of 100 honest lines are heard during an attack."""
SPARE = 12 * MIB
"""What the victim's memory may grow by, whatever an attack does: a turn's chunks, and the allocator's holes."""
RESIDUE = 8 * MIB
"""What its memory after a round may be above that after the round before."""
LOGGED = LINES + 2
"""Lines of its log in a round: those of one kind, and what is said of further ones."""
HANDSHAKES = LAN.max_handshakes * 2**17
"""Bytes of those who are in the middle of a handshake: OpenSSL takes some 100 KiB of each."""
ARRIVED = BACKLOG * 52 * 1024
"""Bytes of connections that have come in one turn and end in the next, or have been hung up on and linger: one with TLS
takes 52 KiB."""
BUNDLE = 2_048
"""Bytes that a small bundle takes in a log in memory, and in positions."""
ROUNDS, FULL_ROUNDS = 2, 3
SECONDS = 20.0
"""After which an attacker sends nothing more."""
FULL = 10
"""How many times as much an attacker does in full size."""


@attrs.frozen(kw_only=True)
class Attack:
    """One attack, and what it may cost.

    Attributes:
        micros: of the victim's processor, a unit of the attack.
        peak: bytes by which its memory may grow meanwhile, beside `SPARE`: by the bounds of its settings.
        keeps: bytes that it may keep of each round, by its settings: what is in the log.
        late: seconds, as `LATE`.
        ends: the attacker is hung up on.
        seconds, full_seconds: after which it sends nothing more; the latter in full size.
        grows: it does more in full size.
        plain: it is played without TLS, too.
    """

    run: Callable[[Attacker], None]
    micros: float
    peak: int = 0
    keeps: int = 0
    late: float = LATE
    ends: bool = False
    seconds: float = SECONDS
    full_seconds: float = 2 * SECONDS
    grows: bool = True
    plain: bool = False


ALL = (
    Attack(run=attacks.pings, micros=20, ends=True),
    Attack(run=attacks.unknown, micros=20, ends=True),
    Attack(run=attacks.asks, micros=50, ends=True),
    Attack(run=attacks.grafts, micros=50_000),
    Attack(run=attacks.frontiers, micros=100),
    Attack(run=attacks.copies, micros=40),
    Attack(run=attacks.origins, micros=400, keeps=500 * BUNDLE),
    Attack(run=attacks.tiny, micros=300, keeps=1_000 * BUNDLE),
    Attack(run=attacks.huge, micros=40_000, keeps=5 * LAN.message_max),
    Attack(run=attacks.forged, micros=100_000, ends=True),
    Attack(run=attacks.bombs, micros=100_000, ends=True, grows=False),
    Attack(run=attacks.soup, micros=500_000, peak=32 * MIB),
    Attack(run=attacks.urgent, micros=100_000, late=2 * LATE),
    Attack(run=attacks.takes_nothing, micros=20, peak=LAN.control_max, ends=True),
    Attack(run=attacks.takes_no_bundles, micros=40_000, keeps=20 * LAN.message_max),
    Attack(run=attacks.takes_a_byte, micros=40_000, keeps=20 * LAN.message_max, seconds=3, grows=False),
    Attack(run=attacks.strangers_lines, micros=30_000, peak=ARRIVED, ends=True, plain=True),
    Attack(run=attacks.members_lines, micros=30_000, peak=attacks.LINES * LAN.line_max, grows=False),
    Attack(run=attacks.drops, micros=1_000),
    Attack(run=attacks.bytes_alone, micros=25),
    Attack(run=attacks.key_updates, micros=150),
    Attack(run=attacks.connects, micros=2_000, peak=ARRIVED, plain=True),
    Attack(run=attacks.handshakes, micros=8_000),
    Attack(run=attacks.half_open, micros=8_000, peak=HANDSHAKES, ends=True, grows=False),
)
ATTACKS = {attack.run.__name__: attack for attack in ALL}


class Sieges:
    """One network for all attacks of a kind, as long as it is whole."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._sieges: dict[bool, Siege] = {}

    def get(self, is_plain: bool) -> Siege:
        """The network with TLS, or without."""
        siege = self._sieges.get(is_plain)
        if siege is None or siege.is_broken:
            self.end()
            siege = self._sieges[is_plain] = Siege(LiveNetwork(self._folder()), is_plain)
        return siege

    def end(self) -> None:
        """End them all."""
        for siege in self._sieges.values():
            siege.end()
        self._sieges.clear()


@pytest.fixture(scope="module")
def sieges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sieges]:
    """Networks that are under attack."""
    made = Sieges(lambda: tmp_path_factory.mktemp("siege"))
    yield made
    made.end()


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(sieges: Sieges, name: str, request: pytest.FixtureRequest) -> None:
    """Rows 65, 82, 87, 102: whatever somebody does to a peer, honest peers hear each other, once, in order and in time.
    Its processor time, memory and log are within bounds; afterwards no descriptor, thread or memory is held."""
    play(sieges.get(is_plain=False), ATTACKS[name], request)


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.plain])
def test_attack_without_tls(sieges: Sieges, name: str, request: pytest.FixtureRequest) -> None:
    """The same where nothing is encrypted, which makes some attacks cheaper for both sides."""
    play(sieges.get(is_plain=True), ATTACKS[name], request)


def play(siege: Siege, attack: Attack, request: pytest.FixtureRequest) -> None:
    """Attack some times, and see what it cost."""
    is_full = bool(request.config.getoption("full", default=False))
    rounds = FULL_ROUNDS if is_full else ROUNDS
    size = FULL if is_full and attack.grows else 1
    seconds = attack.full_seconds if is_full else attack.seconds
    print()
    with siege.watched():
        before = siege.now.resident
        for number in range(rounds):
            cost = siege.round(attack.run, size, seconds)
            print(f"{attack.run.__name__}: {cost}")
            assert siege.violations() == []
            assert cost.p99 < attack.late
            assert cost.micros < attack.micros
            assert cost.peak < attack.peak + size * attack.keeps + SPARE
            assert cost.lines <= LOGGED
            assert cost.hung_up or not attack.ends
            if number == rounds - 1:
                assert cost.resident - before < RESIDUE + size * attack.keeps
            before = cost.resident
