"""The passes of a lane: what it has read is encoded, waits, is computed by its children, and completed.

    encode ──▶ wait ──▶ a pass: predict ──▶ complete
                        (one in each child at a time)

Whenever a child is free it is given one pass of what waits (see `batching`), and the pass is completed as it ends. A
request that comes alone while nothing waits needs no choice of what goes with it: its child encodes it, too, so that it
goes to a child once. An item that ends its child is tried again, alone; each such end counts as a delivery, so that it
is given up after `MAX_DELIVERIES`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, NamedTuple

from inference_worker import outcomes
from inference_worker.batching import encode_windows, limits_of_batch, next_pass, next_priority, read_size
from inference_worker.children.process import ChildLost
from inference_worker.children.wire import Answer, Failure, Lone, Prepared
from inference_worker.cost_meter import CostMeter
from inference_worker.engine import Engine, EngineDown
from inference_worker.held_entries import HeldEntries
from inference_worker.label_counts import LabelCounts
from inference_worker.movement import Movement
from inference_worker.progress import ProgressReports
from inference_worker.settings import WorkerSettings
from inference_worker.tasks.protocol import Item
from inference_worker.triage import Readable
from shared.contract.catalogue import ServedVersion
from shared.contract.inputs import INVALID_INPUT, size_of
from shared.contract.messages import Outcome, PredictionRequest
from shared.contract.progress import Progress
from shared.contract.queues import Priority
from shared.streams.request_stream import Completed, Delivery
from shared.streams.version_streams import Counts
from shared.telemetry.metrics import BATCH_SIZE, INFERENCE_DURATION, QUEUE_WAIT
from shared.telemetry.traceparent import trace_id_of

if TYPE_CHECKING:
    from inference_worker.tracing import LaneSpans

log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A request that is ready to be computed; `queued_ms` is how long it has waited."""

    delivery: Delivery
    request: PredictionRequest
    encoded: Prepared
    queued_ms: int


