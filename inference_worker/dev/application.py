"""The gateway's application for one model: its operations on predictions and models, without stores."""

from __future__ import annotations

from aiohttp import web

from gateway.api import events, models, predict, predictions
from gateway.api.documents import Documents
from gateway.api.operations import OPERATIONS
from gateway.api.request_schemas import bounds_schema, options_schema
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
    HISTORY,
    INTAKE,
    LIVENESS,
    PROFILES,
    READS,
    SERVING,
    SETTINGS,
    WAITERS,
    WORKERS,
)
from gateway.http.docs import add_docs
from gateway.http.middleware import answer_and_observe
from gateway.http.openapi import openapi
from gateway.http.problems import ProblemError
from gateway.settings import GatewaySettings
from inference_worker.dev.memory import MOST_WAITING, Memory
from inference_worker.dev.stand_ins import LocalHistory, LocalPublisher, LocalStates, NoRedis, OneWorker
from shared.contract.catalogue import Catalogue
from shared.contract.keys import Keys
from shared.contract.live_catalogue import LiveCatalogue
from shared.service.liveness import Liveness
from shared.service.version import software_version
from shared.streams.publishing import Limits

SERVED = (
    predict.predict,
    predict.predict_batch,
    predictions.read_prediction,
    events.prediction_events,
    predictions.list_predictions,
    models.list_models,
    models.read_model,
)


def make_app(settings: GatewaySettings, catalogue: Catalogue, memory: Memory, worker: OneWorker) -> web.Application:
    """The application; `worker` tells what it says of the model."""
    app = web.Application(middlewares=[answer_and_observe], client_max_size=settings.max_body_bytes)
    app[SETTINGS], app[CATALOGUE] = settings, LiveCatalogue(catalogue)
    app[ALLOWED_HOSTS], app[DIALECTS] = frozenset(), {}
    app[AUTHENTICATOR], app[PROFILES], app[READS] = Off(), load_profiles(None), Reads()
    app[LIVENESS] = Liveness(settings.stall_timeout_s)
    app[CONNECTIONS] = Connections(settings.max_connections, settings.keepalive_s, settings.max_body_bytes)
    app[HISTORY], app[WORKERS] = LocalHistory(memory), worker
    app[SERVING] = Serving(worker, app[CATALOGUE])
    states = LocalStates(memory)
    lookup = Lookup(states, app[HISTORY])
    app[WAITERS] = Waiters(states, lookup, app[LIVENESS], settings.max_in_flight)
    limits = Limits(MOST_WAITING, settings.max_backlog_bytes, MOST_WAITING, 100, settings.max_idempotency_bytes)
    app[INTAKE] = Intake(
        app[CATALOGUE],
        Inputs(OrderLimits(settings.max_batch_texts, settings.max_text_chars), settings.digest_secret, None),
        Submissions(LocalPublisher(memory), MOST_WAITING, settings.max_backlog_bytes),
        app[WAITERS],
        lookup,
        RetryAfter(Keys(settings.key_prefix), limits),
        app[SERVING],
        NoRedis(),
    )
    for each in OPERATIONS:
        handler = guarded(each) if each.handler in SERVED else _without_a_stack
        app.router.add_route(each.method, each.path, handler)
    schemas = {**bounds_schema(settings.max_text_chars, settings.max_batch_texts), "Options": options_schema(catalogue)}
    served = [each for each in OPERATIONS if each.handler in SERVED]
    base = openapi(served, software_version(), schemas, {"timeout": settings.max_timeout_s}, secured=False)
    add_docs(app, Documents(base).read)
    return app


async def _without_a_stack(request: web.Request) -> web.StreamResponse:
    detail = "this is one process for trying a model, without stores: `make up` starts all of Millstream"
    raise ProblemError(501, "needs-a-stack", detail)
