"""GET /health for people, /livez and /readyz for probes, /metrics for Prometheus."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.predict import json_response
from gateway.state import GATEWAY, Gateway
from shared import queue_depth
from shared.errors import StoreUnavailable
from shared.keys import request_stream_name
from shared.metrics import (
    DB_POOL,
    ERRORS,
    MODELS_ACTIVE,
    QUEUE_DEPTH,
    QUEUE_OLDEST_AGE,
    QUEUE_PENDING,
    REDIS_MEMORY,
    WORKERS_LIVE,
)


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
    await _sample(request.app[GATEWAY])
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _sample(gateway: Gateway) -> None:
    keys = gateway.keys
    served = gateway.catalogue.served()
    streams = {keys.requests(each.model, each.version.version): keys.WORKER_GROUP for each in served}
    names = {
        keys.requests(each.model, each.version.version): request_stream_name(each.model, each.version.version)
        for each in served
    } | {keys.results: "results", keys.dead: "dead"}
    try:
        depths, memory = await queue_depth.sample(
            gateway.redis, {**streams, keys.results: keys.PERSISTER_GROUP, keys.dead: ""}
        )
        live = await gateway.workers.live(served)
    except StoreUnavailable:
        ERRORS.labels("gateway", "redis_unavailable").inc()
        return
    for stream, depth in depths.items():
        QUEUE_DEPTH.labels(names[stream]).set(depth.entries)
        QUEUE_PENDING.labels(names[stream]).set(depth.pending)
        QUEUE_OLDEST_AGE.labels(names[stream]).set(depth.oldest_age_s)
    REDIS_MEMORY.labels("used").set(memory.used)
    REDIS_MEMORY.labels("limit").set(memory.limit)
    for each in served:
        WORKERS_LIVE.labels(each.model, each.version.version).set(live[each.label])
    MODELS_ACTIVE.set(sum(1 for workers in live.values() if workers))
    pool = gateway.history.pool
    if pool is not None:
        DB_POOL.labels("gateway", "idle").set(pool.get_idle_size())
        DB_POOL.labels("gateway", "used").set(pool.get_size() - pool.get_idle_size())
