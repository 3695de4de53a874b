"""A small TCP balancer for tests: what stands before two gateways while one of them is replaced.

One request goes on one connection (`Connection: close` by the client), so that the balancing is by request. Tests add
and remove the ports of gateways, as an orchestrator does with endpoints.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager


class Balancer:
    """Forwards connections to backends by turns."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = list(ports)
        self._turn = itertools.count()

    async def _backend(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in range(len(self.ports)):
            port = self.ports[next(self._turn) % len(self.ports)]
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue  # it is not there (any more): the next one is
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection both ways until its answer ends."""
        backend = await self._backend()
        if backend is None:
            writer.close()
            return
        upstream, downstream = backend
        copies = [asyncio.create_task(_copy(reader, downstream)), asyncio.create_task(_copy(upstream, writer))]
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        for copy in copies:
            copy.cancel()
        for each in (writer, downstream):
            each.close()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        return


@asynccontextmanager
async def balancing(balancer: Balancer) -> AsyncIterator[str]:
    """Serve for the length of the block; yields the balancer's address."""
    server = await asyncio.start_server(balancer.serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
