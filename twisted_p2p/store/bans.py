"""The file of bans in a data directory: a line each, for the user to read, and to take out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import attrs

from twisted_p2p.core.actions import Banned
from twisted_p2p.errors import DataDirError
from twisted_p2p.store.datadir import ours, write_file

_HEAD = "# peer or address, until when it is banned, why; take a line out and have the peer reload to lift a ban\n"


def ban_line(ban: Banned) -> str:
    """A ban, as the file has it: peer or address, until when, why."""
    until = datetime.fromtimestamp(math.ceil(ban.until), timezone.utc).isoformat(timespec="seconds")
    return f"{ban.subject} {until} {ban.reason}"


@attrs.frozen
class BansFile:
    """Where bans are kept."""

    path: Path

    def read(self) -> list[Banned]:
        """Those that are in it. Raises DataDirError: the file can't be read, or a line of it."""
        if not self.path.exists():
            return []
        with ours(self.path.parent):
            text = self.path.read_bytes().decode("ascii", "replace")
        lines = enumerate(text.splitlines(), 1)
        return [self._ban(number, line) for number, line in lines if line.strip() and not line.startswith("#")]

    def _ban(self, number: int, line: str) -> Banned:
        try:
            subject, until, reason = line.split()
            ban = Banned(subject, datetime.fromisoformat(until).timestamp(), reason)
            # What can be read need not be what can be written.
            ban_line(ban).encode("ascii")
            return ban
        except (ValueError, OverflowError):
            raise DataDirError(f"Line {number} of {self.path} is no ban: take it out, or mend it.") from None

    def add(self, ban: Banned, now: float, most: int) -> None:
        """Take one more, and keep so many at most; whoever has served its time goes out. Raises DataDirError."""
        others = [held for held in self.read() if held.subject != ban.subject and held.until > now]
        others.sort(key=lambda held: held.until)
        self.write([*others[max(0, len(others) + 1 - most) :], ban])

    def lift(self, subject: str) -> bool:
        """Take one out; whether there was one. Raises DataDirError."""
        held = self.read()
        left = [ban for ban in held if ban.subject != subject]
        if len(left) < len(held):
            self.write(left)
        return len(left) < len(held)

    def write(self, bans: Iterable[Banned]) -> None:
        """These and no others are in it. Raises DataDirError."""
        text = _HEAD + "".join(f"{ban_line(ban)}\n" for ban in bans)
        with ours(self.path.parent):
            write_file(self.path, text, 0o600)
