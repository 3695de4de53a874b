"""The versions that a worker serves: each is loaded, tried again while it cannot be, and then served by a lane.

One version that cannot be loaded does not stop the others: it is reported (log, metric, `/health` and
`GET /api/v1/models`) and tried again with growing pauses.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from inference_worker.cpus import cpus_given
from inference_worker.engine import Engine
from inference_worker.fingerprint import fingerprint_of
from inference_worker.lane import Lane
from inference_worker.placement import child_limits, load_plan
from inference_worker.settings import WorkerSettings
from inference_worker.tracing import LaneSpans
from shared.contract.catalogue import Catalogue, ServedVersion
from shared.contract.errors import ConfigurationError
from shared.service.backoff import Backoff
from shared.service.lifecycle import cancel_until_ended, run_tasks
from shared.service.liveness import Liveness
from shared.streams.redis_watch import RedisWatch
from shared.streams.request_stream import RequestStream
from shared.streams.shard import Shard
from shared.telemetry.metrics import LOAD_FAILURES, LOAD_SECONDS

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0


class ServedVersions:
    """What one worker serves.

    Attributes:
        lanes: of the versions that are loaded.
        failures: why the others could not be loaded the last time, by their label.
        fingerprints: what computes each, by label, once it is known; see `inference_worker.fingerprint`.
        news: set when one of the two has changed.
        redis: what is asked whether Redis is fit to be used.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        catalogue: Catalogue,
        selection: Sequence[ServedVersion],
        shard: Shard,
        liveness: Liveness,
        worker_id: str,
        traces: Traces | None,
    ) -> None:
        self.lanes: list[Lane] = []
        self.failures: dict[str, str] = {}
        self.fingerprints: dict[str, str] = {}
        self.news = asyncio.Event()
        self.redis = RedisWatch(shard, "inference_worker", liveness)
        self._settings, self._catalogue, self._selection = settings, catalogue, selection
        self._shard, self._liveness, self._worker_id, self._traces = shard, liveness, worker_id, traces
        self._cpus = cpus_given(settings.worker_cpus)
        self._loading = asyncio.Semaphore(self._cpus)

    def not_ready(self) -> str | None:
        """Why requests should not be counted on yet; None if every version is served or known not to be."""
        known = {lane.served.label for lane in self.lanes} | self.failures.keys()
        loading = [each.label for each in self._selection if each.label not in known]
        if loading:
            return f"loading {', '.join(loading)}"
        return next((lane.unavailable for lane in self.lanes if lane.unavailable), None)

    async def serve(self, served: ServedVersion, stop: asyncio.Event) -> None:
        """Load one version, as often as it takes, and serve it until `stop` is set or its children cannot be replaced.

        Raises:
            ConfigurationError: it cannot be loaded, and nothing else can either, or `WORKER_STRICT` is set.
        """
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        with self._liveness.moving(f"serve {served.label}"):  # loading has a limit, and the lane's loops are watched
            while not stop.is_set():
                try:
                    async with self._loading:
                        lane = await self._load(served)
                    backoff.succeeded()
                    await self._run(lane, stop)
                except ConfigurationError as error:
                    self._note_failure(served, error)
                    await backoff.pause(stop)

    async def _run(self, lane: Lane, stop: asyncio.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            EngineDown: the lane has ended before, and the worker goes on without it.
        """
        self.failures.pop(lane.served.label, None)
        self.lanes.append(lane)
        self.news.set()
        try:
            async with _following(stop) as own_stop:
                loops = {f"lane {lane.served.label}": lane.run(own_stop)}
                loops[f"claims {lane.served.label}"] = lane.keep_claims(own_stop)
                await run_tasks(loops, own_stop, self._settings.shutdown_grace_s, self._liveness)
        finally:
            self.lanes.remove(lane)

    async def _load(self, served: ServedVersion) -> Lane:
        started = time.monotonic()
        plan, processes = load_plan(self._catalogue, served, self._cpus)
        engine = Engine(plan, processes, child_limits(served.version, self._settings.load_timeout_s))
        await engine.start()
        seconds = time.monotonic() - started
        LOAD_SECONDS.labels(served.model, served.version.version).set(seconds)
        facts = {"model": served.label, "processes": processes, "threads": plan.threads}
        log.info("loaded", extra={**facts, "seconds": round(seconds, 2)})
        self.fingerprints.pop(served.label, None)
        if found := await asyncio.to_thread(fingerprint_of, plan):
            self.fingerprints[served.label] = found
        version = served.version.version
        stream = RequestStream(self._shard, served.model, version, self._worker_id)
        spans = None if self._traces is None else LaneSpans(self._traces, served.model, version)
        return Lane(self._settings, served, stream, engine, self._liveness, self._worker_id, self.redis, spans)

    def _note_failure(self, served: ServedVersion, error: ConfigurationError) -> None:
        self.failures[served.label] = str(error)
        self.news.set()
        LOAD_FAILURES.labels(served.model, served.version.version).inc()
        log.error("not loaded", extra={"model": served.label, "detail": str(error)})
        if self._settings.worker_strict or len(self.failures) == len(self._selection):
            raise error


@asynccontextmanager
async def _following(stop: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """An event that is set when `stop` is, and may be set before."""
    own = asyncio.Event()

    async def pass_on() -> None:
        await stop.wait()
        own.set()

    following = asyncio.create_task(pass_on(), name="pass the stop on")
    try:
        yield own
    finally:
        await cancel_until_ended([following])
