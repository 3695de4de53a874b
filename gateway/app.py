"""The gateway put together: one place that makes everything, in the order in which it is needed."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.api.health import metrics
from gateway.api.operations import OPERATIONS
from gateway.core.history import History
from gateway.core.lookup import Predictions
from gateway.core.submissions import Submissions
from gateway.core.waiting import Waiters
from gateway.http.context import GATEWAY, Gateway
from gateway.http.docs import add_docs
from gateway.http.http_metrics import tally
from gateway.http.middleware import edge
from gateway.http.tracing import tracing_middleware
from gateway.settings import GatewaySettings
from gateway.upkeep.expiry import Expiry
from gateway.upkeep.queue_metrics import Sampling
from gateway.upkeep.throughput import Drain
from shared.contract.catalogue import Catalogue
from shared.contract.keys import Keys
from shared.service.lifecycle import cancel_until_ended
from shared.service.liveness import Liveness
from shared.streams.dead_letters import DeadLetters
from shared.streams.prediction_state import PredictionStates
from shared.streams.publishing import Limits, Publisher
from shared.streams.queue_depth import Flows
from shared.streams.request_stream import RequestStream
from shared.streams.shard import open_shard
from shared.streams.workers import WorkerDirectory
from shared.telemetry.metrics import BUILD

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces


def make_app(settings: GatewaySettings, catalogue: Catalogue, traces: Traces | None = None) -> web.Application:
    """The application; it connects when it starts."""
    middlewares = [edge] if traces is None else [tracing_middleware(traces), edge]
    app = web.Application(middlewares=middlewares, client_max_size=settings.max_body_bytes)
    app[GATEWAY] = _gateway(settings, catalogue, traces)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, operation.handler)
    app.router.add_get("/metrics", metrics)
    add_docs(app, OPERATIONS, software_version())
    BUILD.info({"version": software_version()})
    app.cleanup_ctx.append(_connections)
    app.cleanup_ctx.append(_loops)
    app.on_shutdown.append(_answer_waiters)
    return app


def software_version() -> str:
    """The version of the installed package."""
    try:
        return version("millstream")
    except PackageNotFoundError:
        return "unknown"


def _gateway(settings: GatewaySettings, catalogue: Catalogue, traces: Traces | None) -> Gateway:
    gateway_id = uuid.uuid4().hex
    keys = Keys(settings.key_prefix)
    shard = open_shard(settings, retry_once=True)
    history = History(settings)
    workers = WorkerDirectory(shard)
    liveness = Liveness(settings.stall_timeout_s)
    states = PredictionStates(shard, gateway_id)
    predictions = Predictions(states, history)
    streams = [keys.requests(each.model, each.version.version) for each in catalogue.served()] + [keys.results]
    limits = Limits(settings.max_backlog, settings.max_results, settings.max_memory_percent)
    return Gateway(
        settings=settings,
        catalogue=catalogue,
        keys=keys,
        shard=shard,
        history=history,
        predictions=predictions,
        submissions=Submissions(Publisher(shard, gateway_id, limits, round(settings.idempotency_ttl_s * 1000))),
        dead_letters=DeadLetters(shard),
        drain=Drain(Flows(shard, streams), keys, limits, liveness),
        waiters=Waiters(states, predictions, liveness, settings.recheck_interval_s),
        workers=workers,
        sampling=Sampling(shard, catalogue, workers),
        liveness=liveness,
        traces=traces,
    )


async def _connections(app: web.Application) -> AsyncIterator[None]:
    yield
    gateway = app[GATEWAY]
    await gateway.sampling.close()
    await gateway.history.close()
    await gateway.shard.close()
    if gateway.traces is not None:
        await gateway.traces.close()


async def _loops(app: web.Application) -> AsyncIterator[None]:
    gateway = app[GATEWAY]
    waiters = gateway.waiters
    settings = gateway.settings
    expiry = Expiry(
        [
            RequestStream(gateway.shard, each.model, each.version.version, "gateway")
            for each in gateway.catalogue.served()
        ],
        gateway.liveness,
        settings.expiry_interval_s,
        gateway.dead_letters,
        round(settings.dead_letter_days * 86_400_000),
    )
    tasks = [
        asyncio.create_task(waiters.listen(), name="hints"),
        asyncio.create_task(waiters.keep_rechecking(), name="recheck"),
        asyncio.create_task(expiry.keep_expiring(), name="expiry"),
        asyncio.create_task(gateway.drain.keep_measuring(), name="drain"),
        asyncio.create_task(tally.keep_counting(), name="tally"),
    ]
    yield
    await cancel_until_ended(tasks)


async def _answer_waiters(app: web.Application) -> None:
    """On stop: those that wait get until shortly before the grace period ends, then what is known."""
    gateway = app[GATEWAY]
    gateway.closing = True
    remaining_s = gateway.settings.shutdown_grace_s - gateway.settings.drain_delay_s
    asyncio.get_running_loop().call_later(remaining_s * 0.8, gateway.waiters.stop)


def drain_on_signals(app: web.Application) -> None:
    """Have SIGTERM and SIGINT stop the running application in two steps.

    A second signal skips the first step, further ones change nothing.

    A listener that is closed drops the connections that wait in its queue. So at first only `/readyz` turns red, and
    the listener is closed when balancers have had the time to see it.
    """
    gateway = app[GATEWAY]
    loop = asyncio.get_running_loop()

    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:  # raised once more it would cut the cleanup short
            stopping = True
            raise web.GracefulExit

    def drain() -> None:
        if gateway.draining:
            stop()
        gateway.draining = True
        loop.call_later(gateway.settings.drain_delay_s, stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)
