"""Cancelling predictions: what waits or runs ends as `cancelled`, at the wish of who asked for it.

The entry is consumed by the same fence as by a worker (`complete.lua`), so one outcome stands, whoever is first. A
worker that has it notices that it is gone (`inference_worker.held_entries`), and stops computing it if its model can.
"""

from __future__ import annotations

import logging

from gateway.core.errors import Conflict, UnknownPrediction
from gateway.core.finished import Finished
from gateway.core.principal import Principal, Scope
from gateway.core.waiting import Waiters
from shared.contract.fields import LARGEST_INT
from shared.contract.messages import Outcome, PredictionRequest, Status
from shared.streams.prediction_state import Queued, QueuePlace
from shared.streams.request_stream import Completed, Delivery, RequestStream
from shared.streams.shard import Shard
from shared.telemetry.metrics import PREDICTIONS
from shared.telemetry.prediction_log import PredictionLog

prediction_log = PredictionLog(logging.getLogger(__name__))

_TRIES = 3  # it may be replayed, and so change its place, between a look and the next


class Cancelling:
    """Cancels predictions of one shard."""

    def __init__(self, shard: Shard, waiters: Waiters) -> None:
        self._shard = shard
        self._waiters = waiters

    async def cancel(self, prediction_id: str, caller: Principal) -> Finished:
        """End a prediction; returns it as it has ended.

        Raises:
            UnknownPrediction: neither store knows the id, or the caller may not know it.
            Conflict: it has finished before.
            StoreUnavailable: one store cannot be reached and the other does not have it.
        """
        for _ in range(_TRIES):
            found = await self._waiters.read(prediction_id, 0, caller)
            if found.principal != caller.id and not caller.may(Scope.ADMIN):  # whoever may read it is not who asked
                raise UnknownPrediction(prediction_id)
            if isinstance(found, Finished):
                raise Conflict("already-finished", f"it has finished as {found.outcome.status.value} already")
            if found.place is not None and await self._end(prediction_id, found, found.place):
                ended = await self._waiters.read(prediction_id, 0, caller)
                if isinstance(ended, Finished):
                    return ended
        raise Conflict("not-cancelled", "it changes at this moment; read it again")

    async def _end(self, prediction_id: str, found: Queued, place: QueuePlace) -> bool:
        """Consume its entry; returns whether nobody was faster."""
        model, version, priority = place.queue
        stream = RequestStream(self._shard, model, version, "gateway", priority)
        # What runs has cost compute: its caller is charged what was reserved for it.
        cost_us = await stream.reserved_us(place.entry) if place.running else 0
        outcome = Outcome(
            Status.CANCELLED,
            queue_time_ms=min(place.waited_ms, LARGEST_INT),
            error="cancelled by its caller",
            compute_us=cost_us,
        )
        request = PredictionRequest(prediction_id, model, version, "", {}, found.attempt)
        (ended,) = await stream.complete([Completed(Delivery(place.entry, {}, 0), request, outcome)])
        if ended:
            PREDICTIONS.labels(model, version, Status.CANCELLED.value).inc()
            if prediction_log.wants(prediction_id):
                about = {"model": model, "version": version, "status": Status.CANCELLED.value}
                prediction_log.event("finished", prediction_id, "", **about)
        return ended
