"""What surrounds every handler: counting, timing, and turning errors into problems."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.http.context import GATEWAY, MODEL, PREDICTIONS, TRACE
from gateway.http.http_metrics import Answered, tally
from gateway.http.problems import ProblemError, of_http_error
from shared.telemetry.metrics import ERRORS
from shared.telemetry.prediction_log import PredictionLog

log = logging.getLogger(__name__)
answers = PredictionLog(log)

PROBES = ("/livez", "/readyz", "/metrics")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every request, whatever its handler does, and count it."""
    started = time.perf_counter()
    tally.in_flight += 1
    status = 499  # the client went away
    try:
        response = await _answer(request, handler)
        status = response.status
        response.headers["Server"] = "millstream"  # not which versions of what
        return response
    finally:
        tally.in_flight -= 1
        seconds = time.perf_counter() - started
        endpoint = endpoint_of(request)
        _count(request, endpoint, status, seconds)
        _note(request, endpoint, status, seconds)


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ProblemError as error:
        return error.response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return of_http_error(error, request.app[GATEWAY].settings.max_body_bytes).response()
    except Exception:
        log.exception("handler failed", extra={"endpoint": endpoint_of(request)})
        ERRORS.labels("gateway", "handler").inc()
        return ProblemError(500, "internal", "something went wrong here; it was logged").response()


def _count(request: web.Request, endpoint: str, status: int, seconds: float) -> None:
    name = request.get(MODEL, "")
    gateway = request.app[GATEWAY]
    model = name if not name or gateway.catalogue.resolve(name, None) else "unknown"
    method = request.method if endpoint != "unknown" else ""
    trace = None if gateway.traces is None else request.get(TRACE)
    exemplar = None if trace is None else trace.exemplar
    tally.answered.append(Answered(method, endpoint, model, status, seconds, exemplar))


def _note(request: web.Request, endpoint: str, status: int, seconds: float) -> None:
    """The access log: probes are left out, and at a high rate all but a share (see PredictionLog)."""
    ids = request.get(PREDICTIONS, ("",))
    if endpoint in PROBES or not answers.wants(ids[0]):
        return
    trace = request.get(TRACE)
    answers.event(
        "answered",
        ids[0],
        request.headers.get("traceparent", "") if trace is None else trace.traceparent,
        method=request.method,
        endpoint=endpoint,
        status=status,
        duration_ms=round(seconds * 1000, 1),
        model=request.get(MODEL, "")[:100],
        predictions=len(ids) if len(ids) > 1 else None,
    )


def endpoint_of(request: web.Request) -> str:
    """The route's pattern: a bounded label, unlike the path."""
    resource = request.match_info.route.resource
    return "unknown" if resource is None else resource.canonical
