"""/api/v1/dead-letters: what was given up on, for operators: look at it, try it again, or delete it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.api.predict import json_response
from gateway.api.predictions import limit_of
from gateway.http.context import GATEWAY, MODEL
from gateway.http.preferences import timeout_ms_of
from gateway.http.problems import ProblemError, invalid, unavailable
from shared.contract.errors import StoreUnavailable
from shared.streams.dead_letters import DeadLetter

ENTRY_PATTERN = "^[0-9]{1,19}-[0-9]{1,19}$"  # 19 digits always fit the 64 bits of each half
_ENTRY = re.compile(ENTRY_PATTERN)
_RETRY_AFTER_S = 2


async def list_dead_letters(request: web.Request) -> web.Response:
    """Dead letters, newest first, a page at a time."""
    limit = limit_of(request.query)
    cursor = request.query.get("cursor")
    if cursor is not None and not _ENTRY.fullmatch(cursor):
        raise invalid([(("query", "cursor"), "must be the next_cursor of the page before")])
    try:
        found = await request.app[GATEWAY].dead_letters.page(cursor, limit + 1)
    except StoreUnavailable as error:
        raise _away() from error
    page, more = found[:limit], len(found) > limit
    return json_response({"items": [_info(each) for each in page], "next_cursor": page[-1].entry if more else None})


async def replay_dead_letter(request: web.Request) -> web.Response:
    """Try a dead letter's request again, under its id: 202, and its prediction is queued again."""
    gateway = request.app[GATEWAY]
    timeout_ms = timeout_ms_of(request.query, gateway.settings.request_timeout_s)
    entry = _entry(request)
    try:
        letter = await gateway.dead_letters.find(entry)
        if letter is None:
            raise _unknown(entry)
        if letter.request is None:
            detail = f"dead letter {entry} holds no request that can be read ({letter.reason}); it can only be deleted"
            raise ProblemError(409, "not-replayable", detail)
        request[MODEL] = letter.request.model
        attempt = await gateway.dead_letters.replay(letter, timeout_ms)
    except StoreUnavailable as error:
        raise _away() from error
    if attempt is None:
        raise _unknown(entry)
    return json_response(
        {"prediction_id": letter.request.id, "status": "queued", "attempt": attempt},
        status=202,
        headers={"Location": f"/api/v1/predictions/{letter.request.id}"},
    )


async def delete_dead_letter(request: web.Request) -> web.Response:
    """Delete a dead letter; its prediction stays failed."""
    entry = _entry(request)
    try:
        deleted = await request.app[GATEWAY].dead_letters.delete(entry)
    except StoreUnavailable as error:
        raise _away() from error
    if not deleted:
        raise _unknown(entry)
    return web.Response(status=204)


def _entry(request: web.Request) -> str:
    entry = request.match_info["dead_letter_id"]
    if not _ENTRY.fullmatch(entry):
        raise _unknown(entry)
    return entry


def _unknown(entry: str) -> ProblemError:
    return ProblemError(404, "unknown-dead-letter", f"there is no dead letter {entry[:50]!r}")


def _away() -> ProblemError:
    return unavailable("queue-unavailable", "the queue cannot be reached; try again", _RETRY_AFTER_S)


def _info(letter: DeadLetter) -> dict[str, Any]:
    request = letter.request
    return {
        "dead_letter_id": letter.entry,
        "source": letter.source,
        "reason": letter.reason,
        "error": letter.error,
        "deliveries": letter.deliveries,
        "dead_at": datetime.fromtimestamp(letter.dead_at / 1000, UTC),
        "prediction_id": request.id if request else None,
        "model": request.model if request else None,
        "version": request.version if request else None,
        "attempt": request.attempt if request else None,
        "replayable": request is not None,
    }
