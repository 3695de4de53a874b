"""How often callers read: counted by each gateway for itself, so reading costs no round trip."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.core.errors import LimitReached
from shared.contract.limits import Rate

MOST_CALLERS = 10_000


class Reads:
    """When the rate of each caller is full again, by a steady clock in ms; of at most `MOST_CALLERS` callers."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._full_at: dict[str, float] = {}  # whoever read last is last

    def count(self, principal: str, rate: Rate) -> None:
        """Count one.

        Raises:
            LimitReached: it is one too many for now.
        """
        now = self._clock_s() * 1000
        until_full = max(0.0, self._full_at.pop(principal, 0.0) - now)
        wait = rate.wait_ms(until_full, 1)
        self._full_at[principal] = now + until_full + (rate.interval_ms if wait <= 0 else 0)
        if len(self._full_at) > MOST_CALLERS:
            del self._full_at[next(iter(self._full_at))]
        if wait > 0:
            detail = f"you may read {rate.quota:g} times in {rate.window_s:g} s; try again later"
            raise LimitReached("reads", detail, wait, {"reads": (rate, until_full)})
