"""Pauses between retries: exponential backoff with equal jitter, cut short by a stop.

Equal jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015) draws each pause from the upper half of its
bound, so that the clients of a store that has recovered do not all return at once.
"""

from __future__ import annotations

import asyncio
import random


class Backoff:
    """The pauses of one loop that retries.

    Args:
        first_s: upper bound of the first pause, in seconds; it doubles with each consecutive failure.
        longest_s: upper bound of every pause, in seconds.
    """

    def __init__(self, first_s: float = 0.1, longest_s: float = 5.0) -> None:
        self._first = first_s
        self._longest = longest_s
        self._failures = 0

    @property
    def failures(self) -> int:
        """Consecutive failures."""
        return self._failures

    def succeeded(self) -> None:
        """Reset after a success."""
        self._failures = 0

    def next_pause(self, chance: float) -> float:
        """Count a failure; returns how long to pause, in seconds.

        Args:
            chance: a number drawn uniformly from 0 to 1.
        """
        ceiling = min(self._longest, self._first * float(2 ** min(self._failures, 30)))
        self._failures += 1
        return ceiling * (0.5 + chance / 2)

    async def pause(self, stop: asyncio.Event) -> None:
        """Count a failure and pause; return early if `stop` is set."""
        await wait_for_stop(stop, self.next_pause(random.random()))


async def wait_for_stop(stop: asyncio.Event, timeout_s: float) -> bool:
    """Wait until `stop` is set, for at most `timeout_s` seconds; returns whether it is."""
    try:
        async with asyncio.timeout(timeout_s):
            await stop.wait()
    except TimeoutError:
        pass
    return stop.is_set()
