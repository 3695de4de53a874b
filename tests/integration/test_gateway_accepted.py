"""An accepted prediction is found at every moment, whichever store holds it, as long as one of them can be asked."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from scripts.stack.ports import free_port
from shared.contract.ids import uuid7
from shared.contract.keys import Keys
from tests.gateways import Client, HandWorker, StartGateway, persist_everything, persisting, store, succeeded
from tests.streams import spoil
from tests.waiting import eventually

PREDICT, BATCH, PREDICTIONS = "/api/v1/predict", "/api/v1/predict/batch", "/api/v1/predictions"
BODY = {"model": "echo", "text": "hello"}


def no_redis() -> dict[str, str]:
    """Settings of a gateway whose Redis is away."""
    return {"redis_url": f"redis://127.0.0.1:{free_port()}/0"}


def no_postgres() -> dict[str, str]:
    """Settings of a gateway whose Postgres is away."""
    return {"database_url": f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"}


async def accept(gateway: Client, count: int) -> list[str]:
    """Accept so many predictions without waiting for them."""
    answer = await gateway.post(f"{BATCH}?wait=0", json={"model": "echo", "texts": ["hello"] * count})
    assert answer.status == 202
    return [each["prediction_id"] for each in (await answer.json())["items"]]


async def test_an_accepted_id_is_never_404_on_its_way_to_postgres(
    start_gateway: StartGateway,
    worker: HandWorker,
    redis: Redis,
    keys: Keys,
    database: asyncpg.Connection,
    database_url: str,
) -> None:
    one, other = await start_gateway(), await start_gateway()
    ids = await accept(one, 40)
    seen: dict[str, list[Any]] = {each: [] for each in ids}
    stored = asyncio.Event()

    async def poll(prediction_id: str, gateway: Client) -> None:
        last_round = False
        while not last_round:
            last_round = stored.is_set()
            answer = await gateway.get(f"{PREDICTIONS}/{prediction_id}")
            seen[prediction_id].append((answer.status, (await answer.json()).get("status")))

    async def in_postgres() -> bool:
        return bool(await database.fetchval("SELECT count(*) FROM predictions") == len(ids))

    pollers = [asyncio.create_task(poll(each, gateway)) for each, gateway in zip(ids, [one, other] * 20, strict=True)]
    async with persisting(redis, keys, database_url):
        for _ in range(8):
            await worker.finish(await worker.take(5))
        await eventually(in_postgres, "everything is stored")
    assert await redis.keys(f"{keys.prefix}prediction:*") == []
    stored.set()
    await asyncio.gather(*pollers)
    for answers in seen.values():
        assert set(answers) <= {(200, "queued"), (200, "running"), (200, "succeeded")}
        assert answers == sorted(answers)  # queued, running, succeeded, and never back
        assert answers[-1] == (200, "succeeded")


async def test_an_accepted_id_whose_result_cannot_be_read_ends_failed_and_is_never_404(
    gateway: Client,
    worker: HandWorker,
    redis: Redis,
    keys: Keys,
    database: asyncpg.Connection,
    database_url: str,
) -> None:
    ids = await accept(gateway, 20)
    await worker.finish(await worker.take(20))
    for each in ids:
        await spoil(redis, keys, each, {b"confidence": b"2"})
    seen: set[tuple[int, Any]] = set()
    stored = asyncio.Event()

    async def poll(prediction_id: str) -> Any:
        while True:
            last_round = stored.is_set()
            answer = await gateway.get(f"{PREDICTIONS}/{prediction_id}")
            body = await answer.json()
            seen.add((answer.status, body.get("status")))
            if last_round:
                return body

    async def in_postgres() -> bool:
        return bool(await database.fetchval("SELECT count(*) FROM predictions") == len(ids))

    waiting = asyncio.create_task(gateway.get(f"{PREDICTIONS}/{ids[0]}?wait=20"))
    pollers = [asyncio.create_task(poll(each)) for each in ids]
    await eventually(lambda: (200, "queued") in seen, "an id is asked for while its result cannot be read")
    async with persisting(redis, keys, database_url):
        await eventually(in_postgres, "everything is stored")
    stored.set()
    ended = await asyncio.gather(*pollers)
    assert seen - {(200, "running")} == {(200, "queued"), (200, "failed")}
    assert {each["status"] for each in ended} == {"failed"}
    assert ended[0]["error"] == "the result could not be read: field 'confidence' is not between 0 and 1"
    assert (await (await waiting).json())["status"] == "failed"  # who waits is answered, too


async def test_a_prediction_reads_the_same_from_either_store(
    start_gateway: StartGateway, redis: Redis, keys: Keys, database_url: str
) -> None:
    gateway = await start_gateway()
    worker = HandWorker(redis, keys, "labels", "1.0.0")
    body = {"model": "labels", "text": 'Grüße 👋 \\ud800 "', "options": {"labels": ["a", "ß"]}}
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    asked = asyncio.create_task(gateway.post(PREDICT, json=body, headers=trace))
    prediction_id = await worker.serve_one(succeeded()._replace(worker="by-hand"))
    answered = await (await asked).json()
    from_redis = await (await gateway.get(f"{PREDICTIONS}/{prediction_id}")).json()
    await persist_everything(redis, keys, database_url)
    from_postgres = await (await gateway.get(f"{PREDICTIONS}/{prediction_id}")).json()
    assert from_redis | {"stored": True} == from_postgres and from_redis["stored"] is False
    told = {"attempt": 0, "queue_time_ms": 3, "stored": True, "completed_at": from_redis["completed_at"]}
    told |= {"worker": "by-hand", "trace_id": "a" * 32}
    assert from_postgres == {**answered, "input": {"text": body["text"], "options": body["options"]}, **told}
    shouted = await (await gateway.get(f"{PREDICTIONS}/{prediction_id.upper()}")).json()
    assert shouted == from_postgres


async def test_a_lost_hint_is_made_up_for_when_its_result_is_in_postgres_already(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, database_url: str
) -> None:
    gateway = await start_gateway(recheck_interval_s=0.5)
    asked = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    taken = await worker.take()
    await redis.hset(keys.prediction(taken[0][1].id), "waiters", "")
    await worker.finish(taken)
    await persist_everything(redis, keys, database_url)
    assert not await redis.exists(keys.prediction(taken[0][1].id))
    answer = await asked
    assert answer.status == 200 and (await answer.json())["result"] == {"label": "GOOD"}


async def test_an_id_that_nobody_accepted_is_404(gateway: Client) -> None:
    answer = await gateway.get(f"{PREDICTIONS}/{uuid7(1, 1)}?wait=10")  # and nobody waits for it
    assert answer.status == 404 and (await answer.json())["type"].endswith("unknown-prediction")


async def test_without_redis_what_is_in_postgres_is_read(
    start_gateway: StartGateway, database: asyncpg.Connection
) -> None:
    gateway = await start_gateway(ready=False, **no_redis())
    (prediction_id,) = await store(database, 1, "echo", "1.0.0")
    answer = await gateway.get(f"{PREDICTIONS}/{prediction_id}")
    body = await answer.json()
    assert answer.status == 200
    assert (body["status"], body["result"], body["input"]) == ("succeeded", {"label": "GOOD"}, {"text": "hello"})
    assert (await gateway.get(PREDICTIONS)).status == 200


async def test_without_redis_what_is_not_in_postgres_is_503_not_404(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(ready=False, **no_redis())
    answer = await gateway.get(f"{PREDICTIONS}/{uuid7(1, 1)}")
    assert answer.status == 503 and answer.headers["Retry-After"]


async def test_without_postgres_what_redis_does_not_know_is_503_not_404(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(**no_postgres())
    answer = await gateway.get(f"{PREDICTIONS}/{uuid7(1, 1)}")
    assert answer.status == 503 and answer.headers["Retry-After"]


async def test_without_either_store_it_is_503(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(ready=False, **no_redis(), **no_postgres())
    assert (await gateway.get(f"{PREDICTIONS}/{uuid7(1, 1)}")).status == 503


@pytest.mark.parametrize("finished", [False, True], ids=["queued", "finished"])
async def test_without_postgres_what_is_in_redis_is_read(
    start_gateway: StartGateway, worker: HandWorker, finished: bool
) -> None:
    gateway = await start_gateway(**no_postgres())
    (prediction_id,) = await accept(gateway, 1)
    if finished:
        await worker.serve_one()
    answer = await gateway.get(f"{PREDICTIONS}/{prediction_id}")
    assert answer.status == 200
    assert (await answer.json())["status"] == ("succeeded" if finished else "queued")


async def test_a_result_that_waits_for_postgres_is_not_in_the_history_but_has_its_id(
    gateway: Client, worker: HandWorker
) -> None:
    (prediction_id,) = await accept(gateway, 1)
    await worker.serve_one()
    assert (await (await gateway.get(f"{PREDICTIONS}/{prediction_id}")).json())["status"] == "succeeded"
    assert await (await gateway.get(PREDICTIONS)).json() == {"items": [], "next_cursor": None}
