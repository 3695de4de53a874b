"""The span of a publish: the parent of the workers' spans. Used only if traces are on.

Names and attributes follow OpenTelemetry's semantic conventions for messaging.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.errors import CoreError, Refused
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import request_stream_name
from shared.streams.publishing import NewRequest, Published

if TYPE_CHECKING:
    from shared.telemetry.spans import Span, Traces


class Trace(NamedTuple):
    """The span of a request, its `traceparent`, and its exemplar for metrics (None if the trace is not kept)."""

    span: Span
    traceparent: str
    exemplar: dict[str, str] | None


class PublishSpan:
    """The span of one publish.

    Attributes:
        requests: what to publish, with the span as their trace context.
    """

    def __init__(self, traces: Traces, trace: Trace, model: str, version: str, new: Sequence[NewRequest]) -> None:
        self._traces = traces
        stream = request_stream_name(model, version)
        self._span = trace.span if trace.exemplar is None else self._begin(trace, stream, new)
        traceparent = traces.traceparent(self._span)
        self.requests = [each._replace(traceparent=traceparent) for each in new]

    def _begin(self, trace: Trace, stream: str, new: Sequence[NewRequest]) -> Span:
        attributes: dict[str, str | int] = {
            "messaging.system": "redis",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": stream,
        }
        if len(new) == 1:
            attributes["messaging.message.id"] = new[0].id
        else:
            attributes["messaging.batch.message_count"] = len(new)
        return self._traces.start(f"send {stream}", "producer", trace.span, attributes)

    async def around(self, publish: Awaitable[Published]) -> Published:
        """Await the publish within the span."""
        try:
            return await publish
        except (CoreError, StoreUnavailable) as error:
            self._traces.fail(self._span, error.reason if isinstance(error, Refused) else type(error).__name__)
            raise
        finally:
            self._span.end()
