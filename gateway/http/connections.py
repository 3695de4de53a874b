"""The connections of the public port: how many there may be, and what each may keep waiting.

Who connects and sends nothing costs a socket and memory all the same, and so does who does not read the answer. At
`MAX_CONNECTIONS` the connection that has been without a request for the longest is closed for a new one; if all have a
request in hand, one whose client has ended its side, since it may be gone; if there is none, the new one gets a 503.
Answers that clients do not take are bounded in time and, together, in bytes.
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
from gateway.http.connection import Connection
from gateway.http.problems import unavailable
from gateway.http.responses import SAFE_HEADERS
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)

HEADERS_WITHIN_S = 10.0
WRITE_TIMEOUT_S = 30.0
MOST_HELD_BYTES = 128_000_000
MOST_ENDED = 500
SWEEP_EVERY_S = 1.0
_READ_WITHIN_S = 5.0
_ENDED_FOR_S = 5.0  # before it is asked whether the client is gone
_SMALL_BYTES = 65_536
_TOLD_EVERY_S = 10.0
_LINGER_S = 1.0
_MOST_LINGERING = 100
_FILES_BESIDE = 100 + _MOST_LINGERING  # of the process: connections to the stores, the listeners, the log


class Connections:
    """The connections of one gateway.

    Attributes:
        most: how many there may be.
    """

    def __init__(
        self, most: int, keepalive_s: float, max_body_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self._of_each = keepalive_s, max_body_bytes, clock
        self._clock = clock
        self._server: web.Server | None = None
        self._open: set[Connection] = set()
        self._new: dict[Connection, float] = {}  # without a request so far, by when they came
        self._idle: dict[Connection, float] = {}  # between two requests, the longest first
        self._ended: dict[Connection, float] = {}  # answers are due, but the client may be gone: the longest first
        self._progress = asyncio.Event()  # something was answered, or a connection closed
        self._told_at = -_TOLD_EVERY_S

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def accept_for(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """The protocol factory of a listener that hands its connections to `server`."""
        self._server = server
        return self._accept

    def asked(self, connection: Connection) -> None:
        """A request has arrived."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)

    def answered(self, connection: Connection) -> None:
        """All that was asked is answered."""
        self._progress.set()
        if connection in self._open:
            self._idle[connection] = self._clock()

    def ended(self, connection: Connection) -> None:
        """The client sends no more; as it may be gone, not many of these may wait."""
        self._ended[connection] = self._clock()
        if len(self._ended) > MOST_ENDED:
            self._abort(next(iter(self._ended)), "client_gone")

    def lost(self, connection: Connection) -> None:
        """It is closed."""
        self._progress.set()
        self._open.discard(connection)
        for kept in (self._new, self._idle, self._ended):
            kept.pop(connection, None)

    async def sweep(self) -> None:
        """Close connections whose headers do not arrive, or whose answers are not read."""
        now = self._clock()
        for connection, since in list(self._new.items()):
            if now - since > HEADERS_WITHIN_S:
                self._abort(connection, "no_headers")
        for connection in list(self._open):
            connection.look()
            if connection.headers_since is not None and now - connection.headers_since > HEADERS_WITHIN_S:
                self._abort(connection, "no_headers")
            elif now - connection.stuck_since > WRITE_TIMEOUT_S:
                self._abort(connection, "unread_answer")
        for connection, since in self._ended.items():
            if now - since > _ENDED_FOR_S:
                connection.write_interim()
        self._make_room(0)

    def has_room_for(self, size: int) -> bool:
        """Whether an answer of so many bytes may be sent now: so many more can wait to be read."""
        return size <= _SMALL_BYTES or self._make_room(2 * size)

    async def all_answered(self, _: web.Application) -> None:
        """Wait until all that was asked is answered, or its connection closed."""
        while any(each.in_hand for each in self._open):
            self._progress.clear()
            await self._progress.wait()

    def abort(self) -> None:
        """Close all of them, whatever is in hand."""
        for connection in list(self._open):
            self._abort(connection, "unread_answer")

    def _accept(self) -> asyncio.Protocol:
        assert self._server is not None
        if len(self) >= self.most and not self._close_one():
            self._tell()
            return _Refusal(_refusal(self.most))
        connection = Connection(self._server, self, *self._of_each)
        self._open.add(connection)
        self._new[connection] = self._clock()
        return connection

    def _close_one(self) -> bool:
        """Close the connection that is needed least; returns whether there was one.

        It is the one that has been without a request for the longest; if there is none, one whose client may be gone.
        """
        oldest = [next(iter(each.items())) for each in (self._new, self._idle) if each]
        if not oldest and self._ended:
            self._abort(next(iter(self._ended)), "client_gone")
            return True
        if not oldest:
            return False
        connection, _ = min(oldest, key=lambda each: each[1])
        self.lost(connection)
        connection.force_close()
        return True

    def _make_room(self, size: int) -> bool:
        """Close those that have kept answers waiting for long, the longest first, until so many bytes more fit."""
        total, latest = sum(each.held for each in self._open), self._clock() - _READ_WITHIN_S
        if total + size > MOST_HELD_BYTES:
            for connection in sorted(self._open, key=lambda each: each.unsent_since):
                if total + size <= MOST_HELD_BYTES or connection.unsent_since > latest:
                    break
                if connection.held:
                    total -= connection.held
                    self._abort(connection, "unread_answer")
        return total == 0 or total + size <= MOST_HELD_BYTES

    def _abort(self, connection: Connection, kind: str) -> None:
        self.lost(connection)
        connection.abort()
        ERRORS.labels("gateway", kind).inc()

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
    headers = {**answer.headers, **SAFE_HEADERS, "Content-Length": str(len(body)), "Connection": "close"}
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
