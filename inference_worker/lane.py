"""A lane: the loop that serves one model version.

    read ──▶ decode, drop what has expired ──▶ encode ──▶ wait for the slot ──▶ predict ──▶ complete
             (the next window gets this far ──────────▶)  while this one is computed

There is one slot, and at most one window is prepared ahead of it. An entry that was delivered before may be what killed
its worker: such entries are taken over one at a time, with nothing else in hand, so that the delivery count tells a
poison entry from its neighbours.

A model may take longer over a batch than `STALL_TIMEOUT_S`. The lane therefore counts as moving while its model works;
otherwise probes would kill the worker, and the entry would end as a dead letter. All other waits have their own limits.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from inference_worker import outcomes
from inference_worker.batching import plan_batches, read_size
from inference_worker.engine import Engine
from inference_worker.held_entries import HeldEntries
from inference_worker.label_counts import LabelCounts
from inference_worker.settings import WorkerSettings
from inference_worker.tasks.protocol import Encoded, Item
from inference_worker.triage import triage
from shared.contract.catalogue import ServedVersion
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import request_stream_name
from shared.contract.messages import PredictionRequest
from shared.service.liveness import Liveness
from shared.streams.request_stream import Completed, Delivery, Read, RequestStream
from shared.telemetry.metrics import BATCH_SIZE, INFERENCE_DURATION, QUEUE_WAIT, REDELIVERIES

if TYPE_CHECKING:
    from inference_worker.tracing import LaneSpans

log = logging.getLogger(__name__)


class _Job(NamedTuple):
    """A request that is ready to be computed; `queued_ms` is how long it has waited."""

    delivery: Delivery
    request: PredictionRequest
    encoded: Encoded
    queued_ms: int


class Lane:
    """Serves one model version from its stream."""

    def __init__(
        self,
        settings: WorkerSettings,
        served: ServedVersion,
        stream: RequestStream,
        engine: Engine,
        liveness: Liveness,
        worker_id: str,
        spans: LaneSpans | None = None,
    ) -> None:
        self.served = served
        self._settings = settings
        self._limits = served.version.batch
        self._stream = stream
        self._engine = engine
        self._liveness = liveness
        self._worker_id = worker_id
        self._labels = (served.model, served.version.version)
        self._queue_wait = QUEUE_WAIT.labels(*self._labels)  # bound once for speed: it is used for every request
        self._held = HeldEntries(stream, served, liveness, settings.visibility_timeout_ms, spans)
        self._spans = spans
        self._label_counts = LabelCounts(*self._labels, engine.labels)
        self._report_every_s = min(1.0, settings.stall_timeout_s / 3)
        self._next_claim = 0.0
        self._last_read = 0
        self._computing: asyncio.Task[None] | None = None

    @property
    def in_hand(self) -> int:
        """How many entries this lane has read and not yet finished."""
        return len(self._held.entries)

    @property
    def unavailable(self) -> str | None:
        """Why the lane cannot serve at the moment; None if it can."""
        return self._held.unavailable

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then finish the batch that is being computed and give back the rest."""
        while not stop.is_set():
            self._liveness.moved(self.served.label)
            try:
                await self._stream.join()
                await self._serve(stop)
            except StoreUnavailable as error:
                await self._held.note_unavailable(error, stop)
        await self._slot_free()
        await self._leave()

    async def keep_claims(self, stop: asyncio.Event) -> None:
        """Keep the claim on everything in hand until `stop` is set and nothing is in hand any more."""
        await self._held.keep_claimed(stop)

    async def _serve(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._liveness.moved(self.served.label)
            took_over = await self._take_over(stop)
            read = await self._read(0 if took_over else self._settings.read_block_ms)
            self._held.note_available()
            jobs = await self._prepare(read, stop)
            if jobs:
                await self._slot_free()
                if stop.is_set():
                    await self._held.give_back([job.delivery for job in jobs])
                else:
                    self._computing = asyncio.create_task(
                        self._compute(jobs, stop), name=f"compute {self.served.label}"
                    )

    async def _slot_free(self) -> None:
        """Wait until nothing is being computed."""
        if self._computing is not None:
            await self._computing
            self._computing = None

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """Count as moving while the model works, however long it takes."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def report() -> None:
            nonlocal timer
            self._liveness.moved(self.served.label)
            timer = loop.call_later(self._report_every_s, report)

        report()
        try:
            yield
        finally:
            timer.cancel()
            self._liveness.moved(self.served.label)

    async def _read(self, block_ms: int) -> Read:
        """Read one window; a batch that is not full waits for more requests if the version's limits say so."""
        limits = self._limits
        read = await self._stream.read(read_size(self._last_read, limits), block_ms)
        self._held.hold(read.deliveries)
        if read.deliveries and len(read.deliveries) < limits.max_batch_size and limits.max_wait_ms:
            await asyncio.sleep(limits.max_wait_ms / 1000)
            read = await self._read_more(read)
        self._last_read = len(read.deliveries)
        return read

    async def _read_more(self, read: Read) -> Read:
        try:
            more = await self._stream.read(self._limits.max_batch_size - len(read.deliveries), 0)
        except StoreUnavailable:
            return read  # what is in hand is computed; the next read will fail and be reported
        self._held.hold(more.deliveries)
        return Read([*read.deliveries, *more.deliveries], more.now_ms)

    async def _take_over(self, stop: asyncio.Event) -> bool:
        """Claim abandoned entries and compute them with nothing else in hand; False if there were none."""
        if time.monotonic() < self._next_claim:
            return False
        await self._slot_free()
        claimed = await self._stream.claim(self._settings.visibility_timeout_ms, self._limits.max_batch_size)
        if not claimed.deliveries:
            interval = self._settings.claim_interval_ms / 1000
            self._next_claim = time.monotonic() + interval * random.uniform(0.75, 1.25)
            return False
        self._held.hold(claimed.deliveries)
        REDELIVERIES.labels(request_stream_name(*self._labels)).inc(len(claimed.deliveries))
        jobs = await self._prepare(claimed, stop)
        if jobs:
            await self._compute(jobs, stop)
        return True

    async def _prepare(self, read: Read, stop: asyncio.Event) -> list[_Job]:
        """Decode and encode; what will not be computed is finished here."""
        sorted_out = triage(read, self._settings.max_deliveries)
        for each in sorted_out.given_up:
            await self._held.dead_letter(*each, stop)
        ended = [
            Completed(delivery, request, outcomes.expired(request, read.now_ms, self._worker_id))
            for delivery, request in sorted_out.expired
        ]
        requests = sorted_out.to_compute
        with self._moving():
            encoded = await self._engine.encode([Item(request.text, request.options) for _, request in requests])
        jobs = []
        for (delivery, request), answer in zip(requests, encoded, strict=True):
            queued_ms = max(0, read.now_ms - request.submitted_at)
            if isinstance(answer, Exception):
                ended.append(Completed(delivery, request, outcomes.failed(answer, 0, queued_ms, self._worker_id)))
            else:
                jobs.append(_Job(delivery, request, answer, queued_ms))
        await self._held.finish(ended, stop)
        return jobs

    async def _compute(self, jobs: Sequence[_Job], stop: asyncio.Event) -> None:
        """Compute a window in batches of similar length; batches not begun before a stop are given back."""
        batches = plan_batches([(job.encoded.tokens, job.encoded.rows) for job in jobs], self._limits)
        for number, indices in enumerate(batches):
            if stop.is_set() and number > 0:
                await self._held.give_back([jobs[i].delivery for rest in batches[number:] for i in rest])
                return
            await self._compute_batch([jobs[index] for index in indices], stop)

    async def _compute_batch(self, jobs: Sequence[_Job], stop: asyncio.Event) -> None:
        started = time.monotonic()
        with self._moving():
            outputs = await self._engine.predict([job.encoded for job in jobs])
        seconds = time.monotonic() - started
        timing = None if self._spans is None else self._spans.timing(seconds, len(jobs))
        exemplars = [None] * len(jobs) if self._spans is None else self._spans.exemplars(job.request for job in jobs)
        BATCH_SIZE.labels(*self._labels).observe(len(jobs))
        INFERENCE_DURATION.labels(*self._labels).observe(seconds, next(filter(None, exemplars), None))
        finished = []
        for job, output, exemplar in zip(jobs, outputs, exemplars, strict=True):
            self._queue_wait.observe(job.queued_ms / 1000, exemplar)
            outcome = outcomes.outcome_of(output, round(seconds * 1000), job.queued_ms, self._worker_id)
            finished.append(Completed(job.delivery, job.request, outcome))
        first = await self._held.finish(finished, stop, timing)
        self._label_counts.count(outputs, finished, first)

    async def _leave(self) -> None:
        try:
            await self._stream.leave()
        except StoreUnavailable:
            log.warning("consumer not removed", extra={"lane": self.served.label})
        self._engine.close()
        self._liveness.ended(self.served.label)
