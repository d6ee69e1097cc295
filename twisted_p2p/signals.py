"""What the program does on a signal."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.logger import Logger

_log = Logger(namespace="p2p")


class Signals:
    """SIGHUP and SIGQUIT would end the process at once, and the others would see it fail. A second Ctrl-C would bring a
    traceback.

    Args:
        reload: reads again what there is to be read on SIGHUP, if there is anything. It is called at any time.
    """

    def __init__(self, reload: Callable[[], object] | None = None) -> None:
        self._reload = reload
        self._old: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Leave properly on SIGQUIT, and on SIGHUP where a terminal has hung up; else read files again, if any."""
        if threading.current_thread() is not threading.main_thread():
            return
        # Whoever started us with nohup does not want to leave with the terminal.
        is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        stays = is_nohup or not _has_terminal()
        if self._reload is not None or not is_nohup:
            self._take(signal.SIGHUP, self._go_on if stays else self._hung_up)
        if signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL:
            self._take(signal.SIGQUIT, self._leave)

    def _take(self, number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN):
            self._old[number] = signal.signal(number, handler)

    def restore(self) -> None:
        """As it was before."""
        while self._old:
            signal.signal(*self._old.popitem())

    def end_once(self) -> None:
        """Once the reactor runs: ignore a second Ctrl-C or SIGTERM, which it would answer by a traceback."""
        if threading.current_thread() is not threading.main_thread():
            return
        ends = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        is_leaving = False

        def end(number: int, frame: FrameType | None) -> None:
            nonlocal is_leaving
            handler = ends[signal.Signals(number)]
            if not is_leaving and callable(handler):
                is_leaving = True
                handler(number, frame)

        for number, handler in ends.items():
            if callable(handler):
                signal.signal(number, end)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        # The reactor stops all services on SIGTERM, and twistd then dies by it.
        signal.raise_signal(signal.SIGTERM)

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        # A terminal that has hung up is gone by now; while it is there somebody has sent the signal on purpose.
        if self._reload is not None and _has_terminal():
            self._reload()
        else:
            self._leave(number, frame)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        if self._reload is not None:
            self._reload()
        else:
            _log.info("SIGHUP: there is nothing to read again; going on.")


def _has_terminal() -> bool:
    """Whether a terminal's hang-up would be told to this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
