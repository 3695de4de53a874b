"""A small TCP proxy whose connections can be cut, refused, swallowed, held back or slowed down."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto

from scripts.stack.ports import LOOPBACK

_CHUNK = 65_536
_SLOW_S = 0.2


class Mode(Enum):
    """What the proxy does with connections."""

    FORWARD = auto()
    REFUSE = auto()
    BLACKHOLE = auto()  # what arrives is read and thrown away, in both directions: the worst kind of silence
    MUTE_UP = auto()  # only what clients send is thrown away
    MUTE_DOWN = auto()  # only what the server sends is
    MUTE_HINTS = auto()  # only messages of Redis's pub/sub are; the connection shows every sign of life
    STALL = auto()  # what arrives waits, and goes on when the network is back, as TCP sends it again
    SLOW = auto()  # each piece waits for `_SLOW_S`


_SWALLOWS_UP = (Mode.BLACKHOLE, Mode.MUTE_UP)
_SWALLOWS_DOWN = (Mode.BLACKHOLE, Mode.MUTE_DOWN)


class Proxy:
    """Listens on a port of its own and passes on to another."""

    def __init__(self, upstream_port: int) -> None:
        self.port = 0
        self._upstream_port = upstream_port
        self._mode = Mode.FORWARD
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._links: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Cut everything and stop listening."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def set(self, mode: Mode) -> None:
        """Change what happens, to open connections too.

        Connections of which something was swallowed have lost bytes: whoever goes back to forwarding must cut them.
        """
        lossy = self._mode in (*_SWALLOWS_UP, *_SWALLOWS_DOWN)
        self._mode = mode
        if mode is Mode.STALL:
            self._flows.clear()
        else:
            self._flows.set()
        if mode is Mode.REFUSE or lossy:
            self.cut()

    def cut(self) -> None:
        """Reset every open connection."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        self._open.add(writer)
        try:
            if self._mode is not Mode.REFUSE:
                await self._link(reader, writer)
        finally:
            self._links.discard(link)
            self._drop(writer)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(LOOPBACK, self._upstream_port)
        except OSError:
            return
        self._open.add(up_writer)
        pumps = [
            asyncio.create_task(self._pump(reader, up_writer, up=True)),
            asyncio.create_task(self._pump(up_reader, writer, up=False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._drop(up_writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                if self._mode is Mode.SLOW:
                    await asyncio.sleep(_SLOW_S)
                if not self._swallows(data, up):
                    writer.write(data)
                    await writer.drain()

    def _swallows(self, data: bytes, up: bool) -> bool:
        if self._mode is Mode.MUTE_HINTS:
            return not up and data.startswith(b"*3\r\n$7\r\nmessage\r\n")
        return self._mode in (_SWALLOWS_UP if up else _SWALLOWS_DOWN)

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.transport.abort()
