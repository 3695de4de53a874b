"""GET /api/v1/predictions and /api/v1/predictions/{id}: reading predictions."""

from __future__ import annotations

from datetime import datetime
from itertools import accumulate
from typing import Any
from uuid import UUID

from aiohttp import web

from gateway.api.queries import HistoryQuery, WaitQuery
from gateway.api.schemas import prediction_body, stored_body, unfinished_body, waiting_body
from gateway.core.finished import Finished
from gateway.core.history import NEWEST, OLDEST, Filters, History
from gateway.http.context import CANCELLING, HISTORY, PRINCIPAL, PROFILES, RETRY_AFTER, SERVING, UNFINISHED, WAITERS
from gateway.http.preferences import wait_of
from gateway.http.queries import read_query
from gateway.http.responses import json_response
from shared.contract.ids import first_id_at
from shared.contract.messages import Status
from shared.contract.tags import Tag
from shared.streams.prediction_state import Queued
from shared.streams.waiting import FIRST, LAST, EntryId, Wanted

MOST_PAGE_BYTES = 8_000_000
_PIECE = 11  # a page of the default length, and the one that says whether another follows


async def read_prediction(request: web.Request) -> web.Response:
    """One prediction: 200 whether it is finished or not; waits for it if requested."""
    wait = wait_of(read_query(request, WaitQuery).wait, request.headers.get("Prefer"), 0)
    prediction_id = request.match_info["prediction_id"].lower()
    caller = request[PRINCIPAL]
    limits = request.app[PROFILES].limits(caller, "")
    found = await request.app[WAITERS].read(prediction_id, wait.seconds, caller, limits)
    body = unfinished(request.app, prediction_id, found) if isinstance(found, Queued) else stored_body(found)
    return json_response(body, headers=wait.headers)


def unfinished(app: web.Application, prediction_id: str, found: Queued) -> dict[str, Any]:
    """The body of a prediction that has not finished."""
    note = app[SERVING].note(found.label) if found.label else ""
    rate = app[RETRY_AFTER].rate(found.place.queue) if found.place else None
    return unfinished_body(prediction_id, found, rate, note)


async def cancel_prediction(request: web.Request) -> web.Response:
    """Cancel one prediction."""
    prediction_id = request.match_info["prediction_id"].lower()
    return json_response(stored_body(await request.app[CANCELLING].cancel(prediction_id, request[PRINCIPAL])))


async def list_predictions(request: web.Request) -> web.Response:
    """A page of predictions, newest first; shorter than asked for if their results are large."""
    query = read_query(request, HistoryQuery)
    if query.status in (Status.QUEUED, Status.RUNNING):
        return json_response(await _unfinished(request, query))
    since = OLDEST if query.since is None else first_id_at(query.since)
    filters = Filters(request[PRINCIPAL], query.model, query.version, query.status, since, _tag(query))
    before = NEWEST if query.cursor is None else UUID(query.cursor)
    if query.until is not None:
        before = min(before, first_id_at(query.until))
    found = await _first(request.app[HISTORY], filters, before, query.limit + 1)
    fitting = sum(total <= MOST_PAGE_BYTES for total in accumulate(map(_size, found)))
    page = found[: min(max(fitting, 1), query.limit)]
    cursor = page[-1].id if len(found) > len(page) else None
    return json_response({"items": [prediction_body(each) for each in page], "next_cursor": cursor})


async def _unfinished(request: web.Request, query: HistoryQuery) -> dict[str, Any]:
    """A page of what waits or runs."""
    below = LAST if query.cursor is None else EntryId.of(query.cursor)
    if query.until is not None:
        below = min(below, EntryId(_ms(query.until), 0))
    since = FIRST if query.since is None else EntryId(_ms(query.since), 0)
    running = query.status is Status.RUNNING
    found = await request.app[UNFINISHED].page(
        request[PRINCIPAL], query.model, query.version, Wanted(running, below, since, tag=_tag(query)), query.limit
    )
    cursor = None if found.below is None else str(found.below)
    return {"items": [waiting_body(each, running=running) for each in found.items], "next_cursor": cursor}


def _tag(query: HistoryQuery) -> Tag | None:
    return None if query.tag is None else Tag(*query.tag.split(":", 1))


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)


async def _first(history: History, filters: Filters, before: UUID, most: int) -> list[Finished]:
    """The first predictions below an id: as many as there are, up to `most`, or enough to fill a page in bytes.

    The first few tell how large results are: if a whole page of them would fit, the rest is read at once.
    """
    found: list[Finished] = []
    piece = _PIECE
    while len(found) < most:
        asked = min(piece, most - len(found))
        more = await history.page(filters, before, asked)
        found += more
        size = sum(map(_size, found))
        if len(more) < asked or size > MOST_PAGE_BYTES:
            break
        before = UUID(more[-1].id)
        piece = most if size * most < MOST_PAGE_BYTES * len(found) else _PIECE
    return found


def _size(prediction: Finished) -> int:
    return len(prediction.outcome.result or b"")
