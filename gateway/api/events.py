"""GET /api/v1/predictions/{id}/events and /api/v1/events: what happens, as it happens (server-sent events)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import suppress

import orjson
from aiohttp import web

from gateway.api.console_views import views
from gateway.api.predictions import unfinished
from gateway.api.schemas import stored_body
from gateway.core.errors import UnknownPrediction
from gateway.core.finished import Finished
from gateway.core.principal import Principal
from gateway.core.watching import Event, Kind, Watch
from gateway.http.context import FEED, PRINCIPAL, PROFILES, RETRY_AFTER, WAITERS
from gateway.http.event_stream import BEAT_S, EventStream, NotAnyMore, last_number
from gateway.upkeep.feed import Look
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import is_id

Line = tuple[str, object, int | None]  # the name of an event, its body and number


async def prediction_events(request: web.Request) -> web.StreamResponse:
    """What happens to one prediction, until it has finished."""
    prediction_id, caller, waiters = (
        request.match_info["prediction_id"].lower(),
        request[PRINCIPAL],
        request.app[WAITERS],
    )
    if not is_id(prediction_id):
        raise UnknownPrediction(prediction_id)
    waiters.check_room(1, caller=caller.id, limits=request.app[PROFILES].limits(caller, ""))
    with Watch(waiters, prediction_id, caller.id, last_number(request)) as watch:
        found = await waiters.look(prediction_id, caller)
        if isinstance(found, Finished):
            watch.wake(prediction_id, found)
        else:
            watch.seen(found)
        return await streamed(request, _lines(request.app, prediction_id, caller, watch.events(BEAT_S)))


async def streamed(request: web.Request, lines: AsyncIterator[Line | None]) -> web.StreamResponse:
    """Send events, each a name, a body and a number, and beats, which are None."""
    stream = EventStream(request)
    await stream.open()
    if request.method == "HEAD":
        return stream.response
    with suppress(NotAnyMore, ConnectionError):
        async for line in lines:
            await (stream.beat() if line is None else stream.send(*line))
            line = None  # what is sent is not kept until there is more
    return stream.response


async def _lines(
    app: web.Application, prediction_id: str, caller: Principal, events: AsyncIterator[Event]
) -> AsyncIterator[Line | None]:
    async for event in events:
        if event.kind is Kind.RESULT:
            event = event._replace(value=await _whole(app, event.value, caller))
        yield None if event.kind is Kind.BEAT else (event.kind, _body(app, prediction_id, event), event.written)


async def _whole(app: web.Application, finished: Finished, caller: Principal) -> Finished:
    """What a hint has told, with all that the stores know of it; as it was told if they cannot be reached."""
    if finished.course is None:
        with suppress(StoreUnavailable, UnknownPrediction):
            found = await app[WAITERS].read(finished.id, 0, caller)
            return found if isinstance(found, Finished) else finished
    return finished


def _body(app: web.Application, prediction_id: str, event: Event) -> object:
    if event.kind is Kind.STATE:
        return unfinished(app, prediction_id, event.value)
    if event.kind is Kind.RESULT:
        return stored_body(event.value)
    return {"text" if event.kind is Kind.TOKEN else "progress": event.value}


async def events(request: web.Request) -> web.StreamResponse:
    """What consoles watch: queues, workers, the newest predictions."""
    feed = request.app[FEED]
    with feed.watched(request[PRINCIPAL].id):
        look = await feed.first()
        return await streamed(request, _changes(request.app, request[PRINCIPAL], look))


async def _changes(app: web.Application, caller: Principal, look: Look | None) -> AsyncIterator[Line | None]:
    """What has changed since the last look, and a beat while nothing does."""
    shown: dict[str, bytes] = {}
    last_said = time.monotonic()
    number = 0
    while look is not None:
        for name, body in views(look, caller, app[RETRY_AFTER].rate).items():
            if shown.get(name) != body:
                shown[name], number, last_said = body, number + 1, time.monotonic()
                yield name, orjson.Fragment(body), number
        if time.monotonic() - last_said >= BEAT_S:
            last_said = time.monotonic()
            yield None
        look = await app[FEED].next(look, BEAT_S)
