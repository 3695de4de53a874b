"""The span of each HTTP request except probes. Used only if traces are on.

Names and attributes follow OpenTelemetry's semantic conventions for HTTP servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from gateway.core.tracing import Trace
from gateway.http.context import MODEL, TRACE
from gateway.http.middleware import PROBES, Handler, endpoint_of
from shared.telemetry.traceparent import exemplar_of

if TYPE_CHECKING:
    from shared.telemetry.spans import Span, Traces

_MAX_CHARS = 200  # of names that clients choose


def tracing_middleware(traces: Traces) -> Middleware:
    """The middleware that handles every request within a span; continues the client's trace if it sent one."""

    @web.middleware
    async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
        endpoint = endpoint_of(request)
        if endpoint in PROBES:
            return await handler(request)
        span = _begin(traces, request, endpoint)
        status = 499  # the client disconnected
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
