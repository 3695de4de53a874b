"""How entries leave a worker's hands: finished, dead-lettered, or given back.

Everything read is held until one of the three has happened in Redis, through outages: work that is computed is not
thrown away because Redis restarts. What is held is what `renew` keeps claimed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from shared.contract.catalogue import ServedVersion
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import request_stream_name
from shared.contract.messages import FINAL_STATUSES, Status
from shared.service.backoff import Backoff
from shared.service.liveness import Liveness
from shared.streams.request_stream import Completed, Delivery, RequestStream, readable_id
from shared.telemetry.metrics import CONFIDENCE, DEAD_LETTERS, ERRORS, PREDICTIONS
from shared.telemetry.prediction_log import PredictionLog

if TYPE_CHECKING:
    from inference_worker.tracing import Computed, LaneSpans

log = logging.getLogger(__name__)
predictions = PredictionLog(log)

_RETRY_WHILE_STOPPING_S = 0.2

Answer = TypeVar("Answer")


class Completion:
    """What one lane holds, and the ways out.

    Attributes:
        held: entry ids in hand.
        trouble: why the stream cannot be used now; None while it can.
    """

    def __init__(
        self,
        stream: RequestStream,
        served: ServedVersion,
        liveness: Liveness,
        visibility_timeout_ms: int,
        spans: LaneSpans | None = None,
    ) -> None:
        self.held: set[str] = set()
        self.trouble: str | None = "starting"
        self._stream = stream
        self._label = served.label
        self._labels = (served.model, served.version.version)
        self._confidence = CONFIDENCE.labels(*self._labels)
        self._finished = {status: PREDICTIONS.labels(*self._labels, status.value) for status in FINAL_STATUSES}
        self._liveness = liveness
        self._visibility_timeout_ms = visibility_timeout_ms
        self._spans = spans
        self._backoff = Backoff()

    def hold(self, deliveries: Sequence[Delivery]) -> None:
        """Take entries in hand."""
        self.held.update(each.entry for each in deliveries)

    async def renew(self) -> None:
        """Keep the claim on what is in hand."""
        try:
            await self._stream.renew(sorted(self.held))
        except StoreUnavailable:
            ERRORS.labels("inference_worker", "renewal").inc()

    async def finish(
        self, finished: Sequence[Completed], stop: asyncio.Event, computed: Computed | None = None
    ) -> Sequence[bool]:
        """Record outcomes; where another worker was first, its outcome stands and ours is dropped.

        Args:
            computed: when they were computed, where traces are on.

        Returns:
            For each, whether ours stands.
        """
        if not finished:
            return ()
        done = await self._until_done(lambda: self._stream.complete(finished), stop)
        self.held.difference_update(each.delivery.entry for each in finished)
        ours = [each for each, first in zip(finished, done, strict=True) if first]
        for status, count in Counter(each.outcome.status for each in ours).items():
            self._finished[status].inc(count)
        for each in ours:
            if each.outcome.confidence is not None:
                self._confidence.observe(each.outcome.confidence)
            self._note_finished(each)
        if self._spans is not None:
            self._spans.finished(finished, done, computed)
        return done

    def _note_finished(self, finished: Completed) -> None:
        request, outcome = finished.request, finished.outcome
        if predictions.wants(request.id):
            predictions.event(
                "finished",
                request.id,
                request.traceparent,
                model=request.model,
                version=request.version,
                status=outcome.status.value,
                duration_ms=outcome.processing_time_ms,
                queue_ms=outcome.queue_time_ms,
                deliveries=finished.delivery.deliveries,
                worker=outcome.worker,
                error=outcome.error.split(":")[0],  # its kind: a model's words may quote the text
            )

    async def dead_letter(self, delivery: Delivery, reason: str, error: str, stop: asyncio.Event) -> None:
        """Give an entry up for good."""
        first = await self._until_done(lambda: self._stream.dead_letter(delivery, reason, error), stop)
        self.held.discard(delivery.entry)
        if first and readable_id(delivery.fields):
            self._finished[Status.FAILED].inc()
        if self._spans is not None:
            self._spans.dead_lettered(delivery, reason)
        DEAD_LETTERS.labels(request_stream_name(*self._labels), reason).inc()
        about = {"entry": delivery.entry, "prediction_id": readable_id(delivery.fields), "lane": self._label}
        log.error("request dead-lettered", extra={**about, "reason": reason, "detail": error})

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return entries that were not begun; where Redis is away they are claimed after the visibility timeout."""
        entries = [each.entry for each in deliveries]
        try:
            await self._stream.release(entries, self._visibility_timeout_ms)
        except StoreUnavailable:
            log.warning("left entries pending", extra={"lane": self._label, "entries": len(entries)})
        self.held.difference_update(entries)

    def note_success(self) -> None:
        """The stream answers."""
        self.trouble = None
        self._backoff.succeeded()

    async def note_trouble(self, error: StoreUnavailable, stop: asyncio.Event) -> None:
        """The stream does not answer: say so, and pause."""
        self.trouble = str(error)
        ERRORS.labels("inference_worker", f"{error.store}_unavailable").inc()
        log.warning("store unavailable", extra={"lane": self._label, "detail": str(error)})
        await self._backoff.pause(stop)
        self._liveness.moved(self._label)

    async def _until_done(self, call: Callable[[], Awaitable[Answer]], stop: asyncio.Event) -> Answer:
        while True:
            try:
                answer = await call()
            except StoreUnavailable as error:
                await self.note_trouble(error, stop)
                if stop.is_set():
                    await asyncio.sleep(_RETRY_WHILE_STOPPING_S)
            else:
                self.note_success()
                return answer
