"""The persister's spans: one for each result whose trace is kept, while its batch is written.

Their parent is the gateway's publish, as it is for the worker's spans: an entry of `results` carries what the request's
entry carried.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from persister.rows import Row
from shared.streams.request_stream import Delivery, readable_id
from shared.telemetry.traceparent import is_sampled

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces

_NAME = "process results"
_ATTRIBUTES: dict[str, str | int] = {
    "messaging.system": "redis",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "results",
    "messaging.consumer.group.name": "persister",
}


class PersisterSpans:
    """Makes the spans of one persister, which writes one batch at a time."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._begun_ns = 0

    def batch_begun(self) -> None:
        """Note when the writing of a batch began."""
        self._begun_ns = time.time_ns()

    def stored(self, rows: Sequence[Row]) -> None:
        """Make the spans of a batch whose rows are committed and whose entries are forgotten."""
        for row in rows:
            if is_sampled(row.traceparent):
                attributes = {**_ATTRIBUTES, "messaging.message.id": str(row.id), "millstream.batch.size": len(rows)}
                self._traces.start(_NAME, "consumer", row.traceparent, attributes, self._begun_ns).end()

    def dead_lettered(self, delivery: Delivery, reason: str) -> None:
        """Make the span of a result that was given up on."""
        traceparent = delivery.fields.get(b"traceparent", b"").decode(errors="replace")
        if is_sampled(traceparent):
            attributes = {**_ATTRIBUTES, "messaging.message.id": readable_id(delivery.fields)}
            span = self._traces.start(_NAME, "consumer", traceparent, attributes, self._begun_ns)
            self._traces.fail(span, reason)
            span.end()
