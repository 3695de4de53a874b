"""The way of a prediction through real processes, and what happens to it when processes die."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import asyncpg
import pytest

from shared.contract.keys import Keys
from tests.e2e.conftest import Start
from tests.processes import Service
from tests.streams import Redis
from tests.waiting import eventually

STORED = "SELECT status FROM predictions WHERE id = $1"


@pytest.fixture
def pipeline(start: Start) -> Service:
    """One of each service; the answer is the gateway."""
    gateway = start("gateway", ready=False)
    worker = start("inference_worker", ready=False, WORKER_MODELS="echo,noop")
    persister = start("persister", ready=False)
    for service in (gateway, worker, persister):
        service.wait_ready()
    return gateway


async def predict(session: aiohttp.ClientSession, text: str, **query: str) -> tuple[int, dict[str, Any]]:
    body = {"model": "echo", "text": text, "version": "1.0.0"}
    async with session.post("/api/v1/predict", json=body, params=query) as answer:
        return answer.status, await answer.json()


async def test_a_prediction_is_answered_found_at_every_moment_and_stored(
    pipeline: Service, database: asyncpg.Connection
) -> None:
    async with aiohttp.ClientSession(pipeline.url) as session:
        status, body = await predict(session, "Grüße 👋")
        assert (status, body["result"]) == (200, {"echo": "Grüße 👋", "reversed": "👋 eßürG"})

        async def found_and_stored() -> bool:
            async with session.get(f"/api/v1/predictions/{body['prediction_id']}") as answer:
                assert answer.status == 200
                read = await answer.json()
                assert {**read, **body, "input": {"text": "Grüße 👋"}} == read
            return bool(await database.fetchval(STORED, body["prediction_id"]) == "succeeded")

        await eventually(found_and_stored, "the row is stored", timeout_s=5)
        assert await found_and_stored()


async def test_nothing_is_left_in_redis_when_all_is_stored(
    pipeline: Service, database: asyncpg.Connection, redis: Redis, keys: Keys
) -> None:
    async with aiohttp.ClientSession(pipeline.url) as session:
        body = {"model": "echo", "texts": [f"text {number}" for number in range(100)]}
        async with session.post("/api/v1/predict/batch", json=body) as answer:
            assert answer.status == 200
            items = (await answer.json())["items"]
    assert [item["result"]["echo"] for item in items] == body["texts"]

    async def empty() -> bool:
        left = [key async for key in redis.scan_iter(f"{keys.prefix}prediction:*")]
        lengths = [await redis.xlen(keys.results), await redis.xlen(keys.requests("echo", "2.0.0"))]
        return not left and lengths == [0, 0]

    await eventually(empty, "Redis is empty")
    assert await database.fetchval("SELECT count(*) FROM predictions") == 100


async def test_requests_outlive_the_only_worker(start: Start, database: asyncpg.Connection) -> None:
    gateway = start("gateway")
    worker = start("inference_worker", WORKER_MODELS="echo")
    start("persister")
    settings: dict[str, Any] = {"WORKER_MODELS": "echo", "VISIBILITY_TIMEOUT_MS": "1000", "CLAIM_INTERVAL_MS": "200"}
    async with aiohttp.ClientSession(gateway.url) as session:
        slow = asyncio.create_task(predict(session, "slow one"))
        waiting = [asyncio.create_task(predict(session, f"text {number}")) for number in range(100)]
        _, first = await predict(session, "accepted", wait="0")
        worker.kill()
        start("inference_worker", **settings)
        answers = await asyncio.gather(slow, *waiting)
        assert {status for status, _ in answers} == {200}
        assert [body["result"]["echo"] for _, body in answers] == ["slow one", *(f"text {n}" for n in range(100))]
        async with session.get(f"/api/v1/predictions/{first['prediction_id']}", params={"wait": "60"}) as answer:
            assert (await answer.json())["status"] == "succeeded"

    async def all_stored() -> bool:
        return bool(await database.fetchval("SELECT count(*) FROM predictions") == 102)

    await eventually(all_stored, "each is stored once")


async def test_a_request_that_kills_its_process_fails_at_once_and_its_neighbours_succeed(start: Start) -> None:
    gateway = start("gateway")
    async with aiohttp.ClientSession(gateway.url) as session:
        texts = [f"good {number}" for number in range(31)]
        texts.insert(17, "kill me")
        body = {"model": "echo", "version": "1.0.0", "texts": texts}
        worker = start("inference_worker", WORKER_MODELS="echo:1.0.0", MAX_DELIVERIES="2")
        async with session.post("/api/v1/predict/batch", json=body, params={"wait": "60"}) as answer:
            items = (await answer.json())["items"]
    assert "given up after 2 deliveries" in items.pop(17)["error"]
    assert [item["status"] for item in items] == ["succeeded"] * 31
    assert worker.ready  # the whole visibility timeout of 60 s has not passed, and the worker has not died


async def test_a_worker_that_stops_gives_back_what_it_has_not_begun(start: Start) -> None:
    gateway = start("gateway")
    leaving = start("inference_worker", WORKER_MODELS="echo")
    async with aiohttp.ClientSession(gateway.url) as session:
        slow = asyncio.create_task(predict(session, "slow one"))
        waiting = [asyncio.create_task(predict(session, f"text {number}")) for number in range(20)]
        await predict(session, "accepted", wait="0")
        staying = start("inference_worker", WORKER_MODELS="echo", CLAIM_INTERVAL_MS="200")
        assert await asyncio.to_thread(leaving.stop) == 0
        answers = await asyncio.gather(slow, *waiting)
    assert {status for status, _ in answers} == {200}
    assert staying.ready


async def test_postgres_may_be_away_while_requests_are_answered(start: Start) -> None:
    gateway = start("gateway", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    start("inference_worker", WORKER_MODELS="echo")
    async with aiohttp.ClientSession(gateway.url) as session:
        status, body = await predict(session, "hello")
        assert status == 200
        async with session.get(f"/api/v1/predictions/{body['prediction_id']}") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "succeeded")
        async with session.get("/health") as answer:
            health = await answer.json()
    assert (answer.status, health["status"], health["postgres"]) == (200, "degraded", "unavailable")


@pytest.mark.parametrize(
    ("module", "settings", "complaint"),
    [
        ("gateway", {"GATEWAY_PORT": "eighty"}, "GATEWAY_PORT"),
        ("gateway", {"MODEL_CATALOGUE": "/nowhere.toml"}, "cannot read the model catalogue /nowhere.toml"),
        ("inference_worker", {"WORKER_MODELS": "nobody"}, "WORKER_MODELS names 'nobody'"),
        ("inference_worker", {"WORKER_MODELS": "labels"}, "make models"),
        ("persister", {"READ_BLOCK_MS": "9000"}, "READ_BLOCK_MS (9000) must be below REDIS_TIMEOUT_MS (5000)"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_a_sentence(
    start: Start, module: str, settings: dict[str, Any], complaint: str
) -> None:
    service = start(module, ready=False, **settings)
    assert service.process.wait(60) == 2
    text = service.log.read_text()
    assert complaint in text
    assert "Traceback" not in text
