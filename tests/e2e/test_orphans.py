"""A deadline holds for everybody: for what left the catalogue, and for what a dead worker holds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from shared.contract.keys import Keys
from tests.e2e.conftest import Start
from tests.processes import REPOSITORY
from tests.waiting import eventually

CATALOGUE = (REPOSITORY / "tests/fixtures/models.toml").read_text(encoding="utf-8")
TIMEOUT_S = 8.0  # a gateway starts meanwhile
LATE_S = 5.0  # EXPIRY_INTERVAL_S (1), on a busy machine


async def submit(url: str, text: str) -> str:
    """Leave a request of echo 1.0.0 in the queue; the answer is its id."""
    body = {"model": "echo", "version": "1.0.0", "text": text}
    async with (
        aiohttp.ClientSession(url) as session,
        session.post("/api/v1/predict", json=body, params={"wait": "0", "timeout": str(TIMEOUT_S)}) as answer,
    ):
        assert answer.status == 202
        return str((await answer.json())["prediction_id"])


async def read(url: str, prediction_id: str) -> dict[str, Any]:
    async with aiohttp.ClientSession(url) as session, session.get(f"/api/v1/predictions/{prediction_id}") as answer:
        body: dict[str, Any] = await answer.json()
        return body


async def health(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession(url) as session, session.get("/health") as answer:
        body: dict[str, Any] = await answer.json()
        return body


CHANGES = {
    "removed": CATALOGUE.replace('name = "echo"', 'name = "renamed"'),
    "inactive": CATALOGUE.replace('version = "1.0.0"', 'version = "1.0.0"\nactive = false', 1),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_version_that_leaves_the_catalogue_leaves_nothing_queued(
    start: Start, tmp_path: Path, change: str
) -> None:
    first = start("gateway")
    prediction_id = await submit(first.url, "left alone")
    deadline = time.monotonic() + TIMEOUT_S
    first.stop()
    (tmp_path / "models.toml").write_text(CHANGES[change], encoding="utf-8")
    gateway = start("gateway", MODEL_CATALOGUE=str(tmp_path / "models.toml"))
    ready = time.monotonic()
    async with aiohttp.ClientSession(gateway.metrics_url) as session, session.get("/metrics") as answer:
        assert 'millstream_queue_depth{priority="interactive",stream="requests/echo/1.0.0"} 1.0' in await answer.text()
    assert "not in the catalogue any more" in (await read(gateway.url, prediction_id))["note"]
    assert (await health(gateway.url))["orphans"] == ["echo:1.0.0"]

    async def expired() -> bool:
        return bool((await read(gateway.url, prediction_id))["status"] == "expired")

    await eventually(expired, "its deadline has passed")
    assert time.monotonic() < max(deadline, ready) + LATE_S
    async with aiohttp.ClientSession(gateway.metrics_url) as session, session.get("/metrics") as answer:
        assert "requests/echo/1.0.0" not in await answer.text()
    assert (await health(gateway.url))["orphans"] == []


async def is_held(redis: Redis, keys: Keys) -> bool:
    """Whether a worker has read the request."""
    groups = await redis.xinfo_groups(keys.requests("echo", "1.0.0"))
    return any(each["pending"] for each in groups)


async def test_what_the_only_worker_held_when_it_died_expires(start: Start, redis: Redis, keys: Keys) -> None:
    settings: dict[str, Any] = {"VISIBILITY_TIMEOUT_MS": "1000", "CLAIM_INTERVAL_MS": "500"}
    gateway = start("gateway", **settings)
    worker = start("inference_worker", WORKER_MODELS="echo", **settings)
    prediction_id = await submit(gateway.url, "slow")
    await eventually(lambda: is_held(redis, keys), "the worker holds it")
    worker.kill()

    async def expired() -> bool:
        return bool((await read(gateway.url, prediction_id))["status"] == "expired")

    await eventually(expired, "its deadline has passed, and no worker has renewed its claim")
    assert "no live worker had it" in (await read(gateway.url, prediction_id))["error"]
