"""Expiring requests that nobody reads.

A worker drops what is past its deadline when it reads it. Where no worker serves a version, the gateways do it, so that
a client that waits learns of its deadline and a stream that nobody reads does not keep what nobody wants any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from shared.contract.errors import MalformedMessage, StoreUnavailable
from shared.contract.messages import Outcome, Status, decode_request
from shared.service.liveness import Liveness
from shared.streams.dead_letters import DeadLetters
from shared.streams.request_stream import Completed, Delivery, RequestStream
from shared.telemetry.metrics import DEAD_LETTERS, ERRORS, PREDICTIONS

log = logging.getLogger(__name__)

_OLDEST = 100


class Expiry:
    """Looks at the oldest entries of every request stream, and of the dead letters."""

    def __init__(
        self,
        streams: Sequence[RequestStream],
        liveness: Liveness,
        interval_s: float,
        dead_letters: DeadLetters,
        keep_dead_letters_ms: int,
    ) -> None:
        self._streams = streams
        self._liveness = liveness
        self._interval_s = interval_s
        self._dead_letters = dead_letters
        self._keep_dead_letters_ms = keep_dead_letters_ms

    async def keep_expiring(self) -> None:
        """Look at each stream once an interval, until cancelled; one after the other, so that it comes in no bursts."""
        pause_s = self._interval_s / len(self._streams)
        while True:
            self._liveness.moved("expiry")
            try:
                for stream in self._streams:
                    await asyncio.sleep(pause_s)
                    await self.expire(stream)
                await self.age_out()
            except StoreUnavailable as error:
                ERRORS.labels("gateway", f"{error.store}_unavailable").inc()
                await asyncio.sleep(self._interval_s)

    async def age_out(self) -> int:
        """Delete dead letters that were kept long enough; the answer counts them.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        aged = await self._dead_letters.age_out(self._keep_dead_letters_ms)
        if aged:
            DEAD_LETTERS.labels("dead", "aged_out").inc(aged)
            log.warning("dead letters aged out", extra={"count": aged})
        return aged

    async def expire(self, stream: RequestStream) -> int:
        """Expire what is past its deadline among the oldest entries; the answer counts them.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        late = await stream.past_deadline(_OLDEST)
        finished = [each for each in (_expired(delivery, late.now_ms) for delivery in late.deliveries) if each]
        if not finished:
            return 0
        expired = sum(await stream.complete(finished))
        PREDICTIONS.labels(stream.model, stream.version, Status.EXPIRED.value).inc(expired)
        log.info("expired", extra={"model": stream.model, "version": stream.version, "count": expired})
        return expired


def _expired(delivery: Delivery, now_ms: int) -> Completed | None:
    try:
        request = decode_request(delivery.fields)
    except MalformedMessage:
        return None  # for a worker to dead-letter
    waited = max(0, now_ms - request.submitted_at)
    error = f"the deadline passed after {waited} ms in the queue; nobody read it"
    return Completed(delivery, request, Outcome(Status.EXPIRED, queue_time_ms=waited, error=error))
