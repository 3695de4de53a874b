"""The composition root of the gateway: creates everything, in the order in which it is needed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.api.health import full_health, not_ready
from gateway.api.operations import OPERATIONS
from gateway.api.schemas import bounds_schema, options_schema
from gateway.control.authentication import Authentication
from gateway.control.erasures import Erasures
from gateway.control.experiments.results import ResultCounter
from gateway.control.experiments.running import FOLLOW_EVERY_S, RunningExperiments
from gateway.control.experiments.shadowing import Shadowing, shadow_limits
from gateway.control.experiments.store import ExperimentStore
from gateway.control.profiles import load_profiles
from gateway.control.reads import Reads
from gateway.control.registry.administration import Allowed, ModelAdmin
from gateway.control.registry.following import READ_EVERY_S, FollowedRegistry
from gateway.control.registry.store import RegistryStore
from gateway.core.caching import LOOK_FOR_ERASURES_EVERY_S, Caching
from gateway.core.history import History
from gateway.core.inputs import Inputs, OrderLimits
from gateway.core.intake import Intake
from gateway.core.lookup import Lookup
from gateway.core.redaction import load_redaction
from gateway.core.retry_after import RetryAfter
from gateway.core.serving import LOOK_FOR_WORKERS_EVERY_S, Serving
from gateway.core.stored_input import check_secret
from gateway.core.submissions import Submissions
from gateway.core.waiting import Waiters
from gateway.http.access import guarded
from gateway.http.connections import SWEEP_EVERY_S, Connections
from gateway.http.context import (
    ALLOWED_HOSTS,
    AUTHENTICATOR,
    CACHING,
    CATALOGUE,
    CONNECTIONS,
    DEAD_LETTERS,
    DRAIN,
    ERASURES,
    EXPERIMENTS,
    FOLLOWED,
    HISTORY,
    INTAKE,
    KEY_ADMIN,
    KNOWN_STREAMS,
    LIVENESS,
    MODEL_ADMIN,
    PROFILES,
    QUEUE_METRICS,
    READS,
    REDIS,
    RESULT_COUNTER,
    RUNNING,
    SERVING,
    SETTINGS,
    WAITERS,
    WORKERS,
)
from gateway.http.docs import add_docs
from gateway.http.http_metrics import COUNT_EVERY_S, http_metrics
from gateway.http.middleware import answer_and_observe
from gateway.http.tracing import tracing_middleware
from gateway.settings import GatewaySettings
from gateway.upkeep.drain import Drain
from gateway.upkeep.expiry import Expiry, age_out
from gateway.upkeep.loop import every
from gateway.upkeep.queue_metrics import QueueMetrics
from gateway.upkeep.throughput import MEASURE_EVERY_S, Throughput
from shared.contract.catalogue import Catalogue
from shared.contract.live_catalogue import LiveCatalogue
from shared.service.lifecycle import run_tasks
from shared.service.liveness import Liveness
from shared.service.probes import serve_probes
from shared.service.version import software_version
from shared.streams.dead_letters import DeadLetters
from shared.streams.deployment import Deployment
from shared.streams.known_streams import KnownStreams
from shared.streams.model_registry import FOLLOW_EVERY_S as FOLLOW_MODELS_EVERY_S
from shared.streams.model_registry import ModelRegistry
from shared.streams.prediction_state import PredictionStates
from shared.streams.publishing import Limits, Publisher
from shared.streams.queue_depth import Flows
from shared.streams.redis_watch import LOOP, RedisWatch
from shared.streams.registry import Registry
from shared.streams.result_cache import ResultCache, open_own
from shared.streams.shard import Shard, open_shard
from shared.streams.workers import WorkerDirectory
from shared.telemetry.metrics import BUILD

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces

_LOOPS_END_SHARE = 0.1  # of the grace period: connections are closed before, see gateway.upkeep.drain

Loops = Mapping[str, Coroutine[Any, Any, None]]


def make_app(settings: GatewaySettings, catalogue: Catalogue, traces: Traces | None = None) -> web.Application:
    """The application; it connects to the stores when it starts."""
    middlewares = [answer_and_observe] if traces is None else [tracing_middleware(traces), answer_and_observe]
    app = web.Application(middlewares=middlewares, client_max_size=settings.max_body_bytes)
    shard = open_shard(settings, retry_once=True)
    app[SETTINGS], app[CATALOGUE] = settings, LiveCatalogue(catalogue)
    authentication = Authentication(settings, shard)
    retry_after = _add_components(app, shard, authentication, traces)
    for operation in OPERATIONS:
        handler = guarded(operation)
        app.router.add_route(operation.method, operation.path, handler)
        if operation.method == "GET":
            app.router.add_route("HEAD", operation.path, handler)
    bounds = bounds_schema(settings.max_text_chars, settings.max_batch_texts)
    schemas = {**bounds, "Options": options_schema(catalogue)}
    secured, maxima = authentication.authenticator.required, {"timeout": settings.max_timeout_s}
    add_docs(app, OPERATIONS, software_version(), schemas, maxima, secured=secured)
    BUILD.info({"version": software_version()})
    app.cleanup_ctx.append(_connections(shard, authentication, traces))
    app.cleanup_ctx.append(_running(lambda stop: _loops(app, shard, authentication, retry_after, stop)))
    app.on_shutdown.append(app[DRAIN].close)
    app.on_shutdown.append(app[CONNECTIONS].all_answered)  # aiohttp reads no body any more once it shuts down
    return app


def _add_components(
    app: web.Application, shard: Shard, authentication: Authentication, traces: Traces | None
) -> RetryAfter:
    """Create what the handlers use."""
    settings, catalogue = app[SETTINGS], app[CATALOGUE]
    gateway_id = uuid.uuid4().hex
    app[PROFILES], app[READS] = load_profiles(settings.limit_profiles), Reads()
    app[AUTHENTICATOR] = authentication.authenticator
    if authentication.key_admin is not None:
        app[KEY_ADMIN] = authentication.key_admin
    app[LIVENESS] = Liveness(settings.stall_timeout_s)
    app[ALLOWED_HOSTS] = frozenset(each.strip().lower() for each in settings.allowed_hosts.split(",") if each.strip())
    app[CONNECTIONS] = Connections(settings.max_connections, settings.keepalive_s, settings.max_body_bytes)
    app[HISTORY] = History(settings, Deployment(shard))
    app[ERASURES] = Erasures(app[HISTORY].postgres)
    app[REDIS] = RedisWatch(shard, "gateway", app[LIVENESS])
    app[WORKERS] = WorkerDirectory(shard)
    app[DEAD_LETTERS] = DeadLetters(shard)
    app[KNOWN_STREAMS] = KnownStreams(shard, lambda: [each.label for each in catalogue.served()], "gateway")
    app[QUEUE_METRICS] = QueueMetrics(shard, catalogue, app[WORKERS], app[KNOWN_STREAMS])
    app[SERVING] = Serving(app[WORKERS], catalogue)

    states = PredictionStates(shard, gateway_id)
    lookup = Lookup(states, app[HISTORY])
    app[WAITERS] = Waiters(states, lookup, app[LIVENESS], settings.max_in_flight)
    _share_waits(app)
    _add_registry(app, shard)
    app[DRAIN] = Drain(app[WAITERS], app[CONNECTIONS].abort, settings.drain_delay_s, settings.shutdown_grace_s)

    limits = Limits(
        settings.max_backlog,
        settings.max_backlog_bytes,
        settings.max_results,
        settings.max_memory_percent,
        settings.max_idempotency_bytes,
    )
    retry_after = RetryAfter(shard.keys, limits)
    publisher = Publisher(shard, gateway_id, limits, round(settings.idempotency_ttl_s * 1000))
    app[CACHING] = _caching(settings, shard, app[SERVING])
    app[RUNNING] = _experiments(app, shard, gateway_id, limits)
    check_secret(catalogue.seed.versions(), settings.digest_secret)  # those too that may be made active
    redaction = load_redaction(settings.redaction, settings.redaction_stage, settings.redaction_timeout_s)
    order_limits = OrderLimits(settings.max_batch_texts, settings.max_text_chars)
    app[INTAKE] = Intake(
        catalogue,
        Inputs(order_limits, settings.digest_secret, redaction),
        Submissions(publisher, settings.max_backlog, settings.max_backlog_bytes),
        app[WAITERS],
        lookup,
        retry_after,
        app[SERVING],
        app[REDIS],
        shard=shard.number,
        traces=traces,
        caching=app[CACHING],
        experiments=app[RUNNING],
    )
    return retry_after


def _caching(settings: GatewaySettings, shard: Shard, serving: Serving) -> Caching | None:
    if settings.cache_secret is None:
        return None
    own = open_own(settings, settings.cache_redis_url)
    cache = ResultCache(shard, own, settings.cache_ttl_s, settings.max_memory_percent)
    return Caching(cache, settings.cache_secret.get_secret_value().encode(), serving)


def _experiments(app: web.Application, shard: Shard, gateway_id: str, limits: Limits) -> RunningExperiments:
    catalogue, postgres = app[CATALOGUE], app[HISTORY].postgres
    app[EXPERIMENTS] = ExperimentStore(postgres)
    app[RESULT_COUNTER] = ResultCounter(postgres)
    of_copies = shadow_limits(limits)
    shadowing = Shadowing(Publisher(shard, gateway_id, of_copies), of_copies, catalogue, shard.number)
    return RunningExperiments(app[EXPERIMENTS], Registry(shard), catalogue, shadowing)


def _share_waits(app: web.Application) -> None:
    """One version may have half of the waits, if there are others."""
    most = app[SETTINGS].max_in_flight
    app[WAITERS].max_of_version = most if len(app[CATALOGUE].served()) < 2 else max(1, most // 2)


def _add_registry(app: web.Application, shard: Shard) -> None:
    """What is changed by API."""
    settings, store = app[SETTINGS], RegistryStore(app[HISTORY])
    app[FOLLOWED] = FollowedRegistry(app[CATALOGUE], ModelRegistry(shard), store, lambda: _share_waits(app))
    allowed = Allowed(settings.artifact_roots, settings.artifact_owners, digests=bool(settings.digest_secret))
    app[MODEL_ADMIN] = ModelAdmin(app[CATALOGUE], store, app[FOLLOWED], app[WORKERS], app[KNOWN_STREAMS], allowed)


def _loops(
    app: web.Application, shard: Shard, authentication: Authentication, retry_after: RetryAfter, stop: asyncio.Event
) -> Loops:
    """The background loops."""
    settings, waiters = app[SETTINGS], app[WAITERS]
    keep_ms = round(settings.dead_letter_days * 86_400_000)
    expiry = Expiry(shard, settings.visibility_timeout_ms)

    def streams() -> list[str]:
        served = app[CATALOGUE].served()
        return [shard.keys.results, *(shard.keys.requests(each.model, each.version.version) for each in served)]

    throughput = Throughput(Flows(shard, streams), retry_after)

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
        "recheck": (settings.recheck_interval_s, waiters.recheck),
        "expiry": (settings.expiry_interval_s, expiry.expire),
        "dead letters": (settings.expiry_interval_s, lambda: age_out(app[DEAD_LETTERS], keep_ms)),
        "connections": (SWEEP_EVERY_S, app[CONNECTIONS].sweep),
        "serving": (LOOK_FOR_WORKERS_EVERY_S, app[SERVING].look),
        "experiments": (FOLLOW_EVERY_S, app[RUNNING].follow),
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


def _connections(
    shard: Shard, authentication: Authentication, traces: Traces | None
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def connections(app: web.Application) -> AsyncIterator[None]:
        await authentication.start()
        yield
        await app[RUNNING].close()
        await authentication.close()
        await app[QUEUE_METRICS].close()
        await app[HISTORY].close()
        if (caching := app[CACHING]) is not None:
            await caching.close()
        await shard.close()
        if traces is not None:
            await traces.close()

    return connections


def _running(loops: Callable[[asyncio.Event], Loops]) -> Callable[[web.Application], AsyncIterator[None]]:
    """Run loops while the application runs; if one ends early, the gateway stops, and its clean-up raises the error."""

    async def running(app: web.Application) -> AsyncIterator[None]:
        stop = asyncio.Event()
        end_within_s = app[SETTINGS].shutdown_grace_s * _LOOPS_END_SHARE
        task = asyncio.create_task(run_tasks(loops(stop), stop, end_within_s, app[LIVENESS]), name="loops")
        task.add_done_callback(lambda _: app[DRAIN].over.set())
        yield
        stop.set()
        await task

    return running
