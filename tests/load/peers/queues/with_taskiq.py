"""taskiq: jobs in a list, results polled for. At most once: a job is gone when it is taken.

Tuned: the list broker, since the one over streams costs more; results are polled for every 5 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from taskiq import AsyncTaskiqDecoratedTask
from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from tests.load.peers.queues.handler import RESULT, TIMEOUT_S, Submit, run

POLL_S = 0.005


def broker_of(redis_url: str) -> tuple[ListQueueBroker, AsyncTaskiqDecoratedTask[Any, Any]]:
    """A broker and its one task."""
    broker = ListQueueBroker(redis_url)
    broker = broker.with_result_backend(RedisAsyncResultBackend(redis_url, result_ex_time=60))

    @broker.task(task_name="predict")
    async def predict(text: str) -> dict[str, object]:
        return RESULT

    return broker, predict


@asynccontextmanager
async def connected(redis_url: str) -> AsyncIterator[Submit]:
    """A broker that only sends."""
    broker, predict = broker_of(redis_url)
    await broker.startup()

    async def submit(text: str) -> object:
        job = await predict.kiq(text)
        return (await job.wait_result(check_interval=POLL_S, timeout=TIMEOUT_S)).return_value

    yield submit
    await broker.shutdown()


def work(redis_url: str) -> None:
    """A worker."""

    async def forever() -> None:
        broker, _ = broker_of(redis_url)
        broker.is_worker_process = True
        await broker.startup()
        await run_receiver_task(broker, max_async_tasks=64)
        await asyncio.Event().wait()

    uvloop.run(forever())


if __name__ == "__main__":
    run(connected, work)
