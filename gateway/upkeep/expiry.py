"""Expiring requests that no worker reads, and old dead letters.

A worker expires requests past their deadline when it reads them. The gateways expire those that no worker reads, or
that a dead one holds, so that waiting clients get an answer and an unserved stream does not keep requests that nobody
wants any more; also in streams of versions that are not in the catalogue any more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from shared.contract.errors import MalformedMessage
from shared.contract.messages import Outcome, Status, decode_request
from shared.streams.dead_letters import DeadLetters
from shared.streams.deadlines import Deadlines
from shared.streams.request_stream import Completed, Delivery, RequestStream
from shared.streams.shard import Shard
from shared.telemetry.metrics import DEAD_LETTERS, PREDICTIONS

log = logging.getLogger(__name__)

_AT_ONCE = 100
_MOST_A_TURN = 20_000  # the next turn goes on


class Expiry:
    """Ends the requests of a shard whose deadline has passed."""

    def __init__(self, shard: Shard, visibility_timeout_ms: int) -> None:
        self._shard = shard
        self._deadlines = Deadlines(shard)
        self._visibility_timeout_ms = visibility_timeout_ms

    async def expire(self) -> int:
        """Expire what is late and that no live worker holds, up to `_MOST_A_TURN`; returns how many.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        expired = kept = 0
        while expired < _MOST_A_TURN and (late := await self._deadlines.passed(kept, _AT_ONCE)):
            for queue, entries in late.items():
                stream = RequestStream(self._shard, queue.model, queue.version, "gateway", queue.priority)
                done, gone = await self._expire_of(stream, entries)
                expired += done
                kept += len(entries) - done - gone
        return expired

    async def _expire_of(self, stream: RequestStream, entries: Sequence[str]) -> tuple[int, int]:
        """Expire entries; returns how many were, and how many others have left the stream."""
        unheld, gone = await stream.unheld(entries, self._visibility_timeout_ms)
        await self._deadlines.forget(stream.queue, gone)
        late: list[Completed] = []
        for delivery in unheld.deliveries:
            try:
                late.append(_expired(delivery, unheld.now_ms))
            except MalformedMessage as error:
                if await stream.dead_letter(delivery, error.reason, str(error)):
                    DEAD_LETTERS.labels(stream.name, error.reason).inc()
        done = sum(await stream.complete(late)) if late else 0
        if done:
            PREDICTIONS.labels(stream.model, stream.version, Status.EXPIRED.value).inc(done)
            log.info("expired", extra={"model": stream.model, "version": stream.version, "count": done})
        return done, len(gone) + len(unheld.deliveries) - done


async def age_out(letters: DeadLetters, keep_ms: int) -> int:
    """Delete dead letters that have been kept long enough; returns how many.

    Raises:
        StoreUnavailable: Redis cannot be reached.
    """
    aged = await letters.age_out(keep_ms)
    if aged:
        DEAD_LETTERS.labels("dead", "aged_out").inc(aged)
        log.warning("dead letters aged out", extra={"count": aged})
    return aged


def _expired(delivery: Delivery, now_ms: int) -> Completed:
    request = decode_request(delivery.fields)
    waited = max(0, now_ms - request.submitted_at)
    error = f"the deadline passed after {waited} ms in the queue; no live worker had it"
    return Completed(delivery, request, Outcome(Status.EXPIRED, queue_time_ms=waited, error=error))
