"""Fixtures of the tests with processes, and the sizes in which they are played."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.live.network import LiveNetwork
from tests.live.processes import Peers


@attrs.frozen
class Size:
    """How large a network is, and how long its faults take.

    Attributes:
        peers: on this machine.
        hosts: with a peer each, where there is a network between them.
        pause: seconds for which a peer is stopped, or the network is cut.
    """

    peers: int
    hosts: int
    pause: float


SMALL = Size(peers=10, hosts=6, pause=10.0)
"""The pause is long enough for the links of whoever is stopped or cut off to end."""
FULL = Size(peers=50, hosts=20, pause=60.0)
"""The pause is long enough for whoever is stopped or cut off to be declared failed."""


def pytest_configure() -> None:
    """Shells have what they start in the background ignore Ctrl-C and SIGQUIT, and so would the peers, which are ended
    by them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="faults in networks of full size")


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Size:
    """The full size with --full. pytest knows that option only where it is given something of this folder."""
    return FULL if request.config.getoption("full", default=False) else SMALL


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    """Starts programs, and ends whatever is left of them."""
    running = Peers(tmp_path)
    yield running
    running.destroy()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[LiveNetwork]:
    """A network of twistd peers, of which none has been started yet."""
    network = LiveNetwork(tmp_path)
    yield network
    network.destroy()
