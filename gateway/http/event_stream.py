"""Server-sent events (the HTML standard, section 9.2): an answer that goes on until there is nothing more to tell.

Before anything is sent, it is asked again whether the caller may still have it: a stream does not outlive the token or
key that it was opened with. What a client does not read is bounded: nothing more is made for it while 64 KB wait, and
`gateway.http.connections` closes its connection after a while.
"""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.http.access import may_still
from gateway.http.responses import SAFE_HEADERS

BEAT_S = 15.0
MEDIA_TYPE = "text/event-stream"
_HEADERS = {
    **SAFE_HEADERS,
    "Content-Type": MEDIA_TYPE,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # for proxies that would collect an answer before they pass it on
}
_MOST_NUMBER_DIGITS = 15


class NotAnyMore(Exception):
    """The caller may not have what it asked for any more."""


class EventStream:
    """The answer to one request."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response = web.StreamResponse(headers=_HEADERS)

    async def open(self) -> None:
        """Send the headers."""
        await self.response.prepare(self._request)

    async def send(self, event: str, body: object, number: int | None = None) -> None:
        """Send an event.

        Args:
            body: of any kind that has JSON.
            number: its `id`, which a client repeats as `Last-Event-ID` when it was cut off.

        Raises:
            NotAnyMore: nothing was sent.
        """
        name = b"event: " + event.encode() + b"\n"
        mark = b"" if number is None else b"id: %d\n" % number
        await self._write(name + mark + b"data: " + orjson.dumps(body) + b"\n\n")

    async def beat(self) -> None:
        """Send a comment, so that nobody on the way takes the connection for dead.

        Raises:
            NotAnyMore: nothing was sent.
        """
        await self._write(b":\n\n")

    async def _write(self, data: bytes) -> None:
        if not await may_still(self._request):
            raise NotAnyMore
        await self.response.write(data)


def last_number(request: web.Request) -> int:
    """The number of the last event that a client has had; 0 if it has had none, or says something else."""
    said = request.headers.get("Last-Event-ID", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) <= _MOST_NUMBER_DIGITS else 0
