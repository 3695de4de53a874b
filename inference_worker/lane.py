"""A lane: the loop that serves one model version.

    read ──▶ decode, drop what has expired ──▶ encode ──▶ wait ──▶ a pass: predict ──▶ complete
             (read ahead, within a bound)                          (one in each child at a time)

Whenever a child is free it is given one pass of what waits (see `batching`), and the pass is completed as it ends. An
entry that was delivered before may be what killed its worker: such entries are taken over one at a time, with nothing
else in hand, so that the delivery count tells a poison entry from its neighbours. An item that ends its child is tried
again, alone; each such end counts as a delivery, so that it is given up after `MAX_DELIVERIES`.

A model may take longer over a pass than `STALL_TIMEOUT_S`. The lane therefore counts as moving while its model works;
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
from inference_worker.batching import encode_windows, next_pass, read_size
from inference_worker.children.process import ChildLost
from inference_worker.children.wire import Answer, Failure, Prepared
from inference_worker.engine import Engine, EngineDown
from inference_worker.held_entries import HeldEntries
from inference_worker.label_counts import LabelCounts
from inference_worker.settings import WorkerSettings
from inference_worker.tasks.protocol import Item
from inference_worker.triage import Readable, triage
from shared.contract.catalogue import ServedVersion
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import request_stream_name
from shared.contract.messages import INVALID_INPUT, Outcome, PredictionRequest
from shared.service.liveness import Liveness
from shared.streams.redis_watch import RedisWatch
from shared.streams.request_stream import Completed, Delivery, Read, RequestStream
from shared.telemetry.metrics import BATCH_SIZE, INFERENCE_DURATION, QUEUE_WAIT, REDELIVERIES
from shared.telemetry.traceparent import trace_id_of

if TYPE_CHECKING:
    from inference_worker.tracing import LaneSpans

log = logging.getLogger(__name__)


class _Job(NamedTuple):
    """A request that is ready to be computed; `queued_ms` is how long it has waited."""

    delivery: Delivery
    request: PredictionRequest
    encoded: Prepared
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
        redis: RedisWatch,
        spans: LaneSpans | None = None,
    ) -> None:
        self.served = served
        self._name = f"lane {served.label}"  # as a loop
        self._settings = settings
        self._limits = served.version.batch
        self._stream = stream
        self._redis = redis
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
        self._waiting: list[_Job] = []  # the oldest first
        self._busy = 0  # children that compute
        self._passes: set[asyncio.Task[None]] = set()
        self._recording: list[float] = []  # since when passes that have ended are being recorded

    @property
    def in_hand(self) -> int:
        """How many entries this lane has read and not yet finished."""
        return len(self._held.entries)

    @property
    def unavailable(self) -> str | None:
        """Why the lane cannot serve at the moment; None if it can."""
        return self._held.unavailable

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then finish the passes that are being computed and give back the rest.

        Raises:
            EngineDown: the version cannot be computed here any more; everything was given back.
        """
        down: EngineDown | None = None
        while not stop.is_set() and down is None:
            self._moved()
            try:
                await self._redis.require()
                await self._stream.join()
                await self._serve(stop)
            except StoreUnavailable as error:
                await self._held.note_unavailable(error, stop)
            except EngineDown as error:
                down = error
        await self._held.give_back([job.delivery for job in self._waiting])
        self._waiting.clear()
        while self._passes:
            try:
                await self._all_computed()
            except EngineDown as error:
                down = error
        await self._leave()
        if down is not None and not stop.is_set():
            raise down

    async def keep_claims(self, stop: asyncio.Event) -> None:
        """Keep the claim on everything in hand until `stop` is set and nothing is in hand any more."""
        await self._held.keep_claimed(stop)

    async def _serve(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._moved()
            self._settle()
            took_over = await self._take_over(stop)
            waiting_bytes = sum(len(job.encoded.data) for job in self._waiting)
            room = read_size(len(self._waiting), waiting_bytes, self._last_read, self._limits)
            if room == 0:
                await self._pass_ended()
                continue
            read = await self._read(room, 0 if took_over else self._settings.read_block_ms)
            self._held.note_available()
            self._waiting += await self._prepare(read, stop)
            self._start_passes(stop)

    def _start_passes(self, stop: asyncio.Event) -> None:
        """Give each child that is free a pass, as long as anything waits."""
        while self._waiting and self._busy < self._engine.processes and not stop.is_set():
            costs = [(job.encoded.tokens, job.encoded.rows) for job in self._waiting]
            chosen = next_pass(costs, self._engine.processes, self._limits)
            jobs = [self._waiting[index] for index in chosen]
            for index in reversed(chosen):
                del self._waiting[index]
            self._busy += 1
            task = asyncio.create_task(self._compute(jobs, stop), name=f"compute {self.served.label}")
            self._passes.add(task)

    async def _pass_ended(self) -> None:
        """Wait until a pass has ended."""
        if self._passes:
            await asyncio.wait(self._passes, return_when=asyncio.FIRST_COMPLETED)
        self._settle()

    def _settle(self) -> None:
        """Forget the passes that have ended.

        Raises:
            Exception: what a pass failed with: a fault of ours, not of the model.
        """
        ended = {each for each in self._passes if each.done()}
        self._passes -= ended
        if error := next(filter(None, [each.exception() for each in ended]), None):
            raise error

    async def _all_computed(self) -> None:
        """Wait until nothing waits or is being computed."""
        while self._passes:
            await self._pass_ended()

    def _moved(self) -> None:
        """Report that the lane moves, unless a pass cannot be recorded (an outage is reported by what retries)."""
        if not self._recording or time.monotonic() - min(self._recording) < self._report_every_s:
            self._liveness.moved(self._name)

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """Count as moving while the model works, however long it takes."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def report() -> None:
            nonlocal timer
            self._moved()
            timer = loop.call_later(self._report_every_s, report)

        report()
        try:
            yield
        finally:
            timer.cancel()
            self._moved()

    async def _read(self, count: int, block_ms: int) -> Read:
        """Read one window; a batch that is not full waits for more requests if the version's limits say so."""
        limits = self._limits
        read = await self._stream.read(count, block_ms)
        self._held.hold(read.deliveries)
        if read.deliveries and len(read.deliveries) < min(count, limits.max_batch_size) and limits.max_wait_ms:
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
        if not await self._stream.has_abandoned(self._settings.visibility_timeout_ms):
            interval = self._settings.claim_interval_ms / 1000
            self._next_claim = time.monotonic() + interval * random.uniform(0.75, 1.25)
            return False
        await self._all_computed()
        claimed = await self._stream.claim(self._settings.visibility_timeout_ms, self._limits.max_batch_size)
        self._held.hold(claimed.deliveries)
        REDELIVERIES.labels(request_stream_name(*self._labels)).inc(len(claimed.deliveries))
        self._waiting += await self._prepare(claimed, stop)
        self._start_passes(stop)
        await self._all_computed()
        return True

    async def _prepare(self, read: Read, stop: asyncio.Event) -> list[_Job]:
        """Decode and encode; what will not be computed is finished here."""
        sorted_out = triage(read, self._settings.max_deliveries)
        for each in sorted_out.given_up:
            await self._held.dead_letter(*each, stop)
        await self._held.finish(
            [
                Completed(delivery, request, outcomes.expired(request, read.now_ms, self._worker_id))
                for delivery, request in sorted_out.expired
            ],
            stop,
        )
        to_compute, jobs = sorted_out.to_compute, list[_Job]()
        try:
            for window in encode_windows([len(request.text) for _, request in to_compute]):
                jobs += await self._encode(to_compute[window], read.now_ms, stop)
        except EngineDown:
            await self._held.give_back([delivery for delivery, _ in to_compute])
            raise
        return jobs

    async def _encode(self, requests: Sequence[Readable], now_ms: int, stop: asyncio.Event) -> list[_Job]:
        """Encode; what cannot be encoded is finished here."""
        jobs, ended = [], []
        while requests:
            with self._moving():
                encoded = await self._engine.encode([Item(each.text, each.options) for _, each in requests])
            again: list[Readable] = []
            for (delivery, request), answer in zip(requests, encoded, strict=True):
                queued_ms = max(0, now_ms - request.submitted_at)
                if isinstance(answer, Prepared):
                    jobs.append(_Job(delivery, request, answer, queued_ms))
                elif isinstance(answer, ChildLost):
                    if counted := await self._count_loss(delivery, answer, stop):
                        again.append((counted, request))
                else:
                    ended.append(Completed(delivery, request, self._outcome(request, answer, 0, queued_ms)))
            requests = again
        await self._held.finish(ended, stop)
        return jobs

    async def _count_loss(self, delivery: Delivery, lost: ChildLost, stop: asyncio.Event) -> Delivery | None:
        """Count that an item ended a child alone; None if it is not to be tried again."""
        again = await self._held.count_delivery(delivery, stop)
        if again is not None and again.deliveries > self._settings.max_deliveries:
            error = f"given up after {delivery.deliveries} deliveries: each time the model's process was lost: {lost}"
            await self._held.dead_letter(delivery, lost.reason, error, stop)
            return None
        return again

    async def _compute(self, jobs: Sequence[_Job], stop: asyncio.Event) -> None:
        started = time.monotonic()
        try:
            with self._moving():
                answers = await self._engine.predict([job.encoded for job in jobs])
        except EngineDown:
            await self._held.give_back([job.delivery for job in jobs])
            raise
        finally:
            self._busy -= 1
        self._start_passes(stop)  # before this pass is recorded, so that the child does not wait for Redis
        seconds = time.monotonic() - started
        timing = None if self._spans is None else self._spans.timing(seconds, len(jobs))
        exemplars = [None] * len(jobs) if self._spans is None else self._spans.exemplars(job.request for job in jobs)
        BATCH_SIZE.labels(*self._labels).observe(len(jobs))
        INFERENCE_DURATION.labels(*self._labels).observe(seconds, next(filter(None, exemplars), None))
        finished, labels, lost = [], [], []
        for job, answer, exemplar in zip(jobs, answers, exemplars, strict=True):
            if isinstance(answer, ChildLost):
                lost.append((job, answer))
                continue
            self._queue_wait.observe(job.queued_ms / 1000, exemplar)
            outcome = self._outcome(job.request, answer, round(seconds * 1000), job.queued_ms)
            finished.append(Completed(job.delivery, job.request, outcome))
            labels.append(answer.label if isinstance(answer, Answer) else None)
        began = time.monotonic()
        self._recording.append(began)
        try:
            first = await self._held.finish(finished, stop, timing)
        finally:
            self._recording.remove(began)
        self._label_counts.count(labels, finished, first)
        for job, answer in lost:
            if counted := await self._count_loss(job.delivery, answer, stop):
                await self._compute_again(job._replace(delivery=counted), stop)

    def _outcome(self, request: PredictionRequest, answer: Answer | Failure, took_ms: int, queued_ms: int) -> Outcome:
        if isinstance(answer, Failure) and answer.reason != INVALID_INPUT:
            about = {"prediction_id": request.id, "lane": self.served.label, "reason": answer.reason}
            if trace_id := trace_id_of(request.traceparent):
                about["trace_id"] = trace_id
            log.warning("model failed", extra={**about, "detail": outcomes.told_of(answer, request.text)})
        exposes = self._settings.exposes_model_errors
        return outcomes.outcome_of(answer, took_ms, queued_ms, self._worker_id, exposes)

    async def _compute_again(self, job: _Job, stop: asyncio.Event) -> None:
        """Try an item alone that has ended a child; on a stop another worker does."""
        if stop.is_set():
            await self._held.give_back([job.delivery])
            return
        self._busy += 1
        await self._compute([job], stop)

    async def _leave(self) -> None:
        try:
            await self._stream.leave()
        except StoreUnavailable:
            log.warning("consumer not removed", extra={"lane": self.served.label})
        self._engine.close()
        self._liveness.ended(self._name)
