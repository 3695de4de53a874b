"""What is said of a prediction while it waits or runs, and how it is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR, RETRY_AFTER
from shared.contract.ids import principal_id, uuid7
from shared.contract.keys import Keys
from shared.streams.queue_depth import Flow
from tests.gateways import Client, HandWorker, StartGateway, application_of, persist_everything, waiters_of
from tests.waiting import eventually

PREDICT, PREDICTIONS = "/api/v1/predict", "/api/v1/predictions"
BODY = {"model": "echo", "text": "hello"}


async def accept(gateway: Client, **headers: str) -> str:
    """Accept a prediction without waiting for it; the answer is its id."""
    answer = await gateway.post(f"{PREDICT}?wait=0", json=BODY, headers=headers)
    assert answer.status == 202, await answer.text()
    return str((await answer.json())["prediction_id"])


async def read(gateway: Client, prediction_id: str) -> dict[str, Any]:
    """What is said of it."""
    answer = await gateway.get(f"{PREDICTIONS}/{prediction_id}")
    assert answer.status == 200, await answer.text()
    return dict(await answer.json())


async def cancel(gateway: Client, prediction_id: str, **headers: str) -> tuple[int, dict[str, Any]]:
    """Cancel it: the status of the answer, and its body."""
    answer = await gateway.delete(f"{PREDICTIONS}/{prediction_id}", headers=headers)
    return answer.status, dict(await answer.json())


def cancelled() -> float:
    """How many are counted, of all gateways of this process."""
    labels = {"model": "echo", "version": "2.0.0", "status": "cancelled"}
    return REGISTRY.get_sample_value("millstream_predictions_total", labels) or 0


# --- while it is not finished ------------------------------------------------------------------------------------


async def test_who_reads_what_waits_or_runs_is_told_where_it_is(gateway: Client, worker: HandWorker) -> None:
    first = await accept(gateway)
    said = await read(gateway, first)
    said.pop("note", "")  # that nobody serves it, once the gateway has looked
    assert 0 <= said.pop("queued_for_s") < 60
    assert said == {
        "prediction_id": first,
        "status": "queued",
        "model": "echo",
        "version": "2.0.0",
        "queue": {"depth": 1, "drains_per_s": None, "eta_s": None},
    }
    await worker.take()
    second = await accept(gateway)
    assert [(await read(gateway, each))["status"] for each in (first, second)] == ["running", "queued"]
    assert (await read(gateway, first))["queue"]["depth"] == 2


async def test_how_long_it_takes_is_told_by_the_measured_rate(gateway: Client, worker: HandWorker, keys: Keys) -> None:
    prediction_id = await accept(gateway)
    retry_after, stream = application_of(gateway)[RETRY_AFTER], keys.requests("echo", "2.0.0")
    now = 1e9  # on a clock that the gateway's own samples come before
    retry_after.learn(now, {stream: Flow(10, 10)})
    retry_after.learn(now + 10, {stream: Flow(10, 15)})
    assert (await read(gateway, prediction_id))["queue"] == {"depth": 1, "drains_per_s": 0.5, "eta_s": 2.0}


async def test_nobody_waits_on_for_what_is_gone(start_gateway: StartGateway, worker: HandWorker, redis: Redis) -> None:
    gateway = await start_gateway(recheck_interval_s=0.1)
    asked = asyncio.create_task(gateway.post(f"{PREDICT}?wait=60", json=BODY))
    ((_, request),) = await worker.take()
    polled = asyncio.create_task(gateway.get(f"{PREDICTIONS}/{request.id}?wait=60"))
    await eventually(lambda: waiters_of(gateway).count == 2, "both wait")
    await redis.flushdb()
    async with asyncio.timeout(10):
        answers = [await asked, await polled]
    kinds = [(each.status, (await each.json())["type"].rpartition(":")[2]) for each in answers]
    assert kinds == [(409, "prediction-gone"), (404, "unknown-prediction")]


# --- cancelling --------------------------------------------------------------------------------------------------


async def test_what_waits_is_cancelled_at_once_and_stored_so(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str
) -> None:
    prediction_id, before = await accept(gateway), cancelled()
    status, body = await cancel(gateway, prediction_id)
    assert status == 200
    assert (body["prediction_id"], body["status"], body["result"]) == (prediction_id, "cancelled", None)
    assert (body["error"], body["input"]) == ("cancelled by its caller", {"text": "hello"})
    assert await redis.xlen(worker.stream.key) == 0
    assert await redis.hgetall(keys.backlog_bytes) == {} and await redis.zcard(keys.deadlines) == 0
    assert await read(gateway, prediction_id) == body
    await persist_everything(redis, keys, database_url)
    assert await read(gateway, prediction_id) == {**body, "stored": True}
    assert cancelled() == before + 1


async def test_what_runs_is_cancelled_too_and_its_worker_comes_too_late(gateway: Client, worker: HandWorker) -> None:
    prediction_id = await accept(gateway)
    taken = await worker.take()
    assert (await cancel(gateway, prediction_id))[0] == 200
    assert await worker.finish(taken) == [False]
    assert (await read(gateway, prediction_id))["status"] == "cancelled"


async def test_who_waits_for_it_is_told_that_it_was_cancelled(gateway: Client, worker: HandWorker) -> None:
    asked = asyncio.create_task(gateway.post(f"{PREDICT}?wait=60", json=BODY))
    ((_, request),) = await worker.take()
    assert (await cancel(gateway, request.id))[0] == 200
    answer = await asked
    body = await answer.json()
    assert (answer.status, body["type"]) == (409, "urn:millstream:problem:cancelled")
    assert (body["prediction_id"], body["detail"]) == (request.id, "cancelled by its caller")


async def test_what_has_finished_or_never_was_is_not_cancelled(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str
) -> None:
    prediction_id = await accept(gateway)
    await worker.serve_one()
    for _ in ("in Redis", "in Postgres"):
        status, body = await cancel(gateway, prediction_id)
        assert (status, body["type"]) == (409, "urn:millstream:problem:already-finished")
        assert body["detail"] == "it has finished as succeeded already"
        await persist_everything(redis, keys, database_url)
    for unknown in (uuid7(1, 1), "x"):
        assert (await cancel(gateway, unknown))[0] == 404


async def test_of_a_cancel_and_a_worker_one_is_first_and_both_know_it(gateway: Client, worker: HandWorker) -> None:
    for _ in range(20):
        prediction_id = await accept(gateway)
        taken = await worker.take()
        (status, _), (finished,) = await asyncio.gather(cancel(gateway, prediction_id), worker.finish(taken))
        assert (status, finished) in ((200, False), (409, True))
        assert (await read(gateway, prediction_id))["status"] == ("succeeded" if finished else "cancelled")


async def test_nobody_cancels_the_prediction_of_another_but_an_administrator(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch, worker: HandWorker
) -> None:
    scopes = {
        "ann": {Scope.PREDICT},
        "bob": {Scope.PREDICT, Scope.READ_ALL},
        "root": {Scope.READ_ALL, Scope.ADMIN},
    }

    async def authenticate(name: str | None) -> Principal:
        return Principal(principal_id("test", name or ""), frozenset(scopes[name or ""]))

    gateway = await start_gateway()
    monkeypatch.setattr(application_of(gateway)[AUTHENTICATOR], "authenticate", authenticate)
    hers, other = [await accept(gateway, Authorization="ann") for _ in range(2)]
    assert (await cancel(gateway, hers, Authorization="bob"))[0] == 404
    assert (await cancel(gateway, hers, Authorization="ann"))[0] == 200
    assert (await cancel(gateway, other, Authorization="root"))[0] == 200


@pytest.mark.parametrize("taken", [True, False])
async def test_compute_is_given_back_for_what_waited_and_kept_for_what_ran(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, taken: bool
) -> None:
    gateway = await start_gateway()
    prediction_id = await accept(gateway)
    limits = keys.limits("p_" + "a" * 26)
    # As if its caller had limits: 1 s of compute is reserved for it, of a rate that is full after 2000 s.
    await redis.delete(worker.stream.key)
    fields: dict[Any, Any] = {"schema": "1", "id": prediction_id, "model": "echo", "version": "2.0.0"}
    fields |= {"input": '{"text":"a"}'}
    fields |= {"options": "{}", "principal": "p_" + "a" * 26, "cost": "1000000", "attempt": "0"}
    fields |= {"submitted_at": "1", "deadline_at": "9999999999999"}
    entry = await redis.xadd(worker.stream.key, fields)
    await redis.hset(keys.prediction(prediction_id), "entry", entry)
    await redis.hset(limits, mapping={"queued": 1, "bytes": 14, "compute": 5000, "compute_interval": 2})
    if taken:
        await worker.take()
    assert (await cancel(gateway, prediction_id))[0] == 200
    left = await redis.hgetall(limits)
    assert (left[b"queued"], left[b"bytes"]) == (b"0", b"0")
    assert float(left[b"compute"]) == (5000 if taken else 3000)
