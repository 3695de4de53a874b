"""Accepting orders: resolve, validate, publish and wait. Every API uses it."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gateway.core.assignment import Experiments, NoExperiments
from gateway.core.caching import CacheLook, Caching
from gateway.core.caller_limits import Standing, refusal, standing_of
from gateway.core.errors import IdempotencyConflict, InvalidOrder, PredictionGone, Refused
from gateway.core.expectation import Expectation
from gateway.core.finished import Finished
from gateway.core.inputs import Inputs, size_of
from gateway.core.lookup import Lookup
from gateway.core.order import Answer, Order
from gateway.core.resolution import resolve
from gateway.core.retry_after import STORE_UNAVAILABLE_S, RetryAfter
from gateway.core.serving import Serving
from gateway.core.submissions import Submissions
from gateway.core.tracing import PublishSpan
from gateway.core.waiting import Waiters
from shared.contract.catalogue import ServedVersion
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import Batch
from shared.contract.live_catalogue import LiveCatalogue
from shared.contract.messages import Outcome, Status
from shared.contract.options import OptionErrors, encode_options
from shared.contract.queues import Priority, Queue
from shared.contract.tags import encode_tags
from shared.streams.preconditions import Level
from shared.streams.publishing import CALLER_VERDICTS, REFUSALS, Group, NewRequest, Published, Verdict
from shared.streams.redis_watch import RedisWatch
from shared.streams.result_cache import CachedResult
from shared.telemetry.metrics import ERRORS
from shared.telemetry.prediction_log import PredictionLog

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces

prediction_log = PredictionLog(logging.getLogger(__name__))


class Intake:
    """Accepts orders for one gateway process."""

    def __init__(
        self,
        catalogue: LiveCatalogue,
        inputs: Inputs,
        submissions: Submissions,
        waiters: Waiters,
        lookup: Lookup,
        retry_after: RetryAfter,
        serving: Serving,
        redis: RedisWatch,
        shard: int = 0,
        traces: Traces | None = None,
        caching: Caching | None = None,
        experiments: Experiments | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._inputs = inputs
        self._submissions = submissions
        self._waiters = waiters
        self._lookup = lookup
        self._retry_after = retry_after
        self._serving = serving
        self._redis = redis
        self._shard = shard
        self._traces = traces
        self._caching = caching
        self._experiments = experiments or NoExperiments()

    async def submit(self, order: Order, on_accepted: Callable[[Sequence[str], Standing | None], None]) -> list[Answer]:
        """Publish an order and wait; returns one answer for each input, in the same order.

        Args:
            on_accepted: called before the wait with the ids, and with how the caller stands if it has limits.

        Raises:
            UnknownModel: there is no such model or version.
            InvalidOrder: a text or an option is wrong.
            RedactionFailed: a text could not be redacted. Nothing was published.
            Refused: a limit was reached, the gateway is stopping, or Redis would not keep the order. Nothing was
                published.
            LimitReached: a limit of the caller was reached. Nothing was published or charged.
            IdempotencyConflict: the key was used with another order.
            PredictionGone: what was accepted, now or earlier with that key, is not there any more.
            StoreUnavailable: Redis cannot be reached; it is unknown whether the order was accepted.
        """
        assigned = self._experiments.assign(order)
        served = resolve(self._catalogue, order.caller, order.model, order.version, assigned.version)
        options = _options(served, order)
        inputs = self._inputs.encoded(served, order)
        self._check_redis()
        self._waiters.check_room(len(order.inputs) if order.wait_s else 0, served.label, order.caller.id, order.limits)
        order, inputs, stored = await self._inputs.prepare(served, order, options, inputs)
        batch = Batch(time.time_ns() // 1_000_000, self._shard, secrets.token_hex(16), len(order.inputs))
        ids = batch.ids()
        with self._waiters.expect(ids if order.wait_s else [], served.label, order.caller.id) as expected:
            look = await self._look(served, order, options, inputs)
            new = assigned.noted(self._new_requests(served, order, options, inputs, ids, stored, look))
            with look.flight:
                published = await self._publish(served, order, batch, new)
                standing = standing_of(order.limits, published.used) if order.limits and published.used else None
                on_accepted(published.earlier or ids, standing)
                if not published.earlier:
                    self._experiments.accepted(order, assigned, new)
                    for each in new if order.wait_s else ():
                        if each.answer is not None:
                            expected.wake(each.id, _cached(served, each.id, each.answer))
                    answers = await self._answers(ids, expected, order.wait_s, look.left_s)
                    look.learn(answers)
                    return self._with_notes(served, answers)
        return self._with_notes(served, await self._earlier(published.earlier, look.left_s))

    async def _look(self, served: ServedVersion, order: Order, options: bytes, inputs: Sequence[bytes]) -> CacheLook:
        """Look for results that were computed before."""
        if self._caching is None:
            return CacheLook(order.wait_s, [""] * len(inputs))
        return await self._caching.look(served, order, options, inputs)

    def _new_requests(
        self,
        served: ServedVersion,
        order: Order,
        options: bytes,
        inputs: Sequence[bytes],
        ids: Sequence[str],
        stored: Sequence[bytes],
        look: CacheLook,
    ) -> list[NewRequest]:
        limited, tags = order.limits is not None, encode_tags(order.tags)
        return [
            NewRequest(
                id=prediction_id,
                input=encoded,
                options=options,
                timeout_ms=order.timeout_ms,
                principal=order.caller.id,
                traceparent=order.traceparent,
                wait=order.wait_s > 0,
                cost_us=self._serving.estimate_us(served.label, size_of(each, encoded)) if limited else 0,
                answer=look.found.get(key),
                stored_input=kept,
                tags=tags,
                callback_url=order.callback_url,
            )
            for prediction_id, each, encoded, kept, key in zip(
                ids, order.inputs, inputs, stored, look.keys, strict=True
            )
        ]

    def _check_redis(self) -> None:
        found = self._redis.worst(Level.REFUSES)
        if found is not None:
            detail = f"nothing is accepted for now: {found.sentence}"
            raise Refused("queue-unavailable", detail, STORE_UNAVAILABLE_S, limit=f"redis_{found.check}")

    async def _publish(self, served: ServedVersion, order: Order, batch: Batch, new: Sequence[NewRequest]) -> Published:
        model, version = served.model, served.version.version
        queue = Queue(model, version, order.priority)
        if self._traces is None or order.trace is None:
            published = await self._submit(queue, _group(order, batch, new))
        else:
            span = PublishSpan(self._traces, order.trace, model, version, new)
            new = span.requests
            published = await span.around(self._submit(queue, _group(order, batch, new)))
        for each in () if published.earlier else new:
            if prediction_log.wants(each.id):
                prediction_log.event("accepted", each.id, each.traceparent, model=model, version=version)
        return published

    async def _submit(self, queue: Queue, group: Group) -> Published:
        published = await self._submissions.submit(queue.model, queue.version, group, queue.priority)
        if published.verdict is Verdict.CONFLICT:
            raise IdempotencyConflict(group.idempotency_key)
        if published.verdict in CALLER_VERDICTS and group.limits is not None and published.used is not None:
            cost_us = sum(each.cost_us for each in group.requests)
            raise refusal(published.verdict, group.limits, published.used, len(group.requests), cost_us)
        if published.verdict is not Verdict.ACCEPTED:
            pause_s = self._retry_after.refused_s(queue, published.verdict)
            raise Refused(
                "overloaded", f"{REFUSALS[published.verdict]}; try again later", pause_s, limit=published.verdict
            )
        return published

    async def _earlier(self, ids: Sequence[str], wait_s: float) -> list[Answer]:
        """The answers of an earlier order with the same idempotency key."""
        with self._waiters.expect(ids if wait_s else []) as expected:
            found = await self._finished(ids)
            for each in found if wait_s else ():
                expected.wake(each.id, each)
            return await self._answers(ids, expected, wait_s, wait_s)

    async def _answers(self, ids: Sequence[str], expected: Expectation, wait_s: float, left_s: float) -> list[Answer]:
        """Wait, if that was asked for, for what is left; then check once more, since hints may be lost."""
        if not wait_s:
            return [Answer(each, None) for each in ids]
        found = dict(zip(ids, await expected.results(left_s), strict=True))
        missing = [each for each, finished in found.items() if finished is None]
        if missing:
            found |= {each.id: each for each in await self._finished(missing)}
        return [Answer(*each) for each in found.items()]

    def _with_notes(self, served: ServedVersion, answers: list[Answer]) -> list[Answer]:
        if all(each.finished for each in answers):
            return answers
        note = self._serving.note(served.label)
        return [each if each.finished else each._replace(note=note) for each in answers]

    async def _finished(self, ids: Sequence[str]) -> Sequence[Finished]:
        """The finished ones among accepted predictions.

        Raises:
            PredictionGone: one is not there any more.
        """
        try:
            found = await self._lookup.look(ids)
        except StoreUnavailable as error:  # they were accepted anyway, and the client gets their ids
            ERRORS.labels("gateway", f"{error.store}_{error.reason}").inc()
            return ()
        if None in found.values():
            raise PredictionGone
        finished = [each for each in found.values() if isinstance(each, Finished)]
        return [each._replace(given=None, priority=Priority.INTERACTIVE) for each in finished]  # as from a hint


def _cached(served: ServedVersion, prediction_id: str, answer: CachedResult) -> Finished:
    outcome = Outcome(Status.SUCCEEDED, answer.result, answer.confidence, cached=True)
    return Finished(prediction_id, served.model, served.version.version, outcome)


def _group(order: Order, batch: Batch, new: Sequence[NewRequest]) -> Group:
    remembered = batch.text() if order.idempotency_key else ""
    return Group(new, order.idempotency_key, order.fingerprint, remembered, order.limits)


def _options(served: ServedVersion, order: Order) -> bytes:
    try:
        encoded = encode_options(served.task, order.options, served.options)
    except OptionErrors as error:
        raise InvalidOrder([((*order.options_place, *place), message) for place, message in error.errors]) from None
    labels, most = (order.options or {}).get("labels"), served.version.limits.labels
    if isinstance(labels, list) and len(labels) > most:
        raise InvalidOrder([((*order.options_place, "labels"), f"must have at most {most} labels, not {len(labels)}")])
    return encoded
