"""A worker is stopped in the middle of a batch until others have finished it, and then goes on: nothing may change."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import asyncpg

from shared.contract.keys import Keys
from tests.e2e.conftest import Start
from tests.streams import Redis
from tests.waiting import eventually

TEXTS = ["slow one", "raise the alarm", "two", "three", "four"]
SETTINGS: dict[str, Any] = {
    "WORKER_MODELS": "echo:1.0.0",
    "VISIBILITY_TIMEOUT_MS": "500",
    "CLAIM_INTERVAL_MS": "100",
    "HEARTBEAT_INTERVAL_S": "0.1",
    "HEARTBEAT_TTL_S": "1",
}
# The system columns change with every write to a row, even one that writes the same values.
ROWS = "SELECT xmin::text, ctid::text, tableoid::regclass::text, * FROM predictions ORDER BY id"


async def results_ever(redis: Redis, keys: Keys) -> int:
    """How many results there have been, stored or not."""
    return int((await redis.xinfo_stream(keys.results))["entries-added"])


async def test_a_worker_that_wakes_after_its_batch_was_finished_elsewhere_changes_nothing(
    start: Start, redis: Redis, keys: Keys, database: asyncpg.Connection
) -> None:
    stream = keys.requests("echo", "1.0.0")
    gateway = start("gateway")
    stopped = start("inference_worker", **SETTINGS)
    async with aiohttp.ClientSession(gateway.url) as session:
        body = {"model": "echo", "version": "1.0.0", "texts": TEXTS}
        asked = asyncio.create_task(session.post("/api/v1/predict/batch", json=body))

        async def computing() -> bool:
            return bool((await redis.xpending(stream, "workers"))["pending"] == len(TEXTS))

        await eventually(computing, "the whole batch is in the worker's hands")
        stopped.pause()
        start("inference_worker", **SETTINGS)
        answer: list[dict[str, Any]] = (await (await asked).json())["items"]
        assert [item["status"] for item in answer] == ["succeeded", "failed", *["succeeded"] * 3]
        persister = start("persister", ready=False)

        async def at_rest() -> bool:
            left = [key async for key in redis.scan_iter(keys.prediction("*"))]
            return not left and await redis.xlen(stream) == 0 and await redis.xlen(keys.results) == 0

        await eventually(at_rest, "all is stored and nothing in flight")
        assert persister.ready
        before = await database.fetch(ROWS)
        assert [len(before), await results_ever(redis, keys)] == [len(TEXTS), len(TEXTS)]

        stopped.resume()
        assert await asyncio.to_thread(stopped.stop) == 0  # it computes, completes and leaves

        assert await results_ever(redis, keys) == len(TEXTS), "a second result"
        assert await at_rest(), "a state was revived"
        assert await database.fetch(ROWS) == before, "a row was changed"
        for item in answer:
            async with session.get(f"/api/v1/predictions/{item['prediction_id']}") as read:
                found = await read.json()
                assert {name: found[name] for name in item} == item
    log = stopped.log.read_text(encoding="utf-8")
    assert "Traceback" not in log and "stopped" in log
