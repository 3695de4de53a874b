"""A Redis at maxmemory refuses requests and drains to empty with no help."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from redis.asyncio import Redis

from scripts.stack.redis import RedisServer, running_redis
from shared.contract.keys import Keys
from tests.e2e.conftest import Start
from tests.waiting import eventually


@pytest.fixture
def small(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "small", maxmemory="24mb") as server:
        yield server


@pytest.fixture
async def client(small: RedisServer) -> AsyncIterator[Redis]:
    made = Redis.from_url(small.url)
    yield made
    await made.aclose()


@pytest.mark.parametrize("share", ["70", "100"])
async def test_a_full_redis_refuses_and_drains_to_empty(
    start: Start, small: RedisServer, client: Redis, keys: Keys, database: asyncpg.Connection, share: str
) -> None:
    gateway = start("gateway", REDIS_URL=small.url, MAX_MEMORY_PERCENT=share)
    statuses: Counter[int] = Counter()
    async with aiohttp.ClientSession(gateway.url) as session:
        text = "x" * 40_000
        while statuses[503] < 20:
            async with session.post(
                "/api/v1/predict", json={"model": "echo", "text": text}, params={"wait": "0"}
            ) as answer:
                statuses[answer.status] += 1
                if answer.status == 503:
                    assert int(answer.headers["Retry-After"]) >= 1
        assert set(statuses) == {202, 503} and statuses[202] > 50
        states = [key async for key in client.scan_iter(f"{keys.prefix}prediction:*", count=10_000)]
        assert len(states) == await client.xlen(keys.requests("echo", "2.0.0")) == statuses[202]  # nothing half-written
        start("inference_worker", REDIS_URL=small.url, WORKER_MODELS="echo")
        start("persister", REDIS_URL=small.url)

        async def empty() -> bool:
            left = [key async for key in client.scan_iter(f"{keys.prefix}prediction:*", count=10_000)]
            return not left and await client.xlen(keys.results) == 0

        await eventually(empty, "it drains", timeout_s=40)
        async with session.post("/api/v1/predict", json={"model": "echo", "text": "hello"}) as answer:
            assert answer.status == 200

    async def stored() -> bool:
        return bool(await database.fetchval("SELECT count(*) FROM predictions") == statuses[202] + 1)

    await eventually(stored, "all is stored")
