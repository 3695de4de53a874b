"""Logs that nobody takes stop nothing: a pipe that is not read, a full disk, a closed stderr."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.e2e.conftest import Start, services
from tests.waiting import eventually

HOSTILE = str(Path(__file__).parents[1] / "fixtures" / "hostile.toml")
BATCHES, TEXTS = 8, 256


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path, stuck: int) -> Iterator[Start]:
    """Start services whose output is stuck."""
    with services(environment, tmp_path, stuck) as start_service:
        yield start_service


@pytest.fixture(params=["unread pipe", "full disk"])
def stuck(request: pytest.FixtureRequest) -> Iterator[int]:
    """A descriptor to which nothing can be written."""
    if request.param == "full disk":
        descriptor = os.open("/dev/full", os.O_WRONLY)
        yield descriptor
        os.close(descriptor)
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(65_536))
    except BlockingIOError:
        os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.mark.timeout(300)
async def test_requests_are_answered_and_stored_and_services_stop_in_time(
    start: Start, database: asyncpg.Connection
) -> None:
    settings: dict[str, Any] = {"LOG_LEVEL": "DEBUG", "MODEL_CATALOGUE": HOSTILE}
    running = [
        start("gateway", **settings),
        start("inference_worker", WORKER_MODELS="good,hostile", **settings),
        start("persister", **settings),
    ]
    gateway, worker, _ = running
    async with aiohttp.ClientSession(gateway.url) as session:
        body = {"model": "hostile", "text": "chatter"}
        async with session.post("/api/v1/predict", json=body) as answer:
            assert answer.status == 200, "a model that prints more than a pipe holds is not held up"

        async with session.get(f"{worker.metrics_url}/metrics") as scraped:
            lines = (await scraped.text()).splitlines()
        (dropped,) = [each for each in lines if each.startswith("millstream_log_lines_dropped_total")]
        assert float(dropped.split()[1]) > 100_000

        async def ask(number: int) -> None:
            texts = {"model": "good", "texts": [f"text {number} {each}" for each in range(TEXTS)]}
            async with session.post("/api/v1/predict/batch", json=texts, params={"wait": "60"}) as answer:
                assert answer.status == 200, await answer.text()

        for begin in range(0, BATCHES, 4):
            await asyncio.gather(*(ask(number) for number in range(begin, begin + 4)))
        assert all(service.ready for service in running)

    async def all_stored() -> bool:
        return bool(await database.fetchval("SELECT count(*) FROM predictions") == BATCHES * TEXTS + 1)

    await eventually(all_stored, "all is stored", timeout_s=60)
    for service in running:
        assert service.stop() == 0
