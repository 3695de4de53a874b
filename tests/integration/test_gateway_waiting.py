"""Waiting for answers: how long, who is woken, and that a lost hint costs latency, never an answer."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

import pytest
from aiohttp import ClientResponse
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from scripts.stack.ports import free_port
from shared.contract.ids import id_time
from shared.contract.keys import Keys
from shared.contract.messages import OUTCOME_FIELDS, Outcome, Status, encode_outcome
from tests.gateways import Client, HandWorker, StartGateway, succeeded, waiters_of
from tests.waiting import eventually

PREDICT, BATCH, PREDICTIONS = "/api/v1/predict", "/api/v1/predict/batch", "/api/v1/predictions"
BODY = {"model": "echo", "text": "hello"}
QUICK_S = 5  # far below the waits and the recheck interval used here: what comes sooner was woken by a hint
NO_RECHECK = {"recheck_interval_s": 60}


@pytest.fixture
def database_url() -> str:
    """Postgres is away here: waiting does not need it."""
    return f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"


async def accept(gateway: Client) -> str:
    """Accept a prediction without waiting for it; the answer is its id."""
    answer = await gateway.post(f"{PREDICT}?wait=0", json=BODY)
    assert answer.status == 202
    return str((await answer.json())["prediction_id"])


def long_poll(gateway: Client, prediction_id: str, wait_s: float = 30) -> asyncio.Task[ClientResponse]:
    """Wait for a prediction in the background."""
    return asyncio.create_task(gateway.get(f"{PREDICTIONS}/{prediction_id}?wait={wait_s}"))


async def waiting(gateway: Client, count: int = 1) -> None:
    """Until so many predictions are waited for."""
    await eventually(lambda: waiters_of(gateway).count == count, f"{count} waiters")


async def lose_hints(redis: Redis, keys: Keys, prediction_id: str) -> None:
    """Have nobody told when it finishes."""
    await redis.hset(keys.prediction(prediction_id), "waiters", "")


# --- how long ----------------------------------------------------------------------------------------------------


async def test_by_default_the_answer_is_the_finished_prediction(gateway: Client, worker: HandWorker) -> None:
    asked = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    prediction_id = await worker.serve_one(succeeded({"label": "GOOD"}, 0.75))
    answer = await asked
    body = await answer.json()
    created_at = body.pop("created_at")
    assert answer.status == 200 and answer.content_type == "application/json"
    assert datetime.fromisoformat(created_at) == id_time(prediction_id)
    assert body == {
        "prediction_id": prediction_id,
        "model": "echo",
        "version": "2.0.0",
        "status": "succeeded",
        "result": {"label": "GOOD"},
        "confidence": 0.75,
        "processing_time_ms": 7,
    }


async def test_without_a_wait_the_answer_is_where_to_look(gateway: Client, worker: HandWorker) -> None:
    answer = await gateway.post(f"{PREDICT}?wait=0", json=BODY)
    body = await answer.json()
    assert answer.status == 202
    assert body == {"prediction_id": body["prediction_id"], "status": "queued"}
    location = answer.headers["Location"]
    assert location == f"{PREDICTIONS}/{body['prediction_id']}"
    read = await (await gateway.get(location)).json()
    assert (read["prediction_id"], read["status"]) == (body["prediction_id"], "queued")
    assert await worker.serve_one() == body["prediction_id"]
    read = await (await gateway.get(location)).json()
    assert read["status"] == "succeeded" and read["input"] == {"text": "hello"}


async def test_a_wait_that_ends_first_is_202_and_leaves_no_waiter(gateway: Client) -> None:
    answer = await gateway.post(f"{PREDICT}?wait=0.05", json=BODY)
    assert answer.status == 202 and answer.headers["Location"]
    assert waiters_of(gateway).count == 0
    assert (await (await gateway.get(f"{answer.headers['Location']}?wait=0.05")).json())["status"] == "queued"


async def test_respond_async_is_honoured_and_confirmed(gateway: Client) -> None:
    for path, body in ((PREDICT, BODY), (BATCH, {"model": "echo", "texts": ["a"]})):
        answer = await gateway.post(path, json=body, headers={"Prefer": "respond-async"})
        assert answer.status == 202 and answer.headers["Preference-Applied"] == "respond-async"


async def test_a_preferred_wait_is_honoured_and_confirmed(start_gateway: StartGateway, worker: HandWorker) -> None:
    gateway = await start_gateway(default_wait_s=0)
    asked = asyncio.create_task(gateway.post(PREDICT, json=BODY, headers={"Prefer": "respond-async, wait=20"}))
    prediction_id = await worker.serve_one()
    answer = await asked
    assert answer.status == 200 and answer.headers["Preference-Applied"] == "wait=20"
    read = await gateway.get(f"{PREDICTIONS}/{prediction_id}", headers={"Prefer": "wait=3"})
    assert read.status == 200 and read.headers["Preference-Applied"] == "wait=3"


async def test_the_query_beats_the_header(gateway: Client) -> None:
    answer = await gateway.post(f"{PREDICT}?wait=0", json=BODY, headers={"Prefer": "wait=60"})
    assert answer.status == 202 and "Preference-Applied" not in answer.headers


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "wait=²", "wait=", "handling=lenient", ",,=", ""])
async def test_a_preference_that_makes_no_sense_is_ignored(start_gateway: StartGateway, prefer: str) -> None:
    gateway = await start_gateway(default_wait_s=0)
    answer = await gateway.post(PREDICT, json=BODY, headers={"Prefer": prefer})
    assert answer.status == 202 and "Preference-Applied" not in answer.headers


# --- batches -----------------------------------------------------------------------------------------------------


async def test_a_batch_is_answered_in_its_order_though_items_fail(gateway: Client, worker: HandWorker) -> None:
    asked = asyncio.create_task(gateway.post(BATCH, json={"model": "echo", "texts": ["a", "b", "c"]}))
    taken = await worker.take(3)
    assert [request.input for _, request in taken] == ["a", "b", "c"]
    for each in reversed(taken):
        bad = Outcome(Status.FAILED, error="no good")
        await worker.finish([each], bad if each[1].input == "b" else succeeded({"was": each[1].input}))
    answer = await asked
    items = (await answer.json())["items"]
    assert answer.status == 200
    assert [each["prediction_id"] for each in items] == [request.id for _, request in taken]
    assert [each["status"] for each in items] == ["succeeded", "failed", "succeeded"]
    assert [each["result"] for each in items] == [{"was": "a"}, None, {"was": "c"}]
    assert items[1]["error"] == "no good"


async def test_a_batch_that_is_half_done_says_which_half(gateway: Client, worker: HandWorker) -> None:
    asked = asyncio.create_task(gateway.post(f"{BATCH}?wait=2", json={"model": "echo", "texts": ["a", "b"]}))
    first, second = await worker.take(2)
    await worker.finish([first])
    answer = await asked
    items = (await answer.json())["items"]
    assert answer.status == 202
    assert items[0]["status"] == "succeeded"
    assert (items[1]["prediction_id"], items[1]["status"]) == (second[1].id, "queued")


# --- who is woken ------------------------------------------------------------------------------------------------


async def test_any_gateway_can_wait_for_any_id(start_gateway: StartGateway, worker: HandWorker) -> None:
    one, other = await start_gateway(**NO_RECHECK), await start_gateway(**NO_RECHECK)
    prediction_id = await accept(one)
    polled = long_poll(other, prediction_id)
    await waiting(other)
    started = time.monotonic()
    await worker.serve_one()
    answer = await polled
    assert (await answer.json())["status"] == "succeeded"
    assert time.monotonic() - started < QUICK_S


async def test_all_waiters_for_one_id_are_answered(start_gateway: StartGateway, worker: HandWorker) -> None:
    one, other = await start_gateway(**NO_RECHECK), await start_gateway(**NO_RECHECK)
    posted = asyncio.create_task(one.post(PREDICT, json=BODY))
    taken = await worker.take()
    polled = [long_poll(gateway, taken[0][1].id) for gateway in (one, one, other, other)]
    await waiting(one, 3)
    await waiting(other, 2)
    started = time.monotonic()
    await worker.finish(taken)
    bodies = [await answer.json() for answer in await asyncio.gather(posted, *polled)]
    assert [each["status"] for each in bodies] == ["succeeded"] * 5
    assert time.monotonic() - started < QUICK_S
    assert waiters_of(one).count == waiters_of(other).count == 0


async def test_what_is_finished_already_is_answered_at_once(gateway: Client, worker: HandWorker) -> None:
    prediction_id = await accept(gateway)
    await worker.serve_one()
    started = time.monotonic()
    answer = await gateway.get(f"{PREDICTIONS}/{prediction_id}?wait=30")
    assert (await answer.json())["status"] == "succeeded"
    assert time.monotonic() - started < QUICK_S


async def test_an_answer_too_long_for_a_hint_arrives_as_soon(start_gateway: StartGateway, worker: HandWorker) -> None:
    gateway = await start_gateway(**NO_RECHECK)
    asked = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    started = time.monotonic()
    await worker.serve_one(succeeded({"embedding": [0.125] * 5000}))
    answer = await asked
    assert answer.status == 200 and len((await answer.json())["result"]["embedding"]) == 5000
    assert time.monotonic() - started < QUICK_S


async def test_a_dead_lettered_request_is_answered_too(start_gateway: StartGateway, worker: HandWorker) -> None:
    gateway = await start_gateway(**NO_RECHECK)
    asked = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    ((delivery, request),) = await worker.take()
    assert await worker.stream.dead_letter(delivery, "max_deliveries", "it killed its worker 3 times")
    answer = await asked
    body = await answer.json()
    assert answer.status == 500
    assert body["prediction_id"] == request.id and body["detail"] == "it killed its worker 3 times"


# --- hints are hints -----------------------------------------------------------------------------------------------


async def test_a_lost_hint_costs_latency_not_the_answer(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start_gateway(recheck_interval_s=0.1)
    asked = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    taken = await worker.take()
    await lose_hints(redis, keys, taken[0][1].id)
    await worker.finish(taken)
    assert (await asked).status == 200


@pytest.mark.parametrize("reading", [False, True], ids=["predict", "read"])
async def test_at_the_end_of_a_wait_the_gateway_looks_once_more(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, reading: bool
) -> None:
    gateway = await start_gateway(**NO_RECHECK)
    if reading:
        asked = long_poll(gateway, await accept(gateway), 2)
        await waiting(gateway)
    else:
        asked = asyncio.create_task(gateway.post(f"{PREDICT}?wait=2", json=BODY))
    taken = await worker.take()
    await lose_hints(redis, keys, taken[0][1].id)
    await worker.finish(taken)
    answer = await asked
    assert answer.status == 200 and (await answer.json())["status"] == "succeeded"


async def test_a_cut_connection_of_hints_is_made_anew_and_loses_no_answer(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start_gateway(recheck_interval_s=0.2)
    asked = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    taken = await worker.take()
    assert await redis.client_kill_filter(_type="pubsub") >= 1
    await worker.finish(taken)
    assert (await asked).status == 200
    (channel,) = [each for each in await redis.pubsub_channels(f"{keys.prefix}notify:*")] or [b""]

    async def subscribed() -> bool:
        return len(await redis.pubsub_channels(f"{keys.prefix}notify:*")) == 1

    await eventually(subscribed, "the gateway listens again")
    assert channel in (b"", *await redis.pubsub_channels(f"{keys.prefix}notify:*"))


async def test_one_answer_that_cannot_be_found_does_not_hold_up_the_others(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start_gateway(recheck_interval_s=0.1)
    first = asyncio.create_task(gateway.post(f"{PREDICT}?wait=3", json=BODY))
    ((_, gone),) = await worker.take()
    second = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    kept = await worker.take()
    await redis.unlink(keys.prediction(gone.id))  # as a flushed Redis would; and Postgres is away
    await lose_hints(redis, keys, kept[0][1].id)
    await worker.finish(kept)
    done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
    assert done == {second}
    assert (await second).status == 200
    assert (await gateway.get("/readyz")).status == 200  # it is Postgres that is away: accepting goes on
    first.cancel()


async def test_one_answer_that_cannot_be_read_does_not_hold_up_the_others(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start_gateway(recheck_interval_s=0.1)
    first = asyncio.create_task(gateway.post(f"{PREDICT}?wait=3", json=BODY))
    ((_, broken),) = await worker.take()
    second = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    kept = await worker.take()
    entry = await redis.xadd(keys.results, {"schema": "1", "id": broken.id, "result": "{"})
    await redis.hset(keys.prediction(broken.id), "result_entry", entry)
    await lose_hints(redis, keys, kept[0][1].id)
    await worker.finish(kept)
    done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
    assert done == {second}
    assert (await second).status == 200
    read = await gateway.get(f"{PREDICTIONS}/{broken.id}")
    assert read.status == 200 and (await read.json())["status"] == "queued"  # until the persister stores it as failed
    first.cancel()


async def test_a_hint_for_somebody_else_or_nobody_is_harmless(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    (channel,) = await redis.pubsub_channels(f"{keys.prefix}notify:*")
    for payload in (b"", b"\xff\xfe", b"\x1f\x1f\x1e\x1e", b"no-id", b"\x1f".join([b"x"] * 12)):
        await redis.publish(channel, payload)
    asked = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    await worker.serve_one()
    assert (await asked).status == 200


async def test_a_hint_that_names_another_version_is_not_believed(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    (channel,) = await redis.pubsub_channels(f"{keys.prefix}notify:*")
    asked = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    taken = await worker.take()
    forged = {"id": taken[0][1].id, "attempt": "0", "model": "noop", "version": "1.0.0"}
    forged |= dict(zip(OUTCOME_FIELDS, map(as_text, encode_outcome(succeeded({"label": "FORGED"}))), strict=True))
    strange = errors_counted("strange_hint")
    await redis.publish(channel, "\x1e".join(map("\x1f".join, (forged, forged.values()))))
    await eventually(lambda: errors_counted("strange_hint") == strange + 1, "it is counted")
    await worker.finish(taken)
    assert (await (await asked).json())["result"] == {"label": "GOOD"}


def as_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def errors_counted(kind: str) -> float:
    """How many errors of this kind the gateway has counted."""
    return REGISTRY.get_sample_value("millstream_errors_total", {"component": "gateway", "kind": kind}) or 0.0


# --- who leaves ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", [False, True], ids=["predict", "read"])
async def test_a_client_that_goes_away_leaves_no_waiter_behind(
    gateway: Client, worker: HandWorker, reading: bool
) -> None:
    if reading:
        asked = long_poll(gateway, await accept(gateway))
    else:
        asked = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    taken = await worker.take()
    await waiting(gateway)
    asked.cancel()
    await waiting(gateway, 0)
    await worker.finish(taken)  # the prediction goes on all the same
    assert (await (await gateway.get(f"{PREDICTIONS}/{taken[0][1].id}")).json())["status"] == "succeeded"


async def test_a_gateway_that_stops_answers_those_who_wait(start_gateway: StartGateway, worker: HandWorker) -> None:
    gateway = await start_gateway(shutdown_grace_s=0.5, drain_delay_s=0)
    posted = asyncio.create_task(gateway.post(PREDICT, json=BODY))
    taken = await worker.take()
    polled = long_poll(gateway, taken[0][1].id)
    await waiting(gateway, 2)
    assert gateway.app is not None
    await gateway.app.shutdown()
    answer = await posted
    assert answer.status == 202 and answer.headers["Location"].endswith(taken[0][1].id)
    assert (await polled).status == 200 and (await (await polled).json())["status"] == "running"


async def test_a_gateway_that_stops_waits_for_no_reader(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(shutdown_grace_s=60)
    prediction_id = await accept(gateway)
    assert gateway.app is not None
    await gateway.app.shutdown()
    started = time.monotonic()
    answer = await gateway.get(f"{PREDICTIONS}/{prediction_id}?wait=30")
    assert (await answer.json())["status"] == "queued" and time.monotonic() - started < QUICK_S
