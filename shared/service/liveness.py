"""Signs that a service's loops still move: what stands behind `/livez`.

A health check that only proves that the HTTP server answers stays green while the work has stopped. Here every loop
reports each turn, and a loop that has not for `stall_timeout_s` turns the probe red.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Liveness:
    """When each loop last moved, in seconds of a monotonic clock."""

    def __init__(self, stall_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = stall_timeout_s
        self._clock = clock
        self._moved: dict[str, float] = {}

    def moved(self, loop: str) -> None:
        """Say that this loop has come round."""
        self._moved[loop] = self._clock()

    def ended(self, loop: str) -> None:
        """Say that this loop ended on purpose."""
        self._moved.pop(loop, None)

    def stalled(self) -> dict[str, float]:
        """The loops that have not moved for too long, with how long, in seconds."""
        now = self._clock()
        return {
            loop: round(now - moved, 1) for loop, moved in sorted(self._moved.items()) if now - moved > self._timeout
        }
