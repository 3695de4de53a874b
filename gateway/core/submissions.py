"""Batching publishes, for speed: requests that arrive while their stream is being published to go into the next call.

At most one script call per stream is in flight. A lone request is published at once; under load, all that arrived
meanwhile share one round trip, one script run and, with `appendfsync always`, one disk flush.

While Redis does not answer, requests collect here. Those count as waiting too, so they are bounded as a version's
backlog is; and when the call fails they fail with it, so that nobody waits for more than one call that is in vain.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from shared.contract.errors import StoreUnavailable
from shared.contract.queues import Priority, Queue
from shared.streams.publishing import Group, Published, Publisher, Verdict

MAX_REQUESTS_A_CALL = 500
MAX_BYTES_A_CALL = 8_000_000


class Collected(NamedTuple):
    """A group, its bytes as MAX_BACKLOG_BYTES counts them, and who waits for what becomes of it."""

    group: Group
    bytes: int
    answer: asyncio.Future[Published]


class Collection:
    """What waits to be published to one stream.

    Attributes:
        requests, bytes: that wait.
        call: what publishes it.
    """

    def __init__(self) -> None:
        self.requests = self.bytes = 0
        self.call: asyncio.Task[None] | None = None
        self._waiting: deque[Collected] = deque()

    def add(self, each: Collected) -> None:
        """Let it wait."""
        self._waiting.append(each)
        self.requests += len(each.group.requests)
        self.bytes += each.bytes

    def take(self) -> list[Collected]:
        """The next call: bounded, so that none blocks Redis for long, and without those whose caller has gone."""
        taken: list[Collected] = []
        requests = size = 0
        while self._waiting:
            each = self._waiting[0]
            requests, size = requests + len(each.group.requests), size + each.bytes
            if taken and (requests > MAX_REQUESTS_A_CALL or size > MAX_BYTES_A_CALL):
                break
            self._forget(self._waiting.popleft())
            if not each.answer.done():
                taken.append(each)
        return taken

    def take_all(self) -> list[Collected]:
        """All that waits."""
        taken = list(self._waiting)
        self._waiting.clear()
        self.requests = self.bytes = 0
        return taken

    def _forget(self, each: Collected) -> None:
        self.requests -= len(each.group.requests)
        self.bytes -= each.bytes


class Submissions:
    """Collects groups of requests and publishes them together.

    Args:
        max_requests, max_bytes: that may be collected for one queue of a version.
    """

    def __init__(self, publisher: Publisher, max_requests: int, max_bytes: int) -> None:
        self._publisher = publisher
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._queues: dict[Queue, Collection] = {}

    async def submit(
        self, model: str, version: str, group: Group, priority: Priority = Priority.INTERACTIVE
    ) -> Published:
        """Publish a group, together with others. A publish that has begun goes on even if the caller is cancelled.

        Raises:
            StoreUnavailable: Redis cannot be reached or is full.
        """
        queue = Queue(model, version, priority)
        collection = self._queues.get(queue)
        if collection is None:
            collection = self._queues[queue] = Collection()
        size = sum(new.bytes for new in group.requests)
        each = Collected(group, size, asyncio.get_running_loop().create_future())
        if collection.requests and collection.requests + len(group.requests) > self._max_requests:
            return Published(Verdict.BACKLOG)
        if collection.requests and collection.bytes + size > self._max_bytes:
            return Published(Verdict.BACKLOG_BYTES)
        collection.add(each)
        if collection.call is None:
            collection.call = asyncio.create_task(self._publish_collected(queue, collection), name="publish")
        return await each.answer

    async def _publish_collected(self, queue: Queue, collection: Collection) -> None:
        """Publish what has been collected, and what is collected meanwhile, until nothing is left."""
        try:
            while call := collection.take():
                await self._publish(queue, call, collection)
        finally:
            del self._queues[queue]

    async def _publish(self, queue: Queue, call: list[Collected], collection: Collection) -> None:
        try:
            answers = await self._publisher.publish(
                queue.model, queue.version, [each.group for each in call], queue.priority
            )
            for each, published in zip(call, answers, strict=True):
                if not each.answer.done():
                    each.answer.set_result(published)
        except Exception as error:  # nobody awaits this task: whatever it is, the callers must not wait for ever
            for each in [*call, *(collection.take_all() if isinstance(error, StoreUnavailable) else ())]:
                if not each.answer.done():
                    each.answer.set_exception(error)
