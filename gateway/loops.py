"""The background loops of the gateway, which run as long as its application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from aiohttp import web

from gateway.api.health import full_health
from gateway.control.authentication import Authentication
from gateway.control.experiments.running import FOLLOW_EVERY_S
from gateway.control.registry.following import READ_EVERY_S
from gateway.core.caching import LOOK_FOR_ERASURES_EVERY_S
from gateway.core.serving import LOOK_FOR_WORKERS_EVERY_S
from gateway.core.waiting import LOOK_EVERY_S
from gateway.http.connections import SWEEP_EVERY_S
from gateway.http.context import (
    CACHING,
    CATALOGUE,
    CONNECTIONS,
    DEAD_LETTERS,
    DRAIN,
    FEED,
    FOLLOWED,
    LIVENESS,
    QUEUE_METRICS,
    REDIS,
    RETRY_AFTER,
    RUNNING,
    SERVING,
    SETTINGS,
    WAITERS,
)
from gateway.http.http_metrics import COUNT_EVERY_S, http_metrics
from gateway.http.readiness import not_ready
from gateway.upkeep.expiry import Expiry, age_out
from gateway.upkeep.feed import LOOK_EVERY_S as FEED_EVERY_S
from gateway.upkeep.loop import every
from gateway.upkeep.throughput import MEASURE_EVERY_S, Throughput
from shared.contract.queues import queues_of
from shared.service.lifecycle import run_tasks
from shared.service.probes import serve_probes
from shared.streams.model_registry import FOLLOW_EVERY_S as FOLLOW_MODELS_EVERY_S
from shared.streams.queue_depth import Flows
from shared.streams.redis_watch import LOOP
from shared.streams.shard import Shard

_LOOPS_END_SHARE = 0.1  # of the grace period: connections are closed before, see gateway.upkeep.drain

Loops = Mapping[str, Coroutine[Any, Any, None]]


def running(loops: Callable[[asyncio.Event], Loops]) -> Callable[[web.Application], AsyncIterator[None]]:
    """Run loops while the application runs; if one ends early, the gateway stops, and its clean-up raises the error."""

    async def runs(app: web.Application) -> AsyncIterator[None]:
        stop = asyncio.Event()
        end_within_s = app[SETTINGS].shutdown_grace_s * _LOOPS_END_SHARE
        task = asyncio.create_task(run_tasks(loops(stop), stop, end_within_s, app[LIVENESS]), name="loops")
        task.add_done_callback(lambda _: app[DRAIN].over.set())
        yield
        stop.set()
        await task

    return runs


def background_loops(app: web.Application, shard: Shard, authentication: Authentication, stop: asyncio.Event) -> Loops:
    """The background loops."""
    settings, waiters = app[SETTINGS], app[WAITERS]
    keep_ms = round(settings.dead_letter_days * 86_400_000)
    expiry = Expiry(shard, settings.visibility_timeout_ms)

    def streams() -> list[str]:
        served = app[CATALOGUE].served()
        queues = (queue for each in served for queue in queues_of(each.model, each.version.version))
        return [shard.keys.results, *(shard.keys.requests(*queue) for queue in queues)]

    throughput = Throughput(Flows(shard, streams), app[RETRY_AFTER])

    async def count_requests() -> None:
        http_metrics.count()

    async def before_scrape() -> None:
        http_metrics.count()
        await app[QUEUE_METRICS].refresh()

    async def health(_: web.Request) -> web.Response:
        return await full_health(app)

    async def probes() -> None:
        address = settings.admin_host, settings.admin_port, "ADMIN_PORT"
        await serve_probes(*address, app[LIVENESS], lambda: not_ready(app), stop, before_scrape, {"/health": health})

    turns: dict[str, tuple[float, Callable[[], Coroutine[Any, Any, object]]]] = {
        "recheck": (min(LOOK_EVERY_S, settings.recheck_interval_s), waiters.recheck),
        "expiry": (settings.expiry_interval_s, expiry.expire),
        "dead letters": (settings.expiry_interval_s, lambda: age_out(app[DEAD_LETTERS], keep_ms)),
        "connections": (SWEEP_EVERY_S, app[CONNECTIONS].sweep),
        "serving": (LOOK_FOR_WORKERS_EVERY_S, app[SERVING].look),
        "experiments": (FOLLOW_EVERY_S, app[RUNNING].follow),
        "feed": (FEED_EVERY_S, app[FEED].turn),
        "throughput": (MEASURE_EVERY_S, throughput.measure),
        "http metrics": (COUNT_EVERY_S, count_requests),
        **authentication.turns(),
    }
    if (caching := app[CACHING]) is not None:
        turns["cache"] = (LOOK_FOR_ERASURES_EVERY_S, caching.follow)
    loops = {name: every(interval_s, turn, stop, name, app[LIVENESS]) for name, (interval_s, turn) in turns.items()}
    loops |= {
        "models": every(FOLLOW_MODELS_EVERY_S, app[FOLLOWED].follow, stop, "models", app[LIVENESS], first_s=0),
        "stored models": every(READ_EVERY_S, app[FOLLOWED].read, stop, "stored models", app[LIVENESS], first_s=0),
    }
    asking = authentication.loops(stop, app[LIVENESS])
    return {"probes": probes(), "hints": waiters.listen(stop), LOOP: app[REDIS].run(stop), **asking, **loops}
