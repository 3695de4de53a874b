"""A client of Redis tries as often as it is told, and not ten times by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr
from redis.exceptions import RedisError

from shared.service.settings import Settings
from shared.streams.redis_client import connect
from tests.waiting import eventually


class HangsUp:
    """A server that ends each connection at its first command."""

    def __init__(self) -> None:
        self.connections = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        self.connections += 1
        await reader.read(1)
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[tuple[HangsUp, Settings]]:
    behaviour = HangsUp()
    listener = await asyncio.start_server(behaviour.answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    yield behaviour, Settings(redis_url=SecretStr(f"redis://127.0.0.1:{port}/0"))
    listener.close()


@pytest.mark.parametrize(("retry_once", "tries"), [(False, 1), (True, 2)])
async def test_a_command_is_tried_once_or_twice(server: tuple[HangsUp, Settings], retry_once: bool, tries: int) -> None:
    behaviour, settings = server
    client = connect(settings, retry_once=retry_once)
    with pytest.raises(RedisError):
        await client.ping()
    assert behaviour.connections == tries
    await client.aclose()


class Deaf:
    """A server that reads nothing that it is sent."""

    def __init__(self) -> None:
        self.ends: list[asyncio.StreamWriter] = []

    async def answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        self.ends.append(writer)


@pytest.fixture
async def deaf() -> AsyncIterator[str]:
    behaviour = Deaf()
    listener = await asyncio.start_server(behaviour.answer, "127.0.0.1", 0, limit=1024)
    yield f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
    listener.close()
    for each in behaviour.ends:
        each.transport.abort()
        with suppress(OSError):
            await each.wait_closed()


async def test_what_a_server_does_not_take_is_given_up_in_time(deaf: str) -> None:
    client = connect(Settings(redis_url=SecretStr(deaf), redis_timeout_ms=1100, read_block_ms=100))
    began = time.monotonic()
    with pytest.raises(RedisError, match="[Tt]imeout"):
        await client.set("key", b"x" * 50_000_000)
    assert time.monotonic() - began < 5
    await client.aclose()


async def test_who_finds_no_free_connection_waits_for_one_and_not_for_ever(deaf: str) -> None:
    client = connect(Settings(redis_url=SecretStr(deaf), redis_timeout_ms=1100, read_block_ms=100), most_connections=1)
    pool: Any = client.connection_pool
    only = await pool.get_connection()
    second = asyncio.create_task(pool.get_connection())
    await eventually(lambda: pool._waiting == 1, "the second waits")
    await pool.release(only)
    assert await asyncio.wait_for(second, 5) is only
    with pytest.raises(RedisError, match="No connection available"):
        await pool.get_connection()
    await pool.release(only)
    assert await pool.get_connection() is only
    await pool.release(only)
    await client.aclose()
