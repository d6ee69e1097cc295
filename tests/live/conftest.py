"""Fixtures of the tests with processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.processes import Peers


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    """Starts programs, and ends whatever is left of them."""
    running = Peers(tmp_path)
    yield running
    running.destroy()
