"""The stores that a measurement runs on, with the schema in place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scripts.stack.postgres import PostgresServer, running_postgres
from scripts.stack.redis import AppendFsync, RedisServer
from scripts.stack.server import DataServer
from tests.access import ROLE_PASSWORDS, running_redis
from tests.processes import REPOSITORY


class Stores(NamedTuple):
    """Both stores, and the environment in which services use them."""

    postgres: PostgresServer
    redis: RedisServer
    environment: dict[str, str]


@contextmanager
def running_stores(
    folder: Path,
    models: str,
    *,
    appendfsync: AppendFsync = "everysec",
    maxmemory: str = "512mb",
    durable: bool = False,
) -> Iterator[Stores]:
    """Postgres and Redis, for workers that serve these models of the tests' catalogue."""
    with (
        running_postgres(folder / "postgres", durable=durable) as postgres,
        running_redis(folder / "redis", appendfsync=appendfsync, maxmemory=maxmemory) as redis,
    ):
        environment = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "MODEL_CATALOGUE": str(REPOSITORY / "tests/fixtures/models.toml"),
            "WORKER_MODELS": models,
        }
        passwords = {name.upper(): password.get_secret_value() for name, password in ROLE_PASSWORDS.items()}
        subprocess.run(
            [sys.executable, "-m", "migrations"],
            cwd=REPOSITORY,
            env={**os.environ, **environment, **passwords, "LOG_LEVEL": "WARNING"},
            check=True,
        )
        yield Stores(postgres, redis, environment)


def pid_of(server: DataServer) -> int:
    """The process of a running store."""
    assert server.process is not None
    return server.process.pid
