"""A client of Redis tries as often as it is told, and not ten times by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from redis.exceptions import RedisError

from shared.service.settings import Settings
from shared.streams.redis_client import connect


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
