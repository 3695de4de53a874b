"""Server-sent events as a client reads them: by the HTML standard, as far as the gateway goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import orjson
from aiohttp import ClientResponse

from tests.gateways import Client


class Heard(NamedTuple):
    """An event; a comment has neither a name nor a body."""

    event: str
    body: Any
    number: int | None


class Stream:
    """An open stream of events."""

    def __init__(self, answer: ClientResponse) -> None:
        self.answer = answer

    async def next(self, patience_s: float = 20) -> Heard | None:
        """The next event or comment; None at the end."""
        async with asyncio.timeout(patience_s):
            try:
                block = await self.answer.content.readuntil(b"\n\n")
            except asyncio.IncompleteReadError:
                return None
        if not block:
            return None
        fields = dict(line.split(b": ", 1) for line in block.splitlines() if line and not line.startswith(b":"))
        body = orjson.loads(fields[b"data"]) if b"data" in fields else None
        number = int(fields[b"id"]) if b"id" in fields else None
        return Heard(fields.get(b"event", b"").decode(), body, number)

    async def until(self, event: str) -> Heard:
        """The next event of a kind."""
        while (heard := await self.next()) is not None:
            if heard.event == event:
                return heard
        raise AssertionError(f"the stream ended without {event}")

    async def rest(self) -> list[Heard]:
        """All that comes until the end."""
        heard = []
        while (each := await self.next()) is not None:
            heard.append(each)
        return heard


@asynccontextmanager
async def listening(client: Client, path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Stream]:
    """A stream of events, open as long as the block runs."""
    async with client.get(path, headers=headers, timeout=None) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        yield Stream(answer)
