"""Accepted means durable: a Redis killed at any moment loses no request that was answered 200 or 202."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from scripts.stack.redis import RedisServer, running_redis
from tests.e2e.conftest import Start
from tests.waiting import eventually


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis as it is shipped: every write is on disk before it is answered."""
    with running_redis(tmp_path / "durable", appendfsync="always") as server:
        yield server


async def test_a_killed_redis_loses_nothing_that_was_accepted(
    start: Start, durable: RedisServer, database: asyncpg.Connection
) -> None:
    gateway = start("gateway", REDIS_URL=durable.url, REDIS_TIMEOUT_MS="2000")
    accepted: list[str] = []

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        for turn in range(60):
            body = {"model": "echo", "text": f"client {number} turn {turn}"}
            async with session.post("/api/v1/predict", json=body, params={"wait": "0"}) as answer:
                if answer.status == 202:
                    accepted.append((await answer.json())["prediction_id"])
                else:
                    assert answer.status == 503  # Redis was away

    async with aiohttp.ClientSession(gateway.url) as session:
        clients = [asyncio.create_task(client(session, number)) for number in range(16)]
        for share in (200, 450):
            await eventually(lambda share=share: len(accepted) >= share, f"{share} accepted")  # type: ignore[misc]
            durable.kill()
            durable.start()
        await asyncio.gather(*clients)
        assert len(accepted) >= 450
        start("inference_worker", REDIS_URL=durable.url, WORKER_MODELS="echo")
        start("persister", REDIS_URL=durable.url)

        async def all_stored() -> bool:
            count = "SELECT count(*) FROM predictions WHERE id = ANY($1::uuid[]) AND status = 'succeeded'"
            return bool(await database.fetchval(count, accepted) == len(accepted))

        await eventually(all_stored, "every accepted request is stored", timeout_s=30)
