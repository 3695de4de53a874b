"""GET /api/v1/predictions and /api/v1/predictions/{id}: what became of requests."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from aiohttp import web

from gateway.api.predict import json_response
from gateway.core.finished import Finished
from gateway.core.history import NEWEST, Filters
from gateway.http.context import GATEWAY, Gateway
from gateway.http.preferences import wait_of
from gateway.http.problems import ProblemError, invalid, unavailable
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import is_id
from shared.contract.messages import FINAL_STATUSES, Status
from shared.streams.prediction_state import Queued
from shared.telemetry.metrics import ERRORS

_RETRY_AFTER_S = 2
_DEFAULT_LIMIT, _MAX_LIMIT = 10, 100


async def read_prediction(request: web.Request) -> web.Response:
    """One prediction: 200 whether it is finished or not; waits for its end where asked to."""
    gateway = request.app[GATEWAY]
    wait = wait_of(request.query, request.headers.get("Prefer"), 0)
    prediction_id = request.match_info["prediction_id"].lower()
    if not is_id(prediction_id):
        raise _unknown(prediction_id)
    try:
        found = await _locate(gateway, prediction_id, wait.seconds)
    except StoreUnavailable as error:
        ERRORS.labels("gateway", f"{error.store}_unavailable").inc()
        detail = f"{error.store} cannot be reached, and the prediction may be there; try again"
        raise unavailable("store-unavailable", detail, _RETRY_AFTER_S) from error
    if found is None:
        raise _unknown(prediction_id)
    headers = {"Preference-Applied": wait.applied} if wait.applied else None
    if isinstance(found, Queued):
        return json_response({"prediction_id": prediction_id, "status": Status.QUEUED.value}, headers=headers)
    return json_response(found.body(), headers=headers)


async def list_predictions(request: web.Request) -> web.Response:
    """Finished predictions, newest first, a page at a time."""
    gateway = request.app[GATEWAY]
    filters = _filters(request.query)
    limit = limit_of(request.query)
    before = _cursor(request.query)
    try:
        found = await gateway.history.page(filters, before, limit + 1)
    except StoreUnavailable as error:
        ERRORS.labels("gateway", "postgres_unavailable").inc()
        raise unavailable("store-unavailable", "the history cannot be read now; try again", _RETRY_AFTER_S) from error
    if found is None:
        what = f"model {filters.model!r}" + (f" with version {filters.version!r}" if filters.version else "")
        raise ProblemError(404, "unknown-model", f"there is no {what}")
    page, more = found[:limit], len(found) > limit
    cursor = page[-1].id if more else None
    return json_response({"items": [each.body() for each in page], "next_cursor": cursor})


async def _locate(gateway: Gateway, prediction_id: str, wait_s: float) -> Finished | Queued | None:
    if wait_s <= 0 or gateway.closing:
        return await gateway.predictions.locate(prediction_id)
    if gateway.waiters.count >= gateway.settings.max_in_flight:
        raise unavailable("overloaded", "this gateway waits for too many predictions already", _RETRY_AFTER_S)
    with gateway.waiters.expect([prediction_id]) as expected:
        found = await gateway.predictions.locate(prediction_id, wait=True)
        if not isinstance(found, Queued):
            return found
        await expected.results(wait_s)
        return await gateway.predictions.locate(prediction_id)


def _unknown(prediction_id: str) -> ProblemError:
    return ProblemError(404, "unknown-prediction", f"there is no prediction {prediction_id[:100]!r}")


def _filters(query: Mapping[str, str]) -> Filters:
    status = query.get("status")
    if status is not None and status not in FINAL_STATUSES:
        raise invalid([(("query", "status"), f"must be one of {', '.join(sorted(FINAL_STATUSES))}")])
    if "version" in query and "model" not in query:
        raise invalid([(("query", "version"), "needs a model beside it")])
    for name, longest in (("model", 100), ("version", 20)):
        if name in query and not 1 <= len(query[name]) <= longest:
            raise invalid([(("query", name), f"must have 1 to {longest} characters")])
        if "\0" in query.get(name, ""):
            raise invalid([(("query", name), "must not contain NUL characters (U+0000)")])
    return Filters(query.get("model"), query.get("version"), None if status is None else Status(status))


def limit_of(query: Mapping[str, str]) -> int:
    """How many items a page may have.

    Raises:
        ProblemError: 422 where `limit` is not a whole number from 1 to 100.
    """
    text = query.get("limit", str(_DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= _MAX_LIMIT):
        raise invalid([(("query", "limit"), f"must be a whole number from 1 to {_MAX_LIMIT}")])
    return int(text)


def _cursor(query: Mapping[str, str]) -> UUID:
    if "cursor" not in query:
        return NEWEST
    if not is_id(query["cursor"]):
        raise invalid([(("query", "cursor"), "must be the next_cursor of the page before")])
    return UUID(query["cursor"])
