"""Waiting between tries of something that failed: exponential, with full jitter, and cut short by a stop.

Jitter as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): many clients of a store that comes back
must not all come back with it.
"""

from __future__ import annotations

import asyncio
import random


class Backoff:
    """The pauses of one loop.

    Args:
        first_s: upper bound of the first pause in seconds; it doubles with every failure in a row.
        longest_s: upper bound of all pauses in seconds.
    """

    def __init__(self, first_s: float = 0.1, longest_s: float = 5.0) -> None:
        self._first = first_s
        self._longest = longest_s
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def succeeded(self) -> None:
        """Start anew."""
        self._failures = 0

    def next_pause(self, chance: float) -> float:
        """Count a failure and say how long to pause, in seconds.

        Args:
            chance: a number drawn evenly from 0..1.
        """
        ceiling = min(self._longest, self._first * float(2 ** min(self._failures, 30)))
        self._failures += 1
        return ceiling * (0.5 + chance / 2)

    async def pause(self, stop: asyncio.Event) -> None:
        """Count a failure and wait, at most until `stop` is set."""
        await wait_for_stop(stop, self.next_pause(random.random()))


async def wait_for_stop(stop: asyncio.Event, timeout_s: float) -> bool:
    """Wait until `stop` is set, at most `timeout_s` seconds; the answer says whether it is."""
    try:
        async with asyncio.timeout(timeout_s):
            await stop.wait()
    except TimeoutError:
        pass
    return stop.is_set()
