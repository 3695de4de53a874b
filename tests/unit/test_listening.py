"""Addresses that a service listens on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from shared.contract.errors import ConfigurationError
from shared.service.listening import listen

HOSTS = ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("host", "reached"),
    [("::", {"127.0.0.1", "::1"}), ("::1", {"::1"}), ("127.0.0.1", {"127.0.0.1"}), ("0.0.0.0", {"127.0.0.1"})],
)
async def test_the_double_colon_is_both_families(host: str, reached: set[str]) -> None:
    server = await listen(asyncio.Protocol, host, 0, "PORT")
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = set()
        for each in HOSTS:
            try:
                _, writer = await asyncio.open_connection(each, port)
            except OSError:
                continue
            found.add(each)
            writer.close()
    assert found == reached


async def test_a_port_that_is_taken_is_an_error() -> None:
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6) as taken,
        pytest.raises(ConfigurationError, match=r"cannot listen on :::\d+ \(PORT\): Address already in use"),
    ):
        await listen(asyncio.Protocol, "::", taken.getsockname()[1], "PORT")
