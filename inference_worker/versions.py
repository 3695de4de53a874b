"""The versions that a worker serves: each is loaded, tried again while it cannot be, and then served by a lane.

One version that cannot be loaded does not stop the others: it is reported (log, metric, `/health` and
`GET /api/v1/models`) and tried again with growing pauses. One that has no room waits: see `inference_worker.memory`.
Which versions those are changes while a worker runs: see `inference_worker.following`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from inference_worker.artifact_store.store import ArtifactStore
from inference_worker.cpus import cpus_given
from inference_worker.engine import Engine
from inference_worker.fingerprint import fingerprint_of
from inference_worker.lane import Lane
from inference_worker.memory import Memory, NoRoom
from inference_worker.placement import child_limits, load_plan
from inference_worker.settings import WorkerSettings
from inference_worker.tracing import LaneSpans
from shared.contract.buckets import BUCKET_PREFIX
from shared.contract.catalogue import Catalogue, ServedVersion
from shared.contract.errors import ConfigurationError
from shared.contract.registry import RegisteredVersion
from shared.contract.version_states import State, VersionState
from shared.service.artifacts import open_artifact, refuse_adapter
from shared.service.backoff import Backoff
from shared.service.lifecycle import cancel_until_ended, run_tasks
from shared.service.liveness import Liveness
from shared.streams.known_streams import KnownStreams
from shared.streams.redis_watch import RedisWatch
from shared.streams.shard import Shard
from shared.streams.version_streams import VersionStreams
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
        wanted: what is to be served now, by label.
        news: set when one of the two has changed.
        redis: what is asked whether Redis is fit to be used.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        seed: Catalogue,
        shard: Shard,
        liveness: Liveness,
        worker_id: str,
        traces: Traces | None,
    ) -> None:
        self.lanes: list[Lane] = []
        self.failures: dict[str, str] = {}
        self.fingerprints: dict[str, str] = {}
        self.wanted: Mapping[str, ServedVersion] = {}
        self.news = asyncio.Event()
        self.redis = RedisWatch(shard, "inference_worker", liveness)
        self._settings, self._seed = settings, seed
        self._store = ArtifactStore(settings)
        self._first: frozenset[str] | None = None
        self._shard, self._liveness, self._worker_id, self._traces = shard, liveness, worker_id, traces
        self._cpus = cpus_given(settings.worker_cpus)
        streams = KnownStreams(shard, tuple, worker_id)
        self._memory = Memory(settings.worker_memory_mb, self._cpus, streams, self.news)

    @property
    def states(self) -> dict[str, VersionState]:
        """How far each version is that is to be served or still served."""
        ready = {lane.served.label: VersionState(State.READY) for lane in self.lanes}
        failed = {label: VersionState(State.FAILED, why) for label, why in self.failures.items()}
        return dict.fromkeys(self.wanted, VersionState(State.LOADING)) | self._memory.out | failed | ready

    def want(self, wanted: Mapping[str, ServedVersion]) -> None:
        """Say what is to be served from now on; what was said first is waited for at the start."""
        if self._first is None:
            self._first = frozenset(wanted)
        if wanted.keys() != self.wanted.keys():
            self.news.set()
        self.wanted = wanted

    def not_ready(self) -> str | None:
        """Why requests should not be counted on yet; None if all that it began with is served or known not to be.

        What has no room, or has made room, may still be served: by whom requests wait for.
        """
        if self._first is None:
            return "it is not known yet what is to be served"
        known = {lane.served.label for lane in self.lanes} | self.failures.keys() | self._memory.out.keys()
        loading = [label for label in self.wanted if label in self._first and label not in known]
        if loading:
            return f"loading {', '.join(loading)}"
        return next((lane.unavailable for lane in self.lanes if lane.unavailable), None)

    async def serve(self, served: ServedVersion, stop: asyncio.Event, given_up: asyncio.Event) -> None:
        """Load one version, as often as it takes, and serve it until `stop` or `given_up` is set.

        Raises:
            ConfigurationError: it is of the catalogue file and cannot be loaded, and nothing else can either, or
                `WORKER_STRICT` is set.
        """
        loop, backoff = f"serve {served.label}", Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        if self._first is not None and served.label not in self._first:
            self._memory.owe(served.label)
        try:
            async with _either(stop, given_up) as end:
                with self._liveness.moving(loop):  # loading has a limit, and the lane's loops are watched
                    while not end.is_set():
                        self._liveness.moved(loop)
                        try:
                            async with self._fetched(served, end) as fetched:
                                async with self._memory.turn:
                                    if end.is_set():
                                        return
                                    await self._memory.make_room(served.label)
                                    lane = await self._load(served, fetched)
                                backoff.succeeded()
                                await self._run(lane, end)
                            await self._memory.until_wanted(served.label, end)
                        except NoRoom as error:
                            self.failures.pop(served.label, None)
                            self._memory.note(served.label, error)
                            await self._memory.until_wanted(served.label, end)
                        except ConfigurationError as error:
                            self._note_failure(served, error)
                            await backoff.pause(end)
        finally:
            self.failures.pop(served.label, None)
            self.fingerprints.pop(served.label, None)
            self._memory.forget(served.label)
            self._liveness.ended(loop)
            self.news.set()

    async def _run(self, lane: Lane, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, or it has to make room for another version.

        Raises:
            EngineDown: the lane has ended before, and the worker goes on without it.
        """
        self.failures.pop(lane.served.label, None)
        self.lanes.append(lane)
        self.news.set()
        try:
            with self._memory.held_by(lane) as leave:
                await self._run_loops(lane, stop, leave)
        finally:
            self.lanes.remove(lane)

    async def _run_loops(self, lane: Lane, *stops: asyncio.Event) -> None:
        async with _either(*stops) as stop:
            loops = {f"lane {lane.served.label}": lane.run(stop)}
            loops[f"claims {lane.served.label}"] = lane.keep_claims(stop)
            await run_tasks(loops, stop, self._settings.shutdown_grace_s, self._liveness)

    @asynccontextmanager
    async def _fetched(self, served: ServedVersion, end: asyncio.Event) -> AsyncIterator[str | None]:
        """Where the artifact is, if it is in a bucket: fetched before it is this version's turn, which others wait for.

        Raises:
            ConfigurationError: it cannot be had, or may not be loaded here.
        """
        version = served.version
        if not version.artifact.startswith(BUCKET_PREFIX):
            yield None
            return
        if isinstance(version, RegisteredVersion):
            open_artifact(version.artifact, self._settings.artifact_sources)
        async with self._store.at_hand(version.artifact, end, all_files=":" in served.task) as directory:
            if isinstance(version, RegisteredVersion):
                refuse_adapter(directory, version.artifact)
            yield str(directory)

    async def _load(self, served: ServedVersion, fetched: str | None = None) -> Lane:
        started = time.monotonic()
        location, digest = await self._artifact(served, fetched)
        plan, processes = load_plan(location, served, self._cpus, self._seed.directory)
        named = plan if fetched is None else plan._replace(location=served.version.artifact)
        limits = child_limits(served.version, self._settings.load_timeout_s)
        engine = Engine(plan, processes, limits, on_a_gpu=served.version.processes or 1)
        self.fingerprints.pop(served.label, None)
        _, fingerprint = await asyncio.gather(
            self._memory.start(served.label, engine), asyncio.to_thread(fingerprint_of, named, digest)
        )
        seconds = time.monotonic() - started
        LOAD_SECONDS.labels(served.model, served.version.version).set(seconds)
        facts = {"model": served.label, "processes": engine.processes, "threads": plan.threads, "device": engine.device}
        log.info("loaded", extra={**facts, "seconds": round(seconds, 2)})
        if fingerprint:
            self.fingerprints[served.label] = fingerprint
        version = served.version.version
        streams = VersionStreams(self._shard, served.model, version, self._worker_id)
        spans = None if self._traces is None else LaneSpans(self._traces, served.model, version)
        return Lane(self._settings, served, streams, engine, self._liveness, self._worker_id, self.redis, spans)

    async def _artifact(self, served: ServedVersion, fetched: str | None) -> tuple[str, str | None]:
        """Where the artifact is, and its digest if that is known: that of a registered version has to be what it was.

        Raises:
            ConfigurationError: it is not there, may not be loaded here, or has changed since it was registered.
        """
        version = served.version
        if fetched is not None:
            return fetched, version.artifact
        if not isinstance(version, RegisteredVersion):
            return self._seed.artifact_location(version), None
        found = await asyncio.to_thread(open_artifact, version.artifact, self._settings.artifact_sources)
        if found.digest != version.digest:
            raise ConfigurationError(
                f"{version.artifact!r} has changed since it was registered: register another version"
            )
        return found

    def _note_failure(self, served: ServedVersion, error: ConfigurationError) -> None:
        self.failures[served.label] = str(error)
        self.news.set()
        LOAD_FAILURES.labels(served.model, served.version.version).inc()
        log.error("not loaded", extra={"model": served.label, "detail": str(error)})
        registered = isinstance(served.version, RegisteredVersion)
        if not registered and (self._settings.worker_strict or self.failures.keys() >= self.wanted.keys()):
            raise error


@asynccontextmanager
async def _either(*stops: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """An event that is set when one of these is, and may be set before."""
    own = asyncio.Event()

    async def pass_on(stop: asyncio.Event) -> None:
        await stop.wait()
        own.set()

    following = [asyncio.create_task(pass_on(each), name="pass the stop on") for each in stops]
    try:
        yield own
    finally:
        await cancel_until_ended(following)
