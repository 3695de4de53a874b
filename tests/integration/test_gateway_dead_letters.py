"""Dead letters for operators: seen, tried again under the same id, deleted, aged out."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from gateway.upkeep.expiry import age_out
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status
from shared.streams.dead_letters import DeadLetters
from tests.access import shard_of
from tests.gateways import Client, HandWorker, StartGateway, persist_everything, succeeded
from tests.waiting import eventually

pytestmark = pytest.mark.every_server

BODY = {"model": "echo", "text": "poison"}


async def kill(client: Client, worker: HandWorker) -> str:
    """Have a request dead-lettered; the answer is its prediction's id."""
    async with client.post("/api/v1/predict", json=BODY, params={"wait": "0"}) as answer:
        prediction_id = str((await answer.json())["prediction_id"])
    ((delivery, _),) = await worker.take()
    await worker.stream.dead_letter(delivery._replace(deliveries=4), "max_deliveries", "it kills its workers")
    return prediction_id


async def letters(client: Client, **query: str) -> list[dict[str, object]]:
    async with client.get("/api/v1/dead-letters", params=query) as answer:
        assert answer.status == 200
        items: list[dict[str, object]] = (await answer.json())["items"]
        return items


async def status_of(client: Client, prediction_id: str) -> str:
    async with client.get(f"/api/v1/predictions/{prediction_id}") as answer:
        assert answer.status == 200
        return str((await answer.json())["status"])


async def test_a_dead_letter_is_listed_with_what_an_operator_needs(gateway: Client, worker: HandWorker) -> None:
    assert await letters(gateway) == []
    prediction_id = await kill(gateway, worker)
    (letter,) = await letters(gateway)
    assert letter["prediction_id"] == prediction_id
    assert (letter["source"], letter["reason"]) == ("requests:echo:2.0.0", "max_deliveries")
    assert (letter["error"], letter["deliveries"], letter["replayable"]) == ("it kills its workers", 4, True)
    assert (letter["model"], letter["version"], letter["attempt"]) == ("echo", "2.0.0", 0)
    assert "input" not in letter


