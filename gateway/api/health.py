"""GET /health for people, /livez and /readyz for probes, /metrics for Prometheus."""

from __future__ import annotations

from aiohttp import web

from gateway.api.predict import json_response
from gateway.http.context import GATEWAY
from gateway.http.http_metrics import tally
from shared.contract.errors import StoreUnavailable
from shared.telemetry.exposition import exposition


async def health(request: web.Request) -> web.Response:
    """The service and what it depends on; 503 where Redis is away, since nothing can be accepted then."""
    gateway = request.app[GATEWAY]
    unserved: list[str] = []
    redis, postgres = "ok", "ok"
    try:
        live = await gateway.workers.live(gateway.catalogue.served())
        unserved = [label for label, workers in live.items() if workers == 0]
    except StoreUnavailable:
        redis = "unavailable"
    try:
        await gateway.history.ping()
    except StoreUnavailable:
        postgres = "unavailable"
    status = "unavailable" if redis != "ok" else "degraded" if postgres != "ok" or unserved else "ok"
    body = {"status": status, "redis": redis, "postgres": postgres, "unserved": unserved}
    return json_response(body, status=503 if redis != "ok" else 200)


async def livez(request: web.Request) -> web.Response:
    """Whether the process's loops move; 503 has it restarted."""
    stalled = request.app[GATEWAY].liveness.stalled()
    if stalled:
        reason = ", ".join(f"{loop} has not moved for {seconds} s" for loop, seconds in stalled.items())
        return json_response({"status": "stalled", "reason": reason}, status=503)
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Whether to send requests here; 503 takes it out of the balancer. Postgres may be away: accepting goes on."""
    gateway = request.app[GATEWAY]
    reason = (
        "stopping"
        if gateway.draining or gateway.closing
        else "" if gateway.waiters.listening.is_set() else "Redis is away"
    )
    if reason:
        return json_response({"status": "not ready", "reason": reason}, status=503)
    return json_response({"status": "ok"})


async def metrics(request: web.Request) -> web.Response:
    """All metrics of this process, and the depth of every stream."""
    await request.app[GATEWAY].sampling.refresh()
    tally.count()
    body, content_type = exposition(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})
