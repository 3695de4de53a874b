"""The middleware of every handler: turns errors into responses, and counts, times and logs every response."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from gateway.core.errors import CoreError, LimitReached, Refused
from gateway.core.retry_after import CONNECTIONS_S
from gateway.http.context import (
    ALLOWED_HOSTS,
    CATALOGUE,
    CONNECTIONS,
    DIALECTS,
    MODEL,
    PREDICTION_IDS,
    SETTINGS,
    TRACE,
)
from gateway.http.hosts import host_of, is_allowed, is_cross_site_write
from gateway.http.http_metrics import Answered, http_metrics
from gateway.http.problems import ProblemError, of_core_error, of_http_error, of_store_error, unavailable
from gateway.http.responses import SAFE_HEADERS
from shared.contract.errors import StoreUnavailable
from shared.telemetry.metrics import ERRORS
from shared.telemetry.prediction_log import PredictionLog

log = logging.getLogger(__name__)
prediction_log = PredictionLog(log)

PROBES = ("/livez", "/readyz")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def answer_and_observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond to every request, whatever its handler does, and observe it."""
    started = time.perf_counter()
    http_metrics.in_flight += 1
    status = 499  # the client disconnected
    try:
        response = _if_there_is_room(request, await _answer(request, handler))
        status = response.status
        response.headers.update(SAFE_HEADERS)
        if request.path.startswith("/api/") or _first_part(request) in request.app[DIALECTS]:
            response.headers["Cache-Control"] = "no-store"
        return response
    finally:
        http_metrics.in_flight -= 1
        seconds = time.perf_counter() - started
        endpoint = endpoint_of(request)
        _count(request, endpoint, status, seconds)
        _log(request, endpoint, status, seconds)


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        _check_sender(request)
        return await handler(request)
    except Exception as error:
        if isinstance(error, web.HTTPException) and error.status < 400:
            raise
        return _response(request, _problem_of(request, error))


def _problem_of(request: web.Request, error: Exception) -> ProblemError:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, CoreError):
        if isinstance(error, Refused) and error.limit:
            ERRORS.labels("gateway", f"refused_{error.limit}").inc()
        elif isinstance(error, LimitReached):
            ERRORS.labels("gateway", f"limited_{error.limit}").inc()
        return of_core_error(error)
    if isinstance(error, StoreUnavailable):
        ERRORS.labels("gateway", f"{error.store}_{error.reason}").inc()
        return of_store_error(error)
    if isinstance(error, web.HTTPException):
        return of_http_error(error, request.app[SETTINGS].max_body_bytes)
    log.error("handler failed", extra={"endpoint": endpoint_of(request)}, exc_info=error)
    ERRORS.labels("gateway", "handler").inc()
    return ProblemError(500, "internal", "internal error; it was logged")


def _response(request: web.Request, problem: ProblemError) -> web.Response:
    dialect = request.app[DIALECTS].get(_first_part(request))
    return (problem if dialect is None else dialect(problem)).response()


def _first_part(request: web.Request) -> str:
    return request.path.lstrip("/").partition("/")[0]


def _if_there_is_room(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """The response, or a 503 in its place if too many bytes wait already to be read. What was done is always told."""
    size = 0 if request.method != "GET" else response.content_length or 0
    if not size or request.app[CONNECTIONS].has_room_for(size):
        return response
    ERRORS.labels("gateway", "refused_answer").inc()
    detail = f"an answer of {size} bytes has no room now, since clients do not read theirs; ask for less, or later"
    return _response(request, unavailable("overloaded", detail, CONNECTIONS_S))


def _check_sender(request: web.Request) -> None:
    host = request.headers.get("Host", "")  # no browser leaves it out
    if not is_allowed(host, request.app[ALLOWED_HOSTS]):
        name = host_of(host)[:100]
        detail = f"this gateway does not answer for the host {name!r}: add it to ALLOWED_HOSTS if it is yours"
        raise ProblemError(421, "unknown-host", detail)
    if is_cross_site_write(request.method, request.headers.get("Sec-Fetch-Site")):
        raise ProblemError(403, "cross-site", "a page of another site may not write here")


def _count(request: web.Request, endpoint: str, status: int, seconds: float) -> None:
    name = request.get(MODEL, "")
    model = name if not name or request.app[CATALOGUE].find(name) else "unknown"
    method = request.method if endpoint != "unknown" else ""
    trace = request.get(TRACE)
    exemplar = None if trace is None else trace.exemplar
    http_metrics.answered.append(Answered(method, endpoint, model, status, seconds, exemplar))


def _log(request: web.Request, endpoint: str, status: int, seconds: float) -> None:
    """The access log: without probes and, at a high rate, only a share of requests (see PredictionLog)."""
    ids = request.get(PREDICTION_IDS, ("",))
    if endpoint in PROBES or not prediction_log.wants(ids[0]):
        return
    trace = request.get(TRACE)
    tell = partial(
        prediction_log.event,
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
    asyncio.get_running_loop().call_soon(tell)  # once the answer is sent: it need not wait for that


def endpoint_of(request: web.Request) -> str:
    """The pattern of the route: unlike the path, a label with few values."""
    resource = request.match_info.route.resource
    return "unknown" if resource is None else resource.canonical
