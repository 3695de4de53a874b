"""/api/v1/dead-letters, for operators: list, replay and delete dead letters."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.api.queries import ENTRY_PATTERN, DeadLetterQuery
from gateway.core.errors import NotReplayable, UnknownDeadLetter
from gateway.http.context import CATALOGUE, DEAD_LETTERS, MODEL, PRINCIPAL, SETTINGS
from gateway.http.queries import read_query
from gateway.http.responses import json_response
from gateway.http.timeouts import TimeoutQuery, timeout_ms_of
from shared.streams.dead_letters import GONE, OF_CALLBACKS, TOO_OFTEN, DeadLetter

_ENTRY = re.compile(ENTRY_PATTERN)


async def list_dead_letters(request: web.Request) -> web.Response:
    """A page of dead letters, newest first; without those of models that the caller may not use."""
    query = read_query(request, DeadLetterQuery)
    found = await request.app[DEAD_LETTERS].page(query.cursor, query.limit + 1)
    page, more = found[: query.limit], len(found) > query.limit
    shown = [each for each in page if _may_see(request, each)]
    items = [_info(each, replayable=not _obstacle(each, request.app)) for each in shown]
    return json_response({"items": items, "next_cursor": page[-1].entry if more else None})


async def replay_dead_letter(request: web.Request) -> web.Response:
    """Replay a dead letter's request under the same id: 202, and its prediction is queued again."""
    timeout_ms = timeout_ms_of(read_query(request, TimeoutQuery).timeout, request.app[SETTINGS])
    letter = await _letter(request)
    entry = letter.entry
    obstacle, most = _obstacle(letter, request.app), request.app[SETTINGS].max_replays
    if letter.request is None or obstacle:
        raise NotReplayable(entry, obstacle)
    request[MODEL] = letter.request.model
    attempt = await request.app[DEAD_LETTERS].replay(letter, timeout_ms, most)
    if attempt == TOO_OFTEN:
        raise NotReplayable(entry, _too_often(most))
    if attempt == GONE:
        raise UnknownDeadLetter(entry)
    return json_response(
        {"prediction_id": letter.request.id, "status": "queued", "attempt": attempt},
        status=202,
        headers={"Location": f"/api/v1/predictions/{letter.request.id}"},
    )


async def delete_dead_letter(request: web.Request) -> web.Response:
    """Delete a dead letter; its prediction stays failed."""
    letter = await _letter(request)
    if not await request.app[DEAD_LETTERS].delete(letter.entry):
        raise UnknownDeadLetter(letter.entry)
    return web.Response(status=204)


async def _letter(request: web.Request) -> DeadLetter:
    entry = request.match_info["dead_letter_id"]
    letter = await request.app[DEAD_LETTERS].find(entry) if _ENTRY.fullmatch(entry) else None
    if letter is None or not _may_see(request, letter):
        raise UnknownDeadLetter(entry)
    return letter


def _may_see(request: web.Request, letter: DeadLetter) -> bool:
    """Whether it is of a model that the caller may use; one that cannot be read is for those who may use all."""
    return request[PRINCIPAL].may_use(letter.about.model if letter.about else "")


def _obstacle(letter: DeadLetter, app: web.Application) -> str:
    """Why it cannot be replayed; empty if it can."""
    request, most = letter.request, app[SETTINGS].max_replays
    if letter.source == OF_CALLBACKS:
        return "it is of a callback: its prediction can be read; it can only be deleted"
    if request is None:
        return f"its request cannot be read ({letter.reason}); it can only be deleted"
    if app[CATALOGUE].resolve(request.model, request.version) is None:
        version = f"{request.model}:{request.version}"
        return f"{version} is not in the catalogue, or not active, so nobody would serve it; add it, or delete this"
    return _too_often(most) if request.attempt >= most else ""


def _too_often(most: int) -> str:
    return f"its request was replayed {most} times, which is MAX_REPLAYS; raise that, or delete this"


def _info(letter: DeadLetter, replayable: bool) -> dict[str, Any]:
    about = letter.about
    return {
        "dead_letter_id": letter.entry,
        "source": letter.source,
        "reason": letter.reason,
        "error": letter.error,
        "deliveries": letter.deliveries,
        "dead_at": datetime.fromtimestamp(letter.dead_at / 1000, UTC),
        "prediction_id": about.id if about else None,
        "model": about.model if about else None,
        "version": about.version if about else None,
        "attempt": about.attempt if about else None,
        "replayable": replayable,
    }
