"""A lane: the loop that serves one model version.

    read ──▶ decode, drop what is expired ──▶ encode ──▶ wait for the slot ──▶ predict ──▶ complete
             (the next window goes this way ─────────▶)  while this one computes

There is one slot, and at most one window is prepared ahead of it. Entries that were delivered before may be what
killed their worker: they are taken over one at a time, with nothing else in hand, so that a poison entry can be told
from its neighbours by its delivery count.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from inference_worker import outcomes
from inference_worker.batching import plan_batches, read_size
from inference_worker.completion import Completion
from inference_worker.engine import Engine
from inference_worker.label_counts import LabelCounts
from inference_worker.settings import WorkerSettings
from inference_worker.tasks.protocol import Encoded, Item, Output
from shared.contract.catalogue import ServedVersion
from shared.contract.errors import MalformedMessage, StoreUnavailable
from shared.contract.keys import request_stream_name
from shared.contract.messages import Outcome, PredictionRequest, decode_request
from shared.service.backoff import wait_for_stop
from shared.service.liveness import Liveness
from shared.streams.request_stream import Completed, Delivery, Read, RequestStream
from shared.telemetry.metrics import BATCH_SIZE, INFERENCE_DURATION, QUEUE_WAIT, REDELIVERIES

if TYPE_CHECKING:
    from inference_worker.tracing import LaneSpans

log = logging.getLogger(__name__)

_STEP_WHILE_STOPPING_S = 0.02


class _Job(NamedTuple):
    """A request in hand, ready to compute; `queued_ms` is how long it waited."""

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
        self._queue_wait = QUEUE_WAIT.labels(*self._labels)
        self._completion = Completion(stream, served, liveness, settings.visibility_timeout_ms, spans)
        self._spans = spans
        self._label_counts = LabelCounts(*self._labels, engine.labels)
        self._next_claim = 0.0
        self._last_read = 0
        self._computing: asyncio.Task[None] | None = None

    @property
    def in_hand(self) -> int:
        """How many entries this lane has read and not finished."""
        return len(self._completion.held)

    @property
    def unavailable(self) -> str | None:
        """Why the lane cannot serve now; None while it can."""
        return self._completion.trouble

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then finish what computes and give back the rest."""
        while not stop.is_set():
            self._liveness.moved(self.served.label)
            try:
                await self._stream.join()
                await self._serve_until_trouble(stop)
            except StoreUnavailable as error:
                await self._completion.note_trouble(error, stop)
        await self._slot_free()
        await self._leave()

    async def keep_claims(self, stop: asyncio.Event) -> None:
        """Renew the claim on everything in hand every third of the visibility timeout, while it computes."""
        interval_s = self._settings.visibility_timeout_ms / 3000
        next_renewal = 0.0
        while not stop.is_set() or self._completion.held:
            if await wait_for_stop(stop, min(1.0, interval_s)):
                await asyncio.sleep(_STEP_WHILE_STOPPING_S)
            if self._completion.held and time.monotonic() >= next_renewal:
                next_renewal = time.monotonic() + interval_s
                await self._completion.renew()

    async def _serve_until_trouble(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._liveness.moved(self.served.label)
            took_over = await self._take_over(stop)
            read = await self._read(0 if took_over else self._settings.read_block_ms)
            self._completion.note_success()
            jobs = await self._prepare(read, stop)
            if jobs:
                await self._slot_free()
                if stop.is_set():
                    await self._completion.give_back([job.delivery for job in jobs])
                else:
                    self._computing = asyncio.create_task(
                        self._compute(jobs, stop), name=f"compute {self.served.label}"
                    )

    async def _slot_free(self) -> None:
        """Wait until nothing computes."""
        while self._computing is not None and not self._computing.done():
            self._liveness.moved(self.served.label)
            await asyncio.wait({self._computing}, timeout=1.0)
        if self._computing is not None:
            self._computing.result()
            self._computing = None

    async def _read(self, block_ms: int) -> Read:
        """Read one window; a batch that is not full waits for more where the version's limits say so."""
        limits = self._limits
        read = await self._stream.read(read_size(self._last_read, limits), block_ms)
        self._completion.hold(read.deliveries)
        if read.deliveries and len(read.deliveries) < limits.max_batch_size and limits.max_wait_ms:
            await asyncio.sleep(limits.max_wait_ms / 1000)
            read = await self._read_more(read)
        self._last_read = len(read.deliveries)
        return read

    async def _read_more(self, read: Read) -> Read:
        try:
            more = await self._stream.read(self._limits.max_batch_size - len(read.deliveries), 0)
        except StoreUnavailable:
            return read  # what is in hand goes on; the next read meets the trouble
        self._completion.hold(more.deliveries)
        return Read([*read.deliveries, *more.deliveries], more.now_ms)

    async def _take_over(self, stop: asyncio.Event) -> bool:
        """Claim abandoned entries and compute them with nothing else in hand; says whether there were any."""
        if time.monotonic() < self._next_claim:
            return False
        await self._slot_free()
        claimed = await self._stream.claim(self._settings.visibility_timeout_ms, self._limits.max_batch_size)
        if not claimed.deliveries:
            interval = self._settings.claim_interval_ms / 1000
            self._next_claim = time.monotonic() + interval * random.uniform(0.75, 1.25)
            return False
        self._completion.hold(claimed.deliveries)
        REDELIVERIES.labels(request_stream_name(*self._labels)).inc(len(claimed.deliveries))
        jobs = await self._prepare(claimed, stop)
        if jobs:
            await self._compute(jobs, stop)
        return True

    async def _prepare(self, read: Read, stop: asyncio.Event) -> list[_Job]:
        """Decode and encode; what cannot be computed is finished here."""
        requests: list[tuple[Delivery, PredictionRequest]] = []
        late: list[Completed] = []
        for delivery in read.deliveries:
            if delivery.deliveries > self._settings.max_deliveries:
                died = delivery.deliveries - 1
                text = f"given up after {died} deliveries: each time the worker that computed it died or lost it"
                await self._completion.dead_letter(delivery, "max_deliveries", text, stop)
                continue
            try:
                request = decode_request(delivery.fields)
            except MalformedMessage as error:
                await self._completion.dead_letter(delivery, error.reason, str(error), stop)
                continue
            if request.deadline_at < read.now_ms:
                late.append(Completed(delivery, request, outcomes.expired(request, read.now_ms, self._worker_id)))
            else:
                requests.append((delivery, request))
        encoded = await self._engine.encode([Item(request.text, request.options) for _, request in requests])
        jobs = []
        for (delivery, request), each in zip(requests, encoded, strict=True):
            queued_ms = max(0, read.now_ms - request.submitted_at)
            if isinstance(each, Exception):
                late.append(Completed(delivery, request, outcomes.failed(each, 0, queued_ms, self._worker_id)))
            else:
                jobs.append(_Job(delivery, request, each, queued_ms))
        await self._completion.finish(late, stop)
        return jobs

    async def _compute(self, jobs: Sequence[_Job], stop: asyncio.Event) -> None:
        """Compute a window in batches of like length; batches not begun when the stop comes are given back."""
        batches = plan_batches([(job.encoded.tokens, job.encoded.rows) for job in jobs], self._limits)
        for number, indices in enumerate(batches):
            if stop.is_set() and number > 0:
                await self._completion.give_back([jobs[i].delivery for rest in batches[number:] for i in rest])
                return
            await self._compute_batch([jobs[index] for index in indices], stop)

    async def _compute_batch(self, jobs: Sequence[_Job], stop: asyncio.Event) -> None:
        started = time.monotonic()
        outputs = await self._engine.predict([job.encoded for job in jobs])
        seconds = time.monotonic() - started
        computed = None if self._spans is None else self._spans.computed(seconds, len(jobs))
        exemplars = [None] * len(jobs) if self._spans is None else self._spans.exemplars(job.request for job in jobs)
        BATCH_SIZE.labels(*self._labels).observe(len(jobs))
        INFERENCE_DURATION.labels(*self._labels).observe(seconds, next(filter(None, exemplars), None))
        finished = []
        for job, output, exemplar in zip(jobs, outputs, exemplars, strict=True):
            self._queue_wait.observe(job.queued_ms / 1000, exemplar)
            outcome = self._outcome(output, round(seconds * 1000), job.queued_ms)
            finished.append(Completed(job.delivery, job.request, outcome))
        first = await self._completion.finish(finished, stop, computed)
        self._label_counts.count(outputs, finished, first)

    def _outcome(self, output: Output | Exception, took_ms: int, queued_ms: int) -> Outcome:
        if isinstance(output, Exception):
            return outcomes.failed(output, took_ms, queued_ms, self._worker_id)
        try:
            return outcomes.succeeded(output, took_ms, queued_ms, self._worker_id)
        except outcomes.BadOutput as error:
            return outcomes.failed(error, took_ms, queued_ms, self._worker_id)

    async def _leave(self) -> None:
        try:
            await self._stream.leave()
        except StoreUnavailable:
            log.warning("left without saying so", extra={"lane": self.served.label})
        self._engine.close()
        self._liveness.ended(self.served.label)
