"""The composition root of the gateway: the application, from its start to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.api.documents import Documents
from gateway.api.operations import OPERATIONS
from gateway.api.request_schemas import bounds_schema, options_schema
from gateway.components import add_components
from gateway.console.page import add_console
from gateway.control.authentication import Authentication
from gateway.http.access import guarded
from gateway.http.context import (
    CACHING,
    CATALOGUE,
    CONNECTIONS,
    DIALECTS,
    DRAIN,
    FEED,
    HISTORY,
    QUEUE_METRICS,
    RUNNING,
    SETTINGS,
)
from gateway.http.docs import add_docs
from gateway.http.middleware import answer_and_observe
from gateway.http.openapi import openapi
from gateway.http.tracing import tracing_middleware
from gateway.loops import background_loops, running
from gateway.protocols.dialects import DIALECTS_BY_PATH
from gateway.protocols.operations import PROTOCOL_OPERATIONS
from gateway.settings import GatewaySettings
from shared.contract.catalogue import Catalogue
from shared.contract.live_catalogue import LiveCatalogue
from shared.service.version import software_version
from shared.streams.shard import Shard, open_shard
from shared.telemetry.metrics import BUILD

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces


EVERY_OPERATION = (*OPERATIONS, *PROTOCOL_OPERATIONS)


def make_app(settings: GatewaySettings, catalogue: Catalogue, traces: Traces | None = None) -> web.Application:
    """The application; it connects to the stores when it starts."""
    middlewares = [answer_and_observe] if traces is None else [tracing_middleware(traces), answer_and_observe]
    app = web.Application(middlewares=middlewares, client_max_size=settings.max_body_bytes)
    shard = open_shard(settings, retry_once=True)
    app[SETTINGS], app[CATALOGUE], app[DIALECTS] = settings, LiveCatalogue(catalogue), DIALECTS_BY_PATH
    authentication = Authentication(settings, shard)
    add_components(app, shard, authentication, traces)
    for operation in EVERY_OPERATION:
        handler = guarded(operation)
        app.router.add_route(operation.method, operation.path, handler)
        if operation.method == "GET":
            app.router.add_route("HEAD", operation.path, handler)
    bounds = bounds_schema(settings.max_text_chars, settings.max_batch_texts)
    schemas = {**bounds, "Options": options_schema(catalogue)}
    secured, maxima = authentication.authenticator.required, {"timeout": settings.max_timeout_s}
    add_docs(app, Documents(openapi(EVERY_OPERATION, software_version(), schemas, maxima, secured=secured)).read)
    add_console(app)
    BUILD.info({"version": software_version()})
    app.cleanup_ctx.append(_connections(shard, authentication, traces))
    app.cleanup_ctx.append(running(lambda stop: background_loops(app, shard, authentication, stop)))
    app.on_shutdown.append(app[FEED].close)
    app.on_shutdown.append(app[DRAIN].close)
    app.on_shutdown.append(app[CONNECTIONS].all_answered)  # aiohttp reads no body any more once it shuts down
    return app


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
