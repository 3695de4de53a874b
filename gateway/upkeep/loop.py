"""The loops beside requests: each takes a turn again and again until the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shared.contract.errors import StoreUnavailable
from shared.service.backoff import Backoff, wait_for_stop
from shared.service.liveness import Liveness
from shared.telemetry.metrics import ERRORS


async def every(
    interval_s: float, turn: Callable[[], Awaitable[object]], stop: asyncio.Event, name: str, liveness: Liveness
) -> None:
    """Take a turn every `interval_s` seconds until `stop` is set.

    A store that cannot be reached costs the turn and is counted; the next one comes after a growing pause.

    Args:
        name: what `/livez` calls the loop if it does not move.
    """
    backoff = Backoff()
    while not await wait_for_stop(stop, interval_s):
        liveness.moved(name)
        try:
            await turn()
            backoff.succeeded()
        except StoreUnavailable as error:
            ERRORS.labels("gateway", f"{error.store}_unavailable").inc()
            await backoff.pause(stop)
    liveness.ended(name)
