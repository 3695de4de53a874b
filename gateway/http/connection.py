"""One connection of the public port, as aiohttp serves it, and where that is not enough.

- Who is refused before the body is read has the connection closed: the rest is not read, except for a little, since a
  connection closed while the client is still sending would be reset before the client reads the answer.
- A client that ends its side (shuts down writing) still gets the answers to what it has asked. One that is gone looks
  the same until something is written to it twice: its system objects to the first, and then the second fails.
- What is no HTTP is refused like everything else: a problem, one line in the log, no name of what runs here.
- How long an answer has been waiting to be read is known, so that it can be given up.
"""

from __future__ import annotations

import asyncio
import logging
import select
import time
from collections.abc import Callable
from typing import Protocol, cast

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion11, RawRequestMessage

from gateway.http.malformed import why_malformed
from gateway.http.problems import ProblemError, of_http_error
from gateway.http.responses import SAFE_HEADERS
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)

LINGER_S = 2.0
LINGER_BYTES = 1_000_000
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"  # which clients ignore, wanted or not (RFC 9110, section 15.2)
_MOST_INTERIM = 2
_READ_SOON_S = 0.05


class Registry(Protocol):
    """Who is told what happens on a connection."""

    def asked(self, connection: Connection) -> None:
        """A request has arrived."""

    def answered(self, connection: Connection) -> None:
        """All that was asked is answered."""

    def ended(self, connection: Connection) -> None:
        """The client sends no more; answers are still due."""

    def lost(self, connection: Connection) -> None:
        """It is closed."""


class Connection(web.RequestHandler):
    """A connection.

    Attributes:
        headers_since: when the first byte of a request arrived whose headers are not all there; None if none did.
        unsent_since: when, at the latest, all that was written had been taken, by the clock.
        stuck_since: when, at the latest, some of what was written was taken, or there was nothing to take.
    """

    def __init__(
        self,
        server: web.Server,
        registry: Registry,
        keepalive_s: float,
        max_body_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=keepalive_s,
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,  # a few bytes may unpack to gigabytes: see gateway.http.bodies
            lingering_time=0,  # ours has a bound in bytes
        )
        self._registry = registry
        self._max_body_bytes = max_body_bytes
        self._answered = 0
        self._closes = False
        self._interim = 0
        self._body: StreamReader | None = None  # of the request that arrived last
        self._wire: asyncio.Transport | None = None
        self._seen_unsent = 0
        self._answer_bytes = 0  # of the last answer
        self._clock = clock
        self.headers_since: float | None = None
        self.unsent_since = self.stuck_since = clock()

    @property
    def in_hand(self) -> int:
        """Requests not answered yet."""
        return self._request_count - self._answered

    @property
    def unsent(self) -> int:
        """Bytes of answers that the client has not taken."""
        return 0 if self._wire is None else self._wire.get_write_buffer_size()

    @property
    def held(self) -> int:
        """Bytes of memory that these keep: all of an answer, twice (by aiohttp and by the transport), until its end is
        taken.
        """
        unsent = self.unsent
        return max(unsent, 2 * self._answer_bytes) if unsent else 0

    def look(self) -> None:
        """See whether the client takes what is written to it."""
        unsent, now = self.unsent, self._clock()
        if not unsent:
            self.unsent_since = now
        if not unsent or unsent != self._seen_unsent:
            self.stuck_since = now
        self._seen_unsent = unsent

    def write_interim(self) -> None:
        """Write something that changes nothing, unless the client is gone: the second time, the connection is lost."""
        request = self._current_request
        if self._wire is None or request is None or request.version < HttpVersion11 or request.writer.output_size:
            return
        if self._interim < _MOST_INTERIM:
            self._interim += 1
            self._wire.write(_INTERIM)

    def abort(self) -> None:
        """Close it at once, whatever is in hand."""
        if self._wire is not None:
            self._wire.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._wire = cast(asyncio.Transport, transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is closed."""
        self._wire = None
        self._registry.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes have arrived: of headers, or of a body."""
        before = self._request_count
        super().data_received(data)
        if self._request_count > before:
            self._note_body()
            self._registry.asked(self)
        if self.in_hand:
            self.headers_since = None
        elif self.headers_since is None and data:
            self.headers_since = self._clock()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. It may still read, so the connection stays open while there is something to answer.

        (A client that is gone looks the same.)
        """
        self._closes = True
        self._cut_body()
        if self.in_hand:
            self._registry.ended(self)
        return self.in_hand > 0

    def _process_keepalive(self) -> None:
        """Close it if it has been idle for too long; not if a request has arrived that is not read yet."""
        if self._wire is not None and not self._wire.is_closing() and _has_unread(self._wire):
            self._keepalive_handle = self._loop.call_later(_READ_SOON_S, self._process_keepalive)
        else:
            super()._process_keepalive()

    def close(self) -> None:
        """Close it once all that was asked is answered: a body may still be arriving."""
        self._closes = True
        if not self.in_hand:
            super().close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer."""
        if isinstance(resp, web.HTTPException):  # of aiohttp itself: an unknown `Expect`
            resp = of_http_error(resp, self._max_body_bytes).response()
            resp.headers.update(SAFE_HEADERS)
        unread = not request.content.is_eof()
        if unread or (self._closes and self.in_hand == 1):
            resp.force_close()
        self._answer_bytes = resp.content_length or 0
        try:
            sent = await super().finish_response(request, resp, start_time)
            if unread:
                await self._linger(request.content)
            return sent
        finally:
            self._answered += 1
            if not self.in_hand:
                self._registry.answered(self)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, or to a fault of ours outside of all handlers; then it is closed."""
        if status == 400:
            reason = why_malformed(exc)
            ERRORS.labels("gateway", "malformed_request").inc()
            log.warning("malformed request", extra={"detail": reason})
            answer = ProblemError(400, "malformed-request", reason).response()
        else:
            log.error("answering failed", exc_info=exc)
            ERRORS.labels("gateway", "handler").inc()
            answer = ProblemError(500, "internal", "internal error; it was logged").response()
        if request.writer.output_size > 0:
            raise ConnectionError("part of another answer is sent already")
        answer.headers.update(SAFE_HEADERS)
        answer.force_close()
        return answer

    def _note_body(self) -> None:
        message, body = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            self._body = body
        elif self._cut_body():  # the error is in that body, and is told as its request's
            self._messages.pop()
            self._request_count -= 1

    def _cut_body(self) -> bool:
        """End the body that is arriving; returns whether there was one."""
        body = self._body
        if body is None or body.is_eof() or body.exception() is not None or not self.in_hand:
            return False
        body.set_exception(web.RequestPayloadError("cut off"))
        return True

    async def _linger(self, body: StreamReader) -> None:
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_S):
                while left > 0 and not body.is_eof():
                    left -= len(await body.readany())
        except (TimeoutError, web.RequestPayloadError):
            pass


def _has_unread(transport: asyncio.Transport) -> bool:
    """Whether bytes have arrived that the event loop has not read yet."""
    readable = select.poll()
    readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(readable.poll(0))
