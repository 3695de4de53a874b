"""Handlers of /api/v1/api-keys: making, listing and taking back API keys."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.api.key_schemas import NewApiKey
from gateway.api.queries import KeyQuery
from gateway.control.key_admin import KeyAdmin, NewKey
from gateway.control.key_store import StoredKey
from gateway.core.errors import Conflict
from gateway.http.bodies import read_body
from gateway.http.context import KEY_ADMIN, PRINCIPAL
from gateway.http.queries import read_query
from gateway.http.responses import json_response


async def create_api_key(request: web.Request) -> web.Response:
    """Make a key; the answer is the only one that holds it."""
    admin = _admin(request)
    body = await read_body(request, NewApiKey)
    models = None if body.models is None else tuple(body.models)
    scopes = frozenset(body.scopes)
    new = NewKey(body.name, scopes, models, body.tenant, body.profile, body.expires_in_days)
    key, stored = await admin.create(request[PRINCIPAL], new)
    return json_response({**_info(stored), "key": key.text}, status=201)


async def list_api_keys(request: web.Request) -> web.Response:
    """A page of keys, without what would let anybody use them."""
    query = read_query(request, KeyQuery)
    items, next_cursor = await _admin(request).page(request[PRINCIPAL], query.cursor or "", query.limit)
    return json_response({"items": [_info(each) for each in items], "next_cursor": next_cursor})


async def delete_api_key(request: web.Request) -> web.Response:
    """Take a key back."""
    await _admin(request).revoke(request[PRINCIPAL], request.match_info["key_id"])
    return web.Response(status=204)


def _admin(request: web.Request) -> KeyAdmin:
    found = request.app.get(KEY_ADMIN)
    if found is None:
        detail = "API keys are not in use here: they need AUTH=required and API_KEY_PEPPER_FILE (or API_KEY_PEPPER)"
        raise Conflict("api-keys-not-in-use", detail)
    return found


def _info(key: StoredKey) -> dict[str, Any]:
    of = key.principal
    return {
        "id": key.id,
        "name": key.name,
        "principal": of.id,
        "scopes": sorted(of.scopes),
        "models": of.models,
        "tenant": of.tenant,
        "profile": of.profile,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