@pytest.mark.parametrize("stored", [False, True])
async def test_a_replay_keeps_the_id_and_its_end_replaces_the_failure(
    gateway: Client,
    worker: HandWorker,
    redis: Redis,
    keys: Keys,
    database: asyncpg.Connection,
    database_url: str,
    stored: bool,
) -> None:
    prediction_id = await kill(gateway, worker)
    assert await status_of(gateway, prediction_id) == "failed"
    if stored:
        await persist_everything(redis, keys, database_url)
        assert await status_of(gateway, prediction_id) == "failed"
    (letter,) = await letters(gateway)
    async with gateway.post(f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay") as answer:
        assert answer.status == 202
        assert answer.headers["Location"] == f"/api/v1/predictions/{prediction_id}"
        assert await answer.json() == {"prediction_id": prediction_id, "status": "queued", "attempt": 1}
    assert await letters(gateway) == []
    assert await status_of(gateway, prediction_id) == "queued"
    if not stored:  # the result of the first attempt is stored while the second runs
        await persist_everything(redis, keys, database_url)
        assert await status_of(gateway, prediction_id) == "queued"
    waiting = asyncio.create_task(status_after_wait(gateway, prediction_id))
    ((delivery, request),) = await worker.take()
    assert (request.id, request.attempt, request.input) == (prediction_id, 1, "poison")
    await worker.finish([(delivery, request)], succeeded({"label": "AT LAST"}))
    assert await waiting == "succeeded"
    await persist_everything(redis, keys, database_url)
    assert await status_of(gateway, prediction_id) == "succeeded"
    row = await database.fetchrow("SELECT attempt, status, error, output_data->>'label' FROM predictions")
    assert tuple(row) == (1, "succeeded", None, "AT LAST")
    assert await database.fetchval("SELECT count(*) FROM predictions") == 1
    assert not await redis.exists(keys.prediction(prediction_id))


async def status_after_wait(client: Client, prediction_id: str) -> str:
    async with client.get(f"/api/v1/predictions/{prediction_id}", params={"wait": "20"}) as answer:
        return str((await answer.json())["status"])


async def test_a_replay_that_dies_again_counts_on(gateway: Client, worker: HandWorker) -> None:
    prediction_id = await kill(gateway, worker)
    for attempt in (1, 2):
        (letter,) = await letters(gateway)
        async with gateway.post(f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay") as answer:
            assert (await answer.json())["attempt"] == attempt
        ((delivery, _),) = await worker.take()
        await worker.stream.dead_letter(delivery, "max_deliveries", "again")
        assert await status_of(gateway, prediction_id) == "failed"
    (letter,) = await letters(gateway)
    assert letter["attempt"] == 2


async def test_of_two_replays_one_wins(gateway: Client, worker: HandWorker, redis: Redis) -> None:
    await kill(gateway, worker)
    (letter,) = await letters(gateway)
    path = f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay"
    answers = await asyncio.gather(*(gateway.post(path) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [202, 404, 404, 404, 404]
    assert await redis.xlen(worker.stream.key) == 1


async def test_what_cannot_be_read_cannot_be_replayed_only_deleted(
    gateway: Client, worker: HandWorker, redis: Redis
) -> None:
    await worker.stream.join()
    await redis.xadd(worker.stream.key, {"schema": "99", "garbage": b"\xff"})
    (delivery,) = (await worker.stream.read(1, 10)).deliveries
    await worker.stream.dead_letter(delivery, "unknown_schema", "schema 99 is newer than 1")
    (letter,) = await letters(gateway)
    assert (letter["replayable"], letter["prediction_id"]) == (False, None)
    path = f"/api/v1/dead-letters/{letter['dead_letter_id']}"
    async with gateway.post(f"{path}/replay") as answer:
        assert answer.status == 409
        assert "can only be deleted" in (await answer.json())["detail"]
    async with gateway.delete(path) as answer:
        assert answer.status == 204
    async with gateway.delete(path) as answer:
        assert answer.status == 404
    assert await letters(gateway) == []


@pytest.mark.parametrize("entry", ["1-1", "nonsense", "1"])
async def test_an_unknown_dead_letter_is_404(gateway: Client, entry: str) -> None:
    async with gateway.post(f"/api/v1/dead-letters/{entry}/replay") as answer:
        assert answer.status == 404
    async with gateway.delete(f"/api/v1/dead-letters/{entry}") as answer:
        assert answer.status == 404


async def test_pages_walk_all_dead_letters_newest_first(gateway: Client, redis: Redis, keys: Keys) -> None:
    entries = [f"{9_000_000_000_000 + number}-0" for number in range(7)]
    for entry in entries:
        await redis.xadd(keys.dead, {"reason": "r"}, id=entry)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        async with gateway.get("/api/v1/dead-letters", params={"limit": "3", **cursor}) as answer:
            page = await answer.json()
        seen += [item["dead_letter_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == entries[::-1]
    assert await letters(gateway, cursor="0-0") == []  # nothing is before the first id there can be
    for wrong in ("x", f"{2**64}-0", f"0-{2**64}"):
        async with gateway.get("/api/v1/dead-letters", params={"cursor": wrong}) as answer:
            assert answer.status == 422


@pytest.mark.parametrize("entry", ["0-0", f"{2**64}-0", f"0-{2**64}", "9" * 20 + "-1"])
async def test_an_id_beyond_what_a_stream_can_hold_is_unknown(gateway: Client, entry: str) -> None:
    async with gateway.post(f"/api/v1/dead-letters/{entry}/replay") as answer:
        assert answer.status == 404
    async with gateway.delete(f"/api/v1/dead-letters/{entry}") as answer:
        assert answer.status == 404


async def test_dead_letters_age_out(gateway: Client, worker: HandWorker, redis: Redis, keys: Keys) -> None:
    await redis.xadd(keys.dead, {"reason": "old"}, id="1000-0")
    await kill(gateway, worker)
    dead = DeadLetters(shard_of("gateway", redis, keys))
    assert await age_out(dead, 3_600_000) == 1
    assert [letter["reason"] for letter in await letters(gateway)] == ["max_deliveries"]
    assert await age_out(dead, 3_600_000) == 0


async def test_a_gateway_deletes_dead_letters_of_an_age_by_itself(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    aged_out = {"stream": "dead", "reason": "aged_out"}
    before = REGISTRY.get_sample_value("millstream_dead_letters_total", aged_out) or 0
    seconds, _ = await redis.time()
    await redis.xadd(keys.dead, {"reason": "eight days old"}, id=f"{(seconds - 8 * 86_400) * 1000}-0")
    await redis.xadd(keys.dead, {"reason": "six days old"}, id=f"{(seconds - 6 * 86_400) * 1000}-0")
    gateway = await start_gateway(expiry_interval_s=0.02, dead_letter_days=7)

    async def one_is_left() -> bool:
        return bool(await redis.xlen(keys.dead) == 1)

    await eventually(one_is_left, "the older one is deleted")
    assert [letter["reason"] for letter in await letters(gateway)] == ["six days old"]
    assert REGISTRY.get_sample_value("millstream_dead_letters_total", aged_out) == before + 1


async def test_a_replay_takes_a_deadline_of_its_own(gateway: Client, worker: HandWorker) -> None:
    prediction_id = await kill(gateway, worker)
    (letter,) = await letters(gateway)
    path = f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay"
    async with gateway.post(path, params={"timeout": "soon"}) as answer:
        assert answer.status == 422
    async with gateway.post(path, params={"timeout": "0.001"}) as answer:
        assert answer.status == 202

    async def expired() -> bool:
        return await status_of(gateway, prediction_id) == "expired"

    await eventually(expired, "the replayed request expires unread")


async def test_an_expired_replay_replaces_the_failure_in_postgres_too(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database: asyncpg.Connection, database_url: str
) -> None:
    await kill(gateway, worker)
    await persist_everything(redis, keys, database_url)
    (letter,) = await letters(gateway)
    await gateway.post(f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay")
    taken = await worker.take()
    await worker.finish(taken, Outcome(Status.EXPIRED, error="too late"))
    await persist_everything(redis, keys, database_url)
    assert tuple(await database.fetchrow("SELECT attempt, status FROM predictions")) == (1, "expired")


@pytest.mark.parametrize("end", ["finish", "dead-letter"])
async def test_while_a_later_attempt_runs_an_earlier_ones_end_does_not_show(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, end: str
) -> None:
    """A rejected result is dead-lettered again by each persister that dies over it: two letters of one prediction."""
    prediction_id = await kill(gateway, worker)
    entries: Any = await redis.xrange(keys.dead)
    await redis.xadd(keys.dead, entries[0][1])
    for letter in await letters(gateway):
        async with gateway.post(f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay") as answer:
            assert answer.status == 202
    first, second = await worker.take(2)
    assert [first[1].attempt, second[1].attempt] == [1, 2]
    if end == "finish":
        await worker.finish([first])
    else:
        await worker.stream.dead_letter(first[0], "max_deliveries", "again")
    assert await status_of(gateway, prediction_id) == "running"
    await worker.finish([second], succeeded({"label": "LATEST"}))
    async with gateway.get(f"/api/v1/predictions/{prediction_id}") as answer:
        assert (await answer.json())["result"] == {"label": "LATEST"}


@pytest.mark.parametrize(("model", "version"), [("echo", "9.9.9"), ("echo", "3.0.0"), ("gone", "1.0.0")])
async def test_a_version_that_is_not_served_is_not_replayed(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, model: str, version: str
) -> None:
    await kill(gateway, worker)
    entries: Any = await redis.xrange(keys.dead)
    ((entry, fields),) = entries
    await redis.xadd(keys.dead, {**fields, b"model": model, b"version": version})
    await redis.xdel(keys.dead, entry)
    (letter,) = await letters(gateway)
    assert letter["replayable"] is False
    async with gateway.post(f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay") as answer:
        assert answer.status == 409
        assert f"{model}:{version} is not in the catalogue, or not active" in (await answer.json())["detail"]
    assert await letters(gateway) == [letter]
    assert not await redis.exists(keys.requests(model, version))


async def test_replays_of_an_id_are_limited(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start_gateway(max_replays=2)
    await kill(gateway, worker)
    first: Any = await redis.xrange(keys.dead)
    for replays in range(3):
        (letter,) = await letters(gateway)
        assert letter["replayable"] is (replays < 2)
        async with gateway.post(f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay") as answer:
            assert answer.status == (202 if replays < 2 else 409)
            body = await answer.json()
        if replays < 2:
            ((delivery, _),) = await worker.take()
            await worker.stream.dead_letter(delivery, "max_deliveries", "again")
    assert "was replayed 2 times, which is MAX_REPLAYS" in body["detail"]
    assert await letters(gateway) == [letter]
    # another letter of the same prediction does not know how often: the state does
    added: Any = await redis.xadd(keys.dead, first[0][1])
    other = added.decode()
    async with gateway.post(f"/api/v1/dead-letters/{other}/replay") as answer:
        assert answer.status == 409
    assert len(await letters(gateway)) == 2
