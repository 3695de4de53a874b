"""Every status code of the API, reached over HTTP through real processes."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from scripts.stack.ports import free_port
from shared.contract.keys import Keys
from tests.e2e.conftest import Start
from tests.processes import Service
from tests.waiting import eventually

PREDICT, BATCH, PREDICTIONS = "/api/v1/predict", "/api/v1/predict/batch", "/api/v1/predictions"
JSON = {"content-type": "application/json"}
FINE = {"model": "echo", "text": "hello", "version": "1.0.0"}


class Api:
    """A client that expects a status and returns the body."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(self, status: int, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Call it; an error must be a problem that gives nothing away."""
        async with self._session.request(method, path, **request) as answer:
            text = await answer.text()
            assert answer.status == status, f"{method} {path}: {answer.status} {text}"
            body: dict[str, Any] = await answer.json(content_type=None)
            if status >= 400:
                assert answer.content_type == "application/problem+json"
                assert {"type", "title", "status", "detail"} <= set(body) and body["status"] == status
                assert "Traceback" not in text and "127.0.0.1" not in text
                assert (status == 503) == ("Retry-After" in answer.headers)
                assert (status == 405) == ("Allow" in answer.headers)
                assert (status == 422) == ("errors" in body)
            return body


async def test_each_status_is_answered_by_the_pipeline(start: Start, redis: Redis, keys: Keys) -> None:
    gateway = start("gateway", MAX_BODY_BYTES="5000", MAX_TEXT_CHARS="2000")
    async with aiohttp.ClientSession(gateway.url) as session:
        api = Api(session)
        # What comes too late: no worker runs yet, and its deadline passes in the queue.
        late = asyncio.create_task(api.call(504, "POST", f"{PREDICT}?timeout=0.05&wait=60", json=FINE))
        await eventually(lambda: is_past_deadline(redis, keys.requests("echo", "1.0.0")), "the deadline passed")
        queued = await api.call(202, "POST", f"{PREDICT}?wait=0", json=FINE)
        assert (await api.call(200, "GET", f"{PREDICTIONS}/{queued['prediction_id']}"))["status"] == "queued"

        for service in (start("inference_worker", ready=False, WORKER_MODELS="echo"), start("persister", ready=False)):
            service.wait_ready()
        expired = await late
        done = await api.call(200, "GET", f"{PREDICTIONS}/{queued['prediction_id']}?wait=60")
        assert done["status"] == "succeeded"
        assert (await api.call(200, "POST", PREDICT, json=FINE))["result"]["echo"] == "hello"
        failed = await api.call(500, "POST", PREDICT, json={**FINE, "text": "raise the alarm"})
        assert "cannot read 'raise'" in failed["detail"]
        assert (await api.call(500, "POST", PREDICT, json={**FINE, "text": "nan"}))["prediction_id"]
        batch = await api.call(200, "POST", BATCH, json={"model": "echo", "texts": ["a", "raise", "b"]})
        assert [each["status"] for each in batch["items"]] == ["succeeded", "failed", "succeeded"]

        await api.call(400, "POST", PREDICT, data=b'{"model":', headers=JSON)
        await api.call(404, "POST", PREDICT, json={**FINE, "model": "nobody"})
        await api.call(404, "POST", PREDICT, json={**FINE, "version": "3.0.0"})
        await api.call(404, "GET", f"{PREDICTIONS}/018bcfe5-687b-7000-8000-000000000000")
        await api.call(404, "GET", "/nothing")
        await api.call(405, "DELETE", PREDICT)
        await api.call(413, "POST", PREDICT, json={**FINE, "text": "a" * 5000})
        await api.call(415, "POST", PREDICT, data=b"hello", headers={"content-type": "text/plain"})
        wrong = await api.call(422, "POST", PREDICT, json={**FINE, "text": "a" * 2001, "version": "1.0.0"})
        assert wrong["errors"] == [{"loc": ["body", "text"], "msg": "must have at most 2000 characters, not 2001"}]
        await api.call(422, "POST", PREDICT, json={"model": "labels", "text": "a"})
        await api.call(422, "POST", f"{PREDICT}?wait=61", json=FINE)
        await api.call(422, "GET", f"{PREDICTIONS}?limit=0")

        for prediction_id, status in ((expired["prediction_id"], "expired"), (failed["prediction_id"], "failed")):
            read = await api.call(200, "GET", f"{PREDICTIONS}/{prediction_id}")
            assert read["status"] == status and read["result"] is None and read["error"]
        await eventually(lambda: is_listed(api, expired["prediction_id"]), "what expired is in the history")


