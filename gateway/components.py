"""What the handlers and loops of the gateway use, created in the order in which it is needed."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.control.authentication import Authentication
from gateway.control.erasures import Erasures
from gateway.control.experiments.results import ResultCounter
from gateway.control.experiments.running import RunningExperiments
from gateway.control.experiments.shadowing import Shadowing, shadow_limits
from gateway.control.experiments.store import ExperimentStore
from gateway.control.profiles import load_profiles
from gateway.control.reads import Reads
from gateway.control.registry.administration import Allowed, ModelAdmin
from gateway.control.registry.following import FollowedRegistry
from gateway.control.registry.store import RegistryStore
from gateway.core.caching import Caching
from gateway.core.cancelling import Cancelling
from gateway.core.history import History
from gateway.core.inputs import Inputs, OrderLimits
from gateway.core.intake import Intake
from gateway.core.lookup import Lookup
from gateway.core.redaction import load_redaction
from gateway.core.retry_after import RetryAfter
from gateway.core.serving import Serving
from gateway.core.stored_input import check_secret
from gateway.core.submissions import Submissions
from gateway.core.unfinished import Unfinished
from gateway.core.waiting import Waiters
from gateway.http.connections import Connections
from gateway.http.context import (
    ALLOWED_HOSTS,
    AUTHENTICATOR,
    CACHING,
    CANCELLING,
    CATALOGUE,
    CONNECTIONS,
    DEAD_LETTERS,
    DRAIN,
    DRIFT,
    ERASURES,
    EXPERIMENTS,
    FEED,
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
    RETRY_AFTER,
    RUNNING,
    SERVING,
    SETTINGS,
    UNFINISHED,
    WAITERS,
    WORKERS,
)
from gateway.settings import GatewaySettings
from gateway.upkeep.depths import QueueDepths
from gateway.upkeep.drain import Drain
from gateway.upkeep.feed import Feed, Looking
from gateway.upkeep.queue_metrics import QueueMetrics
from shared.service.liveness import Liveness
from shared.streams.dead_letters import DeadLetters
from shared.streams.deployment import Deployment
from shared.streams.drift_board import DriftBoard
from shared.streams.known_streams import KnownStreams
from shared.streams.model_registry import ModelRegistry
from shared.streams.prediction_state import PredictionStates
from shared.streams.publishing import Limits, Publisher
from shared.streams.redis_watch import RedisWatch
from shared.streams.registry import Registry
from shared.streams.result_cache import ResultCache, open_own
from shared.streams.shard import Shard
from shared.streams.workers import WorkerDirectory

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces


def add_components(app: web.Application, shard: Shard, authentication: Authentication, traces: Traces | None) -> None:
    """Create everything, and give it to the application by its keys."""
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
    app[DEAD_LETTERS], app[DRIFT] = DeadLetters(shard), DriftBoard(shard)
    app[KNOWN_STREAMS] = KnownStreams(shard, lambda: [each.label for each in catalogue.served()], "gateway")
    depths = QueueDepths(shard, catalogue)
    app[QUEUE_METRICS] = QueueMetrics(depths, catalogue, app[WORKERS])
    app[SERVING] = Serving(app[WORKERS], catalogue)
    app[FEED] = Feed(Looking(depths, app[SERVING], app[HISTORY]).look)

    states = PredictionStates(shard, gateway_id)
    lookup = Lookup(states, app[HISTORY])
    app[WAITERS] = Waiters(
        states, lookup, app[LIVENESS], settings.max_in_flight, recheck_interval_s=settings.recheck_interval_s
    )
    app[UNFINISHED] = Unfinished(shard, catalogue, app[KNOWN_STREAMS])
    app[CANCELLING] = Cancelling(shard, app[WAITERS])
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
    app[RETRY_AFTER] = RetryAfter(shard.keys, limits)
    app[CACHING] = _caching(settings, shard, app[SERVING])
    app[RUNNING] = _experiments(app, shard, gateway_id, limits)
    publisher = Publisher(shard, gateway_id, limits, round(settings.idempotency_ttl_s * 1000))
    _add_intake(app, publisher, lookup, shard.number, traces)


def _add_intake(app: web.Application, publisher: Publisher, lookup: Lookup, shard: int, traces: Traces | None) -> None:
    """The way in of predictions."""
    settings, catalogue = app[SETTINGS], app[CATALOGUE]
    check_secret(catalogue.seed.versions(), settings.digest_secret)  # those too that may be made active
    redaction = load_redaction(settings.redaction, settings.redaction_stage, settings.redaction_timeout_s)
    order_limits = OrderLimits(settings.max_batch_texts, settings.max_text_chars)
    app[INTAKE] = Intake(
        catalogue,
        Inputs(order_limits, settings.digest_secret, redaction),
        Submissions(publisher, settings.max_backlog, settings.max_backlog_bytes),
        app[WAITERS],
        lookup,
        app[RETRY_AFTER],
        app[SERVING],
        app[REDIS],
        shard=shard,
        traces=traces,
        caching=app[CACHING],
        experiments=app[RUNNING],
    )


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
    allowed = Allowed(settings.artifact_sources, digests=bool(settings.digest_secret))
    app[MODEL_ADMIN] = ModelAdmin(app[CATALOGUE], store, app[FOLLOWED], app[WORKERS], app[KNOWN_STREAMS], allowed)
