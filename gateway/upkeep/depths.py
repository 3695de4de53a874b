"""The depth of every queue, looked at once for whoever asks: scrapes of `/metrics`, and the feed of consoles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared.contract.live_catalogue import LiveCatalogue
from shared.contract.queues import Queue, queues_of
from shared.streams import queue_depth
from shared.streams.known_streams import orphans_of
from shared.streams.queue_depth import Depth, Memory, Sample
from shared.streams.shard import Shard


class Depths(NamedTuple):
    """What was found.

    Attributes:
        queues: of the versions that are served, and those of others that have entries.
        results: that are not in Postgres yet.
        dead: dead letters.
    """

    queues: Mapping[Queue, Depth]
    results: Depth
    dead: Depth
    memory: Memory


class QueueDepths:
    """Looks at all queues, in one round trip: in two if a queue that nobody serves has got its first entries."""

    def __init__(self, shard: Shard, catalogue: LiveCatalogue) -> None:
        self._shard, self._catalogue = shard, catalogue
        self._orphans: Sequence[Queue] = ()  # that had entries at the last look
        self._looking = asyncio.Lock()
        self._last: Depths | None = None
        self._looked_at = 0.0

    async def look(self, max_age_s: float = 0.0) -> Depths:
        """What the look has found that is under way, or ended at most `max_age_s` ago; else another.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        wanted = time.monotonic() - max_age_s
        async with self._looking:
            if self._last is None or self._looked_at < wanted:
                self._last = await self._look()
                self._looked_at = time.monotonic()
            return self._last

    async def _look(self) -> Depths:
        served = self._catalogue.served()
        queues = [queue for each in served for queue in queues_of(each.model, each.version.version)]
        asked, sample = self._orphans, await self._sample([*queues, *self._orphans])
        self._orphans = orphans_of(sample.queues, (each.label for each in served))
        if not set(self._orphans) <= set(asked):
            sample = await self._sample([*queues, *self._orphans])
        keys, depths = self._shard.keys, sample.depths
        found = {queue: depths[keys.requests(*queue)] for queue in queues}
        others = {queue: depths[keys.requests(*queue)] for queue in self._orphans}
        found |= {queue: depth for queue, depth in others.items() if depth.entries}
        return Depths(found, depths[keys.results], depths[keys.dead], sample.memory)

    async def _sample(self, queues: Sequence[Queue]) -> Sample:
        keys = self._shard.keys
        groups = dict.fromkeys((keys.requests(*queue) for queue in queues), keys.WORKER_GROUP)
        return await queue_depth.sample(self._shard, {**groups, keys.results: keys.PERSISTER_GROUP, keys.dead: ""})
