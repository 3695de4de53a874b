"""The persister: `python -m persister`. Moves finished predictions from the result stream to Postgres."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import uvloop

from persister.database import Database
from persister.drift import DriftWatch
from persister.eraser import Eraser
from persister.erasure_store import ErasureStore
from persister.outbox import Outbox
from persister.persister import Persister
from persister.retention import Retention
from persister.settings import PersisterSettings
from persister.tracing import PersisterSpans
from persister.webhook_sender import WebhookSender
from persister.webhooks import Webhooks
from shared.contract.callbacks import hosts_of
from shared.service.catalogue_file import load_catalogue
from shared.service.lifecycle import calm_garbage_collector, exit_code, run_tasks, stop_on_signals
from shared.service.liveness import Liveness
from shared.service.logs import configure_logging
from shared.service.probes import serve_probes
from shared.service.settings import load_settings
from shared.service.stderr import queue_stderr
from shared.service.watchdog import end_if_stuck
from shared.streams.drift_board import DriftBoard
from shared.streams.erasing import Erasing
from shared.streams.redis_watch import LOOP, RedisWatch
from shared.streams.result_stream import ResultStream
from shared.streams.shard import open_shard
from shared.telemetry.metrics import LOG_LINES_DROPPED
from shared.telemetry.tracing import start_tracing

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces

log = logging.getLogger("persister")


async def run(settings: PersisterSettings, traces: Traces | None) -> None:
    """Persist until told to stop, and leave.

    Raises:
        ConfigurationError: the catalogue is wrong.
    """
    catalogue = load_catalogue(settings.model_catalogue)
    stop = stop_on_signals()
    liveness = Liveness(settings.stall_timeout_s)
    end_if_stuck(liveness, settings.stall_timeout_s)
    database = Database(settings)
    shard = open_shard(settings)
    consumer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    stream = ResultStream(shard, consumer)
    redis = RedisWatch(shard, "persister", liveness)
    spans = None if traces is None else PersisterSpans(traces)
    erasures = ErasureStore(database.postgres, timedelta(milliseconds=settings.visibility_timeout_ms))
    persister = Persister(settings, stream, database, liveness, redis, spans)
    log.info("started", extra={"consumer": consumer})
    try:
        tasks = {
            "persist": persister.run(stop),
            "partitions": persister.keep_partitions(stop),
            "erasures": Eraser(erasures, Erasing(shard, consumer), liveness).run(stop),
            "retention": Retention(erasures, catalogue.models, liveness).run(stop),
            LOOP: redis.run(stop),
            "probes": _probes(settings, persister, liveness, stop),
        }
        if settings.webhook_secret is not None:
            secrets, hosts = settings.webhook_secret.get_secret_value(), hosts_of(settings.callback_hosts)
            sender = WebhookSender(secrets, hosts, private=settings.callback_private_networks)
            tasks["webhooks"] = Webhooks(Outbox(database.postgres), sender, stream, liveness).run(stop)
        if settings.drift_interval_s:
            drift = DriftWatch(database, DriftBoard(shard), settings.drift_window, settings.drift_interval_s, liveness)
            tasks["drift"] = drift.run(stop)
        await run_tasks(tasks, stop, settings.shutdown_grace_s, liveness)
    finally:
        await database.close()
        await shard.close()
        if traces is not None:
            await traces.close()
    log.info("stopped")


async def _probes(settings: PersisterSettings, persister: Persister, liveness: Liveness, stop: asyncio.Event) -> None:
    host, port = settings.persister_metrics_host, settings.persister_metrics_port
    setting = "PERSISTER_METRICS_PORT"
    await serve_probes(host, port, setting, liveness, lambda: persister.unavailable, stop)


def _main() -> None:
    settings = load_settings(PersisterSettings)
    traces = start_tracing(settings, "persister")
    configure_logging(settings, "persister")
    calm_garbage_collector()
    uvloop.run(run(settings, traces))


def main() -> int:
    """Run the service; returns its exit code."""
    queue_stderr(LOG_LINES_DROPPED.inc)
    return exit_code("persister", _main)


if __name__ == "__main__":
    sys.exit(main())
