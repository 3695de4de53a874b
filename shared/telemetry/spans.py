"""The spans of one service: the only module that uses OpenTelemetry, imported only if traces are on.

Parents are given explicitly, as a span of this process or as a `traceparent`; there is no current span. Ended spans go
into a bounded queue, from which a thread sends them. If the collector is unavailable or slow, the oldest are dropped:
nothing ever waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.re import parse_env_headers

from shared.contract.errors import ConfigurationError
from shared.service.settings import Settings
from shared.service.version import software_version
from shared.telemetry.metrics import ERRORS
from shared.telemetry.traceparent import parse_traceparent

__all__ = ["Span", "Traces"]

Attributes = Mapping[str, str | int | float | bool]
Kind = Literal["server", "producer", "consumer", "internal"]

FLUSH_S = 3.0
_KINDS: Mapping[Kind, SpanKind] = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}
_NOWHERE = Context()


class Traces:
    """Creates the spans of one service.

    Args:
        service: its name, as in the logs.
        settings: where spans are sent, and which are kept.
    """

    def __init__(self, service: str, settings: Settings) -> None:
        if settings.otel_exporter_otlp_endpoint is None:
            raise ConfigurationError("OTEL_EXPORTER_OTLP_ENDPOINT is not set")
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it warns of every retry
        resource = Resource.create(
            {
                "service.name": service,
                "service.namespace": "millstream",
                "service.version": software_version(),
                "deployment.environment.name": settings.environment,
            }
        )
        given = settings.otel_exporter_otlp_headers
        headers = None if given is None else parse_env_headers(given.get_secret_value(), liberal=True)
        exporter = OTLPSpanExporter(f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces", headers=headers)
        self._provider = TracerProvider(
            ParentBasedTraceIdRatio(settings.otel_traces_sampler_arg), resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Counted(service, exporter)))
        self._tracer = self._provider.get_tracer("millstream")

    def start(
        self,
        name: str,
        kind: Kind,
        parent: Span | str,
        attributes: Attributes | None = None,
        start_ns: int | None = None,
    ) -> Span:
        """Start a span; without a valid parent it starts a trace, for which the sampler decides whether to keep it."""
        above = _context_of(parent) if isinstance(parent, str) else set_span_in_context(parent, _NOWHERE)
        return self._tracer.start_span(name, above, _KINDS[kind], attributes, start_time=start_ns)

    @staticmethod
    def traceparent(span: Span) -> str:
        """The `traceparent` of a span, for the next service; empty if the span is not valid."""
        context = span.get_span_context()
        if not context.is_valid:
            return ""
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    @staticmethod
    def fail(span: Span, kind: str) -> None:
        """Mark a span as failed; `kind` is a short name, never text that could quote an input."""
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, kind))

    async def close(self) -> None:
        """Send what is left, for at most `FLUSH_S`, so that an unresponsive collector does not delay shutdown."""
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def flush() -> None:
            self._provider.shutdown()
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:
                pass  # the loop is closed: nobody is waiting any more

        threading.Thread(target=flush, name="flush traces", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_S):
                await done.wait()
        except TimeoutError:
            logging.getLogger(__name__).warning("traces left unsent", extra={"after_s": FLUSH_S})


class _Counted(SpanExporter):
    """Counts the batches of spans that could not be sent."""

    def __init__(self, service: str, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failures = ERRORS.labels(service, "trace_export")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._failures.inc()
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _context_of(traceparent: str) -> Context:
    found = parse_traceparent(traceparent)
    if found is None:
        return _NOWHERE
    trace_id, span_id, flags = found
    known = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(known), _NOWHERE)
