"""Background loops: each repeats its work at an interval until the gateway stops."""

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
    """Run `turn` every `interval_s` seconds until `stop` is set.

    If a store is unavailable, the turn is skipped, an error is counted, and the next turn is delayed by a backoff.

    Args:
        name: of the loop, shown by `/livez` if it stalls.
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
