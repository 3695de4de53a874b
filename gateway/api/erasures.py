"""DELETE /api/v1/predictions and /api/v1/erasures/{id}: having predictions erased, for administrators."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web

from gateway.api.queries import ErasureQuery
from gateway.control.erasures import Requested, Which
from gateway.core.errors import NotAllowed, UnknownErasure
from gateway.core.principal import Principal, Scope
from gateway.http.context import ERASURES, PRINCIPAL
from gateway.http.problems import invalid
from gateway.http.queries import read_query
from gateway.http.responses import json_response
from shared.contract.ids import RANDOM_BITS, is_id, uuid7


async def erase_predictions(request: web.Request) -> web.Response:
    """Have predictions erased: 202 with the id under which to see how far that is."""
    caller = _administrator(request)
    query = read_query(request, ErasureQuery)
    which = Which(query.principal, query.subject, query.before)
    if which == Which():
        raise invalid([(("query",), "needs `principal`, `subject` or `before`: without, everything would be erased")])
    erasure_id = UUID(uuid7(time.time_ns() // 1_000_000, secrets.randbits(RANDOM_BITS)))
    erasure = await request.app[ERASURES].request(erasure_id, caller, datetime.now(UTC), which)
    return json_response(_info(erasure), status=202, headers={"Location": f"/api/v1/erasures/{erasure.id}"})


async def read_erasure(request: web.Request) -> web.Response:
    """An erasure, and how far it is."""
    _administrator(request)
    given = request.match_info["erasure_id"].lower()
    found = await request.app[ERASURES].find(UUID(given)) if is_id(given) else None
    if found is None:
        raise UnknownErasure(given)
    return json_response(_info(found))


def _administrator(request: web.Request) -> Principal:
    """Who asks, if it is an administrator of everything: a caller's predictions are of any model.

    Raises:
        NotAllowed: it may administer some models, or one tenant, only.
    """
    caller = request[PRINCIPAL]
    if not caller.may_use_all or caller.tenant:
        raise NotAllowed((Scope.ADMIN,), "for all models and tenants")
    return caller


def _info(erasure: Requested) -> dict[str, Any]:
    return {
        "erasure_id": str(erasure.id),
        "state": erasure.state,
        "principal": erasure.principal,
        "subject_id": erasure.subject_id,
        "before": erasure.before,
        "requested_by": erasure.requested_by,
        "requested_at": erasure.requested_at,
        "finished_at": erasure.finished_at,
        "predictions": erasure.rows,
        "requests": erasure.requests,
        "dead_letters": erasure.dead_letters,
        "waiting": erasure.waiting,
        "note": erasure.note,
    }
