"""What a scrape of `/metrics` needs from Redis: streams, memory, live workers.

A scrape waits at most `PATIENCE_S` for it. Only one query of Redis runs at a time, shared by all scrapes and never
cancelled by them: if Redis hangs, all of them respond in time, without these values. Old values are never shown, since
a queue that appears constant looks healthy.
"""

from __future__ import annotations

import asyncio
import math
from typing import NamedTuple

from gateway.upkeep.depths import QueueDepths
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import request_stream_name
from shared.contract.live_catalogue import LiveCatalogue
from shared.contract.queues import Queue
from shared.service.lifecycle import cancel_until_ended
from shared.streams.queue_depth import Depth, Memory
from shared.streams.workers import WorkerDirectory
from shared.telemetry.metrics import (
    ERRORS,
    MODEL_GROUP,
    MODELS_ACTIVE,
    QUEUE_DEPTH,
    QUEUE_OLDEST_AGE,
    QUEUE_PENDING,
    REDIS_MEMORY,
    WORKERS_LIVE,
)

PATIENCE_S = 0.5

_BY_LABEL = (QUEUE_DEPTH, QUEUE_PENDING, QUEUE_OLDEST_AGE, REDIS_MEMORY, WORKERS_LIVE, MODEL_GROUP)
_Stream = tuple[str, str]  # its logical name, and the priority of what waits in it


class _Look(NamedTuple):
    """What was found: the depth of each stream, memory, live workers by model and version."""

    depths: dict[_Stream, Depth]
    memory: Memory
    live: dict[tuple[str, str], int]
    groups: set[tuple[str, str]]


class QueueMetrics:
    """Updates the gauges whose values come from Redis."""

    def __init__(self, depths: QueueDepths, catalogue: LiveCatalogue, workers: WorkerDirectory) -> None:
        self._depths = depths
        self._catalogue = catalogue
        self._workers = workers
        self._shown: set[_Stream] = set()  # streams that have a series now
        self._versions: set[tuple[str, str]] = set()  # versions that have one
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
        served = self._catalogue.served()
        try:
            depths, live = await asyncio.gather(self._depths.look(), self._workers.live(served))
        except StoreUnavailable as error:
            ERRORS.labels("gateway", f"{error.store}_{error.reason}").inc()
            return None
        told = {_name_of(queue): depth for queue, depth in depths.queues.items()}
        told |= {("results", ""): depths.results, ("dead", ""): depths.dead}
        groups = {(each.model, each.group) for each in served if each.group}
        by_version = {(each.model, each.version.version): live[each.label] for each in served}
        return _Look(told, depths.memory, by_version, groups)

    def _tell(self, look: _Look) -> None:
        for stream in self._shown - look.depths.keys():
            for gauge in (QUEUE_DEPTH, QUEUE_PENDING, QUEUE_OLDEST_AGE):
                gauge.remove(*stream)
        for version in self._versions - look.live.keys():
            WORKERS_LIVE.remove(*version)
        self._shown, self._versions = set(look.depths), set(look.live)
        for stream, depth in look.depths.items():
            QUEUE_DEPTH.labels(*stream).set(depth.entries)
            QUEUE_PENDING.labels(*stream).set(depth.pending)
            QUEUE_OLDEST_AGE.labels(*stream).set(depth.oldest_age_s)
        REDIS_MEMORY.labels("used").set(look.memory.used)
        REDIS_MEMORY.labels("limit").set(look.memory.limit)
        for version, workers in look.live.items():
            WORKERS_LIVE.labels(*version).set(workers)
        MODEL_GROUP.clear()
        for group in look.groups:
            MODEL_GROUP.labels(*group).set(1)
        MODELS_ACTIVE.set(sum(1 for workers in look.live.values() if workers))


def _name_of(queue: Queue) -> _Stream:
    return request_stream_name(queue.model, queue.version), queue.priority.value


def _forget() -> None:
    for gauge in _BY_LABEL:
        gauge.clear()
    MODELS_ACTIVE.set(math.nan)
