"""Deadlines in one heap, so that the shell needs only one delayed call."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import attrs

from twisted_p2p.core.health import Health


@attrs.define(eq=False)
class Timer:
    """One deadline. `judges`: it passes judgement on others, so it waits for longer when we ourselves are slow."""

    when: float
    call: Callable[[], None] | None
    judges: bool

    def cancel(self) -> None:
        """Forget it; harmless if it has fired."""
        self.call = None


@attrs.define(eq=False)
class Timers:
    """The heap of deadlines of one core."""

    now: float = 0.0
    health: Health = attrs.field(factory=Health)
    _heap: list[tuple[float, int, Timer]] = attrs.field(factory=list)
    _order: count[int] = attrs.field(factory=count)

    def after(self, delay: float, call: Callable[[], None], judges: bool = False) -> Timer:
        """Call `call` in `delay` seconds; if it `judges` others, in as many times more as our health asks for."""
        timer = Timer(self.now + delay * (self.health.factor if judges else 1), call, judges)
        heapq.heappush(self._heap, (timer.when, next(self._order), timer))
        return timer

    @property
    def next_wake(self) -> float | None:
        """When the first deadline is due; None if there is none."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def advance(self, now: float, stall: float) -> None:
        """It is `now`. If the first deadline is overdue by more than `stall`, we stood still: judge nobody by it.

        `stall` is also the time in which we read what has come meanwhile, before anybody is judged.
        """
        due = self.next_wake
        if due is not None:
            gap = now - max(due, self.now)
            if gap > stall:
                self._put_off(gap + stall)
                self.health.stood_still(now)
        self.now = max(self.now, now)

    def _put_off(self, gap: float) -> None:
        for _, _, timer in self._heap:
            if timer.judges:
                timer.when += gap
        self._heap = [(timer.when, order, timer) for _, order, timer in self._heap if timer.call]
        heapq.heapify(self._heap)

    def fire(self) -> None:
        """Call what was due when this was called; what those calls set for now waits for the next wake."""
        due: list[Timer] = []
        while self._heap and self._heap[0][0] <= self.now:
            due.append(heapq.heappop(self._heap)[2])
        for timer in due:
            call, timer.call = timer.call, None
            if call is not None:
                call()

    def __len__(self) -> int:
        return sum(timer.call is not None for _, _, timer in self._heap)
