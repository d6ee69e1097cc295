"""The log of those who are not admitted."""

from __future__ import annotations

from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.access import Objection
from twisted_p2p.core.actions import Refused
from twisted_p2p.net.refusals import AGAIN, LINES, PERIOD, REMEMBERED, RefusalLog


class RefusalLogTests(SynchronousTestCase):
    """A line for each, within bounds."""

    def setUp(self) -> None:
        """Nothing is logged yet."""
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.log = RefusalLog()

    @property
    def lines(self) -> list[str]:
        """What was logged, as text."""
        return [formatEvent(event) for event in self.events]

    def refuse(self, number: int, now: float, why: Objection = Objection.WRONG_KEY) -> None:
        """The peer of this number is refused."""
        self.log.refused(Refused(f"{number:064x}", "192.0.2.7", why), now)

    def test_line(self) -> None:
        """It says who, where and why."""
        self.log.refused(Refused("a1" * 32, "192.0.2.7", Objection.DENIED), 0)
        self.log.refused(Refused("", "192.0.2.8", Objection.NOT_ALLOWED), 0)
        self.assertEqual(
            self.lines,
            [
                f"No link with {'a1' * 32} at 192.0.2.7: it is on the deny list.",
                "No link with somebody at 192.0.2.8: it is not on the allow list.",
            ],
        )

    def test_again(self) -> None:
        """The same one is told again only after a while; another reason at once."""
        for now in (0, 1, AGAIN - 1):
            self.refuse(1, now)
        self.assertEqual(len(self.lines), 1)
        self.refuse(1, 2, Objection.DENIED)
        self.refuse(1, AGAIN)
        self.assertEqual(len(self.lines), 3)

    def test_many(self) -> None:
        """Very many fill neither the log nor the memory; how many there were is told."""
        for number in range(3 * REMEMBERED):
            self.refuse(number, 0)
        self.assertEqual(len(self.lines), LINES)
        self.refuse(1, PERIOD)
        self.assertEqual(
            self.lines[LINES:], [f"With {3 * REMEMBERED - LINES} more there was no link, for such reasons."]
        )
        for number in range(3 * REMEMBERED):
            self.refuse(number, (number // LINES + 2) * PERIOD)
        self.assertLessEqual(len(self.log._told), REMEMBERED)
