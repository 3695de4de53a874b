"""What consoles watch: queues, workers and the newest predictions, looked at every 2 s for all of them together.

Nothing is looked at while nobody watches. Who comes is told what the last look has found, or waits for the first one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from aiohttp import web

from gateway.core.errors import Refused
from gateway.core.finished import Finished
from gateway.core.history import NEWEST, Filters, History
from gateway.core.principal import ANYBODY, Principal
from gateway.core.retry_after import CONNECTIONS_S
from gateway.core.serving import Serving
from gateway.upkeep.depths import QueueDepths
from shared.contract.errors import StoreUnavailable
from shared.contract.queues import Queue
from shared.streams.queue_depth import Depth
from shared.streams.workers import Worker
from shared.telemetry.metrics import ERRORS

LOOK_EVERY_S = 2.0
MOST_WATCHERS, MOST_OF_ONE = 1_000, 50
MOST_FINISHED = 20  # predictions of all callers: each is shown those of them that it may read
_POSTGRES_WITHIN_S = 1.0


class QueueLook(NamedTuple):
    """One queue, and how many live workers serve its version."""

    queue: Queue
    depth: Depth
    workers: int


class Look(NamedTuple):
    """What was found.

    Attributes:
        results: that are not in Postgres yet.
        finished: the newest predictions, of whomever.
        shown: what is made of it for callers, by who they are: the same for all of their streams.
    """

    queues: Sequence[QueueLook]
    results: int
    dead_letters: int
    workers: Sequence[Worker]
    finished: Sequence[Finished]
    shown: dict[Principal, Mapping[str, bytes]]


class Feed:
    """Looks for all who watch.

    Args:
        look: looks, being told the last look.

    Attributes:
        last: the last look; None before there was one.
    """

    def __init__(self, look: Callable[[Look | None], Awaitable[Look]]) -> None:
        self._look = look
        self._watchers: Counter[str] = Counter()
        self._looking = asyncio.Lock()
        self._looked_at = -LOOK_EVERY_S
        self._news = asyncio.Event()
        self._closing = False
        self.last: Look | None = None

    @contextmanager
    def watched(self, caller: str) -> Iterator[None]:
        """Somebody watches, as long as the block runs.

        Raises:
            Refused: too many do already, or the gateway is stopping.
        """
        if self._closing:
            raise Refused("stopping", "this gateway is stopping; try again", CONNECTIONS_S)
        if self._watchers.total() >= MOST_WATCHERS or (caller and self._watchers[caller] >= MOST_OF_ONE):
            detail = (
                f"too many watch this gateway already (its limit is {MOST_WATCHERS}, and {MOST_OF_ONE} of a caller)"
            )
            raise Refused("overloaded", detail, CONNECTIONS_S, limit="watchers")
        self._watchers[caller] += 1
        try:
            yield
        finally:
            self._watchers[caller] -= 1
            if not self._watchers[caller]:
                del self._watchers[caller]

    async def first(self) -> Look:
        """The last look, if it is new enough; else another.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        await self._look_if_due()
        assert self.last is not None
        return self.last

    async def next(self, look: Look, timeout_s: float) -> Look | None:
        """The next look after one; None if the gateway stops. The same one if there is none within `timeout_s`."""
        if self.last is look and not self._closing:
            news = self._news
            try:
                async with asyncio.timeout(timeout_s):
                    await news.wait()
            except TimeoutError:
                return look
        return None if self._closing else self.last

    async def turn(self) -> None:
        """Look, if anybody watches.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        if self._watchers:
            await self._look_if_due()

    async def close(self, _: web.Application) -> None:
        """End all streams."""
        self._closing = True
        self._news.set()

    async def _look_if_due(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked_at < LOOK_EVERY_S * 0.75:
                return
            self.last = await self._look(self.last)
            self._looked_at = time.monotonic()
        self._news.set()
        self._news = asyncio.Event()


class Looking:
    """Looks at Redis and Postgres."""

    def __init__(self, depths: QueueDepths, serving: Serving, history: History) -> None:
        self._depths, self._serving, self._history = depths, serving, history

    async def look(self, last: Look | None) -> Look:
        """Everything, once: the depths are read, and what others have read already is not read again.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        depths, workers, finished = await asyncio.gather(
            self._depths.look(LOOK_EVERY_S / 2), self._serving.live_workers(), self._newest(last)
        )
        serving = Counter(label for worker in workers for label in worker.serves)
        queues = [QueueLook(queue, depth, serving[queue.version_label]) for queue, depth in depths.queues.items()]
        return Look(queues, depths.results.entries, depths.dead.entries, workers, finished, {})

    async def _newest(self, last: Look | None) -> Sequence[Finished]:
        """The newest predictions; those of the last look if Postgres does not answer soon."""
        try:
            async with asyncio.timeout(_POSTGRES_WITHIN_S):
                return await self._history.page(Filters(ANYBODY), NEWEST, MOST_FINISHED)
        except (StoreUnavailable, TimeoutError):
            ERRORS.labels("gateway", "feed_without_postgres").inc()
            return () if last is None else last.finished
