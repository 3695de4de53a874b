"""The keys of what handlers get from the application, and of what they store on a request.

A handler gets what it uses by key; only `gateway.components` knows how it is put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from gateway.control.authenticator import Authenticator
from gateway.control.erasures import Erasures
from gateway.control.experiments.results import ResultCounter
from gateway.control.experiments.running import RunningExperiments
from gateway.control.experiments.store import ExperimentStore
from gateway.control.key_admin import KeyAdmin
from gateway.control.profiles import Profiles
from gateway.control.reads import Reads
from gateway.control.registry.administration import ModelAdmin
from gateway.control.registry.following import FollowedRegistry
from gateway.core.caching import Caching
from gateway.core.cancelling import Cancelling
from gateway.core.history import History
from gateway.core.intake import Intake
from gateway.core.principal import Principal
from gateway.core.retry_after import RetryAfter
from gateway.core.serving import Serving
from gateway.core.tracing import Trace
from gateway.core.unfinished import Unfinished
from gateway.core.waiting import Waiters
from gateway.http.connections import Connections
from gateway.http.problems import Dialect
from gateway.settings import GatewaySettings
from gateway.upkeep.drain import Drain
from gateway.upkeep.feed import Feed
from gateway.upkeep.queue_metrics import QueueMetrics
from shared.contract.live_catalogue import LiveCatalogue
from shared.service.liveness import Liveness
from shared.streams.dead_letters import DeadLetters
from shared.streams.drift_board import DriftBoard
from shared.streams.known_streams import KnownStreams
from shared.streams.redis_watch import RedisWatch
from shared.streams.workers import WorkerDirectory

SETTINGS: web.AppKey[GatewaySettings] = web.AppKey("settings", GatewaySettings)
ALLOWED_HOSTS: web.AppKey[frozenset[str]] = web.AppKey("allowed_hosts", frozenset)
# how errors are told below a first part of the path (`v1`); all are problems, which some clients look elsewhere for
DIALECTS: web.AppKey[Mapping[str, Dialect]] = web.AppKey("dialects", Mapping)
CATALOGUE: web.AppKey[LiveCatalogue] = web.AppKey("catalogue", LiveCatalogue)
AUTHENTICATOR: web.AppKey[Authenticator] = web.AppKey("authenticator", Authenticator)
PROFILES: web.AppKey[Profiles] = web.AppKey("profiles", Profiles)
READS: web.AppKey[Reads] = web.AppKey("reads", Reads)
CACHING: web.AppKey[Caching | None] = web.AppKey("caching")  # None: results are not cached
KEY_ADMIN: web.AppKey[KeyAdmin] = web.AppKey("key_admin", KeyAdmin)  # only where API keys are in use
MODEL_ADMIN: web.AppKey[ModelAdmin] = web.AppKey("model_admin", ModelAdmin)
FOLLOWED: web.AppKey[FollowedRegistry] = web.AppKey("followed", FollowedRegistry)
INTAKE: web.AppKey[Intake] = web.AppKey("intake", Intake)
WAITERS: web.AppKey[Waiters] = web.AppKey("waiters", Waiters)
UNFINISHED: web.AppKey[Unfinished] = web.AppKey("unfinished", Unfinished)
CANCELLING: web.AppKey[Cancelling] = web.AppKey("cancelling", Cancelling)
RETRY_AFTER: web.AppKey[RetryAfter] = web.AppKey("retry_after", RetryAfter)
SERVING: web.AppKey[Serving] = web.AppKey("serving", Serving)
KNOWN_STREAMS: web.AppKey[KnownStreams] = web.AppKey("known_streams", KnownStreams)
REDIS: web.AppKey[RedisWatch] = web.AppKey("redis", RedisWatch)
HISTORY: web.AppKey[History] = web.AppKey("history", History)
ERASURES: web.AppKey[Erasures] = web.AppKey("erasures", Erasures)
EXPERIMENTS: web.AppKey[ExperimentStore] = web.AppKey("experiments", ExperimentStore)
RUNNING: web.AppKey[RunningExperiments] = web.AppKey("running_experiments", RunningExperiments)
RESULT_COUNTER: web.AppKey[ResultCounter] = web.AppKey("result_counter", ResultCounter)
DEAD_LETTERS: web.AppKey[DeadLetters] = web.AppKey("dead_letters", DeadLetters)
DRIFT: web.AppKey[DriftBoard] = web.AppKey("drift", DriftBoard)
WORKERS: web.AppKey[WorkerDirectory] = web.AppKey("workers", WorkerDirectory)
FEED: web.AppKey[Feed] = web.AppKey("feed", Feed)
QUEUE_METRICS: web.AppKey[QueueMetrics] = web.AppKey("queue_metrics", QueueMetrics)
CONNECTIONS: web.AppKey[Connections] = web.AppKey("connections", Connections)
LIVENESS: web.AppKey[Liveness] = web.AppKey("liveness", Liveness)
DRAIN: web.AppKey[Drain] = web.AppKey("drain", Drain)

PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)  # who asks
# the predictions that a request created, or that its idempotency key refers to, for its log line
PREDICTION_IDS: web.RequestKey[Sequence[str]] = web.RequestKey("prediction_ids", Sequence)
MODEL: web.RequestKey[str] = web.RequestKey("model", str)  # the model of a request, for its metrics
TRACE: web.RequestKey[Trace] = web.RequestKey("trace", Trace)  # the request's span, if traces are on
