"""A lane's spans: for each prediction its wait, its processing, and within that the computing of its batch.

They are made afterwards, when everything about a prediction is known, and only if its trace is kept. Names and
attributes follow OpenTelemetry's conventions for messaging; each message's processing is a span of its own, whatever
its batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from shared.contract.keys import request_stream_name
from shared.contract.messages import PredictionRequest, Status
from shared.streams.request_stream import Completed, Delivery, readable_id
from shared.telemetry.traceparent import exemplar_of, is_sampled

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces

_MS = 1_000_000


class BatchTiming(NamedTuple):
    """When a batch was computed, in ns since the epoch, and how many it held."""

    started_ns: int
    ended_ns: int
    size: int


class LaneSpans:
    """Makes the spans of one model version."""

    def __init__(self, traces: Traces, model: str, version: str) -> None:
        self._traces = traces
        self._stream = request_stream_name(model, version)
        self._inference = f"inference {model} {version}"
        self._attributes: dict[str, str | int] = {
            "messaging.system": "redis",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": self._stream,
            "messaging.consumer.group.name": "workers",
        }

    @staticmethod
    def timing(seconds: float, size: int) -> BatchTiming:
        """The timing of a batch whose computing has just ended."""
        now = time.time_ns()
        return BatchTiming(now - round(seconds * 1e9), now, size)

    @staticmethod
    def exemplars(requests: Iterable[PredictionRequest]) -> list[dict[str, str] | None]:
        """For each request what leads from a metric to its trace; None if its trace is not kept."""
        return [exemplar_of(request.traceparent) for request in requests]

    def finished(self, finished: Sequence[Completed], first: Sequence[bool], timing: BatchTiming | None) -> None:
        """Make the spans of recorded outcomes; `first` says for which of them ours stands."""
        for each, stands in zip(finished, first, strict=True):
            if is_sampled(each.request.traceparent):
                self._finished(each, stands, timing)

    def _finished(self, finished: Completed, stands: bool, timing: BatchTiming | None) -> None:
        delivery, request, outcome = finished
        now = time.time_ns()
        read = (request.submitted_at + outcome.queue_time_ms) * _MS  # on Redis's clock, like what it is compared with
        begun = min(read, now if timing is None else timing.started_ns)
        waited = min(request.submitted_at * _MS, begun)
        self._traces.start(f"wait {self._stream}", "internal", request.traceparent, None, waited).end(begun)
        attributes = {
            **self._attributes,
            "messaging.message.id": request.id,
            "millstream.deliveries": delivery.deliveries,
        }
        span = self._traces.start(f"process {self._stream}", "consumer", request.traceparent, attributes, begun)
        if timing is not None:
            size = {"millstream.batch.size": timing.size}
            self._traces.start(self._inference, "internal", span, size, timing.started_ns).end(timing.ended_ns)
        if outcome.status is not Status.SUCCEEDED:
            failed = outcome.status is Status.FAILED
            self._traces.fail(span, outcome.error.split(":")[0] if failed else outcome.status.value)
        elif not stands:
            self._traces.fail(span, "too_late")  # another worker's outcome stands
        span.end(now)

    def dead_lettered(self, delivery: Delivery, reason: str) -> None:
        """Make the span of an entry that was given up on."""
        traceparent = delivery.fields.get(b"traceparent", b"").decode(errors="replace")
        if not is_sampled(traceparent):
            return
        attributes = {**self._attributes, "messaging.message.id": readable_id(delivery.fields)}
        attributes["millstream.deliveries"] = delivery.deliveries
        span = self._traces.start(f"process {self._stream}", "consumer", traceparent, attributes)
        self._traces.fail(span, reason)
        span.end()
