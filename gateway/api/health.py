"""GET /health for people, /livez and /readyz for probes."""

from __future__ import annotations

from aiohttp import web

from gateway.http.context import CATALOGUE, DRAIN, HISTORY, KNOWN_STREAMS, LIVENESS, REDIS, WAITERS, WORKERS
from gateway.http.responses import json_response
from shared.contract.errors import StoreUnavailable
from shared.streams.preconditions import Level


async def health(request: web.Request) -> web.Response:
    """Health of the service and its dependencies; 503 if Redis is unavailable, since nothing can be accepted then."""
    unserved: list[str] = []
    load_errors: dict[str, str] = {}
    orphans: list[str] = []
    reasons: dict[str, str] = {}
    try:
        workers, served = request.app[WORKERS], request.app[CATALOGUE].served()
        live, load_errors = await workers.live(served), await workers.load_errors(served)
        unserved = [label for label, workers in live.items() if workers == 0]
        orphans = [f"{each.model}:{each.version}" for each in await request.app[KNOWN_STREAMS].orphans()]
        if blocked := request.app[REDIS].worst(Level.BLOCKED):
            reasons["redis"] = blocked.sentence
    except StoreUnavailable as error:
        reasons["redis"] = str(error)
    try:
        await request.app[HISTORY].ping()
    except StoreUnavailable as error:
        reasons["postgres"] = str(error)
    degraded = reasons or unserved or load_errors or orphans
    body = {
        "status": "unavailable" if "redis" in reasons else "degraded" if degraded else "ok",
        **{store: "unavailable" if store in reasons else "ok" for store in ("redis", "postgres")},
        "reasons": reasons,
        "warnings": [each.sentence for each in request.app[REDIS].findings if each.level is Level.WARNS],
        "unserved": unserved,
        "load_errors": load_errors,
        "orphans": orphans,
    }
    return json_response(body, status=503 if "redis" in reasons else 200)


async def livez(request: web.Request) -> web.Response:
    """Whether the background loops are running; a 503 tells the orchestrator to restart the process."""
    stalled = request.app[LIVENESS].stalled()
    if stalled:
        reason = ", ".join(f"{loop} has made no progress for {seconds} s" for loop, seconds in stalled.items())
        return json_response({"status": "stalled", "reason": reason}, status=503)
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Whether to send requests here; a 503 tells load balancers not to. Accepting them needs Redis but not Postgres."""
    reason = not_ready(request.app)
    if reason:
        return json_response({"status": "not ready", "reason": reason}, status=503)
    return json_response({"status": "ok"})


def not_ready(app: web.Application) -> str | None:
    """Why the gateway should be sent no requests; None if it should."""
    if app[DRAIN].begun:
        return "stopping"
    if not app[WAITERS].listening.is_set():
        return f"Redis is unavailable: {app[WAITERS].lost}"
    blocked = app[REDIS].worst(Level.BLOCKED)
    return None if blocked is None else blocked.sentence
