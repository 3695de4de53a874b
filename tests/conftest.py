"""Real stores for all tests: one Postgres and one Redis a session, a database and a key prefix of its own a test."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import psycopg
import pytest
from coverage import Coverage
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from redis.asyncio import Redis

from gateway.settings import GatewaySettings
from inference_worker.settings import WorkerSettings
from migrations.__main__ import run as run_migrations
from migrations.settings import MigrateSettings
from persister.settings import PersisterSettings
from scripts.stack.postgres import PostgresServer, running_postgres
from scripts.stack.redis import RedisServer
from shared.contract.catalogue import Catalogue
from shared.contract.keys import Keys
from shared.service.catalogue_file import load_catalogue
from shared.service.settings import DatabaseSettings, Settings
from tests.access import ROLE_PASSWORDS, refusals, running_redis

# An example may take as long as it takes: a busy machine is no fault of the code.
hypothesis_settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("patient")

FIXTURES = Path(__file__).parent / "fixtures"
# Who is cut off while connecting holds up the end of its database for as long as it may take to say who it is.
_POSTGRES = {"max_connections": "200", "authentication_timeout": "5s", "max_wal_size": "128MB"}
_MEMORY, _MEMORY_BYTES = Path("/dev/shm"), 2 << 30


# What the tests in these do themselves does not count for coverage: they have services do it, or libraries.
_NOT_COUNTED = ("e2e/", "integration/test_hub_", "unit/test_hpa_simulation")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Measure coverage where it says something: it costs a third of the time."""
    measured = Coverage.current()
    if measured is None or not str(item.path.relative_to(FIXTURES.parent)).startswith(_NOT_COUNTED):
        return (yield)
    measured.stop()
    try:
        return (yield)
    finally:
        measured.start()


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> None:
    """Tests do not depend on a developer's .env or environment; gateways ask nobody who they are unless a test does."""
    for kind in (Settings, DatabaseSettings, GatewaySettings, WorkerSettings, PersisterSettings, MigrateSettings):
        kind.model_config["env_file"] = None
        for name in kind.model_fields:
            os.environ.pop(name.upper(), None)
    os.environ["AUTH"] = "off"


@pytest.fixture(scope="session")
def stores_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the stores keep their data: in memory if it has room, since each clone of a database is 500 files."""
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _MEMORY_BYTES:
        yield tmp_path_factory.mktemp("stores")
        return
    with TemporaryDirectory(prefix="millstream-tests-", dir=_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_server(stores_folder: Path) -> Iterator[PostgresServer]:
    """A Postgres server with a migrated template database."""
    with running_postgres(stores_folder / "postgres", settings=_POSTGRES) as server:
        stores: dict[str, Any] = {"database_url": server.url, "model_catalogue": FIXTURES / "models.toml"}
        run_migrations(MigrateSettings(**stores, **ROLE_PASSWORDS), 0)
        yield server


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest, stores_folder: Path) -> Iterator[RedisServer]:
    """A Redis server: the local stack's, or another (see `tests.streams.EVERY_SERVER`)."""
    program: Path | None = getattr(request, "param", None)
    with running_redis(stores_folder / f"redis-{uuid.uuid4().hex}", program=program) as server:
        yield server


@contextmanager
def cloned_database(server: PostgresServer) -> Iterator[str]:
    """A migrated database cloned from the template, for the length of the block."""
    url = _clone(server)
    yield url
    _drop(url)


def _clone(server: PostgresServer) -> str:
    base, name = server.url.rsplit("/", 1)[0], f"test_{uuid.uuid4().hex}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE millstream STRATEGY FILE_COPY")
    return f"{base}/{name}"


def _drop(url: str) -> None:
    base, name = url.rsplit("/", 1)
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def in_background(postgres_server: PostgresServer) -> Iterator[Executor]:
    """Drops databases while the next test runs: each waits until the last of its connections have ended."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def database_url(postgres_server: PostgresServer, in_background: Executor) -> Iterator[str]:
    """The URL of a migrated database of the test's own."""
    url = _clone(postgres_server)
    yield url
    in_background.submit(_drop, url)


@pytest.fixture
def keys() -> Keys:
    """Keys under a prefix of the test's own."""
    return Keys(f"test-{uuid.uuid4().hex}:")


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """A client of the Redis server, its operator's; no service was refused anything meanwhile."""
    client = Redis.from_url(redis_server.url, protocol=2)
    await refusals(client)
    yield client
    refused = await refusals(client)
    await client.aclose()
    assert not refused, "what a service uses and `USES` does not name"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the test's database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def catalogue() -> Catalogue:
    """The catalogue of the fixture models."""
    return load_catalogue(FIXTURES / "models.toml")


@pytest.fixture
def environment(redis_server: RedisServer, database_url: str, keys: Keys) -> dict[str, str]:
    """Settings, as environment variables, that point services at this test's stores."""
    return {
        "REDIS_URL": redis_server.url,
        "DATABASE_URL": database_url,
        "KEY_PREFIX": keys.prefix,
        "MODEL_CATALOGUE": str(FIXTURES / "models.toml"),
        "LOG_FORMAT": "console",
        "LOG_LEVEL": "INFO",
        "AUTH": "off",
    }
