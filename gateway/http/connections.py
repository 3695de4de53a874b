"""The connections of the public port: how many there may be, and how long one may be open without a request.

Who connects and sends nothing costs a socket and memory all the same. At `MAX_CONNECTIONS` the connection that has been
without a request for the longest is closed for a new one; if all have a request in hand, the new one gets a 503.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar, cast

from aiohttp import web

from gateway.core.retry_after import CONNECTIONS_S
from gateway.http.problems import unavailable
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)

HEADERS_WITHIN_S = 10.0
SWEEP_EVERY_S = 1.0
_TOLD_EVERY_S = 10.0
_COUNT_EVERY_S = 0.1
_LINGER_S = 1.0
_MOST_LINGERING = 100
_FILES_BESIDE = 100 + _MOST_LINGERING  # of the process: connections to the stores, the listeners, the log


class Connections:
    """The connections of one gateway.

    Attributes:
        most: how many there may be.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._server: web.Server | None = None
        self._open = 0  # at the last count, and those that came since
        self._counted_at = clock()
        self._new: dict[web.RequestHandler, float] = {}  # without a request so far, by when they came
        self._idle: dict[web.RequestHandler, float] = {}  # between two requests, the longest first
        self._told_at = -_TOLD_EVERY_S

    def accept_for(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """The protocol factory of a listener that hands its connections to `server`."""
        self._server = server
        return self._accept

    def begin(self, connection: web.RequestHandler) -> None:
        """A request has arrived on a connection."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)

    def end(self, connection: web.RequestHandler) -> None:
        """The request is answered."""
        self._idle[connection] = self._clock()

    async def sweep(self) -> None:
        """Close connections whose first headers do not arrive; forget those that are closed."""
        latest = self._clock() - HEADERS_WITHIN_S
        late = [connection for connection, since in self._new.items() if since < latest]
        for connection in late:
            connection.force_close()
        if late:
            ERRORS.labels("gateway", "no_headers").inc(len(late))
        self._new = {each: since for each, since in self._new.items() if each.transport is not None}
        self._idle = {each: since for each, since in self._idle.items() if each.transport is not None}
        self._count()

    def _accept(self) -> asyncio.Protocol:
        assert self._server is not None
        if not self._has_room():
            self._tell()
            return _Refusal(_refusal(self.most))
        self._open += 1
        connection = self._server()
        self._new[connection] = self._clock()
        return connection

    def _count(self) -> None:
        """Count the open ones. (aiohttp tells nobody when one is closed, and has not begun those just accepted.)"""
        begun = () if self._server is None else self._server.connections
        self._open = sum(each.transport is not None for each in begun) + sum(
            each.transport is None for each in self._new
        )
        self._counted_at = self._clock()

    def _has_room(self) -> bool:
        """Whether there may be one more, after closing one without a request if need be."""
        if self._open >= self.most and self._clock() - self._counted_at > _COUNT_EVERY_S:
            self._count()
        return self._open < self.most or self._close_one()

    def _close_one(self) -> bool:
        """Close the connection that has been without a request for the longest; returns whether there was one."""
        oldest = [next(iter(each.items())) for each in (self._new, self._idle) if each]
        if not oldest:
            return False
        connection, _ = min(oldest, key=lambda each: each[1])
        self.begin(connection)
        connection.force_close()
        self._open -= 1
        return True

    def _tell(self) -> None:
        ERRORS.labels("gateway", "refused_connection").inc()
        if self._clock() - self._told_at >= _TOLD_EVERY_S:
            self._told_at = self._clock()
            log.warning("too many connections", extra={"limit": self.most, "detail": "all have a request in hand"})


class _Refusal(asyncio.Protocol):
    """Answers a connection before it has asked, and closes it."""

    lingering: ClassVar[int] = 0

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer; closed at once, the client's request would meet a reset, and hide the answer."""
        transport = cast(asyncio.WriteTransport, transport)
        _Refusal.lingering += 1
        if _Refusal.lingering > _MOST_LINGERING:
            transport.abort()
            return
        transport.write(self._answer)
        transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        _Refusal.lingering -= 1


@lru_cache(maxsize=1)
def _refusal(most: int) -> bytes:
    detail = f"this gateway has as many connections as it may have, {most}, each with a request"
    answer = unavailable("overloaded", detail, CONNECTIONS_S).response()
    body = cast(bytes, answer.body)
    headers = {**answer.headers, "Content-Length": str(len(body)), "Connection": "close", "Server": "millstream"}
    lines = ["HTTP/1.1 503 Service Unavailable", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def possible_connections(most: int) -> int:
    """How many connections this process can have, up to `most`: it may open that many files from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _FILES_BESIDE
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.warning(
            "fewer connections than set", extra={"limit": most, "detail": f"it may open {hard} files: ulimit -n"}
        )
        wanted = hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(1, wanted - _FILES_BESIDE)
