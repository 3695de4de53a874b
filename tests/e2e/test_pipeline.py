"""The way of a prediction through real processes."""

from __future__ import annotations

import asyncio

import aiohttp
import asyncpg
import pytest

from tests.e2e.conftest import Start
from tests.processes import Service


@pytest.fixture
def pipeline(start: Start) -> Service:
    """One of each service; the answer is the gateway."""
    gateway = start("gateway", ready=False)
    worker = start("inference_worker", ready=False, WORKER_MODELS="echo,noop")
    persister = start("persister", ready=False)
    for service in (gateway, worker, persister):
        service.wait_ready()
    return gateway


async def test_a_prediction_is_answered_read_and_stored(pipeline: Service, database: asyncpg.Connection) -> None:
    async with aiohttp.ClientSession(pipeline.url) as session:
        async with session.post(
            "/api/v1/predict", json={"model": "echo", "text": "Grüße 👋", "version": "1.0.0"}
        ) as answer:
            assert answer.status == 200, await answer.text()
            body = await answer.json()
        assert body["result"] == {"echo": "Grüße 👋", "reversed": "👋 eßürG"}
        assert body["confidence"] == 0.5
        for _ in range(50):
            async with session.get(f"/api/v1/predictions/{body['prediction_id']}") as answer:
                assert answer.status == 200
                read = await answer.json()
            assert read == {**body, "input": {"text": "Grüße 👋"}}
            stored = await database.fetchval("SELECT status FROM predictions WHERE id = $1", body["prediction_id"])
            if stored:
                break
            await asyncio.sleep(0.02)
    assert stored == "succeeded"
