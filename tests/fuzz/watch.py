"""Runs inputs one after the other, and watches over what they cost and what they find."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
import traceback
from pathlib import Path
from types import FrameType

import attrs

from tests.fuzz.targets import Target

SLOW = 10.0
"""Seconds of CPU that one input may take."""
GROWTH = 128.0
"""MiB by which the process may grow from a tenth of the runs to their end; more is a finding."""


class TooSlow(Exception):
    """One input takes as long as no input should."""


def resident() -> float:
    """MiB of memory that this process has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@attrs.define(eq=False)
class Watch:
    """Counts runs; `found` is where the input of a finding was saved."""

    target: Target
    runs: int
    folder: Path
    done: int = 0
    found: Path | None = None
    _began: float = attrs.field(factory=time.monotonic)
    _early: float | None = None
    _said: float = attrs.field(factory=time.monotonic)

    def __attrs_post_init__(self) -> None:
        signal.signal(signal.SIGPROF, self._is_slow)

    def _is_slow(self, number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {SLOW:g} s of CPU")

    def run(self, data: bytes) -> bool:
        """Run one input; whether to go on."""
        signal.setitimer(signal.ITIMER_PROF, SLOW)
        try:
            self.target.call(data)
        except Exception:  # noqa: BLE001  # whatever it is, it is what we look for
            self._find(data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.done += 1
        if self._early is None and self.done * 10 >= self.runs:
            self._early = resident()
        if time.monotonic() - self._said > 60:
            self._said = time.monotonic()
            print(self.summary(), flush=True)
        return self.found is None and self.done < self.runs

    def _find(self, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.found = self.folder / f"{self.target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        self.found.write_bytes(data)
        traceback.print_exc()
        print(f"Found after {self.done} runs; the input is in {self.found}.")
        print(f"To replay it: python -m tests.fuzz {self.target.name} --replay {self.found}", flush=True)

    @property
    def growth(self) -> float:
        """MiB more than at a tenth of the runs."""
        return 0.0 if self._early is None else resident() - self._early

    def summary(self) -> str:
        """Runs, their rate, and memory."""
        rate = self.done / max(1e-9, time.monotonic() - self._began)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return (
            f"{self.target.name}: {self.done} runs, {rate:.0f} a second, at most {peak:.0f} MiB resident, "
            f"{self.growth:+.1f} MiB since a tenth of the runs"
        )

    def end(self) -> int:
        """Say how it went; the exit code."""
        print(self.summary(), flush=True)
        if self.found is None and self.growth > GROWTH:
            print(f"It has grown by more than {GROWTH:g} MiB.", flush=True)
            return 1
        return 1 if self.found else 0
