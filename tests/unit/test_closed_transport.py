"""uvloop's way of saying that a connection was cut is an outage, not a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import uvloop

from shared.contract.errors import StoreUnavailable
from shared.postgres.errors import postgres_errors
from shared.streams.redis_errors import redis_errors

Mapping = Callable[[], AbstractContextManager[None]]
MAPPINGS: list[Mapping] = [redis_errors, postgres_errors]


async def write_to_a_closed_transport() -> None:
    """What a driver does whose connection was cut in the moment in which it was made."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        while "closed=True" not in repr(writer.transport):
            await asyncio.sleep(0)
        writer.writelines([b"PING"])


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_write_to_a_closed_transport_means_that_the_store_is_away(mapping: Mapping) -> None:
    with pytest.raises(StoreUnavailable), mapping():
        uvloop.run(write_to_a_closed_transport())


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_another_runtime_error_is_a_bug_and_stays_one(mapping: Mapping) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"), mapping():
        raise RuntimeError("no running event loop")
