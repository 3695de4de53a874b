"""Each service's role in Postgres has what the service needs, and is refused one thing more."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import psycopg
import pytest
from pydantic import SecretStr

from gateway.control import key_store
from gateway.core import history
from migrations import rights
from migrations.__main__ import run
from migrations.rights import Role, give_rights
from migrations.settings import MigrateSettings
from persister import database as persister_database
from persister.database import Database
from persister.partitions import months_from
from persister.settings import PersisterSettings
from scripts.stack.postgres import PostgresServer
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import first_id_of_month
from shared.postgres.errors import RowRejected
from tests.access import ROLES, database_url_of
from tests.conftest import FIXTURES

NEEDS = {"gateway": history.NEEDS | key_store.NEEDS, "persister": persister_database.NEEDS}
BOUNDS = "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = $1"
PASSWORD = "it's @:/%?# long"


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """A connection of each service's role."""
    made = {service: await asyncpg.connect(database_url_of(service, database_url)) for service in ROLES}
    yield made
    for connection in made.values():
        await connection.close()


@pytest.mark.parametrize("service", ROLES)
def test_a_role_is_given_what_its_service_says_it_needs_and_nothing_else(service: str) -> None:
    needed = {table: set(need.rights) for table, need in NEEDS[service].items()}
    assert {table: set(given) for table, given in rights.TABLES[service].items()} == needed
    assert rights.FUNCTIONS.get(service, ()) == (persister_database.FUNCTIONS if service == "persister" else ())


