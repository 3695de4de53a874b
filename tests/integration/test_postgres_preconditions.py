"""What a Postgres lacks is said, and waited for, before anything is stored; two databases never share one Redis."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import psycopg
import pytest
from pydantic import SecretStr

from gateway.core.history import History
from migrations.__main__ import run as run_migrations
from migrations.settings import MigrateSettings
from persister import erasure_store, outbox
from persister.database import Database
from persister.persister import Persister
from persister.settings import PersisterSettings
from scripts.stack.ports import free_port
from scripts.stack.postgres import PostgresServer
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import Keys
from shared.postgres import preconditions
from shared.service.settings import DatabaseSettings, Settings
from shared.streams.deployment import Deployment
from shared.streams.redis_client import connect
from tests.access import running_redis, shard_of
from tests.conftest import FIXTURES, cloned_database
from tests.gateways import persisting
from tests.integration.test_postgres_trouble import row
from tests.integration.test_result_stream import compute
from tests.processes import Service, wait_until
from tests.streams import Redis
from tests.waiting import eventually

LACKS = {
    "column": (
        "ALTER TABLE predictions RENAME COLUMN queue_time_ms TO hidden",
        "ALTER TABLE predictions RENAME COLUMN hidden TO queue_time_ms",
        "make migrate); it lacks predictions.queue_time_ms",
    ),
    "table": (
        "ALTER TABLE deployment RENAME TO hidden",
        "ALTER TABLE hidden RENAME TO deployment",
        "it lacks deployment.id",
    ),
    "writes": (
        "ALTER DATABASE {database} SET default_transaction_read_only = on",
        "ALTER DATABASE {database} RESET default_transaction_read_only",
        "it is read-only",
    ),
}


def says(service: Persister, words: str) -> Callable[[], bool]:
    """Whether the persister says that it is not ready, in these words."""
    return lambda: words in str(service.unavailable)


def emptied(redis: Redis, keys: Keys) -> Callable[[], Awaitable[bool]]:
    """Whether all results are stored."""

    async def empty() -> bool:
        return bool(await redis.xlen(keys.results) == 0)

    return empty


async def test_a_database_that_was_replaced_in_an_outage_is_looked_at_anew(
    database: asyncpg.Connection, database_url: str
) -> None:
    """Versions have other numbers in it: rows would go to a wrong one, or be refused."""
    store = Database(PersisterSettings(database_url=SecretStr(database_url)))
    await store.insert([row()])
    await database.execute("TRUNCATE models CASCADE")
    await store.check()
    await store.insert([row()])
    version = "FROM predictions JOIN model_versions v ON v.id = model_version_id"
    names = f"SELECT m.name {version} JOIN models m ON m.id = model_id"
    assert await database.fetchval(names) == "echo"
    await store.close()


async def test_a_reason_is_logged_once_a_minute(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    store = Database(PersisterSettings(database_url=SecretStr(database_url.replace("/test_", "/gone_"))))
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await store.check()
    (line,) = [each for each in caplog.records if each.message == "Postgres cannot be used"]
    assert line.__dict__["reason"] == "no_database" and "does not exist" in line.__dict__["detail"]
    await store.close()


@pytest.mark.parametrize("lack", LACKS)
async def test_what_lacks_is_said_and_waited_for(
    redis: Redis, keys: Keys, database: asyncpg.Connection, database_url: str, lack: str
) -> None:
    taken, given, words = LACKS[lack]
    name = await database.fetchval("SELECT current_database()")
    await database.execute(taken.format(database=name))
    await compute(redis, keys, "a")
    async with persisting(redis, keys, database_url) as service:
        await eventually(says(service, words), "it says what lacks")
        assert await redis.xlen(keys.results) == 1
        await database.execute(given.format(database=name))
        await eventually(emptied(redis, keys), "the result is stored")
        await eventually(lambda: service.unavailable is None, "it is ready")


async def test_every_column_and_every_right_that_the_persister_uses_is_asked_for(
    database: asyncpg.Connection, database_url: str
) -> None:
    name = f"role_{uuid.uuid4().hex}"
    await database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    store = Database(
        PersisterSettings(database_url=SecretStr(f"postgresql://{name}:x@{database_url.partition('@')[2]}"))
    )
    with pytest.raises(StoreUnavailable) as told:
        await store.check()
    changed = [f"{right} on {table}" for table in ("predictions", "usage") for right in ("SELECT", "INSERT", "UPDATE")]
    named = [f"{right} on {table}" for table in ("models", "model_versions") for right in ("SELECT", "INSERT")]
    rights = told.value.detail.partition("lacks a right: ")[2].split(", ")
    erasing = ["SELECT on erasures", "UPDATE on erasures", "SELECT on feedback", "DELETE on feedback"]
    erasing += ["SELECT on audit_log", "INSERT on audit_log"]
    erasing += [f"{right} on webhooks" for right in ("SELECT", "INSERT", "UPDATE", "DELETE")]
    assert sorted(rights) == sorted([*changed, *named, *erasing, "DELETE on predictions", "SELECT on deployment"])
    columns = await database.fetch(
        "SELECT relname || '.' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
        "WHERE relname IN ('predictions', 'usage') AND attnum > 0"
    )
    of_both = ("predictions", "usage", "models", "model_versions", "deployment")
    for table in (*of_both, *erasure_store.NEEDS, *outbox.NEEDS):
        await database.execute(f"ALTER TABLE {table} RENAME TO hidden_{table}")
    with pytest.raises(StoreUnavailable) as told:
        await store.check()
    missing = told.value.detail.partition("it lacks ")[2].split(", ")
    of_others = ["models.id", "models.name", "models.description", "models.task", "model_versions.id"]
    of_others += [f"model_versions.{each}" for each in ("model_id", "version", "artifact_path", "is_active")]
    others = erasure_store.NEEDS | outbox.NEEDS
    of_others += [f"{table}.{each}" for table, need in others.items() for each in need.columns]
    assert sorted(missing) == sorted([*(each[0] for each in columns), *of_others, "deployment.id"])
    await store.close()
    await database.execute(f"DROP ROLE {name}")


async def test_all_rights_that_lack_are_named_at_once(
    redis: Redis, keys: Keys, database: asyncpg.Connection, database_url: str
) -> None:
    name = f"role_{uuid.uuid4().hex}"
    await database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'; GRANT SELECT ON models, predictions TO {name}")
    settings = PersisterSettings(database_url=SecretStr(f"postgresql://{name}:x@{database_url.partition('@')[2]}"))
    store, history = Database(settings), History(settings, Deployment(shard_of("gateway", redis, keys)))
    for call, lacking in (
        (
            store.check,
            "INSERT on predictions, UPDATE on predictions, DELETE on predictions, SELECT on usage, INSERT on usage",
        ),
        (history.ping, "SELECT on model_versions, INSERT on model_versions"),
    ):
        with pytest.raises(StoreUnavailable, match=lacking) as told:
            await call()
        assert told.value.reason == "no_right"
    await store.close()
    await history.close()
    await database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_server_that_is_too_old_is_refused_in_words(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preconditions, "OLDEST_VERSION", 99)
    store = Database(PersisterSettings(database_url=SecretStr(database_url)))
    with pytest.raises(StoreUnavailable, match=r"its version is \d\d; Millstream needs 99 or later") as told:
        await store.check()
    assert told.value.reason == "too_old"
    await store.close()


async def test_a_database_in_another_encoding_is_refused_in_words(postgres_server: PostgresServer) -> None:
    base, name = postgres_server.url.rpartition("/")[0], f"test_{uuid.uuid4().hex}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
        store = Database(PersisterSettings(database_url=SecretStr(f"{base}/{name}")))
        with pytest.raises(StoreUnavailable, match="the encoding of the database is LATIN1; Millstream needs UTF8"):
            await store.check()
        await store.close()
        connection.execute(f"DROP DATABASE {name}")


async def test_a_second_database_behind_one_redis_gets_nothing(
    redis: Redis, keys: Keys, postgres_server: PostgresServer, database_url: str, database: asyncpg.Connection
) -> None:
    await compute(redis, keys, "a")
    async with persisting(redis, keys, database_url):
        await eventually(emptied(redis, keys), "the first database has it")
    with cloned_database(postgres_server) as other:
        with psycopg.connect(other, autocommit=True) as connection:
            connection.execute("UPDATE deployment SET id = gen_random_uuid()")
            await compute(redis, keys, "b")
            async with persisting(redis, keys, other, "p2") as second:
                await eventually(says(second, "it is the database of another deployment"), "it says so")
                own = await database.fetchval("SELECT id::text FROM deployment")
                assert own in str(second.unavailable) and f"delete the key {keys.deployment}" in str(second.unavailable)
                assert await redis.xlen(keys.results) == 1
                async with persisting(redis, keys, database_url, "p3"):
                    await eventually(emptied(redis, keys), "the first database has it")
            assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (0,)
            history = History(
                DatabaseSettings(database_url=SecretStr(other)), Deployment(shard_of("persister", redis, keys))
            )
            for call in (history.ping(), history.find([])):  # a gateway says so too, rather than 404
                with pytest.raises(StoreUnavailable, match="the database of another deployment"):
                    await call
            await history.close()
            await redis.delete(keys.deployment)  # as the words say, after a database was replaced
            await compute(redis, keys, "c")
            async with persisting(redis, keys, other, "p4"):
                await eventually(emptied(redis, keys), "the second database is the one now")
            assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (1,)
    assert await database.fetchval("SELECT count(*) FROM predictions") == 2


async def test_a_redis_that_is_full_is_emptied_all_the_same(tmp_path: Path, keys: Keys) -> None:
    """The note must not stand in the way of what makes room."""
    with running_redis(tmp_path / "redis") as server:
        redis: Redis = connect(Settings(redis_url=SecretStr(server.url)))
        deployment = Deployment(shard_of("persister", redis, keys))
        await redis.config_set("maxmemory", "1")
        await deployment.bind("mine")
        await deployment.bind("mine")
        with pytest.raises(StoreUnavailable) as told:
            await deployment.bind("other")
        assert told.value.reason == "other_deployment"
        await redis.aclose()


def test_a_persister_that_comes_before_the_schema_waits_alive_and_says_why(
    environment: dict[str, str], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    base, name, port = postgres_server.url.rpartition("/")[0], f"test_{uuid.uuid4().hex}", free_port()
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        settings = {**environment, "DATABASE_URL": f"{base}/{name}", "PERSISTER_METRICS_PORT": str(port)}
        service = Service("persister", port, settings, tmp_path / "persister.log")

        def says_why() -> bool:
            try:
                urllib.request.urlopen(f"{service.url}/readyz", timeout=5)
            except urllib.error.HTTPError as error:
                return "make migrate" in json.load(error)["reason"]
            except OSError:
                pass
            return False

        try:
            wait_until(says_why, "it says why")
            with urllib.request.urlopen(f"{service.url}/livez", timeout=5) as answer:
                assert answer.status == 200
            run_migrations(
                MigrateSettings(database_url=SecretStr(f"{base}/{name}"), model_catalogue=FIXTURES / "models.toml"), 0
            )
            service.wait_ready()
        finally:
            service.stop()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
