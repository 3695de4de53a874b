"""What a real Postgres answers when it cannot serve: said in words, and over when the cause is."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from gateway.core.history import NEWEST, Filters, History
from gateway.core.principal import ANYBODY
from persister.database import Database
from persister.rows import Row
from persister.settings import PersisterSettings
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import uuid7
from shared.service.settings import DatabaseSettings, Settings
from shared.streams.deployment import Deployment
from shared.streams.shard import open_shard
from tests.chaos.proxy import Mode, Proxy
from tests.waiting import eventually

Connection = Any  # asyncpg's and a pool's connections differ in type alone
Call = Callable[[], Awaitable[object]]
NO_REDIS = Settings(redis_url=SecretStr("redis://127.0.0.1:1/0"))  # what is stored is read all the same
GRANTS = "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO "


def row() -> Row:
    """A row to be stored."""
    now = datetime.now(UTC)
    prediction_id = uuid7(int(now.timestamp() * 1000), uuid.uuid4().int >> 64)
    return Row(
        prediction_id, "echo", "1.0.0", "{}", "{}", 0.5, 1, now, "succeeded", None, 0, "", 1, False, 0, 0, 0, now
    )


@pytest.fixture
async def role(database: Connection, database_url: str) -> AsyncIterator[tuple[str, str]]:
    """An ordinary role with the rights that it needs: its name, and the URL with which it logs in."""
    name = f"role_{uuid.uuid4().hex}"
    await database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'; {GRANTS}{name}")
    at = database_url.partition("@")[2]
    yield name, f"postgresql://{name}:right@{at}"
    await database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@asynccontextmanager
async def opened(url: str, timeout_s: float = 5) -> AsyncIterator[tuple[Call, Call]]:
    """How the persister writes to this database, and how the gateway reads from it."""
    secret = SecretStr(url)
    store = Database(PersisterSettings(database_url=secret, database_timeout_s=timeout_s))
    history = History(
        DatabaseSettings(database_url=secret, database_timeout_s=timeout_s), Deployment(open_shard(NO_REDIS))
    )
    try:
        yield lambda: store.insert([row()]), lambda: history.page(Filters(ANYBODY, model="echo"), NEWEST, 1)
    finally:
        await store.close()
        await history.close()


async def told(call: Call) -> StoreUnavailable:
    """Why the call does not succeed."""
    with pytest.raises(StoreUnavailable) as error:
        await call()
    return error.value


async def heals(call: Call) -> None:
    """Wait until the call succeeds."""

    async def succeeded() -> bool:
        try:
            await call()
        except StoreUnavailable:
            return False
        return True

    await eventually(succeeded, "the store is used again", 10)


async def test_who_asks_at_once_at_the_start_shares_one_pool(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second pool would be lost, with its connections."""
    made: list[object] = []
    create_pool = asyncpg.create_pool

    async def hesitates(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        made.append(await create_pool(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(asyncpg, "create_pool", hesitates)
    async with opened(database_url) as (write, _):
        await asyncio.gather(write(), write(), write())
    assert len(made) == 1


async def test_a_session_that_is_read_only_is_left_for_a_new_one(database: Connection, database_url: str) -> None:
    name = await database.fetchval("SELECT current_database()")
    await database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with opened(database_url) as (write, _):
        for _ in range(5):
            error = await told(write)
            assert error.reason == "read_only" and "it is read-only" in str(error)
        await database.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await write()  # at once: no connection of before is used


async def test_rights_that_are_missing_are_named_and_missed_no_longer(
    database: Connection, role: tuple[str, str]
) -> None:
    name, url = role
    async with opened(url) as (write, read):
        await write()
        await read()
        await database.execute(f"REVOKE INSERT ON predictions FROM {name}; REVOKE SELECT ON models FROM {name}")
        error = await told(read)
        assert error.reason == "no_right" and "permission denied for table models" in str(error)
        await database.execute(f"GRANT SELECT ON models TO {name}")
        error = await told(write)
        assert error.reason == "no_right" and "permission denied for table predictions" in str(error)
        await database.execute(GRANTS + name)
        await write()
        await read()


async def test_a_password_that_was_changed_is_refused_in_words_and_not_shown(
    database: Connection, role: tuple[str, str]
) -> None:
    name, url = role
    await database.execute(f"ALTER ROLE {name} PASSWORD 'another'")
    async with opened(url) as calls:
        for call in calls:
            error = await told(call)
            assert error.reason == "login_refused" and "right@" not in str(error) and "refuses the user" in str(error)
        await database.execute(f"ALTER ROLE {name} PASSWORD 'right'")
        for call in calls:
            await call()


async def test_no_connection_to_spare_passes(database: Connection, role: tuple[str, str]) -> None:
    name, url = role
    await database.execute(f"ALTER ROLE {name} CONNECTION LIMIT 0")
    async with opened(url) as calls:
        for call in calls:
            assert (await told(call)).reason == "too_many_connections"
        await database.execute(f"ALTER ROLE {name} CONNECTION LIMIT -1")
        for call in calls:
            await call()


async def test_a_lock_that_is_not_free_in_time_passes(database: Connection, role: tuple[str, str]) -> None:
    name, url = role
    await database.execute(f"ALTER ROLE {name} SET lock_timeout = '50ms'")
    async with opened(url) as (write, read):
        async with database.transaction():
            await database.execute("LOCK TABLE predictions")
            assert (await told(write)).reason == "locked"
            assert (await told(read)).reason == "locked"
        await write()
        await read()


async def test_a_database_that_takes_no_connections_passes(database: Connection, role: tuple[str, str]) -> None:
    allow = "UPDATE pg_database SET datallowconn = {} WHERE datname = current_database()"
    await database.execute(allow.format("false"))
    async with opened(role[1]) as (write, _):
        assert "not currently accepting connections" in str(await told(write))
        await database.execute(allow.format("true"))
        await write()


async def test_connections_that_the_server_ends_are_made_anew(database: Connection, role: tuple[str, str]) -> None:
    name, url = role
    async with opened(url) as calls:
        for call in calls:
            await call()
        await database.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'")
        for call in calls:
            await heals(call)


async def test_a_schema_that_is_missing_is_said(database: Connection, database_url: str) -> None:
    await database.execute("ALTER TABLE models RENAME TO hidden")
    async with opened(database_url) as calls:
        for call in calls:
            error = await told(call)
            assert error.reason == "not_migrated" and "make migrate" in str(error) and "models" in str(error)


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (("/test_", "/gone_"), "no_database", "does not exist"),
        (("?", "?options=-c%20nonsense%3D1&"), "unknown_object", "unrecognized configuration parameter"),
        (("127.0.0.1", "no-such-host.invalid"), "connection", "gaierror"),
    ],
)
async def test_an_address_that_is_wrong_is_said_in_words(
    database_url: str, change: tuple[str, str], reason: str, words: str
) -> None:
    async with opened(f"{database_url}?application_name=x".replace(*change)) as calls:
        for call in calls:
            error = await told(call)
            assert error.reason == reason and words in str(error)


async def test_an_error_that_is_in_no_table_is_told_by_its_code_and_passes(
    database: Connection, database_url: str
) -> None:
    await database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'quotes the row' USING ERRCODE = 'ZZ999'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON predictions_default FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    async with opened(database_url) as (write, _):
        error = await told(write)
        assert error.reason == "unknown" and "ZZ999" in str(error) and "quotes" not in str(error)
        await database.execute("DROP TRIGGER refuse ON predictions_default")
        await write()


async def test_a_network_that_goes_silent_is_given_up_on_in_time_and_used_again(database_url: str) -> None:
    proxy = Proxy(urlsplit(database_url).port or 0)
    await proxy.start()
    url = urlsplit(database_url)._replace(netloc=f"{urlsplit(database_url).netloc.rpartition(':')[0]}:{proxy.port}")
    async with opened(url.geturl(), timeout_s=1.5) as calls:
        for call in calls:
            await call()
        proxy.set(Mode.BLACKHOLE)
        for reason in ("slow", "connection"):  # first a connection that was there, then one that cannot be made
            for call in calls:
                async with asyncio.timeout(10):
                    assert (await told(call)).reason == reason
        proxy.set(Mode.FORWARD)
        for call in calls:
            await heals(call)
    await proxy.close()


async def test_of_several_hosts_the_one_that_answers_is_used(database_url: str) -> None:
    before, _, after = database_url.rpartition("@")
    url = f"{before}@127.0.0.1:1,{after}?target_session_attrs=read-write&connect_timeout=5&application_name=a%20b"
    async with opened(url) as calls:
        for call in calls:
            await call()
