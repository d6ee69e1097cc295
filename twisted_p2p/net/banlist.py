"""Who is banned, for a shell: as the core has said, and as the file in the data directory has it."""

from __future__ import annotations

from collections.abc import Container

from twisted.logger import Logger

from twisted_p2p.core.actions import Banned
from twisted_p2p.errors import DataDirError
from twisted_p2p.net.boundedlog import BoundedLog
from twisted_p2p.store.bans import BansFile, ban_line

_log = Logger(namespace="p2p")


class BanList:
    """The bans of one peer.

    Args:
        file: where they are kept; None: nowhere.
        most: how many are kept there.
    Raises:
        DataDirError: the file can't be read.
    """

    def __init__(self, file: BansFile | None, most: int) -> None:
        self._file, self._most = file, most
        self._bans: dict[str, Banned] = {}
        self._told = BoundedLog("Further bans", "more peers or addresses were banned.")
        self.use(self.read())

    def standing(self, now: float) -> list[Banned]:
        """Those that have not ended."""
        return [ban for ban in self._bans.values() if ban.until > now]

    def times(self) -> dict[str, float]:
        """Until when each lasts, in seconds since 1970."""
        return {ban.subject: ban.until for ban in self._bans.values()}

    def read(self) -> list[Banned]:
        """As the file has them, in which the user may have done something. Raises DataDirError."""
        return [*self._bans.values()] if self._file is None else self._file.read()

    def use(self, bans: list[Banned]) -> None:
        """These, and no others."""
        self._bans = {ban.subject: ban for ban in bans}

    def lift(self, subject: str) -> bool:
        """End the ban of a peer or an address; whether there was one. Raises DataDirError."""
        if subject not in self._bans:
            return False
        if self._file is not None:
            self._file.lift(subject)
        del self._bans[subject]
        return True

    def add(self, ban: Banned, held: Container[str], now: float) -> None:
        """One more; of the others those that are `held` still."""
        self._bans[ban.subject] = ban
        self._bans = {subject: each for subject, each in self._bans.items() if subject in held}
        self._told.say(now, "Banned, until when, and why: {ban}", ban=ban_line(ban))
        if self._file is not None:
            try:
                self._file.add(ban, now, self._most)
            except DataDirError as error:
                _log.error("This ban ends with this process. {error}", error=error)
