"""Shutdown: how a gateway that is told to stop answers everybody who waits, and turns nobody away who need not be.

It comes in two steps. A listener that is closed drops the connections in its queue, so at first only `/readyz` turns
red; the listener is closed once balancers have had the time to see that. Then nothing more is taken, and those who wait
are answered: with their predictions, or shortly before the grace period ends with what is known then.
"""

from __future__ import annotations

import asyncio
import signal

from aiohttp import web

from gateway.core.waiting import Waiters

_WAIT_SHARE = 0.8  # of the time that is left; the rest is for the answers to reach their clients


class Drain:
    """How far one gateway is with stopping.

    Attributes:
        failed: it stops because one of its loops failed.
    """

    def __init__(self, waiters: Waiters, delay_s: float, grace_s: float) -> None:
        self._waiters = waiters
        self._delay_s = delay_s
        self._grace_s = grace_s
        self._told = False
        self._stopping = False
        self.failed = False

    @property
    def begun(self) -> bool:
        """Whether it was told to stop."""
        return self._told or self._waiters.closing

    def on_signals(self) -> None:
        """Have SIGTERM and SIGINT begin the drain; a second signal skips its first step, further ones do nothing."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._begin)

    def fail(self) -> None:
        """Stop at once: half a gateway looks healthy and does nothing."""
        self.failed = True
        self._stop()

    async def close(self, _: web.Application) -> None:
        """Take no more, and have those who wait answered in time."""
        self._waiters.closing = True
        remaining_s = self._grace_s - self._delay_s
        asyncio.get_running_loop().call_later(remaining_s * _WAIT_SHARE, self._waiters.give_up)

    def _begin(self) -> None:
        if self._told:
            self._stop()
        self._told = True
        asyncio.get_running_loop().call_later(self._delay_s, self._stop)

    def _stop(self) -> None:
        if not self._stopping:  # raised once more it would cut the cleanup short
            self._stopping = True
            raise web.GracefulExit
