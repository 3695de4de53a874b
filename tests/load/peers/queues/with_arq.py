"""arq: jobs are marked done in a sorted set and polled for; results are polled for too. At least once.

Tuned: both polls every 10 ms, 256 jobs at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker

from tests.load.peers.queues.handler import RESULT, TIMEOUT_S, Submit, run

POLL_S = 0.01


async def predict(_context: dict[Any, Any], _text: str) -> dict[str, object]:
    """The model."""
    return RESULT


@asynccontextmanager
async def connected(redis_url: str) -> AsyncIterator[Submit]:
    """A pool of connections."""
    pool = await create_pool(RedisSettings.from_dsn(redis_url))

    async def submit(text: str) -> object:
        job = await pool.enqueue_job("predict", text)
        assert job is not None
        return await job.result(timeout=TIMEOUT_S, poll_delay=POLL_S)

    yield submit


def work(redis_url: str) -> None:
    """A worker."""
    uvloop.install()
    settings = RedisSettings.from_dsn(redis_url)
    Worker([predict], redis_settings=settings, max_jobs=256, poll_delay=POLL_S, keep_result=60).run()


if __name__ == "__main__":
    run(connected, work)
