"""The checks of tests/bench/sizes.py, each in a size that a test may have. The command without options does more."""

from __future__ import annotations

from tests.bench.sizes import main


def test_join() -> None:
    """A newcomer takes a directory of 1,000 peers and the positions of 1,000 streams, in lines within the limit."""
    assert main(["join", "--records", "1000"]) == 0


def test_message() -> None:
    """Row 81: the largest message that may be sent reaches all others whole, once; one byte more is refused, with the
    limit in the text, and nothing is sent."""
    assert main(["message"]) == 0


def test_reader_stopped_shortly() -> None:
    """Row 82: a reader stands still for as long as its links bear, and no longer than it takes to be declared failed:
    nobody else notices, or keeps anything for it but the log; it gets all that it has missed."""
    assert main(["stopped-reader", "--seconds", "8", "--rate", "400", "--size", "16384"]) == 0


def test_reader_stopped_for_long() -> None:
    """Row 82: the same, when it has been declared failed meanwhile."""
    assert main(["stopped-reader", "--until-failed", "--rate", "400", "--size", "16384"]) == 0
