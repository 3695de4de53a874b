"""FastStream: requests and replies over pub/sub. At most once, and nothing is kept: it is a remote call, no queue.

Tuned: 64 workers a subscriber, 1,000 connections.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import uvloop
from faststream import FastStream
from faststream.redis import RedisBroker

from tests.load.peers.queues.handler import RESULT, TIMEOUT_S, Submit, run


def broker_of(redis_url: str) -> RedisBroker:
    """A broker."""
    return RedisBroker(redis_url, max_connections=1000, logger=None)


@asynccontextmanager
async def connected(redis_url: str) -> AsyncIterator[Submit]:
    """A broker that only asks."""
    async with broker_of(redis_url) as broker:

        async def submit(text: str) -> object:
            return orjson.loads((await broker.request(text, channel="predict", timeout=TIMEOUT_S)).body)

        yield submit


def work(redis_url: str) -> None:
    """A worker."""
    broker = broker_of(redis_url)

    @broker.subscriber(channel="predict", max_workers=64)
    async def predict(text: str) -> dict[str, object]:
        return RESULT

    uvloop.run(FastStream(broker, logger=None).run())


if __name__ == "__main__":
    run(connected, work)
