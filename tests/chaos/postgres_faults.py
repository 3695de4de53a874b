"""A Postgres that answers wrongly, or not in time: what failovers and operators do to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import asyncpg

from tests.chaos.repeating import again_and_again
from tests.chaos.schedule import Action

_AGAIN_S = 0.3
_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND NOT pid = ANY ($1::int[])"""


@asynccontextmanager
async def read_only(connection: asyncpg.Connection, url: str) -> AsyncIterator[None]:
    """Every session, those that are open too, may only read."""
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    await connection.execute("SELECT pg_reload_conf()")
    yield
    await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
    await connection.execute("SELECT pg_reload_conf()")


@asynccontextmanager
async def locked(connection: asyncpg.Connection, url: str) -> AsyncIterator[None]:
    """A migration, say, holds the table for longer than a statement may take."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def terminated(connection: asyncpg.Connection, url: str) -> AsyncIterator[None]:
    """Every other connection is ended, again and again."""

    async with again_and_again(lambda: connection.fetch(_TERMINATE, []), _AGAIN_S):
        yield


@asynccontextmanager
async def exhausted(connection: asyncpg.Connection, url: str) -> AsyncIterator[None]:
    """Others hold every connection that it allows."""
    others: list[asyncpg.Connection] = []

    async def take_all() -> None:
        await connection.fetch(_TERMINATE, [each.get_server_pid() for each in others])
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                others.append(await asyncpg.connect(url))

    try:
        async with again_and_again(take_all, _AGAIN_S):
            yield
    finally:
        for each in others:
            each.terminate()


@asynccontextmanager
async def without_table(connection: asyncpg.Connection, url: str) -> AsyncIterator[None]:
    """As before the migrations, or in the wrong database."""
    await connection.execute("ALTER TABLE predictions RENAME TO predictions_elsewhere")
    yield
    await connection.execute("ALTER TABLE predictions_elsewhere RENAME TO predictions")


_WAYS: Mapping[Action, Callable[[asyncpg.Connection, str], AbstractAsyncContextManager[None]]] = {
    Action.READ_ONLY: read_only,
    Action.LOCK: locked,
    Action.TERMINATE: terminated,
    Action.EXHAUST: exhausted,
    Action.NO_TABLE: without_table,
}


@asynccontextmanager
async def broken_postgres(url: str, action: Action) -> AsyncIterator[None]:
    """Broken in this way for the length of the block."""
    connection = await asyncpg.connect(url)
    try:
        async with _WAYS[action](connection, url):
            yield
    finally:
        await connection.close()
