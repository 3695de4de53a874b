"""Background loops: each repeats its work at an interval until the gateway stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shared.contract.errors import StoreUnavailable
from shared.service.backoff import Backoff
from shared.service.liveness import Liveness
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)


async def every(
    interval_s: float,
    turn: Callable[[], Awaitable[object]],
    stop: asyncio.Event,
    name: str,
    liveness: Liveness,
    first_s: float | None = None,
) -> None:
    """Run `turn` every `interval_s` seconds until `stop` is set, the first time after `first_s`.

    If a store is unavailable, the turn is skipped, that is counted and logged, and the next turn is delayed.

    Args:
        name: of the loop; `/livez` shows it if it stalls, as in a turn that takes too long.
    """
    backoff = Backoff()
    pause_s = interval_s if first_s is None else first_s
    while not await liveness.wait(name, stop, pause_s):
        pause_s = interval_s
        try:
            await turn()
            backoff.succeeded()
        except StoreUnavailable as error:
            ERRORS.labels("gateway", f"{error.store}_{error.reason}").inc()
            facts = {"loop": name, "store": error.store, "reason": error.reason}
            log.warning("store unavailable", extra={**facts, "detail": str(error)})
            await backoff.pause(stop)
