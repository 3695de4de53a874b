"""Every status code of the API's error list, through HTTP, against real stores."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse
from redis.asyncio import Redis

from scripts.stack.ports import free_port
from shared.contract.ids import uuid7
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status
from shared.streams.publishing import LOOK_EVERY_S
from tests.access import running_redis
from tests.gateways import Client, HandWorker, StartGateway, waiters_of
from tests.waiting import eventually

PREDICT, BATCH, PREDICTIONS = "/api/v1/predict", "/api/v1/predict/batch", "/api/v1/predictions"
JSON = {"content-type": "application/json"}
SECRET = "my private text"
UNKNOWN_ID = uuid7(1, 1)


@pytest.fixture
def database_url() -> str:
    """Postgres is away here: what is refused is refused without asking it, and predicting goes on."""
    return f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"


async def problem(answer: ClientResponse, status: int) -> dict[str, Any]:
    """The body of an answer that must be a problem with this status, and give nothing away."""
    text = await answer.text()
    assert answer.status == status, text
    assert answer.content_type == "application/problem+json"
    body: dict[str, Any] = orjson.loads(text)
    assert body["type"].startswith("urn:millstream:problem:")
    assert body["status"] == status and body["title"] and body["detail"]
    for private in ("Traceback", "127.0.0.1", "localhost", "pydantic", "asyncpg", 'File "', SECRET):
        assert private not in text
    if status == 422:
        assert body["errors"] and all(set(each) == {"loc", "msg"} for each in body["errors"])
    if status == 503:
        assert int(answer.headers["Retry-After"]) >= 1
    return body


async def invalid_fields(answer: ClientResponse) -> list[str]:
    """Where the errors of a 422 are, as dotted paths."""
    body = await problem(answer, 422)
    return [".".join(map(str, each["loc"])) for each in body["errors"]]


# --- 400 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b'{"model":"echo","text":"a",}', id="trailing comma"),
        pytest.param(b'{"model":"echo","text":"\xff"}', id="not UTF-8"),
        pytest.param('{"model":"echo","text":"a"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'\xef\xbb\xbf{"model":"echo","text":"a"}', id="byte order mark"),
        pytest.param(b'{"model":"echo","text":"a","options":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="too deep"),
        pytest.param(b'{"model":"echo","text":"\\ud83"}', id="half an escape"),
        pytest.param(b'{"model":"echo","text":"a"} {}', id="two bodies"),
    ],
)
@pytest.mark.parametrize("path", [PREDICT, BATCH])
async def test_malformed_json_is_400(gateway: Client, path: str, raw: bytes) -> None:
    body = await problem(await gateway.post(path, data=raw, headers=JSON), 400)
    assert body["type"] == "urn:millstream:problem:malformed-json"


# --- 404, 405, 413, 415 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        ({"model": "nobody", "text": "a"}, "unknown-model", "echo, noop, labels"),
        ({"model": "echo", "text": "a", "version": "9.9.9"}, "unknown-version", "1.0.0, 2.0.0"),
        ({"model": "echo", "text": "a", "version": "3.0.0"}, "unknown-version", "1.0.0, 2.0.0"),
    ],
    ids=["model", "version", "inactive version"],
)
async def test_what_is_not_served_is_404_and_the_answer_says_what_is(
    gateway: Client, body: dict[str, str], kind: str, told: str
) -> None:
    single = await problem(await gateway.post(PREDICT, json=body), 404)
    batch = await problem(await gateway.post(BATCH, json={**body, "texts": [body["text"]]} | {"text": None}), 422)
    assert single["type"].endswith(kind) and single["detail"].endswith(told)
    assert batch["status"] == 422  # `text` is a field of single requests only
    batch_body = {name: value for name, value in body.items() if name != "text"} | {"texts": ["a"]}
    assert (await problem(await gateway.post(BATCH, json=batch_body), 404))["type"].endswith(kind)


@pytest.mark.parametrize(
    "path",
    [
        f"{PREDICTIONS}/not-an-id",
        f"{PREDICTIONS}/%00",
        f"{PREDICTIONS}/" + "a" * 3000,
        "/api/v1/models/nobody",
        "/api/v1/nothing",
    ],
)
async def test_what_does_not_exist_is_404(gateway: Client, path: str) -> None:
    body = await problem(await gateway.get(path), 404)
    assert len(body["detail"]) < 300


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", PREDICT, {"POST"}),
        ("DELETE", BATCH, {"POST"}),
        ("POST", PREDICTIONS, {"GET"}),
        ("PUT", f"{PREDICTIONS}/{UNKNOWN_ID}", {"GET"}),
        ("POST", "/health", {"GET"}),
    ],
)
async def test_another_method_is_405_with_those_allowed(
    gateway: Client, method: str, path: str, allowed: set[str]
) -> None:
    answer = await gateway.request(method, path)
    await problem(answer, 405)
    assert allowed <= set(answer.headers["Allow"].replace(" ", "").split(","))


async def test_a_body_over_the_limit_is_413(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_body_bytes=1000)
    body = await problem(await gateway.post(PREDICT, json={"model": "echo", "text": SECRET * 100}), 413)
    assert "1000 bytes" in body["detail"]
    await problem(await gateway.post(BATCH, json={"model": "echo", "texts": [SECRET] * 100}), 413)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/json5", ""])
async def test_anything_but_json_is_415(gateway: Client, content_type: str) -> None:
    data = b'{"model":"echo","text":"a"}'
    answer = await gateway.post(PREDICT, data=data, headers={"content-type": content_type})
    await problem(answer, 415)
    assert answer.headers["Accept"] == "application/json"


async def test_json_with_a_charset_is_json(gateway: Client) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    answer = await gateway.post(f"{PREDICT}?wait=0", data=b'{"model":"echo","text":"a"}', headers=headers)
    assert answer.status == 202


# --- 422 ---------------------------------------------------------------------------------------------------------

LABELS = {"labels": ["a", "b"]}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param({"text": ""}, "body.text", id="empty text"),
        pytest.param({"text": " \n\t "}, "body.text", id="blank text"),
        pytest.param({"text": "a\0b"}, "body.text", id="NUL in text"),
        pytest.param({"text": "a" * 101}, "body.text", id="long text"),
        pytest.param({"text": 5}, "body.text", id="text that is a number"),
        pytest.param({"text": None}, "body.text", id="null text"),
        pytest.param({"model": ""}, "body.model", id="empty model"),
        pytest.param({"model": "m" * 101}, "body.model", id="long model"),
        pytest.param({"version": ""}, "body.version", id="empty version"),
        pytest.param({"version": "1" * 21}, "body.version", id="long version"),
        pytest.param({"version": 1.0}, "body.version", id="version that is a number"),
        pytest.param({"colour": SECRET}, "body.colour", id="unknown field"),
        pytest.param({"options": [SECRET]}, "body.options", id="options that are a list"),
        pytest.param({"options": {"colour": SECRET}}, "body.options.colour", id="unknown option"),
        pytest.param({"model": "labels"}, "body.options.labels", id="labels missing"),
        pytest.param({"model": "labels", "options": {}}, "body.options.labels", id="labels missing in options"),
        pytest.param({"model": "labels", "options": {"labels": None}}, "body.options.labels", id="null labels"),
        pytest.param({"model": "labels", "options": {"labels": []}}, "body.options.labels", id="no label"),
        pytest.param({"model": "labels", "options": {"labels": ["a", ""]}}, "body.options.labels.1", id="empty label"),
        pytest.param({"model": "labels", "options": {"labels": ["a", "\0"]}}, "body.options.labels.1", id="NUL label"),
        pytest.param({"model": "labels", "options": {"labels": ["a"] * 65}}, "body.options.labels", id="many labels"),
        pytest.param({"model": "labels", "options": {"labels": ["a"] * 11}}, "body.options.labels", id="over limits"),
        pytest.param(
            {"model": "labels", "options": {**LABELS, "max_length": 50}}, "body.options.max_length", id="alien"
        ),
        pytest.param(
            {"model": "labels", "options": {**LABELS, "max_length": 7}}, "body.options.max_length", id="short"
        ),
    ],
)
async def test_an_invalid_field_is_422_and_named(
    start_gateway: StartGateway, change: dict[str, Any], where: str
) -> None:
    gateway = await start_gateway(max_text_chars=100)
    body = {"model": "echo", "text": "fine", **change}
    assert await invalid_fields(await gateway.post(PREDICT, json=body)) == [where]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param({"texts": []}, "body.texts", id="no texts"),
        pytest.param({"texts": ["a"] * 4}, "body.texts", id="too many texts"),
        pytest.param({"texts": "abc"}, "body.texts", id="a text alone"),
        pytest.param({"texts": ["fine", ""]}, "body.texts.1", id="an empty text"),
        pytest.param({"texts": ["fine", "  "]}, "body.texts.1", id="a blank text"),
        pytest.param({"texts": ["fine", "a\0"]}, "body.texts.1", id="NUL in a text"),
        pytest.param({"texts": ["a" * 101, "fine"]}, "body.texts.0", id="a long text"),
        pytest.param({"text": SECRET}, "body.text", id="the field of single requests"),
        pytest.param({"model": "labels"}, "body.options.labels", id="labels missing"),
    ],
)
async def test_an_invalid_field_of_a_batch_is_422_and_named(
    start_gateway: StartGateway, change: dict[str, Any], where: str
) -> None:
    gateway = await start_gateway(max_text_chars=100, max_batch_texts=3)
    body = {"model": "echo", "texts": ["fine"], **change}
    assert await invalid_fields(await gateway.post(BATCH, json=body)) == [where]


@pytest.mark.parametrize(
    ("path", "raw", "where"),
    [
        (PREDICT, rb'{"model":"echo","text":"a\ud800"}', ["body.text"]),
        (PREDICT, rb'{"model":"\udfff","text":"a"}', ["body.model"]),
        (PREDICT, rb'{"model":"labels","text":"a","options":{"labels":["a","\ud800"]}}', ["body.options.labels.1"]),
        (PREDICT, rb'{"model":"echo","text":"a","\ud800":1}', ["body"]),
        (BATCH, rb'{"model":"echo","texts":["a","\ud800"]}', ["body.texts.1"]),
    ],
    ids=["text", "model", "label", "name of a field", "batch"],
)
async def test_a_lone_surrogate_is_422_wherever_it_stands(
    gateway: Client, path: str, raw: bytes, where: list[str]
) -> None:
    assert await invalid_fields(await gateway.post(path, data=raw, headers=JSON)) == where


async def test_all_invalid_fields_are_named_at_once_but_not_endlessly(gateway: Client) -> None:
    body = {"model": "", "text": "", "version": ""}
    assert sorted(await invalid_fields(await gateway.post(PREDICT, json=body))) == [
        "body.model",
        "body.text",
        "body.version",
    ]
    many = {"model": "echo", "text": "a", **{f"field-{number}": SECRET for number in range(1000)}}
    assert len(await invalid_fields(await gateway.post(PREDICT, json=many))) == 20


@pytest.mark.parametrize("name", ["wait", "timeout"])
@pytest.mark.parametrize("value", ["-1", "x", "", "nan", "inf", "1e9"])
async def test_a_time_out_of_range_is_422(gateway: Client, name: str, value: str) -> None:
    answer = await gateway.post(PREDICT, params={name: value}, json={"model": "echo", "text": "a"})
    assert await invalid_fields(answer) == [f"query.{name}"]


async def test_a_timeout_of_nothing_is_422(gateway: Client) -> None:
    answer = await gateway.post(f"{PREDICT}?timeout=0", json={"model": "echo", "text": "a"})
    assert await invalid_fields(answer) == ["query.timeout"]


async def test_a_wait_out_of_range_is_422_when_reading_too(gateway: Client) -> None:
    assert await invalid_fields(await gateway.get(f"{PREDICTIONS}/{UNKNOWN_ID}?wait=61")) == ["query.wait"]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("limit=0", "query.limit"),
        ("limit=101", "query.limit"),
        ("limit=-1", "query.limit"),
        ("limit=1.5", "query.limit"),
        ("limit=x", "query.limit"),
        ("limit=%C2%B2", "query.limit"),
        ("limit=9999999999999999999999", "query.limit"),
        ("cursor=x", "query.cursor"),
        ("cursor=", "query.cursor"),
        ("status=paused", "query.status"),
        ("status=done", "query.status"),
        ("version=1.0.0", "query.version"),
        ("model=", "query.model"),
        ("model=%00", "query.model"),
        (f"model={'m' * 101}", "query.model"),
        (f"model=echo&version={'1' * 21}", "query.version"),
    ],
)
async def test_a_history_filter_out_of_range_is_422(gateway: Client, query: str, where: str) -> None:
    assert await invalid_fields(await gateway.get(f"{PREDICTIONS}?{query}")) == [where]


# --- 500 and 504: what became of the prediction --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "status", "kind"),
    [
        (Outcome(Status.FAILED, error="the model raised ValueError"), 500, "prediction-failed"),
        (Outcome(Status.EXPIRED, error="the deadline passed in the queue"), 504, "deadline-passed"),
    ],
    ids=["failed", "expired"],
)
async def test_a_prediction_that_ended_badly_is_an_error_with_its_id(
    gateway: Client, worker: HandWorker, outcome: Outcome, status: int, kind: str
) -> None:
    asked = asyncio.create_task(gateway.post(PREDICT, json={"model": "echo", "text": SECRET}))
    prediction_id = await worker.serve_one(outcome)
    body = await problem(await asked, status)
    assert body["type"] == f"urn:millstream:problem:{kind}"
    assert body["prediction_id"] == prediction_id and body["detail"] == outcome.error
    read = await gateway.get(f"{PREDICTIONS}/{prediction_id}")
    assert read.status == 200  # reading is no failure
    assert (await read.json())["status"] == outcome.status.value


# --- 503: overloaded, or a store away ------------------------------------------------------------------------------


async def test_a_full_backlog_is_503_and_other_versions_go_on(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_backlog=2, max_batch_texts=2)
    for _ in range(2):
        assert (await gateway.post(f"{PREDICT}?wait=0", json={"model": "echo", "text": "a"})).status == 202
    body = await problem(await gateway.post(PREDICT, json={"model": "echo", "text": "a"}), 503)
    assert body["type"] == "urn:millstream:problem:overloaded" and "model version" in body["detail"]
    await problem(await gateway.post(BATCH, json={"model": "echo", "texts": ["a"]}), 503)
    other = await gateway.post(f"{PREDICT}?wait=0", json={"model": "echo", "version": "1.0.0", "text": "a"})
    assert other.status == 202


async def test_results_that_nobody_stores_are_503(start_gateway: StartGateway, redis: Redis, keys: Keys) -> None:
    gateway = await start_gateway(max_results=1)
    await redis.xadd(keys.results, {"any": "thing"})
    body = await problem(await gateway.post(PREDICT, json={"model": "echo", "text": "a"}), 503)
    assert body["type"] == "urn:millstream:problem:overloaded" and "stored" in body["detail"]


async def test_a_refused_request_leaves_nothing_behind(start_gateway: StartGateway, redis: Redis, keys: Keys) -> None:
    gateway = await start_gateway(max_backlog=1, max_batch_texts=1)
    assert (await gateway.post(f"{PREDICT}?wait=0", json={"model": "echo", "text": "a"})).status == 202
    before = sorted(await redis.keys(f"{keys.prefix}*"))
    await problem(await gateway.post(PREDICT, json={"model": "echo", "text": "a"}), 503)
    assert sorted(await redis.keys(f"{keys.prefix}*")) == before
    assert waiters_of(gateway).count == 0


async def test_what_one_gateway_waits_for_is_bounded(start_gateway: StartGateway, worker: HandWorker) -> None:
    gateway = await start_gateway(max_in_flight=1)
    waiting = asyncio.create_task(gateway.post(PREDICT, json={"model": "echo", "text": "a"}))
    await eventually(lambda: waiters_of(gateway).count == 1, "one waits")
    body = await problem(await gateway.post(PREDICT, json={"model": "echo", "text": "b"}), 503)
    assert body["type"] == "urn:millstream:problem:overloaded"
    ((delivery, request),) = await worker.take()
    queued = await gateway.post(PREDICT, json={"model": "echo", "text": "c"}, params={"wait": "0"})
    assert queued.status == 202  # who does not wait needs no room
    await problem(await gateway.get(f"{PREDICTIONS}/{request.id}?wait=5"), 503)
    assert (await gateway.get(f"{PREDICTIONS}/{request.id}")).status == 200  # looking costs nothing
    await worker.finish([(delivery, request)])
    assert (await waiting).status == 200


async def test_waiting_for_one_version_leaves_room_for_the_others(
    start_gateway: StartGateway, redis: Redis, keys: Keys
) -> None:
    gateway = await start_gateway(max_in_flight=100)
    body = {"model": "labels", "texts": ["a"] * 50, "options": LABELS}  # nobody serves it
    stuck = asyncio.create_task(gateway.post(BATCH, json=body, params={"wait": "60"}))
    await eventually(lambda: waiters_of(gateway).count == 50, "they wait")
    told = await problem(await gateway.post(BATCH, json={**body, "texts": ["a"]}), 503)
    assert "of labels:1.0.0 (its limit for one version is 50); ask with wait=0" in told["detail"]
    others = HandWorker(redis, keys)
    for _ in range(20):
        asked = asyncio.create_task(gateway.post(PREDICT, json={"model": "echo", "text": "a"}))
        await others.serve_one()
        assert (await asked).status == 200
    stuck.cancel()


async def test_a_redis_short_of_memory_refuses_early_and_drains(
    start_gateway: StartGateway, tmp_path: Path, keys: Keys
) -> None:
    with running_redis(tmp_path / "small") as server:
        gateway = await start_gateway(redis_url=server.url)
        redis = Redis.from_url(server.url, protocol=2)
        waiting = asyncio.create_task(gateway.post(PREDICT, json={"model": "echo", "text": "a"}))
        worker = HandWorker(redis, keys)
        taken = await worker.take()
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", str(used * 10 // 8))  # 80 % full: above the limit of 70 %, below full
        await asyncio.sleep(LOOK_EVERY_S)
        body = await problem(await gateway.post(PREDICT, json={"model": "echo", "text": "a"}), 503)
        assert body["type"] == "urn:millstream:problem:overloaded" and "memory" in body["detail"]
        await redis.config_set("maxmemory", "1")  # entirely full
        await problem(await gateway.post(PREDICT, json={"model": "echo", "text": "a"}), 503)
        await redis.config_set("maxmemory", str(used * 10 // 8))
        await worker.finish(taken)
        assert (await waiting).status == 200
        await redis.config_set("maxmemory", "0")
        assert (await gateway.post(f"{PREDICT}?wait=0", json={"model": "echo", "text": "a"})).status == 202
        await redis.aclose()


@pytest.fixture
async def without_redis(start_gateway: StartGateway) -> Client:
    """A gateway whose Redis is away."""
    return await start_gateway(ready=False, redis_url=f"redis://127.0.0.1:{free_port()}/0")


async def test_without_redis_nothing_is_accepted(without_redis: Client) -> None:
    for path, body in ((PREDICT, {"text": "a"}), (BATCH, {"texts": ["a"]})):
        told = await problem(await without_redis.post(path, json={"model": "echo", **body}), 503)
        assert told["type"] == "urn:millstream:problem:queue-unavailable"
    assert waiters_of(without_redis).count == 0


async def test_without_redis_models_are_503(without_redis: Client) -> None:
    await problem(await without_redis.get("/api/v1/models"), 503)
    await problem(await without_redis.get("/api/v1/models/echo"), 503)


async def test_without_postgres_the_history_is_503_and_predicting_goes_on(gateway: Client, worker: HandWorker) -> None:
    await problem(await gateway.get(PREDICTIONS), 503)
    await problem(await gateway.get(f"{PREDICTIONS}?model=echo"), 503)
    asked = asyncio.create_task(gateway.post(PREDICT, json={"model": "echo", "text": "a"}))
    await worker.serve_one()
    assert (await asked).status == 200


async def test_a_gateway_that_stops_takes_no_more(gateway: Client) -> None:
    assert gateway.app is not None
    await gateway.app.shutdown()
    body = await problem(await gateway.post(PREDICT, json={"model": "echo", "text": "a"}), 503)
    assert body["type"] == "urn:millstream:problem:stopping"


async def test_a_fault_of_ours_is_500_and_tells_nothing(
    gateway: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("gateway.core.history.History.page", broken)
    body = await problem(await gateway.get(PREDICTIONS), 500)
    assert body["type"] == "urn:millstream:problem:internal"
    assert "handler failed" in caplog.text
