"""Requests of two priorities: where they wait, and that all who look at what waits see both."""

from __future__ import annotations

import asyncpg
import pytest
from redis.asyncio import Redis

from gateway.http.context import KNOWN_STREAMS
from gateway.upkeep.expiry import Expiry
from shared.contract.keys import Keys
from shared.contract.queues import Priority
from shared.streams.publishing import Group, Publisher
from tests.access import shard_of
from tests.gateways import Client, HandWorker, application_of, persist_everything, scrape
from tests.streams import LIMITS, new_request

pytestmark = pytest.mark.every_server

BODY = {"model": "echo", "text": "hello", "priority": "batch"}


@pytest.fixture
def batch_worker(redis: Redis, keys: Keys) -> HandWorker:
    """One that takes requests of `batch` alone."""
    return HandWorker(redis, keys, priority=Priority.BATCH)


async def submit(gateway: Client, **changes: str) -> str:
    async with gateway.post("/api/v1/predict?wait=0", json={**BODY, **changes}) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["prediction_id"])


async def test_each_priority_has_a_stream_of_its_own(gateway: Client, redis: Redis, keys: Keys) -> None:
    await submit(gateway, priority="interactive")
    await gateway.post("/api/v1/predict?wait=0", json={"model": "echo", "text": "a"})
    await submit(gateway)
    texts = {"model": "echo", "texts": ["a", "b"], "priority": "batch"}
    await gateway.post("/api/v1/predict/batch?wait=0", json=texts)
    assert await redis.xlen(keys.requests("echo", "2.0.0")) == 2
    assert await redis.xlen(keys.requests("echo", "2.0.0", Priority.BATCH)) == 3
    told = await scrape(gateway)
    assert 'millstream_queue_depth{priority="interactive",stream="requests/echo/2.0.0"} 2.0' in told
    assert 'millstream_queue_depth{priority="batch",stream="requests/echo/2.0.0"} 3.0' in told


@pytest.mark.parametrize("priority", ["urgent", "", None, 1])
async def test_an_unknown_priority_is_refused(gateway: Client, priority: object) -> None:
    for path, text in (("predict", {"text": "a"}), ("predict/batch", {"texts": ["a"]})):
        async with gateway.post(f"/api/v1/{path}", json={"model": "echo", "priority": priority, **text}) as answer:
            assert answer.status == 422
            assert (await answer.json())["errors"][0]["loc"] == ["body", "priority"]


async def test_it_is_stored_and_shown(
    gateway: Client,
    batch_worker: HandWorker,
    redis: Redis,
    keys: Keys,
    database: asyncpg.Connection,
    database_url: str,
) -> None:
    prediction_id = await submit(gateway)
    path = f"/api/v1/predictions/{prediction_id}"
    assert (await (await gateway.get(path)).json())["status"] == "queued"
    assert await batch_worker.serve_one() == prediction_id
    assert (await (await gateway.get(path)).json())["priority"] == "batch"
    await persist_everything(redis, keys, database_url)
    assert (await (await gateway.get(path)).json())["priority"] == "batch"
    (listed,) = (await (await gateway.get("/api/v1/predictions")).json())["items"]
    assert listed["priority"] == "batch"
    assert await database.fetchval("SELECT priority FROM predictions") == "batch"


async def test_who_waits_for_it_is_answered(gateway: Client, batch_worker: HandWorker) -> None:
    prediction_id = await submit(gateway)
    await batch_worker.serve_one()
    async with gateway.get(f"/api/v1/predictions/{prediction_id}?wait=10") as answer:
        assert (await answer.json())["status"] == "succeeded"


async def test_a_dead_letter_goes_back_to_its_own_stream(
    gateway: Client, batch_worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    prediction_id = await submit(gateway)
    ((delivery, _),) = await batch_worker.take()
    await batch_worker.stream.dead_letter(delivery, "max_deliveries", "it kills its workers")
    (letter,) = (await (await gateway.get("/api/v1/dead-letters")).json())["items"]
    assert (letter["source"], letter["version"]) == ("requests:echo:2.0.0/batch", "2.0.0")
    async with gateway.post(f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay") as answer:
        assert answer.status == 202
    assert await redis.xlen(keys.requests("echo", "2.0.0")) == 0
    assert await batch_worker.serve_one() == prediction_id
    assert await redis.hgetall(keys.backlog_bytes) == {}


async def test_what_is_late_in_either_stream_expires_also_if_its_version_is_gone(
    gateway: Client, redis: Redis, keys: Keys
) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)
    for priority in Priority:
        await publisher.publish("removed", "9", [Group([new_request(timeout_ms=-1)])], priority)
    known = application_of(gateway)[KNOWN_STREAMS]
    assert await known.with_entries() == {"removed:9"}
    assert [each.queue.priority for each in await known.orphans()] == [Priority.BATCH, Priority.INTERACTIVE]
    assert await Expiry(shard_of("gateway", redis, keys), 60_000).expire() == 2
    assert await known.with_entries() == set()
