"""Who makes the calls of an operation, and listens to events: one that blocks, and one for asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

import httpx2

import millstream_client.transport as transport
from millstream_client.calls import Call, Lost, Reply, Steps
from millstream_client.connection import Connection
from millstream_client.errors import MillstreamError
from millstream_client.event_stream import EventStream
from millstream_client.results import Event

T = TypeVar("T")


class Abandoned(MillstreamError):
    """Nobody waits for it any more."""


class Sender:
    """Makes calls that block; for several threads at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._http = httpx2.Client(**transport.settings(connection))

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def run(self, steps: Steps[T], stop: threading.Event | None = None) -> T:
        """Make the calls of an operation; its result."""
        try:
            call = next(steps)
            while True:
                call = steps.send(self._send(call, stop))
        except StopIteration as stopped:
            result: T = stopped.value
            return result

    def _send(self, call: Call, stop: threading.Event | None) -> Reply | Lost:
        if stop is None:
            time.sleep(call.after_s)
        elif stop.wait(call.after_s):
            raise Abandoned
        sent_at = time.monotonic()
        try:
            response = self._http.request(**transport.request(self._connection, call))
        except httpx2.RequestError as error:
            return transport.lost(self._connection, call, error, time.monotonic())
        return transport.reply(response, sent_at, time.monotonic())

    def events(self, stream: EventStream) -> Iterator[Event]:
        """Events of a stream over all its connections, until it has ended; see `EventStream.cut_off` for errors."""
        while not stream.ended:
            outcome: Reply | Lost
            try:
                with self._http.stream(**transport.request(self._connection, stream.call)) as response:
                    if response.status_code == 200:
                        for sse in httpx2.EventSource(response, max_event_size=transport.MOST_EVENT_BYTES):
                            if (event := stream.take(sse.event, sse.data, sse.id)) is not None:
                                yield event
                            if stream.ended:
                                return
                        outcome = transport.ended(response, time.monotonic())
                    else:
                        response.read()
                        outcome = transport.reply(response, 0, time.monotonic())
            except httpx2.RequestError as error:
                outcome = transport.lost(self._connection, stream.call, error, time.monotonic())
            time.sleep(stream.cut_off(outcome))


class AsyncSender:
    """Makes calls in coroutines of asyncio."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._http = httpx2.AsyncClient(**transport.settings(connection))

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def run(self, steps: Steps[T]) -> T:
        """Make the calls of an operation; its result."""
        try:
            call = next(steps)
            while True:
                call = steps.send(await self._send(call))
        except StopIteration as stopped:
            result: T = stopped.value
            return result

    async def _send(self, call: Call) -> Reply | Lost:
        await asyncio.sleep(call.after_s)
        sent_at = time.monotonic()
        try:
            response = await self._http.request(**transport.request(self._connection, call))
        except httpx2.RequestError as error:
            return transport.lost(self._connection, call, error, time.monotonic())
        return transport.reply(response, sent_at, time.monotonic())

    async def events(self, stream: EventStream) -> AsyncIterator[Event]:
        """Events of a stream over all its connections, until it has ended; see `EventStream.cut_off` for errors."""
        while not stream.ended:
            outcome: Reply | Lost
            try:
                async with self._http.stream(**transport.request(self._connection, stream.call)) as response:
                    if response.status_code == 200:
                        async for sse in httpx2.EventSource(response, max_event_size=transport.MOST_EVENT_BYTES):
                            if (event := stream.take(sse.event, sse.data, sse.id)) is not None:
                                yield event
                            if stream.ended:
                                return
                        outcome = transport.ended(response, time.monotonic())
                    else:
                        await response.aread()
                        outcome = transport.reply(response, 0, time.monotonic())
            except httpx2.RequestError as error:
                outcome = transport.lost(self._connection, stream.call, error, time.monotonic())
            await asyncio.sleep(stream.cut_off(outcome))
