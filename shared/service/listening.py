"""Listening for connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable


async def listen(
    protocol: Callable[[], asyncio.BaseProtocol], host: str, port: int, backlog: int = 128
) -> asyncio.Server:
    """Listen on an address; `::` is every address of both families.

    Raises:
        OSError: the address cannot be listened on, or the port is taken.
    """
    loop = asyncio.get_running_loop()
    if host != "::":
        return await loop.create_server(protocol, host, port, backlog=backlog)
    # asyncio would set IPV6_V6ONLY
    both = socket.create_server((host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
    return await loop.create_server(protocol, sock=both, backlog=backlog)
