"""The probes of the processes that have no other HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from scripts.stack.ports import LOOPBACK, free_port
from scripts.stack.probes import http_reason
from shared.contract.errors import ConfigurationError
from shared.service.liveness import Liveness
from shared.service.probes import serve_probes
from tests.waiting import eventually


class Process:
    """A process with probes, whose state is set by hand."""

    def __init__(self, host: str = LOOPBACK) -> None:
        self.now = 0.0
        self.reason: str | None = None
        self.stop = asyncio.Event()
        self.liveness = Liveness(30, lambda: self.now)
        self.port = free_port()
        self.task = asyncio.create_task(
            serve_probes(host, self.port, "ITS_PORT", self.liveness, lambda: self.reason, self.stop)
        )

    async def get(self, path: str, host: str = LOOPBACK) -> tuple[int, str]:
        """Status and body of an answer."""
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{host}:{self.port}{path}") as answer:
                return answer.status, await answer.text()

    async def listens(self) -> bool:
        """Whether it answers yet."""
        try:
            return (await self.get("/livez"))[0] > 0
        except aiohttp.ClientConnectionError:
            return False


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    """A process that answers."""
    process = Process()
    await eventually(process.listens, "probes answer")
    yield process
    process.stop.set()
    await process.task


async def test_the_double_colon_answers_on_both_families() -> None:
    process = Process("::")
    await eventually(process.listens, "probes answer")
    assert [(await process.get("/livez", host))[0] for host in ("127.0.0.1", "[::1]")] == [200, 200]
    process.stop.set()
    await process.task


async def test_a_loop_that_stalls_turns_liveness_red_and_not_readiness(process: Process) -> None:
    process.liveness.moved("read")
    status, body = await process.get("/livez")
    assert (status, json.loads(body)) == (200, {"status": "ok", "stalled_s": {}, "turns": {"read": 1}})
    process.now = 31
    status, body = await process.get("/livez")
    assert status == 503 and json.loads(body)["stalled_s"]["read"] == 31.0
    assert (await process.get("/readyz"))[0] == 200


async def test_a_process_that_is_not_ready_says_why_and_lives(process: Process) -> None:
    process.reason = "loading models"
    assert await process.get("/readyz") == (503, '{"status": "not ready", "reason": "loading models"}')
    assert await asyncio.to_thread(http_reason, process.port) == "loading models", "as make up reads it"
    assert (await process.get("/livez"))[0] == 200
    process.reason = None
    assert await asyncio.to_thread(http_reason, process.port) == ""
    assert await process.get("/readyz") == (200, '{"status": "ok"}')


async def test_metrics_are_in_the_format_of_prometheus(process: Process) -> None:
    status, text = await process.get("/metrics")
    assert status == 200 and "# TYPE python_info gauge" in text


async def test_a_stop_ends_the_server(process: Process) -> None:
    process.stop.set()
    await asyncio.wait_for(process.task, 10)
    assert not await process.listens()


async def test_a_port_that_is_taken_is_an_error(process: Process) -> None:
    with pytest.raises(ConfigurationError, match=rf"127.0.0.1:{process.port} \(ITS_PORT\): Address already in use"):
        await serve_probes(LOOPBACK, process.port, "ITS_PORT", process.liveness, lambda: None, process.stop)
