"""The gateway's application for one model: its operations on predictions and models, the protocols and the console,
without stores."""

from __future__ import annotations

from aiohttp import web

from gateway.api import events, health, models, predict, predictions
from gateway.api.documents import Documents
from gateway.api.operations import OPERATIONS
from gateway.api.request_schemas import bounds_schema, options_schema
from gateway.console.page import add_console
from gateway.control.authenticator import Off
from gateway.control.profiles import load_profiles
from gateway.control.reads import Reads
from gateway.core.inputs import Inputs, OrderLimits
from gateway.core.intake import Intake
from gateway.core.lookup import Lookup
from gateway.core.retry_after import RetryAfter
from gateway.core.serving import Serving
from gateway.core.submissions import Submissions
from gateway.core.waiting import Waiters
from gateway.http.access import guarded
from gateway.http.connections import Connections
from gateway.http.context import (
    ALLOWED_HOSTS,
    AUTHENTICATOR,
    CATALOGUE,
    CONNECTIONS,
    DIALECTS,
    DRAIN,
    DRIFT,
    FEED,
    FOLLOWED,
    HISTORY,
    INTAKE,
    LIVENESS,
    PROFILES,
    READS,
    REDIS,
    RETRY_AFTER,
    SERVING,
    SETTINGS,
    UNFINISHED,
    WAITERS,
    WORKERS,
)
from gateway.http.docs import add_docs
from gateway.http.middleware import answer_and_observe
from gateway.http.openapi import openapi
from gateway.protocols.dialects import DIALECTS_BY_PATH
from gateway.protocols.operations import PROTOCOL_OPERATIONS
from gateway.settings import GatewaySettings
from gateway.upkeep.drain import Drain
from gateway.upkeep.feed import Feed
from inference_worker.dev.memory import MOST_WAITING, Memory
from inference_worker.dev.stand_ins import (
    LocalHistory,
    LocalLooking,
    LocalPublisher,
    LocalStates,
    NoDrift,
    NoRedis,
    NoUnfinished,
    OneWorker,
    Unfollowed,
    needs_a_stack,
)
from shared.contract.catalogue import Catalogue
from shared.contract.keys import Keys
from shared.contract.live_catalogue import LiveCatalogue
from shared.service.liveness import Liveness
from shared.service.version import software_version
from shared.streams.publishing import Limits

_OF_THE_API = (
    predict.predict,
    predict.predict_batch,
    predictions.read_prediction,
    events.prediction_events,
    predictions.list_predictions,
    events.events,
    models.list_models,
    models.read_model,
    health.livez,
    health.readyz,
)


def make_app(settings: GatewaySettings, catalogue: Catalogue, memory: Memory, worker: OneWorker) -> web.Application:
    """The application; `worker` tells what it says of the model."""
    app = web.Application(middlewares=[answer_and_observe], client_max_size=settings.max_body_bytes)
    app[SETTINGS], app[CATALOGUE] = settings, LiveCatalogue(catalogue)
    app[ALLOWED_HOSTS], app[DIALECTS] = frozenset(), DIALECTS_BY_PATH
    app[AUTHENTICATOR], app[PROFILES], app[READS] = Off(), load_profiles(None), Reads()
    app[LIVENESS] = Liveness(settings.stall_timeout_s)
    app[CONNECTIONS] = Connections(settings.max_connections, settings.keepalive_s, settings.max_body_bytes)
    app[HISTORY], app[WORKERS] = LocalHistory(memory), worker
    app[SERVING] = Serving(worker, app[CATALOGUE])
    states = LocalStates(memory)
    lookup = Lookup(states, app[HISTORY])
    app[WAITERS] = Waiters(states, lookup, app[LIVENESS], settings.max_in_flight)
    limits = Limits(MOST_WAITING, settings.max_backlog_bytes, MOST_WAITING, 100, settings.max_idempotency_bytes)
    app[RETRY_AFTER] = RetryAfter(Keys(settings.key_prefix), limits)
    app[REDIS], app[FOLLOWED], app[UNFINISHED], app[DRIFT] = NoRedis(), Unfollowed(), NoUnfinished(), NoDrift()
    app[INTAKE] = Intake(
        app[CATALOGUE],
        Inputs(OrderLimits(settings.max_batch_texts, settings.max_text_chars), settings.digest_secret, None),
        Submissions(LocalPublisher(memory), MOST_WAITING, settings.max_backlog_bytes),
        app[WAITERS],
        lookup,
        app[RETRY_AFTER],
        app[SERVING],
        app[REDIS],
    )
    (served,) = catalogue.served()
    app[FEED] = Feed(LocalLooking(memory, served, worker, app[HISTORY]).look)
    app[DRAIN] = Drain(app[WAITERS], app[CONNECTIONS].abort, 0, settings.shutdown_grace_s)
    app.on_shutdown.extend((app[FEED].close, app[DRAIN].close))
    _add_routes(app)
    return app


def _add_routes(app: web.Application) -> None:
    served = [*(each for each in OPERATIONS if each.handler in _OF_THE_API), *PROTOCOL_OPERATIONS]
    for each in (*OPERATIONS, *PROTOCOL_OPERATIONS):
        handler = guarded(each) if each in served else _without_a_stack
        app.router.add_route(each.method, each.path, handler)
        if each.method == "GET":
            app.router.add_route("HEAD", each.path, handler)
    settings = app[SETTINGS]
    options = options_schema(app[CATALOGUE].seed)
    schemas = {**bounds_schema(settings.max_text_chars, settings.max_batch_texts), "Options": options}
    base = openapi(served, software_version(), schemas, {"timeout": settings.max_timeout_s}, secured=False)
    add_docs(app, Documents(base).read)
    add_console(app)


async def _without_a_stack(request: web.Request) -> web.StreamResponse:
    raise needs_a_stack()
