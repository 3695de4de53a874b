"""A Postgres that ends says so to idle connections; one of them may be used before it is seen to be closed.

asyncpg then raises InternalClientError, which is no InterfaceError: it once ended the persister at a restart of
Postgres.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from gateway.core.history import History
from gateway.settings import GatewaySettings
from persister.database import Database
from persister.settings import PersisterSettings
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import Keys
from shared.streams.deployment import Deployment
from shared.streams.shard import Shard
from tests.streams import Redis
from tests.waiting import eventually

FAREWELL = b"57P01"


class Relay:
    """Passes everything on, but never the end of a connection: the moment between farewell and end lasts for ever."""

    def __init__(self, url: str) -> None:
        self.said_farewell = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self._parts = urlsplit(url)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen; yields the address to use instead."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        yield self._parts._replace(netloc=self._parts.netloc.rsplit(":", 1)[0] + f":{port}").geturl()
        server.close()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._parts.port)
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        finally:
            for each in (up_writer, writer):
                each.close()
            await asyncio.gather(*(each.wait_closed() for each in (up_writer, writer)), return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            if FAREWELL in data:
                self.said_farewell.set()


async def end_others(database: asyncpg.Connection, relay: Relay) -> None:
    """Postgres ends all other connections to the test's database."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"
    await database.fetch(others, database.get_server_pid())
    await relay.said_farewell.wait()
    await database.execute("SELECT pg_sleep(0.05)")  # meanwhile the farewell arrives at the idle connection


async def heals(call: Any) -> list[str]:
    """Call until it answers; the answer has what went wrong before."""
    trouble: list[str] = []

    async def answered() -> bool:
        try:
            await call()
        except StoreUnavailable as error:
            trouble.append(str(error))
            return False
        return True

    await eventually(answered, "the store is used again")
    return trouble


async def test_the_persister_takes_a_farewell_for_an_outage(database: asyncpg.Connection, database_url: str) -> None:
    relay = Relay(database_url)
    async with relay.listening() as url:
        store = Database(PersisterSettings(database_url=url, database_timeout_s=1, database_pool_size=1))
        await store.insert([])
        await end_others(database, relay)
        assert await heals(lambda: store.insert([]))
        await store.close()


async def test_the_gateway_takes_a_farewell_for_an_outage(
    redis: Redis, keys: Keys, database: asyncpg.Connection, database_url: str
) -> None:
    relay = Relay(database_url)
    async with relay.listening() as url:
        history = History(
            GatewaySettings(database_url=url, database_timeout_s=1, database_pool_size=1),
            Deployment(Shard(redis, keys)),
        )
        await history.ping()
        await end_others(database, relay)
        assert await heals(history.ping)
        await history.close()