class Passes:
    """The requests of one lane that are encoded, wait, or are being computed.

    Attributes:
        costs: what they have cost lately.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        served: ServedVersion,
        held: HeldEntries,
        engine: Engine,
        movement: Movement,
        worker_id: str,
        spans: LaneSpans | None,
        reports: ProgressReports,
    ) -> None:
        self._settings, self._limits = settings, served.version.batch.or_tokens(engine.token_budget)
        self._label = served.label
        self._labels = (served.model, served.version.version)
        self._held, self._engine, self._movement = held, engine, movement
        self._worker_id, self._spans = worker_id, spans
        # bound once for speed: they are used for every request
        self._queue_wait = {each: QUEUE_WAIT.labels(*self._labels, each.value) for each in Priority}
        self._label_counts = LabelCounts(*self._labels, engine.labels)
        self.costs = CostMeter()
        self._waiting: dict[Priority, list[Job]] = {each: [] for each in Priority}  # the oldest first
        self._since_batch = 0  # passes of interactive requests
        self._since_interactive = 0  # passes of batch
        self._busy = 0  # children that compute
        self._running: set[asyncio.Task[None]] = set()
        self._reports = reports
        self._computing: dict[int, Job] = {}  # by the identity of their encoded items
        self._unwanted: set[str] = set()  # entries of those that are not ours any more
        engine.on_progress = self._progressed

    def room(self, last_read: int) -> Counts:
        """How many entries to read next, if the last read brought so many interactive ones; 0 if enough wait."""
        waiting_bytes = sum(len(job.encoded.data) for jobs in self._waiting.values() for job in jobs)
        interactive, batch = (len(self._waiting[each]) for each in Priority)
        return Counts(
            read_size(interactive, waiting_bytes, last_read, self._limits),
            read_size(batch, waiting_bytes, 0, self._limits),
        )

    async def add(self, requests: Sequence[Readable], now_ms: int, stop: asyncio.Event) -> None:
        """Encode requests, and begin passes; those that cannot be encoded are finished here.

        Args:
            now_ms: when they were read, on Redis's clock.

        Raises:
            EngineDown: there is no child any more; they were given back.
        """
        if len(requests) == 1 and self._has_room_at_once(stop):
            delivery, request = requests[0]
            lone = Lone.of(request.input, request.options)
            self._note_pass(request.priority)
            self._begin([Job(delivery, request, lone, max(0, now_ms - request.submitted_at))], stop)
            return
        jobs: list[Job] = []
        try:
            for window in encode_windows([size_of(request.input) for _, request in requests]):
                jobs += await self._encode(requests[window], now_ms, stop)
        except EngineDown:
            await self._held.give_back([delivery for delivery, _ in requests])
            raise
        for job in jobs:
            self._waiting[job.request.priority].append(job)
        self._start(stop)

    def forget(self, entries: Set[str]) -> Set[str]:
        """Do not compute entries that are not ours any more; returns those that had not begun."""
        for job in self._computing.values():
            if job.delivery.entry in entries - self._unwanted:
                self._unwanted.add(job.delivery.entry)
                self._engine.stop(job.encoded)
        dropped: set[str] = set()
        for priority, jobs in self._waiting.items():
            dropped |= {job.delivery.entry for job in jobs if job.delivery.entry in entries}
            self._waiting[priority] = [job for job in jobs if job.delivery.entry not in entries]
        return dropped

    async def one_ended(self) -> None:
        """Wait until a pass has ended.

        Raises:
            EngineDown: there is no child any more; what the pass held was given back.
        """
        if self._running:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        self.settle()

    def settle(self) -> None:
        """Forget the passes that have ended.

        Raises:
            Exception: what a pass failed with: a fault of ours, not of the model.
        """
        ended = {each for each in self._running if each.done()}
        self._running -= ended
        if error := next(filter(None, [each.exception() for each in ended]), None):
            raise error

    async def all_ended(self) -> None:
        """Wait until nothing waits or is being computed.

        Raises:
            EngineDown: there is no child any more; what a pass held was given back.
        """
        while self._running:
            await self.one_ended()

    async def drain(self) -> None:
        """Give back what waits, and finish what is being computed.

        Raises:
            EngineDown: there is no child any more; all has ended, and what could not be computed was given back.
        """
        await self._held.give_back([job.delivery for jobs in self._waiting.values() for job in jobs])
        for jobs in self._waiting.values():
            jobs.clear()
        down: EngineDown | None = None
        while self._running:
            try:
                await self.all_ended()
            except EngineDown as error:
                down = error
        await self._reports.close()
        if down is not None:
            raise down

    def _progressed(self, item: Prepared, progress: Progress) -> None:
        job = self._computing.get(id(item))
        if job is not None:
            self._reports.note(job.request.id, progress)

    def _start(self, stop: asyncio.Event) -> None:
        """Give each child that is free a pass, as long as anything waits; after a stop, nothing begins."""
        if stop.is_set():
            return
        while any(self._waiting.values()) and self._busy < self._engine.processes:
            self._begin(self._take(), stop)

    def _begin(self, jobs: Sequence[Job], stop: asyncio.Event) -> None:
        self._busy += 1
        self._running.add(asyncio.create_task(self._compute(jobs, stop), name=f"compute {self._label}"))

    def _has_room_at_once(self, stop: asyncio.Event) -> bool:
        """Whether a child is free and nothing waits for it."""
        return not stop.is_set() and self._busy < self._engine.processes and not any(self._waiting.values())

    def _take(self) -> list[Job]:
        """The jobs of the next pass."""
        interactive, batch = (len(self._waiting[each]) for each in Priority)
        priority = next_priority(interactive, batch, self._since_batch)
        is_batch = priority is Priority.BATCH
        limits = limits_of_batch(self._limits, self._since_interactive) if is_batch else self._limits
        self._note_pass(priority)
        waiting = self._waiting[priority]
        costs = [(job.encoded.tokens, job.encoded.rows) for job in waiting]
        chosen = next_pass(costs, self._engine.processes, limits)
        jobs = [waiting[index] for index in chosen]
        for index in reversed(chosen):
            del waiting[index]
        return jobs

    def _note_pass(self, priority: Priority) -> None:
        if priority is Priority.BATCH:
            self._since_batch, self._since_interactive = 0, self._since_interactive + 1
        else:
            self._since_batch, self._since_interactive = self._since_batch + 1, 0

    async def _encode(self, requests: Sequence[Readable], now_ms: int, stop: asyncio.Event) -> list[Job]:
        """Encode; what cannot be encoded is finished here."""
        jobs, ended = [], []
        while requests:
            with self._movement.computing():
                encoded = await self._engine.encode([Item(each.input, each.options) for _, each in requests])
            again: list[Readable] = []
            for (delivery, request), answer in zip(requests, encoded, strict=True):
                queued_ms = max(0, now_ms - request.submitted_at)
                if isinstance(answer, Prepared):
                    jobs.append(Job(delivery, request, answer, queued_ms))
                elif isinstance(answer, ChildLost):
                    if counted := await self._count_loss(delivery, answer, stop):
                        again.append((counted, request))
                else:
                    ended.append(Completed(delivery, request, self._outcome(request, answer, 0, queued_ms)))
            requests = again
        await self._held.finish(ended, stop)
        return jobs

    async def _compute(self, jobs: Sequence[Job], stop: asyncio.Event) -> None:
        """Compute a pass, and complete it."""
        started = time.monotonic()
        self._computing |= {id(job.encoded): job for job in jobs}
        try:
            with self._movement.computing():
                answers = await self._engine.predict([job.encoded for job in jobs])
        except EngineDown:
            await self._held.give_back([job.delivery for job in jobs])
            self._unwanted -= {job.delivery.entry for job in jobs}
            raise
        finally:
            self._busy -= 1
            for job in jobs:
                del self._computing[id(job.encoded)]
                self._reports.forget(job.request.id)
        seconds = time.monotonic() - started
        self._start(stop)  # before this pass is recorded, so that the child does not wait for Redis
        for job, answer in await self._record(jobs, answers, seconds, stop):
            if counted := await self._count_loss(job.delivery, answer, stop):
                await self._compute_again(job._replace(delivery=counted), stop)

    async def _record(
        self, jobs: Sequence[Job], answers: Sequence[Answer | Failure | ChildLost], seconds: float, stop: asyncio.Event
    ) -> list[tuple[Job, ChildLost]]:
        """Complete a pass.

        Args:
            seconds: how long it was computed.

        Returns:
            The items that have ended their child, which are not completed.
        """
        timing = None if self._spans is None else self._spans.timing(seconds, len(jobs))
        exemplars = [None] * len(jobs) if self._spans is None else self._spans.exemplars(job.request for job in jobs)
        BATCH_SIZE.labels(*self._labels).observe(len(jobs))
        INFERENCE_DURATION.labels(*self._labels).observe(seconds, next(filter(None, exemplars), None))
        tokens = [_tokens(job, answer) for job, answer in zip(jobs, answers, strict=True)]
        shares_us = outcomes.shares_us(seconds, tokens)
        self.costs.learn(seconds, sum(tokens), sum(size_of(job.request.input) for job in jobs))
        finished, labels, lost, unwanted = [], [], [], []
        for job, answer, exemplar, took, share_us in zip(jobs, answers, exemplars, tokens, shares_us, strict=True):
            if job.delivery.entry in self._unwanted:  # what its model answers may be a part of the answer
                unwanted.append(job.delivery)
                continue
            if isinstance(answer, ChildLost):
                lost.append((job, answer))
                continue
            self._queue_wait[job.request.priority].observe(job.queued_ms / 1000, exemplar)
            outcome = self._outcome(job.request, answer, round(seconds * 1000), job.queued_ms)
            outcome = outcome._replace(tokens=took, compute_us=share_us)
            finished.append(Completed(job.delivery, job.request, outcome))
            labels.append(answer.label if isinstance(answer, Answer) else None)
        with self._movement.recording():
            first = await self._held.finish(finished, stop, timing)
        self._label_counts.count(labels, finished, first)
        if unwanted:
            self._unwanted -= {each.entry for each in unwanted}
            await self._held.give_back(unwanted)
        return lost

    async def _compute_again(self, job: Job, stop: asyncio.Event) -> None:
        """Try an item alone that has ended a child; on a stop another worker does."""
        if stop.is_set():
            await self._held.give_back([job.delivery])
            return
        self._busy += 1
        await self._compute([job], stop)

    async def _count_loss(self, delivery: Delivery, lost: ChildLost, stop: asyncio.Event) -> Delivery | None:
        """Count that an item ended a child alone; None if it is not to be tried again."""
        again = await self._held.count_delivery(delivery, stop)
        if again is not None and again.deliveries > self._settings.max_deliveries:
            error = f"given up after {delivery.deliveries} deliveries: each time the model's process was lost: {lost}"
            await self._held.dead_letter(delivery, lost.reason, error, stop)
            return None
        return again

    def _outcome(self, request: PredictionRequest, answer: Answer | Failure, took_ms: int, queued_ms: int) -> Outcome:
        if isinstance(answer, Failure) and answer.reason != INVALID_INPUT:
            about = {"prediction_id": request.id, "lane": self._label, "reason": answer.reason}
            if trace_id := trace_id_of(request.traceparent):
                about["trace_id"] = trace_id
            log.warning("model failed", extra={**about, "detail": outcomes.told_of(answer, request.input)})
        exposes = self._settings.exposes_model_errors
        return outcomes.outcome_of(answer, took_ms, queued_ms, self._worker_id, exposes)


def _tokens(job: Job, answer: Answer | Failure | ChildLost) -> int:
    """How many tokens an item had."""
    return job.encoded.tokens if isinstance(answer, ChildLost) else answer.tokens or job.encoded.tokens
