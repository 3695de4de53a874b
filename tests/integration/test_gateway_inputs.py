"""Inputs of any JSON through the gateway: published, shown and stored as they were sent; refused with their place."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from shared.contract.inputs import refusal_of
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status
from tests.fixtures import redactions
from tests.gateways import Client, HandWorker, StartGateway, persist_everything, shown

IRIS = {"petals": [4.7, 1.4], "name": "ann@example.org", "deep": {"ok": True, "none": None}}
PREDICT, BATCH = "/api/v1/predict", "/api/v1/predict/batch"


async def post(gateway: Client, path: str, **body: Any) -> tuple[int, Any]:
    async with gateway.post(f"{path}?wait=0", json={"model": "echo", **body}) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.mark.parametrize("value", [IRIS, [1, "a", []], "hello", 0, False, {"text": "a", "lang": "en"}, {"text": "a"}])
@pytest.mark.parametrize("options", [{}, {"max_length": 9}])
async def test_an_input_is_computed_shown_and_stored_as_it_was_sent(
    gateway: Client,
    worker: HandWorker,
    redis: Redis,
    keys: Keys,
    database_url: str,
    database: asyncpg.Connection,
    value: Any,
    options: dict[str, Any],
) -> None:
    status, body = await post(gateway, PREDICT, input=value, **({"options": options} if options else {}))
    assert status == 202, body
    taken = await worker.take()
    assert taken[0][1].input == ("a" if value == {"text": "a"} else value)
    await worker.finish(taken)
    merged = value == {"text": "a"} and options
    for _ in range(2):  # as it is in Redis, then as it is in Postgres
        found = await shown(gateway, body["prediction_id"])
        assert found["input"] == ({**value, "options": options} if merged else value)
        assert found.get("options", {}) == ({} if merged else options)
        await persist_everything(redis, keys, database_url)
    row = await database.fetchrow("SELECT input_data::text AS input, options::text FROM predictions")
    assert row and orjson.loads(row["input"]) == found["input"]
    assert row["options"] is None if merged or not options else orjson.loads(row["options"]) == options


async def test_each_of_a_batch(gateway: Client, worker: HandWorker) -> None:
    status, body = await post(gateway, BATCH, inputs=[IRIS, [1], "text"])
    assert status == 202 and len(body["items"]) == 3
    assert [request.input for _, request in await worker.take(3)] == [IRIS, [1], "text"]


@pytest.mark.parametrize(
    ("path", "body", "place", "told"),
    [
        (PREDICT, {}, "body.text", "Field required: `text`, or `input` for other JSON"),
        (PREDICT, {"text": "a", "input": 1}, "body.input", "cannot be given together with `text`"),
        (PREDICT, {"input": None}, "body.text", "Field required"),
        (PREDICT, {"input": {}}, "body.input", "must not be empty"),
        (PREDICT, {"input": {"a": ["x", "\0"]}}, "body.input.a.1", "NUL"),
        (PREDICT, {"input": {"a": "x" * 200}}, "body.input", "at most 100 bytes of JSON, not 208"),
        (PREDICT, {"input": "x" * 101}, "body.input", "at most 100 characters"),
        (BATCH, {}, "body.texts", "Field required"),
        (BATCH, {"texts": ["a"], "inputs": ["a"]}, "body.inputs", "together"),
        (BATCH, {"inputs": [1, {"n": 2**70}]}, "body.inputs.1.n", "64 bits"),
        (BATCH, {"inputs": []}, "body.inputs", "at least 1 item"),
        (BATCH, {"inputs": [1, None]}, "body.inputs.1", "must not be empty"),
    ],
)
async def test_what_is_wrong_is_told_with_its_place(
    start_gateway: StartGateway, path: str, body: dict[str, Any], place: str, told: str
) -> None:
    gateway = await start_gateway(max_text_chars=100)
    status, problem = await post(gateway, path, **body)
    assert status == 422, problem
    assert [".".join(map(str, each["loc"])) for each in problem["errors"]] == [place]
    assert told in problem["errors"][0]["msg"]


@pytest.mark.parametrize(
    "raw", [b'{"model":"echo","input":[' + b"[" * 900 + b"]" * 900 + b"]}", b'{"model":"echo","input":[NaN]}']
)
async def test_what_json_does_not_know_or_is_too_deep_is_refused(gateway: Client, raw: bytes) -> None:
    async with gateway.post(PREDICT, data=raw, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status in (400, 422), await answer.text()


@pytest.mark.parametrize("value", [["a"], {"text": 1}, {"text": "a", "b": 1}, 5, " "])
async def test_a_text_task_takes_texts(gateway: Client, value: Any) -> None:
    status, problem = await post(gateway, PREDICT, model="labels", input=value, options={"labels": ["a", "b"]})
    assert status == 422 and problem["errors"][0]["loc"] == ["body", "input"]


@pytest.mark.parametrize(
    ("sent", "path", "place"),
    [
        ({"input": IRIS}, ("input", "petals", "last"), "body.input.petals.last"),
        ({"input": IRIS}, (), "body.input"),
        ({"text": "a"}, ("input",), "body.text"),
        ({"text": "a", "options": {"max_length": 1}}, ("options", "max_length"), "body.options.max_length"),
    ],
)
async def test_a_model_that_does_not_take_an_input_says_where(
    gateway: Client, worker: HandWorker, sent: dict[str, Any], path: tuple[str | int, ...], place: str
) -> None:
    outcome = Outcome(Status.FAILED, error=refusal_of("must be positive", path))
    served = asyncio.create_task(worker.serve_one(outcome))
    async with gateway.post(f"{PREDICT}?wait=20", json={"model": "echo", **sent}) as answer:
        problem = await answer.json()
        assert (answer.status, problem["type"].rpartition(":")[2]) == (422, "invalid-input"), problem
    assert problem["errors"] == [{"loc": place.split("."), "msg": "must be positive"}]
    assert problem["prediction_id"] == await served


@pytest.mark.parametrize("stage", ["input", "store"])
async def test_every_string_of_it_is_redacted_and_the_options_stay(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys, stage: str
) -> None:
    gateway = await start_gateway(redaction=f"{redactions.__name__}:addresses", redaction_stage=stage)
    _, body = await post(gateway, PREDICT, input=IRIS, options={"max_length": 9})
    taken = await worker.take()
    assert (taken[0][1].input == IRIS) == (stage == "store")
    await worker.finish(taken)
    found = await shown(gateway, body["prediction_id"])
    assert "ann@" not in str(found["input"]) and found["input"]["petals"] == IRIS["petals"]
    assert found["options"] == {"max_length": 9}
    assert b"ann@" not in repr(await redis.xrange(keys.results)).encode()
