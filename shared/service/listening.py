"""Listening for connections."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from shared.contract.errors import ConfigurationError


async def listen(
    protocol: Callable[[], asyncio.BaseProtocol], host: str, port: int, setting: str, backlog: int = 128
) -> asyncio.Server:
    """Listen on an address; `::` is every address of both families.

    Args:
        setting: the one that chooses the port.

    Raises:
        ConfigurationError: the address cannot be listened on, or the port is taken.
    """
    try:
        return await _listen(protocol, host, port, backlog)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise ConfigurationError(f"cannot listen on {host}:{port} ({setting}): {why}") from None


async def _listen(protocol: Callable[[], asyncio.BaseProtocol], host: str, port: int, backlog: int) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    if host != "::":
        return await loop.create_server(protocol, host, port, backlog=backlog)
    # asyncio would set IPV6_V6ONLY
    both = socket.create_server((host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
    return await loop.create_server(protocol, sock=both, backlog=backlog)
