"""Whether a service's loops are still running: the basis of `/livez`.

A health check that only shows that the HTTP server responds succeeds even when the work has stopped. Here every loop
reports each iteration, and the probe fails if a loop has not done so for `stall_timeout_s`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.service.backoff import wait_for_stop


class Liveness:
    """When each loop last reported an iteration, by a monotonic clock in seconds.

    Attributes:
        turns: how many iterations each loop has reported.
    """

    def __init__(self, stall_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = stall_timeout_s
        self._clock = clock
        self._moved: dict[str, float] = {}
        self._report_every_s = min(1.0, stall_timeout_s / 3)
        self.turns: Counter[str] = Counter()

    def moved(self, loop: str) -> None:
        """Report an iteration of this loop."""
        self._moved[loop] = self._clock()
        self.turns[loop] += 1

    async def wait(self, loop: str, stop: asyncio.Event, timeout_s: float) -> bool:
        """Wait until `stop` is set, for at most `timeout_s` seconds, moving meanwhile; returns whether it is set."""
        with self.moving(loop):
            return await wait_for_stop(stop, timeout_s)

    @contextmanager
    def moving(self, loop: str) -> Iterator[None]:
        """Count a loop as moving while it waits for something that has a limit of its own."""
        timer: asyncio.TimerHandle

        def report() -> None:
            nonlocal timer
            self._moved[loop] = self._clock()
            timer = asyncio.get_running_loop().call_later(self._report_every_s, report)

        report()
        try:
            yield
        finally:
            timer.cancel()
            self.moved(loop)

    def ended(self, loop: str) -> None:
        """Report that this loop ended on purpose."""
        self._moved.pop(loop, None)

    def stalled(self) -> dict[str, float]:
        """The stalled loops, each with the seconds since its last iteration."""
        now = self._clock()
        last = sorted(self._moved.copy().items())  # a copy, since the watchdog asks from its thread
        return {loop: round(now - moved, 1) for loop, moved in last if now - moved > self._timeout}