@pytest.mark.parametrize(
    ("service", "statement"),
    [
        ("gateway", "DELETE FROM model_versions"),
        ("gateway", "INSERT INTO registry (epoch) VALUES (1)"),
        ("persister", "UPDATE model_versions SET artifact_path = 'x'"),
        ("gateway", "UPDATE predictions SET error = 'x'"),
        ("gateway", "SELECT make_predictions_partition('2026-01-01')"),
        ("gateway", "SELECT drop_predictions_partition('2026-01-01', '{}')"),
        ("gateway", "DELETE FROM predictions"),
        ("gateway", "UPDATE erasures SET state = 'done'"),
        (
            "persister",
            "INSERT INTO erasures (id, below, requested_by) SELECT id, id, '' FROM deployment",
        ),
        ("persister", "UPDATE feedback SET label = 'x'"),
        *[
            (service, statement)
            for service in ROLES
            for statement in (
                "TRUNCATE predictions",
                "DROP TABLE predictions",
                "CREATE TABLE mine (n int)",
                "ALTER TABLE predictions ADD COLUMN mine int",
                "UPDATE deployment SET id = gen_random_uuid()",
                "SELECT * FROM predictions_default",
                "SELECT * FROM _yoyo_migration",
                "SELECT rolpassword FROM pg_authid",
                "CREATE ROLE mine",
                "COPY models TO PROGRAM 'true'",
                "SELECT pg_read_file('/etc/passwd')",
                "SET ROLE millstream",
            )
        ],
    ],
)
async def test_a_role_is_refused_what_its_service_does_not_do(
    connections: dict[str, asyncpg.Connection], service: str, statement: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connections[service].execute(statement)


async def test_a_partition_is_made_with_the_bounds_of_its_month(
    connections: dict[str, asyncpg.Connection], database: asyncpg.Connection
) -> None:
    for month in months_from(datetime(datetime.now(UTC).year, 11, 30, tzinfo=UTC), 2):
        await connections["persister"].execute("SELECT make_predictions_partition($1)", month)
        following = first_id_of_month(month.year + month.month // 12, month.month % 12 + 1)
        expected = f"FOR VALUES FROM ('{first_id_of_month(month.year, month.month)}') TO ('{following}')"
        assert await database.fetchval(BOUNDS, f"predictions_{month:%Y_%m}") == expected


@pytest.mark.parametrize("month", [None, date(2026, 1, 2), date(1999, 1, 1), date(9999, 12, 1), date.max])
async def test_a_partition_of_no_month_near_is_refused(database_url: str, month: Any) -> None:
    store = Database(PersisterSettings(database_url=SecretStr(database_url_of("persister", database_url))))
    with pytest.raises(RowRejected):
        await store.make_partition(month)
    await store.close()


async def test_what_a_caller_made_for_itself_is_not_taken_for_the_tables(
    connections: dict[str, asyncpg.Connection], database: asyncpg.Connection
) -> None:
    """A function that runs as the owner looks names up in its own schema, whatever the caller's session does."""
    persister, month = connections["persister"], next(months_from(datetime.now(UTC), 0))
    await persister.execute("CREATE TEMP TABLE predictions (id uuid) PARTITION BY RANGE (id)")
    await persister.execute("SET search_path = pg_temp, public")
    await persister.execute("SELECT make_predictions_partition($1)", month)
    parent = "SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = $1::text::regclass"
    assert await database.fetchval(parent, f"predictions_{month:%Y_%m}") == "predictions"


async def test_a_function_that_lacks_or_may_not_be_run_is_named(
    database: asyncpg.Connection, database_url: str
) -> None:
    store = Database(PersisterSettings(database_url=SecretStr(database_url_of("persister", database_url))))
    await store.check()
    for statement, reason, words in (
        (f"REVOKE EXECUTE ON FUNCTION {{}} FROM {ROLES['persister']}", "no_right", "EXECUTE on make_predictions"),
        ("DROP FUNCTION {}", "not_migrated", "it lacks make_predictions_partition"),
    ):
        await database.execute(statement.format("make_predictions_partition(date)"))
        with pytest.raises(StoreUnavailable, match=words) as told:
            await store.check()
        assert told.value.reason == reason
    with pytest.raises(StoreUnavailable) as told:
        await store.make_partition(date(2026, 1, 1))
    assert told.value.reason == "not_migrated"
    await store.close()


# --- roles that are made, or not -----------------------------------------------------------------------------------


@pytest.fixture
def role(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a role that is not there yet."""
    name = f"Role {uuid.uuid4().hex}"
    yield name
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f'DROP ROLE IF EXISTS "{name}"')


def may(connection: psycopg.Connection, role: str, right: str) -> bool:
    """Whether a role may do something with predictions."""
    row = connection.execute("SELECT has_table_privilege(%s, 'predictions', %s)", (role, right)).fetchone()
    return row is not None and bool(row[0])


def test_a_role_of_an_operators_gets_its_rights_once_it_is_there(database_url: str, role: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert give_rights(connection, {"gateway": Role(role)}) == [role]
        connection.execute(f'CREATE ROLE "{role}"')
        assert give_rights(connection, {"gateway": Role(role)}) == []
        assert may(connection, role, "SELECT") and not may(connection, role, "INSERT")
        connection.execute(f'DROP OWNED BY "{role}"')


def test_a_right_that_a_service_needs_no_more_is_taken_away(database_url: str, role: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f'CREATE ROLE "{role}"; GRANT ALL ON predictions TO "{role}"')
        give_rights(connection, {"gateway": Role(role)})
        assert may(connection, role, "SELECT") and not may(connection, role, "DELETE")
        connection.execute(f'DROP OWNED BY "{role}"')


def test_both_services_may_share_a_role_even_the_owners(database_url: str, role: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f'CREATE ROLE "{role}"')
        give_rights(connection, {"gateway": Role(role), "persister": Role(role)})
        assert may(connection, role, "INSERT")
        give_rights(connection, {"gateway": Role("millstream"), "persister": Role("millstream")})
        assert may(connection, "millstream", "DELETE")
        connection.execute(f'DROP OWNED BY "{role}"')


def test_a_role_is_made_and_its_password_follows_the_setting(postgres_server: PostgresServer, role: str) -> None:
    base, name = postgres_server.url.rpartition("/")[0], f"test_{uuid.uuid4().hex}"
    place = f"host=127.0.0.1 port={postgres_server.port} dbname={name}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        for password in ("first", PASSWORD):
            given: dict[str, Any] = {
                "database_url": f"{base}/{name}",
                "model_catalogue": FIXTURES / "models.toml",
                "gateway_role": role,
                "gateway_role_password": password,
            }
            run(MigrateSettings(**given), 0)
            with psycopg.connect(place, user=role, password=password) as own:
                assert own.execute("SELECT count(*) FROM predictions").fetchone() == (0,)
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(place, user=role, password="another")
        stored = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (role,)).fetchone()
        assert stored is not None and stored[0].startswith("SCRAM-SHA-256$")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
