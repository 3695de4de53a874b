"""Celery: jobs in a list, results told by pub/sub. A job is acknowledged when it begins, and lost if its worker dies.

Tuned: a pool of 64 threads on each side, 64 jobs fetched ahead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from celery import Celery

from tests.load.peers.queues.handler import RESULT, TIMEOUT_S, Submit, run

THREADS = 64


def app_of(redis_url: str) -> tuple[Celery, Any]:
    """An application and its one task."""
    app = Celery(broker=redis_url, backend=redis_url)
    app.conf.update(worker_prefetch_multiplier=1, result_expires=60, redis_max_connections=1000)

    @app.task(name="predict")
    def predict(text: str) -> dict[str, object]:
        return RESULT

    return app, predict


@asynccontextmanager
async def connected(redis_url: str) -> AsyncIterator[Submit]:
    """A pool of threads: waiting for a result blocks."""
    _, predict = app_of(redis_url)
    threads = ThreadPoolExecutor(THREADS)

    def call(text: str) -> object:
        return predict.delay(text).get(timeout=TIMEOUT_S)

    async def submit(text: str) -> object:
        return await asyncio.get_running_loop().run_in_executor(threads, call, text)

    yield submit
    threads.shutdown(wait=False)


def work(redis_url: str) -> None:
    """A worker."""
    app, _ = app_of(redis_url)
    options = ["--pool=threads", f"--concurrency={THREADS}", "--loglevel=ERROR", "--without-gossip", "--without-mingle"]
    app.worker_main(["worker", *options])


if __name__ == "__main__":
    run(connected, work)
