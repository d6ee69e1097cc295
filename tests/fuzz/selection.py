"""Which of many inputs are worth keeping: those that reach a line that the ones before have not reached."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import twisted_p2p

_PACKAGE = os.path.dirname(os.path.abspath(twisted_p2p.__file__))
Place = tuple[CodeType, int, int]
"""From one line to another of a function."""


def reached(call: Callable[[], object]) -> set[Place]:
    """Where in our package a call has come."""
    places = set[Place]()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        code, before = frame.f_code, 0
        if not code.co_filename.startswith(_PACKAGE):
            return None

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            places.add((code, before, frame.f_lineno))
            before = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(None)
    return places


def select(kept: Iterable[Path], offered: Iterable[Path], call: Callable[[bytes], None], most: int) -> list[Path]:
    """Of the inputs that are offered those worth keeping beside the others, each time the one that reaches most.

    Args:
        most: inputs in all.
    """
    seen, count = set[Place](), 0
    for file in kept:
        seen |= _reached_by(file, call)
        count += 1
    left = {file: _reached_by(file, call) for file in sorted(offered, key=lambda file: file.stat().st_size)}
    chosen = list[Path]()
    while left and count + len(chosen) < most:
        best = max(left, key=lambda file: len(left[file] - seen))
        new = left.pop(best) - seen
        if not new:
            break
        seen |= new
        chosen.append(best)
    return chosen


def _reached_by(file: Path, call: Callable[[bytes], None]) -> set[Place]:
    data = file.read_bytes()
    return reached(lambda: call(data))
