"""The persister: `python -m persister`. Moves finished predictions from the result stream to Postgres."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import uvloop

from persister.database import Database
from persister.drift import DriftWatch
from persister.persister import Persister
from persister.settings import PersisterSettings
from persister.tracing import PersisterSpans
from shared.contract.catalogue import ServedVersion
from shared.contract.errors import ConfigurationError
from shared.service.catalogue_file import load_catalogue
from shared.service.lifecycle import calm_garbage_collector, run_tasks, stop_on_signals
from shared.service.liveness import Liveness
from shared.service.logs import configure_logging
from shared.service.probes import serve_probes
from shared.service.settings import load_settings
from shared.streams.redis_watch import LOOP, RedisWatch
from shared.streams.result_stream import ResultStream
from shared.streams.shard import open_shard
from shared.telemetry.tracing import start_tracing

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces

log = logging.getLogger("persister")


async def run(settings: PersisterSettings, traces: Traces | None) -> None:
    """Persist until told to stop, and leave.

    Raises:
        ConfigurationError: the catalogue is wrong.
    """
    watched = load_catalogue(settings.model_catalogue).served() if settings.drift_interval_s else ()
    stop = stop_on_signals()
    liveness = Liveness(settings.stall_timeout_s)
    database = Database(settings)
    shard = open_shard(settings)
    consumer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    stream = ResultStream(shard, consumer)
    redis = RedisWatch(shard, "persister", liveness)
    spans = None if traces is None else PersisterSpans(traces)
    persister = Persister(settings, stream, database, liveness, spans, redis)
    log.info("started", extra={"consumer": consumer})
    try:
        tasks = {
            "persist": persister.run(stop),
            "partitions": persister.keep_partitions(stop),
            "drift": _watch_drift(settings, watched, database, stop),
            LOOP: redis.run(stop),
            "probes": _probes(settings, persister, liveness, stop),
        }
        await run_tasks(tasks, stop, settings.shutdown_grace_s)
    finally:
        await database.close()
        await shard.close()
        if traces is not None:
            await traces.close()
    log.info("stopped")


async def _probes(settings: PersisterSettings, persister: Persister, liveness: Liveness, stop: asyncio.Event) -> None:
    host, port = settings.persister_metrics_host, settings.persister_metrics_port
    await serve_probes(host, port, liveness, lambda: persister.unavailable, stop)


async def _watch_drift(
    settings: PersisterSettings, watched: Sequence[ServedVersion], database: Database, stop: asyncio.Event
) -> None:
    if watched:
        await DriftWatch(database, watched, settings.drift_window, settings.drift_interval_s).run(stop)
    await stop.wait()


def main() -> int:
    """Run the service; exit code 2 says that a setting or the catalogue is wrong."""
    try:
        settings = load_settings(PersisterSettings)
        traces = start_tracing(settings, "persister")
        configure_logging(settings, "persister")
        calm_garbage_collector()
        uvloop.run(run(settings, traces))
    except ConfigurationError as error:
        print(f"persister: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
