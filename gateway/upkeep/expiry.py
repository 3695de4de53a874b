"""Expiring requests that no worker reads, and old dead letters.

A worker expires requests past their deadline when it reads them. The gateways expire those that no worker reads, or
that a dead one holds, so that waiting clients get an answer and an unserved stream does not keep requests that nobody
wants any more; also in streams of versions that are not in the catalogue any more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import cycle

from shared.contract.errors import MalformedMessage
from shared.contract.messages import Outcome, Status, decode_request
from shared.streams.dead_letters import DeadLetters
from shared.streams.known_streams import KnownStreams
from shared.streams.request_stream import Completed, Delivery, RequestStream
from shared.telemetry.metrics import DEAD_LETTERS, PREDICTIONS

log = logging.getLogger(__name__)

_OLDEST = 100


class Expiry:
    """Checks the oldest entries of every request stream and of the dead letters."""

    def __init__(
        self,
        streams: Sequence[RequestStream],
        known: KnownStreams,
        dead_letters: DeadLetters,
        keep_dead_letters_ms: int,
        visibility_timeout_ms: int,
    ) -> None:
        self._known = known
        self._visibility_timeout_ms = visibility_timeout_ms
        self._dead_letters = dead_letters
        self._keep_dead_letters_ms = keep_dead_letters_ms
        self._turns: Iterator[Callable[[], Awaitable[int]]] = cycle(
            [*(partial(self.expire, stream) for stream in streams), self.expire_orphans, self.age_out]
        )
        self.turns = len(streams) + 2

    async def turn(self) -> None:
        """Check the next stream; one per turn, so that the work does not come in bursts. `turns` of them check all.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        await next(self._turns)()

    async def age_out(self) -> int:
        """Delete dead letters that have been kept long enough; returns how many.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        aged = await self._dead_letters.age_out(self._keep_dead_letters_ms)
        if aged:
            DEAD_LETTERS.labels("dead", "aged_out").inc(aged)
            log.warning("dead letters aged out", extra={"count": aged})
        return aged

    async def expire_orphans(self) -> int:
        """Expire what is late in the streams of versions that are not served any more; returns how many.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        return sum([await self.expire(stream) for stream in await self._known.orphans()])

    async def expire(self, stream: RequestStream) -> int:
        """Expire those of the oldest entries that are past their deadline; returns how many.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        late = await stream.past_deadline(_OLDEST, self._visibility_timeout_ms)
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
        return None  # left to a worker to dead-letter
    waited = max(0, now_ms - request.submitted_at)
    error = f"the deadline passed after {waited} ms in the queue; no live worker had it"
    return Completed(delivery, request, Outcome(Status.EXPIRED, queue_time_ms=waited, error=error))
