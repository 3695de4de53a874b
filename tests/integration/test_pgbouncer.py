"""Everything works through PgBouncer in transaction mode: migrating, storing, reading, a time without writes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest
from pydantic import SecretStr

from gateway.core.history import NEWEST, Filters, History
from gateway.core.principal import ANYBODY
from persister.database import Database
from persister.settings import PersisterSettings
from scripts.stack.postgres import PostgresServer
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import Keys
from shared.service.settings import DatabaseSettings
from shared.streams.deployment import Deployment
from shared.streams.shard import Shard
from tests.conftest import FIXTURES
from tests.gateways import persist_everything
from tests.integration.test_postgres_trouble import row
from tests.integration.test_result_stream import compute
from tests.pgbouncer import PROGRAM, PgBouncer
from tests.processes import REPOSITORY
from tests.streams import Redis
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed (Debian: apt install pgbouncer)")


@pytest.fixture
def pooled(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The test's database, through a pooler."""
    pooler = PgBouncer(tmp_path / "pgbouncer", database_url)
    pooler.start()
    yield pooler.url
    pooler.stop()


async def test_results_are_stored_and_read(redis: Redis, keys: Keys, pooled: str, database: asyncpg.Connection) -> None:
    ids = await compute(redis, keys, *(str(number) for number in range(50)))
    await persist_everything(redis, keys, pooled)
    assert await database.fetchval("SELECT count(*) FROM predictions") == 50
    assert await database.fetchval("SELECT count(*) FROM predictions_default") == 0
    history = History(DatabaseSettings(database_url=SecretStr(pooled)), Deployment(Shard(redis, keys)))

    async def read(each: str) -> None:
        await history.ping()
        assert list(await history.find([each])) == [each]
        assert len(await history.page(Filters(ANYBODY, model="echo"), NEWEST, 10)) == 10

    await asyncio.gather(*(read(each) for each in ids for _ in range(4)))
    await history.close()


async def test_what_is_stored_at_once_from_several_persisters(pooled: str, database: asyncpg.Connection) -> None:
    stores = [Database(PersisterSettings(database_url=SecretStr(pooled))) for _ in range(4)]
    for _ in range(25):
        await asyncio.gather(*(store.insert([row(), row()._replace(attempt=1)]) for store in stores))
        await asyncio.gather(*(store.distribution("echo", "1.0.0", 100, newest=True) for store in stores))
    assert await database.fetchval("SELECT count(*) FROM predictions") == 200
    for store in stores:
        await store.close()


async def test_a_session_that_the_pooler_keeps_read_only_is_ended(pooled: str, database: asyncpg.Connection) -> None:
    """The pooler keeps its connections to the server, whatever its clients do with theirs."""
    name = await database.fetchval("SELECT current_database()")
    store = Database(PersisterSettings(database_url=SecretStr(pooled)))
    await database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    for _ in range(6):
        with pytest.raises(StoreUnavailable) as told:
            await store.insert([row()])
        assert told.value.reason == "read_only"
    await database.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

    async def stored() -> bool:
        try:
            await store.insert([row()])
        except StoreUnavailable:
            return False
        return True

    await eventually(stored, "it is written to again", 10)
    for _ in range(10):
        await store.insert([row()])
    await store.close()


def test_the_schema_is_migrated_again_and_again(postgres_server: PostgresServer, tmp_path: Path) -> None:
    base, name = postgres_server.url.rpartition("/")[0], f"test_{uuid.uuid4().hex}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        pooler = PgBouncer(tmp_path / "pgbouncer", f"{base}/{name}")
        pooler.start()
        settings = {"DATABASE_URL": pooler.url, "MODEL_CATALOGUE": str(FIXTURES / "models.toml"), "PATH": ""}
        command = [sys.executable, "-m", "migrations"]
        for options in ([], [], ["--rollback", "1"], []):
            done = subprocess.run(
                [*command, *options], cwd=REPOSITORY, env=settings, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
        pooler.stop()
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert connection.execute(locks).fetchone() == (0,)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
