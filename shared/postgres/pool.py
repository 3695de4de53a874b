"""Connections to Postgres, directly or through a pooler such as PgBouncer in transaction mode.

A pooler may run each transaction on another server connection. So no statement is prepared under a name, nothing is
set for a session, and nothing is reset when a connection is returned. Measured on one machine, a read costs 0.05 ms
more than with named statements, of which half is CPU time of the gateway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg

from shared.contract.errors import StoreUnavailable
from shared.postgres.errors import SLOW, is_read_only, keeps_connection, postgres_errors
from shared.service.settings import DatabaseSettings
from shared.telemetry.metrics import watch_pool

# How much longer than a statement the use of a connection may take: time to cancel the statement.
_CANCEL_WITHIN_S = 2.0
_CLOSE_WITHIN_S = 2.0
_TELL_EVERY_S = 60.0

log = logging.getLogger(__name__)


class Postgres:
    """A pool of connections; it connects on first use.

    Args:
        component: the service, for metrics.
    """

    def __init__(self, settings: DatabaseSettings, component: str) -> None:
        self._settings = settings
        self._component = component
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._told_until: dict[str, float] = {}

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for the length of the block; it is closed after an error that a new one might not have.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or cannot do now what it is asked for.
            RowRejected: it rejects values.
        """
        try:
            with postgres_errors():
                async with self._connection() as connection:
                    yield connection
        except StoreUnavailable as error:
            self._tell(error)
            raise

    async def close(self) -> None:
        """Close the pool, and cut connections that do not close in time."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        pool = await self._open()
        connection = await self._acquire(pool)
        try:
            with self._bounded(connection):
                yield connection
        except BaseException as error:
            if is_read_only(error):
                await _end_session(connection)
            if not keeps_connection(error):
                with suppress(asyncpg.InterfaceError):  # it has gone already
                    connection.terminate()
            raise
        finally:
            await pool.release(connection, timeout=_CANCEL_WITHIN_S)

    def _tell(self, error: StoreUnavailable) -> None:
        """Log an error, each reason once a minute: a gateway meets it with each request."""
        now = asyncio.get_running_loop().time()
        if now >= self._told_until.get(error.reason, 0):
            self._told_until[error.reason] = now + _TELL_EVERY_S
            log.warning("Postgres cannot be used", extra={"reason": error.reason, "detail": str(error)})

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                settings = self._settings
                self._pool = await asyncpg.create_pool(
                    settings.database_url.get_secret_value(),
                    min_size=0,
                    max_size=settings.database_pool_size,
                    timeout=settings.database_timeout_s,
                    command_timeout=settings.database_timeout_s,
                    statement_cache_size=0,
                    reset=_keep_session,
                )
                watch_pool(self._component, self._pool)
            return self._pool

    async def _acquire(self, pool: asyncpg.Pool) -> Any:
        limit_s = self._settings.database_timeout_s
        try:
            return await pool.acquire(timeout=limit_s)
        except TimeoutError as error:
            size = self._settings.database_pool_size
            detail = f"no connection within {limit_s:g} s; it does not answer, or all {size} of the pool are in use"
            raise StoreUnavailable("postgres", detail, "connection") from error

    @contextmanager
    def _bounded(self, connection: Any) -> Iterator[None]:
        """Bound the use of a connection: a slow statement is cancelled, or else the connection is cut."""
        limit_s = self._settings.database_timeout_s
        cut = asyncio.get_running_loop().call_later(limit_s + _CANCEL_WITHIN_S, connection.terminate)
        try:
            yield
        except Exception as error:
            timed_out = isinstance(error, TimeoutError) and error.errno is None  # the kernel's has a number
            if timed_out or asyncio.get_running_loop().time() >= cut.when():
                raise StoreUnavailable("postgres", f"not done within {limit_s:g} s", SLOW) from error
            raise
        finally:
            cut.cancel()


async def _end_session(connection: Any) -> None:
    """Have the server end a session: a pooler would go on using it after its client is gone."""
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def _keep_session(_: asyncpg.Connection) -> None:
    """Nothing is set for a session, so nothing is reset: that saves a round trip."""
