"""What a scrape of `/metrics` needs from Redis: streams, memory, live workers.

A scrape waits at most `PATIENCE_S` for it. Only one query of Redis runs at a time, shared by all scrapes and never
cancelled by them: if Redis hangs, all of them respond in time, without these values. Old values are never shown, since
a queue that appears constant looks healthy.
"""

from __future__ import annotations

import asyncio
import math
from typing import NamedTuple

from shared.contract.catalogue import Catalogue
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import request_stream_name
from shared.service.lifecycle import cancel_until_ended
from shared.streams import queue_depth
from shared.streams.known_streams import KnownStreams
from shared.streams.queue_depth import Depth, Memory
from shared.streams.shard import Shard
from shared.streams.workers import WorkerDirectory
from shared.telemetry.metrics import (
    ERRORS,
    MODELS_ACTIVE,
    QUEUE_DEPTH,
    QUEUE_OLDEST_AGE,
    QUEUE_PENDING,
    REDIS_MEMORY,
    WORKERS_LIVE,
)

PATIENCE_S = 0.5

_BY_LABEL = (QUEUE_DEPTH, QUEUE_PENDING, QUEUE_OLDEST_AGE, REDIS_MEMORY, WORKERS_LIVE)


class _Look(NamedTuple):
    """What was found: the depth of each stream by its logical name, memory, live workers by label."""

    depths: dict[str, Depth]
    memory: Memory
    live: dict[str, int]


class QueueMetrics:
    """Updates the gauges whose values come from Redis."""

    def __init__(self, shard: Shard, catalogue: Catalogue, workers: WorkerDirectory, known: KnownStreams) -> None:
        self._shard = shard
        keys = shard.keys
        self._served = catalogue.served()
        self._workers = workers
        self._groups = {keys.results: keys.PERSISTER_GROUP, keys.dead: ""}
        self._names = {keys.results: "results", keys.dead: "dead"}
        for each in self._served:
            key = keys.requests(each.model, each.version.version)
            self._groups[key] = keys.WORKER_GROUP
            self._names[key] = request_stream_name(each.model, each.version.version)
        self._known = known
        self._shown: set[str] = set()  # streams without a version in the catalogue that have a series now
        self._looking: asyncio.Task[_Look | None] | None = None

    async def refresh(self, patience_s: float = PATIENCE_S) -> None:
        """Set the gauges from Redis, or clear them if it does not respond in time."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="queue metrics")
        looking = self._looking  # another scrape may begin the next query before this one goes on
        done, _ = await asyncio.wait({looking}, timeout=patience_s)
        look = looking.result() if done else None
        if look is None:
            _forget()
        else:
            self._tell(look)

    async def close(self) -> None:
        """Cancel a query that is still running."""
        if self._looking is not None and not self._looking.done():
            await cancel_until_ended([self._looking])

    async def _look(self) -> _Look | None:
        try:
            orphans = await self._known.orphans()
            groups = self._groups | {each.key: self._shard.keys.WORKER_GROUP for each in orphans}
            (depths, memory), live = await asyncio.gather(
                queue_depth.sample(self._shard, groups), self._workers.live(self._served)
            )
        except StoreUnavailable as error:
            ERRORS.labels("gateway", f"{error.store}_{error.reason}").inc()
            return None
        names = self._names | {each.key: request_stream_name(each.model, each.version) for each in orphans}
        told = {names[key]: depth for key, depth in depths.items() if key in self._names or depth.entries}
        return _Look(told, memory, live)

    def _tell(self, look: _Look) -> None:
        orphans = look.depths.keys() - set(self._names.values())
        for stream in self._shown - orphans:
            for gauge in (QUEUE_DEPTH, QUEUE_PENDING, QUEUE_OLDEST_AGE):
                gauge.remove(stream)
        self._shown = orphans
        for stream, depth in look.depths.items():
            QUEUE_DEPTH.labels(stream).set(depth.entries)
            QUEUE_PENDING.labels(stream).set(depth.pending)
            QUEUE_OLDEST_AGE.labels(stream).set(depth.oldest_age_s)
        REDIS_MEMORY.labels("used").set(look.memory.used)
        REDIS_MEMORY.labels("limit").set(look.memory.limit)
        for each in self._served:
            WORKERS_LIVE.labels(each.model, each.version.version).set(look.live[each.label])
        MODELS_ACTIVE.set(sum(1 for workers in look.live.values() if workers))


def _forget() -> None:
    for gauge in _BY_LABEL:
        gauge.clear()
    MODELS_ACTIVE.set(math.nan)
