"""A rolling restart of every component under load: no request fails, no prediction is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import asyncpg

from tests.balancer import Balancer, balancing
from tests.e2e.conftest import Start
from tests.processes import Service
from tests.waiting import eventually

SETTINGS: dict[str, Any] = {"CLAIM_INTERVAL_MS": "200", "READ_BLOCK_MS": "200", "SHUTDOWN_GRACE_S": "20"}


class Load:
    """Requests without end until told to stop, each on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.stop = asyncio.Event()
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.ids: set[str] = set()

    async def run(self, clients: int) -> None:
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(self._url, connector=connector) as session:
            await asyncio.gather(*(self._client(session, number) for number in range(clients)))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = 0
        while not self.stop.is_set():
            turn += 1
            text = f"client {number} turn {turn}"
            async with session.post("/api/v1/predict", json={"model": "echo", "text": text}) as answer:
                body = await answer.json()
            self.statuses[answer.status] += 1
            self.ids.add(body.get("prediction_id", ""))
            if body.get("result", {}).get("echo") != text:
                self.wrong.append(text)

    async def served(self, more: int) -> None:
        """Wait until so many more requests are answered."""
        target = self.statuses.total() + more
        await eventually(lambda: self.statuses.total() >= target, f"{more} more answers")


async def replace(start: Start, module: str, old: Service, load: Load, **settings: Any) -> Service:
    """Start the next one, then stop the old one, as a rolling update does."""
    new = await asyncio.to_thread(start, module, **SETTINGS, **settings)
    await load.served(50)
    assert await asyncio.to_thread(old.stop) == 0, old.log.read_text()
    await load.served(50)
    return new


async def test_no_request_fails_while_everything_is_replaced(start: Start, database: asyncpg.Connection) -> None:
    gateways = [start("gateway", **SETTINGS), start("gateway", **SETTINGS)]
    worker = start("inference_worker", WORKER_MODELS="echo", **SETTINGS)
    persister = start("persister", **SETTINGS)
    balancer = Balancer([int(each.url.rsplit(":", 1)[1]) for each in gateways])
    async with balancing(balancer) as url:
        load = Load(url)
        running = asyncio.create_task(load.run(8))
        await load.served(100)
        await replace(start, "inference_worker", worker, load, WORKER_MODELS="echo")
        await replace(start, "persister", persister, load)
        for number, old in enumerate(gateways):
            new = await asyncio.to_thread(start, "gateway", **SETTINGS)
            balancer.ports.append(int(new.url.rsplit(":", 1)[1]))
            await load.served(50)
            balancer.ports.pop(0)  # taken out of the balancer, as an endpoint that is being deleted is
            assert await asyncio.to_thread(old.stop) == 0, f"gateway {number}: {old.log.read_text()}"
            await load.served(50)
        load.stop.set()
        await running
    assert dict(load.statuses) == {200: load.statuses.total()}
    assert load.wrong == []
    assert len(load.ids) == load.statuses.total()

    async def stored() -> bool:
        return bool(await database.fetchval("SELECT count(*) FROM predictions") == len(load.ids))

    await eventually(stored, "each prediction is stored once")
