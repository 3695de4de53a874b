"""SAQ: jobs in a list, their ends told by pub/sub. At least once.

Tuned: 64 jobs at a time; an end is listened for on one open subscription, since `apply` polls every 0.5 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from saq import Job, Queue, Status, Worker

from tests.load.peers.queues.handler import RESULT, TIMEOUT_S, Submit, run


async def predict(_context: dict[str, Any], *, text: str) -> dict[str, object]:
    """The model."""
    return RESULT


@asynccontextmanager
async def connected(redis_url: str) -> AsyncIterator[Submit]:
    """A queue, listened to before a job is in it."""
    queue: Any = Queue.from_url(redis_url, max_concurrent_ops=64)
    await queue.connect()
    await queue._pubsub.subscribe("held open")

    async def submit(text: str) -> object:
        job = Job("predict", kwargs={"text": text}, ttl=60)
        job.queue = queue
        ended = asyncio.create_task(queue.listen([job.key], lambda _, status: status == Status.COMPLETE, TIMEOUT_S))
        await asyncio.sleep(0)  # it listens
        await queue.enqueue(job)
        await ended
        await job.refresh()
        return job.result

    yield submit
    await queue.disconnect()


def work(redis_url: str) -> None:
    """A worker."""

    async def forever() -> None:
        queue = Queue.from_url(redis_url)
        await queue.connect()
        await Worker(queue, [predict], concurrency=64).start()

    uvloop.run(forever())


if __name__ == "__main__":
    run(connected, work)
