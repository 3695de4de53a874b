"""The inference worker: `python -m inference_worker`. Loads models, serves their request streams."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import uuid
from typing import TYPE_CHECKING

import uvloop

from inference_worker.children.child import HUB_TOKEN
from inference_worker.children.forkserver import preload
from inference_worker.following import LOOP as MODELS
from inference_worker.following import Following
from inference_worker.heartbeat import keep_heartbeat
from inference_worker.settings import WorkerSettings
from inference_worker.versions import ServedVersions
from shared.contract.catalogue import Catalogue
from shared.contract.live_catalogue import LiveCatalogue
from shared.contract.selection import Selection, parse_selection
from shared.service.catalogue_file import load_catalogue
from shared.service.lifecycle import calm_garbage_collector, exit_code, run_tasks, stop_on_signals
from shared.service.liveness import Liveness
from shared.service.logs import configure_logging
from shared.service.probes import serve_probes
from shared.service.settings import load_settings
from shared.service.stderr import queue_stderr
from shared.service.watchdog import end_if_stuck
from shared.streams.known_streams import KnownStreams
from shared.streams.model_registry import ModelRegistry
from shared.streams.redis_watch import LOOP
from shared.streams.shard import open_shard
from shared.streams.workers import Heartbeat, WorkerDirectory
from shared.telemetry.metrics import LOG_LINES_DROPPED
from shared.telemetry.tracing import start_tracing

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces

log = logging.getLogger("inference_worker")

_MOST_CONNECTIONS = 1000  # each version it serves holds one while it reads


class Worker:
    """One worker process: its lanes, its heartbeat and its probes."""

    def __init__(self, settings: WorkerSettings, stop: asyncio.Event, traces: Traces | None) -> None:
        self._settings = settings
        self._traces = traces
        self._stop = stop
        self._shard = open_shard(settings, most_connections=_MOST_CONNECTIONS)
        self._liveness = Liveness(settings.stall_timeout_s)
        self._id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    async def run(self, seed: Catalogue, selection: Selection) -> None:
        """Load, warm up, serve until told to stop, and leave.

        Raises:
            ConfigurationError: the selection is wrong, no model of the catalogue file can be loaded, or one of them
                cannot and `WORKER_STRICT` is set.
        """
        versions = ServedVersions(self._settings, seed, self._shard, self._liveness, self._id, self._traces)
        catalogue, streams = LiveCatalogue(seed), KnownStreams(self._shard, tuple, self._id)
        registry = ModelRegistry(self._shard)
        following = Following(versions, catalogue, selection, registry, streams, self._liveness)
        try:
            if await following.look():  # otherwise it is not known what was registered
                selection.check([*catalogue.served(), *catalogue.leaving.values()])
            preload(any(":" not in each.task for each in versions.wanted.values()))
            tasks = {"probes": self._probes(versions), "heartbeat": self._heartbeat(versions)}
            tasks |= {LOOP: versions.redis.run(self._stop), MODELS: following.run(self._stop)}
            calm_garbage_collector()
            end_if_stuck(self._liveness, self._settings.stall_timeout_s)
            await run_tasks(tasks, self._stop, self._settings.shutdown_grace_s, self._liveness)
        finally:
            await self._shard.close()
            if self._traces is not None:
                await self._traces.close()
        log.info("stopped", extra={"worker": self._id})

    async def _heartbeat(self, versions: ServedVersions) -> None:
        heartbeat = Heartbeat(self._shard, self._id, self._settings.heartbeat_ttl_s)
        directory = WorkerDirectory(self._shard)
        interval_s = self._settings.heartbeat_interval_s
        await keep_heartbeat(heartbeat, directory, versions, interval_s, self._liveness, self._stop)

    async def _probes(self, versions: ServedVersions) -> None:
        settings = self._settings
        address = settings.worker_metrics_host, settings.worker_metrics_port, "WORKER_METRICS_PORT"
        await serve_probes(*address, self._liveness, versions.not_ready, self._stop)


async def run(settings: WorkerSettings) -> None:
    """Read the catalogue and run a worker.

    Raises:
        ConfigurationError: the catalogue, the selection or a model is wrong.
    """
    seed = load_catalogue(settings.model_catalogue)
    selection = parse_selection(settings.worker_models)
    traces = start_tracing(settings, "inference_worker")
    await Worker(settings, stop_on_signals(), traces).run(seed, selection)


def _main() -> None:
    settings = load_settings(WorkerSettings)
    configure_logging(settings, "inference_worker")
    if settings.hf_token is not None:
        os.environ[HUB_TOKEN] = (
            settings.hf_token.get_secret_value()
        )  # from .env or a file; who forks children looks there
    uvloop.run(run(settings))


def main() -> int:
    """Run the service; returns its exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # lanes share the CPUs: an idle one must not spin
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    queue_stderr(LOG_LINES_DROPPED.inc, of_children=True)
    return exit_code("inference_worker", _main)


if __name__ == "__main__":
    sys.exit(main())
