"""The entries in a worker's hands, and how they leave them: finished, dead-lettered, or given back.

An entry is held until one of the three has happened in Redis, even through an outage: what has been computed is not
thrown away because Redis restarts. As long as it is held, its claim is renewed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import TYPE_CHECKING, TypeVar

from shared.contract.catalogue import ServedVersion
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import request_stream_name
from shared.contract.messages import FINAL_STATUSES, Status
from shared.service.backoff import Backoff, wait_for_stop
from shared.service.liveness import Liveness
from shared.streams.request_stream import Completed, Delivery, readable_id
from shared.streams.version_streams import VersionStreams
from shared.telemetry.metrics import CONFIDENCE, DEAD_LETTERS, ERRORS, PREDICTIONS
from shared.telemetry.prediction_log import PredictionLog

if TYPE_CHECKING:
    from inference_worker.tracing import BatchTiming, LaneSpans

log = logging.getLogger(__name__)
prediction_log = PredictionLog(log)

_RETRY_WHILE_STOPPING_S = 0.2
_STEP_WHILE_STOPPING_S = 0.02

Answer = TypeVar("Answer")


class HeldEntries:
    """What one lane holds.

    Attributes:
        entries: the ids of the entries in hand.
        unavailable: why the stream cannot be used at the moment; None if it can.
        on_lost: told of entries in hand that are not ours any more: they were cancelled or erased, or another worker
            has claimed them. It returns those that need not be held any longer.
    """

    def __init__(
        self,
        streams: VersionStreams,
        served: ServedVersion,
        liveness: Liveness,
        visibility_timeout_ms: int,
        spans: LaneSpans | None = None,
    ) -> None:
        self.entries: set[str] = set()
        self.unavailable: str | None = "starting"
        self.on_lost: Callable[[Set[str]], Set[str]] = lambda _: frozenset()
        self._streams = streams
        self._label = served.label
        self._labels = (served.model, served.version.version)
        # Bound once for speed: a look-up by labels costs more than counting does, and these count every request.
        self._confidence = CONFIDENCE.labels(*self._labels)
        self._finished = {status: PREDICTIONS.labels(*self._labels, status.value) for status in FINAL_STATUSES}
        self._liveness = liveness
        self._visibility_timeout_ms = visibility_timeout_ms
        self._spans = spans
        self._backoff = Backoff()
        self._claims = asyncio.Lock()  # a renewal that came after a release would hide what was given back

    def hold(self, deliveries: Sequence[Delivery]) -> None:
        """Take entries in hand."""
        self.entries.update(each.entry for each in deliveries)

    async def keep_claimed(self, stop: asyncio.Event) -> None:
        """Renew every third of the visibility timeout, until `stop` is set and nothing is in hand any more.

        Each second it is also looked whether what has been in hand that long is still ours.
        """
        interval_s = self._visibility_timeout_ms / 3000
        next_renewal = 0.0
        before: set[str] = set()
        while not stop.is_set() or self.entries:
            self._liveness.moved(f"claims {self._label}")
            if await wait_for_stop(stop, min(1.0, interval_s)):
                await asyncio.sleep(_STEP_WHILE_STOPPING_S)
            await self._let_go_of_lost(before & self.entries)
            before = set(self.entries)
            if self.entries and time.monotonic() >= next_renewal:
                next_renewal = time.monotonic() + interval_s
                await self.renew()

    async def renew(self) -> None:
        """Renew the claim on what is in hand."""
        async with self._claims:
            try:
                await self._streams.renew(sorted(self.entries))
            except StoreUnavailable:
                ERRORS.labels("inference_worker", "renewal").inc()

    async def _let_go_of_lost(self, entries: Set[str]) -> None:
        if not entries:
            return
        try:
            lost = await self._streams.lost(sorted(entries))
        except StoreUnavailable:
            return  # the next renewal says so
        self.entries -= self.on_lost(lost & self.entries) if lost else frozenset()

    async def finish(
        self, finished: Sequence[Completed], stop: asyncio.Event, timing: BatchTiming | None = None
    ) -> Sequence[bool]:
        """Record outcomes; if another worker was first, its outcome stands and ours is dropped.

        Args:
            timing: when they were computed; only if traces are on.

        Returns:
            For each, whether our outcome stands.
        """
        if not finished:
            return ()
        done = await self._until_done(lambda: self._streams.complete(finished), stop)
        self.entries.difference_update(each.delivery.entry for each in finished)
        ours = [each for each, first in zip(finished, done, strict=True) if first]
        for status, count in Counter(each.outcome.status for each in ours).items():
            self._finished[status].inc(count)
        for each in ours:
            if each.outcome.confidence is not None:
                self._confidence.observe(each.outcome.confidence)
            self._note_finished(each)
        if self._spans is not None:
            self._spans.finished(finished, done, timing)
        return done

    def _note_finished(self, finished: Completed) -> None:
        request, outcome = finished.request, finished.outcome
        if prediction_log.wants(request.id):
            prediction_log.event(
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
                error=outcome.error.split(":")[0],  # its kind alone: the rest is the model's and may quote the input
            )

    async def dead_letter(self, delivery: Delivery, reason: str, error: str, stop: asyncio.Event) -> None:
        """Give up on an entry for good."""
        first = await self._until_done(lambda: self._streams.dead_letter(delivery, reason, error), stop)
        self.entries.discard(delivery.entry)
        if not first:  # whoever was first has counted it and said so
            return
        if readable_id(delivery.fields):
            self._finished[Status.FAILED].inc()
        if self._spans is not None:
            self._spans.dead_lettered(delivery, reason)
        DEAD_LETTERS.labels(request_stream_name(*self._labels), reason).inc()
        about = {"entry": delivery.entry, "prediction_id": readable_id(delivery.fields), "lane": self._label}
        log.error("request dead-lettered", extra={**about, "reason": reason, "detail": error})

    async def count_delivery(self, delivery: Delivery, stop: asyncio.Event) -> Delivery | None:
        """Count another delivery of an entry in hand; None if it is another worker's by now."""
        deliveries = await self._until_done(lambda: self._streams.count_delivery(delivery.entry), stop)
        if deliveries:
            return delivery._replace(deliveries=deliveries)
        self.entries.discard(delivery.entry)
        return None

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return entries that were not begun; without Redis, others claim them after the visibility timeout."""
        entries = [each.entry for each in deliveries]
        async with self._claims:
            try:
                await self._streams.release(entries, self._visibility_timeout_ms)
            except StoreUnavailable:
                log.warning("entries left pending", extra={"lane": self._label, "entries": len(entries)})
            self.entries.difference_update(entries)

    def note_available(self) -> None:
        """Note that the stream answers."""
        self.unavailable = None
        self._backoff.succeeded()

    async def note_unavailable(self, error: StoreUnavailable, stop: asyncio.Event) -> None:
        """Note that the stream does not answer, and pause."""
        self.unavailable = str(error)
        ERRORS.labels("inference_worker", f"{error.store}_{error.reason}").inc()
        log.warning("store unavailable", extra={"lane": self._label, "reason": error.reason, "detail": str(error)})
        await self._backoff.pause(stop)
        self._liveness.moved(f"lane {self._label}")

    async def _until_done(self, call: Callable[[], Awaitable[Answer]], stop: asyncio.Event) -> Answer:
        while True:
            try:
                answer = await call()
            except StoreUnavailable as error:
                await self.note_unavailable(error, stop)
                if stop.is_set():
                    await asyncio.sleep(_RETRY_WHILE_STOPPING_S)
            else:
                self._liveness.moved(f"lane {self._label}")
                self.note_available()
                return answer
