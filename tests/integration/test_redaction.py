"""Redaction before publishing: what the model sees, what is kept, and that nothing is accepted if it fails."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from gateway.core.redaction import MOST_THREADS, load_redaction
from shared.contract.errors import ConfigurationError
from shared.contract.keys import Keys
from tests.fixtures import redactions
from tests.gateways import Client, HandWorker, StartGateway, persist_everything
from tests.waiting import eventually

MODULE = "tests.fixtures.redactions"
TEXT, REDACTED = "write to ann@example.org today", "write to [address] today"


@pytest.fixture(autouse=True)
def what_hangs_comes_back() -> Iterator[None]:
    redactions.HANGS.clear()
    yield
    redactions.HANGS.set()


async def submit(gateway: Client, text: str = TEXT, **body: Any) -> tuple[int, dict[str, Any]]:
    given = {"model": "echo", "text": text, **body}
    async with gateway.post("/api/v1/predict?wait=0", json=given) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.mark.parametrize(("stage", "seen"), [("input", REDACTED), ("store", TEXT)])
async def test_the_model_sees_one_text_and_only_the_redacted_one_is_kept(
    start_gateway: StartGateway,
    worker: HandWorker,
    redis: Any,
    keys: Keys,
    database_url: str,
    database: asyncpg.Connection,
    stage: str,
    seen: str,
) -> None:
    gateway = await start_gateway(redaction=f"{MODULE}:addresses", redaction_stage=stage)
    status, body = await submit(gateway, options={"max_length": 9})
    assert status == 202
    ((delivery, request),) = await worker.take()
    assert request.input == seen
    await worker.finish([(delivery, request)])
    kept = {"text": REDACTED, "options": {"max_length": 9}}
    for _ in range(2):  # as it is in Redis, then as it is in Postgres
        async with gateway.get(f"/api/v1/predictions/{body['prediction_id']}") as answer:
            assert (await answer.json())["input"] == kept
        assert b"ann@" not in repr(await redis.xrange(keys.results)).encode()
        await persist_everything(redis, keys, database_url)
    assert orjson.loads(await database.fetchval("SELECT input_data::text FROM predictions")) == kept


async def test_each_text_of_a_batch_is_redacted(start_gateway: StartGateway, worker: HandWorker) -> None:
    gateway = await start_gateway(redaction=f"{MODULE}:addresses")
    given = {"model": "echo", "texts": [TEXT, "hello", TEXT]}
    async with gateway.post("/api/v1/predict/batch?wait=0", json=given) as answer:
        assert answer.status == 202
    assert [request.input for _, request in await worker.take(3)] == [REDACTED, "hello", REDACTED]


@pytest.mark.parametrize("stage", ["input", "store"])
@pytest.mark.parametrize(
    ("function", "status", "kind"),
    [
        ("raises", 500, "redaction-failed"),
        ("exits", 500, "redaction-failed"),
        ("returns_nothing", 500, "redaction-failed"),
        ("returns_nul", 500, "redaction-failed"),
        ("returns_half_a_pair", 500, "redaction-failed"),
        ("hangs", 503, "redaction-unavailable"),
    ],
)
async def test_what_cannot_be_redacted_is_not_accepted(
    start_gateway: StartGateway,
    redis: Redis,
    keys: Keys,
    caplog: pytest.LogCaptureFixture,
    stage: str,
    function: str,
    status: int,
    kind: str,
) -> None:
    gateway = await start_gateway(
        redaction=f"{MODULE}:{function}", redaction_stage=stage, redaction_timeout_s=1 if status == 500 else 0.05
    )
    with caplog.at_level(logging.ERROR):
        answered, problem = await submit(gateway)
    assert (answered, problem["type"]) == (status, f"urn:millstream:problem:{kind}")
    assert "redact" in problem["detail"] and "ann@" not in str(problem)
    assert any("redaction" in each.getMessage() for each in caplog.records)
    assert "ann@" not in str([each.__dict__ for each in caplog.records])
    assert not [key async for key in redis.scan_iter(f"{keys.prefix}*")], "nothing was published"


@pytest.mark.parametrize(
    ("function", "told"), [("blanks", "must not be blank"), ("lengthens", "must have at most 50000 characters")]
)
async def test_a_redacted_text_is_held_to_the_limits_of_a_text(
    start_gateway: StartGateway, function: str, told: str
) -> None:
    gateway = await start_gateway(redaction=f"{MODULE}:{function}")
    status, problem = await submit(gateway)
    assert status == 422 and told in problem["detail"]


async def test_threads_that_hang_are_so_many_and_no_more_and_all_is_well_when_they_come_back(
    start_gateway: StartGateway, redis: Any, keys: Keys
) -> None:
    gateway = await start_gateway(redaction=f"{MODULE}:hangs", redaction_timeout_s=0.05)
    answers = await asyncio.gather(*(submit(gateway) for _ in range(MOST_THREADS + 5)))
    assert {status for status, _ in answers} == {503}
    assert sum(each.name == "redaction" for each in threading.enumerate()) == MOST_THREADS
    async with gateway.get("/livez") as answer:
        assert answer.status == 200, "the loop goes on all the while"
    redactions.HANGS.set()

    async def accepted() -> bool:
        return (await submit(gateway))[0] == 202

    await eventually(accepted, "texts are redacted again")
    assert await redis.xlen(keys.requests("echo", "2.0.0")) == 1


def test_a_redaction_that_cannot_be_loaded_ends_the_start_in_words() -> None:
    assert load_redaction(None, "input", 1) is None
    for name, told in (
        ("no.such.module:f", "cannot be loaded .ModuleNotFoundError: .*PYTHONPATH"),
        (f"{MODULE}:no_such_function", "cannot be loaded .AttributeError"),
        (f"{MODULE}:HANGS", "is no function"),
    ):
        with pytest.raises(ConfigurationError, match=f"REDACTION: '{name}' {told}"):
            load_redaction(name, "input", 1)
