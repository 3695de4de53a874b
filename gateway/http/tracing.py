"""The gateway's spans: one for each request that is answered, and below it one for what the request publishes.

Called only where traces are on. Names and attributes follow OpenTelemetry's conventions for HTTP servers and messaging.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from gateway.http.context import MODEL, TRACE, Trace
from gateway.http.middleware import PROBES, Handler, endpoint_of
from gateway.http.problems import ProblemError
from shared.contract.catalogue import ServedVersion
from shared.contract.keys import request_stream_name
from shared.streams.publishing import NewRequest, Published
from shared.telemetry.tracing import exemplar_of

if TYPE_CHECKING:
    from shared.telemetry.spans import Span, Traces

_MAX_CHARS = 200  # of what a client names as it likes


def tracing_middleware(traces: Traces) -> Middleware:
    """What answers every request within a span; the client's trace is continued where it sent one."""

    @web.middleware
    async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
        endpoint = endpoint_of(request)
        if endpoint in PROBES:
            return await handler(request)
        span = _begin(traces, request, endpoint)
        status = 499  # the client went away
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as redirect:
            status = redirect.status
            raise
        finally:
            _end(traces, span, request, status)

    return traced


def _begin(traces: Traces, request: web.Request, endpoint: str) -> Span:
    method = request.method if request.method in hdrs.METH_ALL else "_OTHER"
    name = "HTTP" if method == "_OTHER" else method
    if endpoint != "unknown":
        name = f"{name} {endpoint}"
    span = traces.start(name, "server", request.headers.get("traceparent", ""))
    traceparent = traces.traceparent(span)
    exemplar = exemplar_of(traceparent)
    request[TRACE] = Trace(span, traceparent, exemplar)
    if exemplar is not None:
        span.set_attribute("http.request.method", method)
        span.set_attribute("url.scheme", request.scheme)
        span.set_attribute("url.path", request.path[:_MAX_CHARS])
        if endpoint != "unknown":
            span.set_attribute("http.route", endpoint)
    return span


def _end(traces: Traces, span: Span, request: web.Request, status: int) -> None:
    if not span.is_recording():
        return
    span.set_attribute("http.response.status_code", status)
    if MODEL in request:
        span.set_attribute("millstream.model", request[MODEL][:_MAX_CHARS])
    if status >= 500:
        traces.fail(span, str(status))
    span.end()


class PublishSpan:
    """The span of one publish.

    Attributes:
        requests: what is published, carrying the span to the workers.
    """

    def __init__(self, traces: Traces, request: web.Request, served: ServedVersion, new: Sequence[NewRequest]) -> None:
        self._traces = traces
        trace = request[TRACE]
        self._span = trace.span if trace.exemplar is None else self._begin(trace, served, new)
        traceparent = traces.traceparent(self._span)
        self.requests = [each._replace(traceparent=traceparent) for each in new]

    def _begin(self, trace: Trace, served: ServedVersion, new: Sequence[NewRequest]) -> Span:
        stream = request_stream_name(served.model, served.version.version)
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
        """Publish within the span."""
        try:
            return await publish
        except ProblemError as error:
            self._traces.fail(self._span, error.kind)
            raise
        finally:
            self._span.end()
