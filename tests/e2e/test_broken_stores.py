"""Whatever is wrong with a store, no loop spins and every process lives; when it heals, all are ready in seconds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from redis.asyncio import Redis

from scripts.stack.postgres import PostgresServer
from scripts.stack.redis import RedisServer, running_redis
from tests.chaos.proxy import Mode, Proxy
from tests.e2e.conftest import Start
from tests.processes import Service, descendants
from tests.tokens import ISSUED, by, ec_key, issuing, public_jwk, token
from tests.waiting import eventually

LASTS_S = 3.0
SETTLES_S = 1.0  # connections end, the first backoffs are short
MOST_TURNS_PER_S = 50
MOST_CPU = 0.3  # of a core
READY_WITHIN_S = 15
# Every loop reports, or it would be found stalled.
SERVED = ("echo:1.0.0", "echo:2.0.0", "noop:1.0.0")
LOOPS = {
    "gateway": {"probes", "hints", "recheck", "expiry", "dead letters", "connections", "serving", "throughput"}
    | {"experiments", "feed"}
    | {"http metrics", "redis checks", "signing keys", "api keys", "revocations", "models", "stored models"},
    "inference_worker": {"probes", "heartbeat", "redis checks", "models"}
    | {f"{loop} {label}" for loop in ("serve", "lane", "claims") for label in SERVED},
    "persister": {"probes", "persist", "partitions", "drift", "erasures", "retention", "redis checks", "webhooks"},
}
KEY = ec_key()
CALLS_BACK: Any = {"CALLBACK_HOSTS": "receiver.test", "WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 4}
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Stores:
    """The stores, the networks to them, and an operator's hands."""

    def __init__(self, redis: Any, to_redis: Proxy, to_postgres: Proxy, admin: asyncpg.Connection, name: str) -> None:
        self.redis, self.to_redis, self.to_postgres = redis, to_redis, to_postgres
        self._admin, self._name = admin, name

    async def configure(self, **options: object) -> None:
        """Change settings of Redis."""
        for option, value in options.items():
            await self.redis.config_set(option.replace("_", "-"), value)

    async def alter(self, change: str) -> None:
        """Change the database, for new connections, and end the open ones."""
        await self._admin.execute(f'ALTER DATABASE "{self._name}" {change}')
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
        await self._admin.execute(ending, self._name)


Act = Callable[[Stores], Awaitable[object]]


class Fault(NamedTuple):
    """How to break a store, and how to mend it."""

    name: str
    break_it: Act
    mend_it: Act


def network(of: str, mode: Mode) -> Fault:
    async def change(stores: Stores, to: Mode) -> None:
        getattr(stores, of).set(to)

    return Fault(f"{of} {mode.name}", lambda stores: change(stores, mode), lambda stores: change(stores, Mode.FORWARD))


async def demote(stores: Stores) -> None:
    await stores.redis.replicaof("127.0.0.1", "1")


async def promote(stores: Stores) -> None:
    await stores.configure(replica_serve_stale_data="yes")
    await stores.redis.replicaof("NO", "ONE")


async def answer_nothing(stores: Stores) -> None:
    await stores.configure(replica_serve_stale_data="no")
    await demote(stores)


