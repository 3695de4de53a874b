"""Whether a service's loops are still running: the basis of `/livez`.

A health check that only shows that the HTTP server responds succeeds even when the work has stopped. Here every loop
reports each iteration, and the probe fails if a loop has not done so for `stall_timeout_s`.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Liveness:
    """When each loop last reported an iteration, by a monotonic clock in seconds."""

    def __init__(self, stall_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = stall_timeout_s
        self._clock = clock
        self._moved: dict[str, float] = {}

    def moved(self, loop: str) -> None:
        """Report an iteration of this loop."""
        self._moved[loop] = self._clock()

    def ended(self, loop: str) -> None:
        """Report that this loop ended on purpose."""
        self._moved.pop(loop, None)

    def stalled(self) -> dict[str, float]:
        """The stalled loops, each with the seconds since its last iteration."""
        now = self._clock()
        return {
            loop: round(now - moved, 1) for loop, moved in sorted(self._moved.items()) if now - moved > self._timeout
        }