async def is_past_deadline(redis: Redis, stream: str) -> bool:
    """Whether the first entry's deadline has passed on Redis's clock."""
    entries: Any = await redis.xrange(stream, count=1)
    seconds, microseconds = await redis.time()
    return bool(entries and int(entries[0][1][b"deadline_at"]) < seconds * 1000 + microseconds // 1000)


async def is_listed(api: Api, prediction_id: str) -> bool:
    """Whether the history of what expired has it."""
    page = await api.call(200, "GET", f"{PREDICTIONS}?status=expired&model=echo&version=1.0.0")
    return prediction_id in [each["prediction_id"] for each in page["items"]]


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"MAX_BACKLOG": "1", "MAX_BATCH_TEXTS": "1"}, "too many requests are waiting"),
        ({"MAX_RESULTS": "1"}, "too many results are waiting"),
        ({"MAX_IN_FLIGHT": "1"}, "already waiting for too many predictions (its limit is 1)"),
    ],
    ids=["backlog", "results", "in flight"],
)
async def test_an_overloaded_pipeline_answers_503_at_once(
    start: Start, redis: Redis, keys: Keys, settings: dict[str, str], refused: str
) -> None:
    gateway = start("gateway", ready=True, **settings)
    async with aiohttp.ClientSession(gateway.url) as session:
        api = Api(session)
        if "MAX_RESULTS" in settings:
            await redis.xadd(keys.results, {"any": "thing"})
        elif "MAX_BACKLOG" in settings:
            await api.call(202, "POST", f"{PREDICT}?wait=0", json=FINE)
        else:
            waiting = asyncio.create_task(api.call(202, "POST", f"{PREDICT}?wait=60", json=FINE))
            await eventually(lambda: has_entries(redis, keys.requests("echo", "1.0.0")), "one waits")
        body = await api.call(503, "POST", PREDICT, json=FINE)
        assert refused in body["detail"]
        if "MAX_IN_FLIGHT" in settings:
            waiting.cancel()


async def has_entries(redis: Redis, stream: str) -> bool:
    """Whether there is something in the stream."""
    return int(await redis.xlen(stream)) > 0


async def test_without_redis_the_gateway_lives_and_answers_503(start: Start) -> None:
    gateway = start("gateway", ready=False, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    await eventually(lambda: answers(gateway), "the gateway answers")
    async with aiohttp.ClientSession(gateway.url) as session:
        await Api(session).call(503, "POST", PREDICT, json=FINE)
        await Api(session).call(503, "GET", f"{PREDICTIONS}/018bcfe5-687b-7000-8000-000000000000")
        for path, status in (("/health", 503), ("/readyz", 503), ("/livez", 200)):
            async with session.get(path) as answer:
                assert answer.status == status


def test_a_gateway_that_cannot_start_says_why_and_leaves(
    start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    wrong = start("gateway", ready=False, READ_BLOCK_MS="9000")
    assert wrong.process.wait(20) == 2
    assert "READ_BLOCK_MS (9000) must be below" in wrong.log.read_text(encoding="utf-8")
    lost = start("gateway", ready=False, MODEL_CATALOGUE=str(tmp_path / "nothing.toml"))
    assert lost.process.wait(20) == 2
    assert "cannot read the model catalogue" in lost.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "setting"),
    [
        ("gateway", "GATEWAY_PORT"),
        ("gateway", "ADMIN_PORT"),
        ("inference_worker", "WORKER_METRICS_PORT"),
        ("persister", "PERSISTER_METRICS_PORT"),
    ],
)
def test_a_port_that_is_taken_is_told_in_one_line(start: Start, module: str, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        models = {"WORKER_MODELS": "noop"} if module == "inference_worker" else {}
        service = start(module, ready=False, LOG_LEVEL="WARNING", **{setting: port}, **models)
        assert service.process.wait(30) == 2
    told = f"{module}: cannot listen on 127.0.0.1:{port} ({setting}): Address already in use"
    assert service.log.read_text(encoding="utf-8").splitlines() == [told]


async def answers(service: Service) -> bool:
    """Whether it listens yet."""
    try:
        async with aiohttp.ClientSession(service.url) as session, session.get("/livez"):
            return True
    except aiohttp.ClientConnectionError:
        return False


async def test_a_gateway_that_is_told_to_stop_answers_who_waits_and_leaves(
    start: Start, redis: Redis, keys: Keys
) -> None:
    gateway = start("gateway", SHUTDOWN_GRACE_S="2")
    async with aiohttp.ClientSession(gateway.url) as session:
        waiting = asyncio.create_task(Api(session).call(202, "POST", f"{PREDICT}?wait=60", json=FINE))
        await eventually(lambda: has_entries(redis, keys.requests("echo", "1.0.0")), "one waits")
        gateway.process.terminate()
        assert (await waiting)["status"] == "queued"
    assert await asyncio.to_thread(gateway.process.wait, 20) == 0
    assert "Traceback" not in gateway.log.read_text(encoding="utf-8")


async def test_an_impatient_operator_does_not_break_the_end_of_a_gateway(
    start: Start, redis: Redis, keys: Keys
) -> None:
    """Told to stop again and again, it still answers who waits, and ends as one that was asked to."""
    gateway = start("gateway", SHUTDOWN_GRACE_S="3", DRAIN_DELAY_S="0.5")
    async with aiohttp.ClientSession(gateway.url) as session:
        waiting = asyncio.create_task(Api(session).call(202, "POST", f"{PREDICT}?wait=60", json=FINE))
        await eventually(lambda: has_entries(redis, keys.requests("echo", "1.0.0")), "one waits")
        while not waiting.done():
            gateway.process.terminate()
            await asyncio.wait({waiting}, timeout=0.2)
        assert (await waiting)["status"] == "queued"
    assert await asyncio.to_thread(gateway.process.wait, 20) == 0
    assert "Traceback" not in gateway.log.read_text(encoding="utf-8")