FAULTS = (
    network("to_redis", Mode.REFUSE),
    network("to_redis", Mode.BLACKHOLE),
    Fault("READONLY at once", demote, promote),
    Fault("MASTERDOWN at once", answer_nothing, promote),
    Fault(
        "NOPERM at once",
        lambda stores: stores.redis.execute_command("ACL", "SETUSER", "default", "-@scripting", "-@stream"),
        lambda stores: stores.redis.execute_command("ACL", "SETUSER", "default", "+@all"),
    ),
    network("to_postgres", Mode.REFUSE),
    network("to_postgres", Mode.BLACKHOLE),
    Fault(
        "Postgres rejects at once",
        lambda stores: stores.alter("ALLOW_CONNECTIONS false"),
        lambda stores: stores.alter("ALLOW_CONNECTIONS true"),
    ),
    Fault(
        "Postgres is read-only",
        lambda stores: stores.alter("SET default_transaction_read_only = on"),
        lambda stores: stores.alter("RESET default_transaction_read_only"),
    ),
)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that may be spoilt."""
    with running_redis(tmp_path / "redis", appendfsync="no") as server:
        yield server


@pytest.fixture
async def stores(own_redis: RedisServer, postgres_server: PostgresServer, database_url: str) -> AsyncIterator[Stores]:
    """Stores that may be spoilt, behind networks that may be spoilt."""
    parts = urlsplit(database_url)
    proxies = Proxy(own_redis.port), Proxy(parts.port or 5432)
    for each in proxies:
        await each.start()
    admin = await asyncpg.connect(postgres_server.url)
    redis: Any
    async with Redis.from_url(own_redis.url) as redis:
        yield Stores(redis, *proxies, admin, parts.path[1:])
    await admin.close()
    for each in proxies:
        await each.close()


class Effort(NamedTuple):
    """What a process has done so far: CPU seconds, and the turns of its loops."""

    cpu_s: float
    turns: dict[str, int]


async def effort(session: aiohttp.ClientSession, service: Service) -> Effort:
    """What a service has done so far, its children included; asks its liveness, which has to answer."""
    ticks = 0
    for pid in [service.process.pid, *descendants(service.process.pid)]:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    async with session.get(f"{service.metrics_url}/livez") as answer:
        said = await answer.json(content_type=None)
    assert said["status"] == "ok", (service.module, said)
    return Effort(ticks * TICK_S, said["turns"])


@asynccontextmanager
async def asking(session: aiohttp.ClientSession, url: str) -> AsyncIterator[None]:
    """Somebody who goes on sending requests, whatever becomes of them."""

    async def ask() -> None:
        body, timeout = {"model": "echo", "text": "a"}, aiohttp.ClientTimeout(2)
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(f"{url}/api/v1/predict?wait=1", json=body, timeout=timeout) as answer:
                    await answer.read()
            await asyncio.sleep(0.5)  # each makes a healthy lane report a few turns

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def check_effort(session: aiohttp.ClientSession, services: Sequence[Service], fault: str) -> None:
    """Nothing spins for a while."""
    await asyncio.sleep(SETTLES_S)
    began, before = time.monotonic(), [await effort(session, each) for each in services]
    await asyncio.sleep(LASTS_S)
    after = [await effort(session, each) for each in services]
    seconds = time.monotonic() - began
    for service, old, new in zip(services, before, after, strict=True):
        assert new.turns.keys() == LOOPS[service.module], (fault, service.module)
        rates = {loop: (turns - old.turns.get(loop, 0)) / seconds for loop, turns in new.turns.items()}
        assert max(rates.values()) < MOST_TURNS_PER_S, (fault, service.module, rates)
        assert (new.cpu_s - old.cpu_s) / seconds < MOST_CPU, (fault, service.module, new.cpu_s - old.cpu_s, seconds)


async def all_ready(services: Sequence[Service]) -> bool:
    """Whether all are ready, without a restart."""
    return all([await asyncio.to_thread(lambda each=each: each.ready) for each in services])  # type: ignore[misc]


@pytest.mark.timeout(400)
async def test_nothing_spins_and_all_are_ready_when_it_heals(start: Start, stores: Stores, database_url: str) -> None:
    settings: dict[str, Any] = {
        "ready": False,  # waiting for it would hold up the proxies
        "REDIS_URL": f"redis://127.0.0.1:{stores.to_redis.port}/0",
        "DATABASE_URL": database_url.replace(f":{urlsplit(database_url).port}/", f":{stores.to_postgres.port}/"),
        "REDIS_TIMEOUT_MS": "1500",
        "DATABASE_TIMEOUT_S": "2",
        "STALL_TIMEOUT_S": "8",  # liveness stays green throughout
        "VISIBILITY_TIMEOUT_MS": "3000",  # what Redis handed out into a silent network comes back
    }
    async with issuing(public_jwk(KEY, kid="k")) as issuer:
        asks: dict[str, Any] = {"AUTH": "required", "JWKS_URL": issuer.url, "API_KEY_PEPPER": "pepper" * 6}
        told = {name.upper(): value for name, value in ISSUED.items()}
        await nothing_spins(start, stores, settings, {**asks, **told})


async def nothing_spins(start: Start, stores: Stores, settings: dict[str, Any], asks: dict[str, Any]) -> None:
    gateway = start("gateway", **settings, **asks)
    worker = start("inference_worker", WORKER_MODELS="echo,noop", **settings)
    services = [gateway, worker, start("persister", **settings, **CALLS_BACK)]
    headers = by(token(KEY, {"kid": "k"}, exp=int(time.time()) + 3600))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5), headers=headers) as session:
        await eventually(lambda: all_ready(services), "all are ready at first", timeout_s=60)
        for fault in FAULTS:
            async with asking(session, gateway.url):
                await fault.break_it(stores)
                await check_effort(session, services, fault.name)
            await fault.mend_it(stores)
            healed = time.monotonic()
            await eventually(lambda: all_ready(services), f"ready after {fault.name}", timeout_s=READY_WITHIN_S)
            async with session.post(
                f"{gateway.url}/api/v1/predict", json={"model": "echo", "text": fault.name}
            ) as answer:
                assert answer.status == 200, (fault.name, await answer.text())
            print(f"{fault.name}: ready after {time.monotonic() - healed:.1f} s")
        await eventually(lambda: nothing_waits(stores), "all is stored", timeout_s=30)


async def nothing_waits(stores: Stores) -> bool:
    """Whether every accepted prediction is in Postgres."""
    return not [key async for key in stores.redis.scan_iter("*:prediction:*")]
