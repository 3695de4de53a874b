"""streaQ: jobs in streams, their ends told by pub/sub. At least once.

Tuned: 64 jobs at a time, as many fetched ahead. Its `result()` waits 0.1 s for the subscription to end each time: one
pattern is subscribed to here for all jobs, and the result is fetched when its end is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from streaq import Worker

from tests.load.peers.queues.handler import RESULT, TIMEOUT_S, Submit, run


def worker_of(redis_url: str) -> tuple[Worker[Any], Any]:
    """A worker and its one task."""
    worker: Worker[Any] = Worker(redis_url=redis_url, concurrency=64, prefetch=64)

    @worker.task(name="predict", ttl=60)
    async def predict(text: str) -> dict[str, object]:
        return RESULT

    return worker, predict


@asynccontextmanager
async def connected(redis_url: str) -> AsyncIterator[Submit]:
    """A worker that only enqueues, and listens to all ends."""
    worker, predict = worker_of(redis_url)
    ended: dict[str, asyncio.Future[str]] = {}

    async def listen(subscription: Any) -> None:
        async for message in subscription:
            waits = ended.pop(message["channel"].rpartition(":")[2], None)
            if waits is not None and not waits.done():
                waits.set_result(message["data"])

    async with worker, worker.redis.pubsub(patterns=[f"{worker._channel_key}*"]) as subscription:
        listening = asyncio.create_task(listen(subscription))

        async def submit(text: str) -> object:
            job = predict.enqueue(text)
            ended[job.id] = asyncio.get_running_loop().create_future()
            waits = ended[job.id]
            await job
            return (await worker.deserialize(await asyncio.wait_for(waits, TIMEOUT_S)))["r"]

        yield submit
        listening.cancel()


def work(redis_url: str) -> None:
    """A worker."""
    worker, _ = worker_of(redis_url)
    uvloop.run(worker.run_async())


if __name__ == "__main__":
    run(connected, work)
