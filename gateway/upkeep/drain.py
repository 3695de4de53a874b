"""Shutdown: a gateway that is told to stop answers every waiting request and refuses as few as possible.

It drains in two steps. Closing the listener drops the connections in its queue, so at first only `/readyz` fails; the
listener is closed once load balancers have had time to notice. Then nothing more is accepted, and waiting requests are
answered: when their predictions finish or, failing that, shortly before the grace period ends, with what is known.
Who does not read the answer, or goes on sending, is not waited for.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from aiohttp import web

from gateway.core.waiting import Waiters

_WAIT_SHARE = 0.8  # of the remaining time; then those who wait are answered
_SEND_SHARE = 0.85  # then connections are closed; the rest is for ending the loops


class Drain:
    """The shutdown of one gateway.

    Attributes:
        over: set when the listener is to be closed: after a signal, or at once if the background loops have ended.
    """

    def __init__(self, waiters: Waiters, abort: Callable[[], None], delay_s: float, grace_s: float) -> None:
        """Args:
        abort: closes all connections.
        """
        self._waiters = waiters
        self._abort = abort
        self._delay_s = delay_s
        self._grace_s = grace_s
        self._told = False
        self.over = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether the gateway is stopping."""
        return self._told or self._waiters.closing

    def on_signals(self) -> None:
        """Start the drain on SIGTERM and SIGINT; a second signal skips the first step, further ones do nothing."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._begin)

    async def close(self, _: web.Application) -> None:
        """Accept no more requests, end streams of events, and answer the waiting requests in time."""
        self._waiters.close()
        remaining_s = self._grace_s - self._delay_s
        loop = asyncio.get_running_loop()
        loop.call_later(remaining_s * _WAIT_SHARE, self._waiters.give_up)
        loop.call_later(remaining_s * _SEND_SHARE, self._abort)

    def _begin(self) -> None:
        if self._told:
            self.over.set()
        self._told = True
        asyncio.get_running_loop().call_later(self._delay_s, self.over.set)
