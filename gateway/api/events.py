"""GET /api/v1/predictions/{id}/events and /api/v1/events: what happens, as it happens (server-sent events)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from gateway.api.predictions import unfinished
from gateway.api.schemas import prediction_body
from gateway.core.errors import UnknownPrediction
from gateway.core.finished import Finished
from gateway.core.watching import Event, Kind, Watch
from gateway.http.context import PRINCIPAL, PROFILES, WAITERS
from gateway.http.event_stream import BEAT_S, EventStream, NotAnyMore, last_number
from gateway.http.queries import Query, read_query
from shared.contract.ids import is_id

Sent = Callable[[EventStream], Awaitable[None]]


async def prediction_events(request: web.Request) -> web.StreamResponse:
    """What happens to one prediction, until it has finished."""
    read_query(request, Query)
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
        return await streamed(request, _lines(request.app, prediction_id, watch.events(BEAT_S)))


async def streamed(
    request: web.Request, lines: AsyncIterator[tuple[str, object, int | None] | None]
) -> web.StreamResponse:
    """Send events, each a name, a body and a number, and beats, which are None."""
    stream = EventStream(request)
    await stream.open()
    if request.method == "HEAD":
        return stream.response
    with suppress(NotAnyMore, ConnectionError):
        async for line in lines:
            await (stream.beat() if line is None else stream.send(*line))
    return stream.response


async def _lines(
    app: web.Application, prediction_id: str, events: AsyncIterator[Event]
) -> AsyncIterator[tuple[str, object, int | None] | None]:
    async for event in events:
        yield None if event.kind is Kind.BEAT else (event.kind, _body(app, prediction_id, event), event.written)


def _body(app: web.Application, prediction_id: str, event: Event) -> object:
    if event.kind is Kind.STATE:
        return unfinished(app, prediction_id, event.value)
    if event.kind is Kind.RESULT:
        return prediction_body(event.value)
    return {"text" if event.kind is Kind.TOKEN else "progress": event.value}
