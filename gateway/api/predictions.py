"""GET /api/v1/predictions and /api/v1/predictions/{id}: reading predictions."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from gateway.api.queries import HistoryQuery, WaitQuery
from gateway.api.schemas import prediction_body, queued_body
from gateway.core.history import NEWEST, Filters
from gateway.http.context import HISTORY, SERVING, WAITERS
from gateway.http.preferences import wait_of
from gateway.http.queries import read_query
from gateway.http.responses import json_response
from shared.streams.prediction_state import Queued


async def read_prediction(request: web.Request) -> web.Response:
    """One prediction: 200 whether it is finished or not; waits for it if requested."""
    wait = wait_of(read_query(request, WaitQuery).wait, request.headers.get("Prefer"), 0)
    prediction_id = request.match_info["prediction_id"].lower()
    found = await request.app[WAITERS].read(prediction_id, wait.seconds)
    if isinstance(found, Queued):
        body = queued_body(prediction_id, request.app[SERVING].note(found.label) if found.label else "")
    else:
        body = prediction_body(found)
    return json_response(body, headers=wait.headers)


async def list_predictions(request: web.Request) -> web.Response:
    """A page of finished predictions, newest first."""
    query = read_query(request, HistoryQuery)
    filters = Filters(query.model, query.version, query.status)
    before = NEWEST if query.cursor is None else UUID(query.cursor)
    found = await request.app[HISTORY].page(filters, before, query.limit + 1)
    page, more = found[: query.limit], len(found) > query.limit
    cursor = page[-1].id if more else None
    return json_response({"items": [prediction_body(each) for each in page], "next_cursor": cursor})
