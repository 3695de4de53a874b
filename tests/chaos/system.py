"""The system under chaos: real processes and real stores, with a proxy between each service and each store."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from scripts.stack.ports import free_port
from scripts.stack.postgres import NOT_DURABLE, PostgresServer, database_url
from scripts.stack.redis import AppendFsync, redis_url
from scripts.stack.server import DataServer
from shared.contract.keys import Keys
from tests.chaos import control
from tests.chaos.proxy import Proxy
from tests.chaos.redis_faults import BreakableRedis
from tests.chaos.schedule import LINKS, Target
from tests.chaos.slots import Slot
from tests.pgbouncer import PROGRAM, PgBouncer
from tests.processes import REPOSITORY

VISIBILITY_S = 2.0
PREFIX = "chaos:"
VERSIONS = (("echo", "1.0.0"), ("echo", "2.0.0"), ("noop", "1.0.0"))
_PASSWORD = "chaos"  # of a Postgres that lives as long as the run, on the loopback interface
# Short, so that a minute has many timeouts; a request must survive all the workers that the schedule takes from it.
_SETTINGS = {
    "KEY_PREFIX": PREFIX,
    "MODEL_CATALOGUE": str(REPOSITORY / "tests/fixtures/models.toml"),
    "LOG_FORMAT": "console",
    "LOG_LEVEL": "INFO",
    "VISIBILITY_TIMEOUT_MS": str(round(VISIBILITY_S * 1000)),
    "CLAIM_INTERVAL_MS": "300",
    "MAX_DELIVERIES": "20",
    "REDIS_TIMEOUT_MS": "1000",
    "READ_BLOCK_MS": "300",
    "DATABASE_TIMEOUT_S": "2",
    "SHUTDOWN_GRACE_S": "5",
    "HEARTBEAT_INTERVAL_S": "0.5",
    "HEARTBEAT_TTL_S": "2",
    "RECHECK_INTERVAL_S": "1",
    "EXPIRY_INTERVAL_S": "0.5",
}
_PORTS = {
    Target.GATEWAY: "GATEWAY_PORT",
    Target.WORKER: "WORKER_METRICS_PORT",
    Target.PERSISTER: "PERSISTER_METRICS_PORT",
}
_REDIS_OF = {
    Target.GATEWAY: Target.GATEWAY_REDIS,
    Target.WORKER: Target.WORKER_REDIS,
    Target.PERSISTER: Target.PERSISTER_REDIS,
}
_POSTGRES_OF = {Target.GATEWAY: Target.GATEWAY_POSTGRES, Target.PERSISTER: Target.PERSISTER_POSTGRES}
_WORKERS = ("echo,noop", "echo:2.0.0,noop", "echo")


@dataclass
class System:
    """Everything that can be broken, and everything that is looked at afterwards."""

    redis: BreakableRedis
    postgres: PostgresServer
    pooler: PgBouncer | None
    links: Mapping[Target, Sequence[Proxy]]
    slots: Mapping[Target, list[Slot]]

    @property
    def servers(self) -> Mapping[Target, DataServer]:
        """What can be killed and stopped besides services."""
        found = {Target.REDIS: self.redis, Target.POSTGRES: self.postgres, Target.POOLER: self.pooler}
        return {target: server for target, server in found.items() if server is not None}

    @property
    def keys(self) -> Keys:
        """Under which keys it works."""
        return Keys(PREFIX)

    @property
    def gateways(self) -> list[str]:
        """Where clients go."""
        return [slot.url for slot in self.slots[Target.GATEWAY]]

    @property
    def all_slots(self) -> list[Slot]:
        """Every service's place."""
        return [slot for slots in self.slots.values() for slot in slots]


@asynccontextmanager
async def running_system(
    folder: Path, workers: int, appendfsync: AppendFsync, redis_program: Path | None = None
) -> AsyncIterator[System]:
    """The whole system, ready, for the length of the block; its supervisor runs meanwhile."""
    async with AsyncExitStack() as stack:
        redis = BreakableRedis(folder / "redis", free_port(), appendfsync, redis_program)
        postgres = PostgresServer(
            folder / "postgres", free_port(), _PASSWORD, settings={**NOT_DURABLE, "max_connections": "100"}
        )
        pooler = PgBouncer(folder / "pgbouncer", postgres.url) if PROGRAM else None
        for server in filter(None, (redis, postgres, pooler)):
            stack.callback(server.stop)
            server.start()
        _migrate(postgres.url)
        ways = [each.port for each in (postgres, pooler) if each is not None]
        links = {link: [Proxy(redis.port)] for link in LINKS[Target.REDIS_LINK]}
        links |= {link: [Proxy(port) for port in ways] for link in LINKS[Target.POSTGRES_LINK]}
        for proxy in chain(*links.values()):
            await proxy.start()
            stack.push_async_callback(proxy.close)
        slots = _fill(folder, links, workers)
        system = System(redis, postgres, pooler, links, slots)
        stack.push_async_callback(_end, system)
        for slot in system.all_slots:
            await slot.listening()
        keepers = [asyncio.create_task(slot.keep(), name=f"keep {slot.name}") for slot in system.all_slots]
        stack.push_async_callback(_cancel, keepers)
        yield system


def _fill(folder: Path, links: Mapping[Target, Sequence[Proxy]], workers: int) -> dict[Target, list[Slot]]:
    def place(target: Target, number: int, **settings: str) -> Slot:
        environment = {**_SETTINGS, "REDIS_URL": redis_url(links[_REDIS_OF[target]][0].port), **settings}
        if target in _POSTGRES_OF:
            ways = links[_POSTGRES_OF[target]]  # one reaches Postgres directly, the next through the pooler
            environment["DATABASE_URL"] = database_url(ways[number % len(ways)].port, _PASSWORD)
        if target is Target.GATEWAY:
            environment |= control.settings(folder)
        clock_jumps = target is Target.GATEWAY
        return Slot(target.value, number, environment, _PORTS[target], folder, clock_jumps=clock_jumps)

    return {
        Target.GATEWAY: [place(Target.GATEWAY, number) for number in range(2)],
        Target.WORKER: [
            place(Target.WORKER, number, WORKER_MODELS=models) for number, models in enumerate(_WORKERS[:workers])
        ],
        Target.PERSISTER: [place(Target.PERSISTER, number) for number in range(2)],
    }


def _migrate(url: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "migrations"],
        cwd=REPOSITORY,
        env={**os.environ, **_SETTINGS, "DATABASE_URL": url},
        check=True,
        capture_output=True,
    )


async def _end(system: System) -> None:
    for slot in system.all_slots:
        slot.service.process.terminate()
    for slot in system.all_slots:
        await asyncio.to_thread(slot.end)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
