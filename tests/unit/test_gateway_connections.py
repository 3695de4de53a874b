"""What the connections of a gateway may keep waiting: an answer that is not read, and clients that may be gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest
from aiohttp import web

from gateway.http import connections as module
from gateway.http.connections import Connections
from tests.e2e.raw_http import until_closed
from tests.waiting import eventually

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = b"x" * 20_000_000

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(connections: Connections, handler: Handler) -> AsyncIterator[int]:
    """Connections served by a handler; the answer is their port."""
    server = web.Server(handler, handler_cancellation=True)
    listener = await asyncio.get_running_loop().create_server(connections.accept_for(server), "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        connections.abort()
        await server.shutdown(1)


async def answer_large(_: web.BaseRequest) -> web.Response:
    """A large answer."""
    return web.Response(body=LARGE)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def unsent(connections: Connections) -> int:
    """Bytes of answers that clients have not taken."""
    return sum(each.unsent for each in connections._open)


async def test_an_answer_that_is_not_read_is_given_up_and_one_that_is_read_slowly_is_not() -> None:
    clock = Clock()
    connections = Connections(10, 75, 1000, clock)
    async with serving(connections, answer_large) as port:
        _, stuck = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        stuck.write(ASK)
        reader, slow = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        slow.write(ASK)
        await eventually(lambda: unsent(connections) > len(LARGE), "both answers wait")
        received = b""
        for _ in range(4):
            before = unsent(connections)
            while unsent(connections) == before:
                received += await reader.read(100_000)
            clock.now_s += 10
            await connections.sweep()
        clock.now_s += 1  # the other has not read for more than 30 s
        await connections.sweep()
        assert len(connections) == 1
        assert len(received + await reader.readexactly(len(LARGE) - len(received))) == len(LARGE)
        slow.close()
        stuck.close()


async def test_of_those_who_ended_their_side_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENDED", 3)
    released, begun = asyncio.Event(), []

    async def wait(request: web.BaseRequest) -> web.Response:
        begun.append(request)
        await released.wait()
        return web.Response(text="at last")

    connections = Connections(10, 75, 1000)
    async with serving(connections, wait) as port:
        with ExitStack() as stack:
            clients = []
            for count in range(1, 6):
                clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)))
                clients[-1].sendall(ASK)
                clients[-1].shutdown(socket.SHUT_WR)
                await eventually(lambda count=count: len(begun) == count, "it is in hand")  # type: ignore[misc]
            await eventually(lambda: len(connections) == 3, "the first two were closed")
            released.set()
            await eventually(lambda: len(connections) == 0, "the others are answered and closed")
            answers = [until_closed(each) for each in clients]
            assert [each[-7:] for each in answers] == [b"", b"", b"at last", b"at last", b"at last"]
