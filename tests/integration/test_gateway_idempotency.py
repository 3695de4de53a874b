"""Idempotency keys through HTTP, against a real Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from shared.contract.keys import Keys
from tests.gateways import Client, HandWorker, StartGateway, persist_everything, succeeded

pytestmark = pytest.mark.every_server

BODY = {"model": "echo", "text": "hello"}
BATCH = {"model": "echo", "texts": ["a", "b"]}
TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}
QUICK_S = 10  # far below the waits used here: who is answered sooner did not wait


async def ask(client: Client, key: str, body: dict[str, Any] | None = None, **query: str) -> tuple[int, dict[str, Any]]:
    async with client.post(
        "/api/v1/predict", json=body or BODY, params=query, headers={"Idempotency-Key": key}
    ) as answer:
        return answer.status, await answer.json()


async def test_the_same_key_and_body_are_the_same_prediction_before_and_after_its_end(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str
) -> None:
    status, queued = await ask(gateway, "k1", wait="0")
    assert status == 202
    assert await ask(gateway, '"k1"', wait="0") == (202, queued)
    waiting = [asyncio.create_task(ask(gateway, "k1")) for _ in range(3)]
    assert await worker.serve_one(succeeded({"label": "GOOD"})) == queued["prediction_id"]
    answers = [await each for each in waiting]
    assert answers == [answers[0]] * 3
    assert answers[0][0] == 200 and answers[0][1]["prediction_id"] == queued["prediction_id"]
    await persist_everything(redis, keys, database_url)
    assert await ask(gateway, "k1") == (200, answers[0][1])
    assert await redis.xlen(worker.stream.key) == 0


async def test_one_who_does_not_wait_gets_the_same_answer_again_after_its_end(
    gateway: Client, worker: HandWorker
) -> None:
    first = await ask(gateway, "k1", wait="0")
    await worker.serve_one()
    assert await ask(gateway, "k1", wait="0") == first
    async with gateway.post(
        "/api/v1/predict", json=BODY, headers={"Idempotency-Key": "k1", "Prefer": "respond-async"}
    ) as answer:
        assert (answer.status, await answer.json()) == first


async def test_one_that_was_cancelled_is_told_again_and_not_waited_for(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str
) -> None:
    _, queued = await ask(gateway, "k1", wait="0")
    await gateway.delete(f"/api/v1/predictions/{queued['prediction_id']}")
    for _ in ("in Redis", "in Postgres"):
        async with asyncio.timeout(QUICK_S):
            status, problem = await ask(gateway, "k1", wait="60")
        assert (status, problem["type"]) == (409, "urn:millstream:problem:cancelled")
        await persist_everything(redis, keys, database_url)


async def test_what_was_erased_is_told_at_once_by_every_face_and_not_waited_for(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database: asyncpg.Connection, database_url: str
) -> None:
    async def told(path: str, body: dict[str, Any], wait: str) -> tuple[int, dict[str, Any]]:
        headers = {"Idempotency-Key": f"of {path}".replace(" ", "-")}
        async with (
            asyncio.timeout(QUICK_S),
            gateway.post(path, json=body, params={"wait": wait}, headers=headers) as answer,
        ):
            return answer.status, await answer.json()

    faces: dict[str, dict[str, Any]] = {
        "/api/v1/predict": BODY,
        "/api/v1/predict/batch": BATCH,
        "/v2/models/echo/infer": {"inputs": [TENSOR]},
        "/hf/echo": {"inputs": "hello"},
    }
    firsts = [asyncio.create_task(told(path, body, "60")) for path, body in faces.items()]
    await worker.finish(await worker.take(5))
    assert [status for status, _ in await asyncio.gather(*firsts)] == [200] * 4
    await persist_everything(redis, keys, database_url)
    await database.execute("DELETE FROM predictions")  # as an erasure or `retention_days` does
    asked = [(path, body, "60") for path, body in faces.items()] + [("/api/v1/predict", BODY, "0")]
    for each in asked:
        status, problem = await told(*each)
        assert (status, problem["type"]) == (409, "urn:millstream:problem:prediction-gone"), problem
        assert "send it with another Idempotency-Key" in problem["detail"]
    assert await redis.xlen(worker.stream.key) == 0


async def test_many_at_once_make_one_prediction(start_gateway: StartGateway, worker: HandWorker, redis: Redis) -> None:
    gateways = [await start_gateway(), await start_gateway()]
    asked = [asyncio.create_task(ask(gateways[number % 2], "k1")) for number in range(20)]
    served = await worker.serve_one()
    answers = await asyncio.gather(*asked)
    assert {(status, body["prediction_id"]) for status, body in answers} == {(200, served)}
    assert await redis.xlen(worker.stream.key) == 0


async def test_another_body_is_a_conflict_and_makes_nothing(gateway: Client, worker: HandWorker, redis: Redis) -> None:
    await ask(gateway, "k1", wait="0")
    status, problem = await ask(gateway, "k1", {**BODY, "text": "other"}, wait="0")
    assert (status, problem["type"]) == (409, "urn:millstream:problem:idempotency-conflict")
    assert "use a new key" in problem["detail"]
    assert await redis.xlen(worker.stream.key) == 1


async def test_a_batch_has_one_key_for_all(gateway: Client, worker: HandWorker, redis: Redis) -> None:
    body = {**BATCH, "texts": ["a", "b", "c"]}
    headers = {"Idempotency-Key": "k1"}
    async with gateway.post("/api/v1/predict/batch", json=body, headers=headers, params={"wait": "0"}) as answer:
        queued = [item["prediction_id"] for item in (await answer.json())["items"]]
    taken = await worker.take(3)
    await worker.finish(taken)
    async with gateway.post("/api/v1/predict/batch", json=body, headers=headers) as answer:
        assert answer.status == 200
        assert [item["prediction_id"] for item in (await answer.json())["items"]] == queued
    async with gateway.post("/api/v1/predict", json=BODY, headers=headers) as answer:
        assert answer.status == 409
    assert await redis.xlen(worker.stream.key) == 0


async def test_a_key_is_forgotten_after_its_time(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start_gateway(idempotency_ttl_s=86_400)
    await ask(gateway, "k1", wait="0")
    ttl = await redis.pttl(keys.idempotency("", "k1"))
    assert 86_000_000 < ttl <= 86_400_000
    await redis.delete(keys.idempotency("", "k1"))
    await ask(gateway, "k1", {**BODY, "text": "other"}, wait="0")
    assert await redis.xlen(worker.stream.key) == 2


async def test_a_refused_request_leaves_its_key_free(start_gateway: StartGateway, worker: HandWorker) -> None:
    gateway = await start_gateway(max_backlog=1, max_batch_texts=1)
    await ask(gateway, "first", wait="0")
    status, _ = await ask(gateway, "k1", wait="0")
    assert status == 503
    await worker.serve_one()
    assert (await ask(gateway, "k1", {**BODY, "text": "other"}, wait="0"))[0] == 202


async def test_a_known_key_is_answered_though_the_queue_is_full(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_backlog=1, max_batch_texts=1)
    _, queued = await ask(gateway, "k1", wait="0")
    assert (await ask(gateway, "new", wait="0"))[0] == 503
    assert await ask(gateway, "k1", wait="0") == (202, queued)


async def test_a_key_that_is_none_is_422(gateway: Client) -> None:
    status, problem = await ask(gateway, "a b")
    assert (status, problem["errors"][0]["loc"]) == (422, ["header", "Idempotency-Key"])
