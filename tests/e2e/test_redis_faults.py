"""Redis answers wrongly to all three processes: they say so, are ready within 15 s of its healing, and lose nothing."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from redis.asyncio import Redis

from scripts.stack.ports import free_port
from shared.streams.redis_watch import commands_of
from tests.chaos import redis_faults
from tests.chaos.redis_faults import BreakableRedis
from tests.e2e.conftest import Start
from tests.processes import Service
from tests.waiting import eventually

READY_WITHIN_S = 15.0
FAULT_LASTS_S = 2.0
FAULTS = ("demoted", "cannot_save", "clients_killed", "exhausted", "paused", "forbidden", "evicting")
LEAST_RIGHTS = ("on", ">pw", "~*", "&*", "+@all", "-@admin", "-@dangerous", "+info")  # as docs/DEPLOYMENT.md says
CONNECTION_COMMANDS = ("CLIENT", "EVALSHA", "INFO", "PING", "SCRIPT EXISTS", "SCRIPT LOAD", "SUBSCRIBE", "UNSUBSCRIBE")
LACKING = {"gateway": ("subscribe", "zadd"), "inference_worker": ("xreadgroup", "xclaim"), "persister": ("xack", "set")}


@pytest.fixture
def breakable(tmp_path: Path) -> Iterator[BreakableRedis]:
    server = BreakableRedis(tmp_path / "breakable", free_port(), "always")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def admin(breakable: BreakableRedis) -> AsyncIterator[Any]:
    async with Redis.from_url(breakable.url, protocol=2) as client:
        yield client


@asynccontextmanager
async def evicting(redis: Any, _: BreakableRedis) -> AsyncIterator[None]:
    """Someone lets it delete what it likes."""
    await redis.config_set("maxmemory-policy", "allkeys-random")
    yield
    await redis.config_set("maxmemory-policy", "noeviction")


class Clients:
    """They post all the time, and remember what was accepted."""

    def __init__(self, gateway: Service) -> None:
        self.accepted: list[str] = []
        self.refused: Counter[int] = Counter()
        self._url = f"{gateway.url}/api/v1/predict"

    async def post(self, session: aiohttp.ClientSession) -> bool:
        body = {"model": "echo", "text": f"text {len(self.accepted)}"}
        async with session.post(self._url, json=body, params={"wait": "0"}) as answer:
            if answer.status == 202:
                self.accepted.append((await answer.json())["prediction_id"])
            else:
                self.refused[answer.status] += 1
            return answer.status == 202

    async def accepted_more(self, fault: str) -> None:
        """Wait until some more are accepted."""
        before = len(self.accepted)
        await eventually(lambda: len(self.accepted) > before + 5, f"accepting, {fault}", READY_WITHIN_S)

    async def post_until(self, stop: asyncio.Event) -> None:
        async with aiohttp.ClientSession() as session:
            while not stop.is_set():
                await self.post(session)
                await asyncio.sleep(0.01)  # a rate: what is accepted must be computed, too


async def test_every_fault_is_survived_by_all_three(
    start: Start, breakable: BreakableRedis, admin: Any, database: asyncpg.Connection
) -> None:
    common: dict[str, Any] = {"REDIS_URL": breakable.url, "VISIBILITY_TIMEOUT_MS": "3000", "REDIS_TIMEOUT_MS": "2000"}
    gateway = start("gateway", **common)
    services = [gateway, start("inference_worker", WORKER_MODELS="echo", **common), start("persister", **common)]
    clients, stop = Clients(gateway), asyncio.Event()
    posting = asyncio.create_task(clients.post_until(stop))
    for fault in FAULTS:
        await clients.accepted_more(fault)
        async with getattr(redis_faults, fault, evicting)(admin, breakable):
            await asyncio.sleep(FAULT_LASTS_S)
        await eventually(lambda: all(each.ready for each in services), f"ready after {fault}", READY_WITHIN_S)
        await clients.accepted_more(fault)
    stop.set()
    await posting
    assert clients.refused.keys() <= {503}

    async def all_stored() -> bool:
        count = "SELECT count(*) FROM predictions WHERE id = ANY($1::uuid[]) AND status = 'succeeded'"
        return bool(await database.fetchval(count, clients.accepted) == len(clients.accepted))

    await eventually(all_stored, "everything that was accepted is stored", 30)
    # A 503 may be of a request whose acceptance Redis could not tell any more.
    unknown = await database.fetchval("SELECT count(*) FROM predictions") - len(clients.accepted)
    assert 0 <= unknown <= clients.refused[503]


async def test_the_rights_that_are_checked_are_all_that_a_service_needs(
    start: Start, breakable: BreakableRedis, admin: Any, database: asyncpg.Connection
) -> None:
    services: list[Service] = []
    for module in LACKING:
        rights = [f"+{'|'.join(each.lower().split())}" for each in (*commands_of(module), *CONNECTION_COMMANDS)]
        await admin.execute_command("ACL", "SETUSER", module, "on", ">pw", "~*", "&*", "-@all", *rights)
        url = breakable.url.replace("redis://", f"redis://{module}:pw@")
        services.append(start(module, REDIS_URL=url, WORKER_MODELS="echo", CLAIM_INTERVAL_MS="50", MAX_DELIVERIES="1"))
    async with aiohttp.ClientSession(services[0].url) as session:
        for text, status in {"hello": 200, "raise": 500, "kill": 500}.items():  # the last one is dead-lettered
            body = {"model": "echo", "text": text}
            async with session.post("/api/v1/predict", json=body, headers={"Idempotency-Key": text}) as answer:
                assert answer.status == status
        async with session.get("/api/v1/dead-letters") as answer:
            (letter,) = (await answer.json())["items"]
        async with session.post(f"/api/v1/dead-letters/{letter['dead_letter_id']}/replay") as answer:
            assert answer.status == 202
        for path in ("/health", "/api/v1/models", "/api/v1/predictions"):
            async with session.get(path) as answer:
                assert answer.status == 200, path
        async with session.get(f"{services[0].metrics_url}/metrics") as answer:
            assert "millstream_queue_depth{" in await answer.text()
    stored = "SELECT count(*) FROM predictions"
    await eventually(lambda: database.fetchval(stored), "stored")
    for service in services:
        assert service.stop() == 0
        assert "may not run" not in service.log.read_text()


def reason_of(service: Service) -> str:
    """Why it is not ready; empty if it is."""
    try:
        with urllib.request.urlopen(f"{service.url}/readyz", timeout=5):
            return ""
    except urllib.error.HTTPError as answer:
        return str(json.load(answer)["reason"])
    except OSError:
        return "no answer"


async def says(service: Service, *told: str) -> None:
    await eventually(lambda: all(each in reason_of(service) for each in told), f"{service.module} says {told}")


async def test_each_service_names_the_right_that_it_lacks_and_goes_on_once_it_has_it(
    start: Start, breakable: BreakableRedis, admin: Any
) -> None:
    services: dict[str, Service] = {}
    for module, lacking in LACKING.items():
        await admin.execute_command("ACL", "SETUSER", module, *LEAST_RIGHTS, *(f"-{each}" for each in lacking))
        url = breakable.url.replace("redis://", f"redis://{module}:pw@")
        services[module] = start(module, ready=False, REDIS_URL=url, WORKER_MODELS="echo")
    for number in range(2):
        for module, lacking in LACKING.items():
            await says(services[module], f"the Redis user '{module}' may not run ", f"'{lacking[number]}'")
            await admin.execute_command("ACL", "SETUSER", module, f"+{lacking[number]}")
    await eventually(lambda: all(each.ready for each in services.values()), "ready", READY_WITHIN_S)
    async with aiohttp.ClientSession(services["gateway"].url) as session:
        async with session.post("/api/v1/predict", json={"model": "echo", "text": "hello"}) as answer:
            assert answer.status == 200
    assert all(each.process.poll() is None for each in services.values())
