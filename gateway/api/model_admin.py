"""Changing models: registering, activating, deactivating and deleting versions, and choosing the default."""

from __future__ import annotations

import re

from aiohttp import web

from gateway.api.model_schemas import DefaultBody, NewVersionBody
from gateway.api.models import model_response
from gateway.control.registry.administration import NewVersion
from gateway.core.errors import UnknownModel
from gateway.http.bodies import read_body
from gateway.http.context import CATALOGUE, MODEL, MODEL_ADMIN, PRINCIPAL
from gateway.http.preconditions import generation_of
from gateway.http.problems import invalid
from shared.contract.catalogue import NAME_PATTERN
from shared.contract.messages import MODEL_MAX_CHARS

_NAME = re.compile(NAME_PATTERN)


async def register_version(request: web.Request) -> web.Response:
    """Register a version, which is inactive at first: 201, or 200 if the same is registered already."""
    name = request.match_info["name"]
    body = await read_body(request, NewVersionBody)
    if not _NAME.fullmatch(name) or len(name) > MODEL_MAX_CHARS or name == "group":
        told = f"must be 1 to {MODEL_MAX_CHARS} lower-case letters, digits, `.`, `_`, `-`, and not `group`"
        raise invalid([(("path", "name"), told)])
    new = NewVersion(name, body.settings(), body.task, body.description, body.group)
    made = await request.app[MODEL_ADMIN].register(request[PRINCIPAL], new)
    return await _changed(request, 201 if made else 200)


async def activate_version(request: web.Request) -> web.Response:
    """Make a version active."""
    await request.app[MODEL_ADMIN].activate(request[PRINCIPAL], *_names(request))
    return await _changed(request)


async def deactivate_version(request: web.Request) -> web.Response:
    """Make a version inactive."""
    await request.app[MODEL_ADMIN].deactivate(request[PRINCIPAL], *_names(request))
    return await _changed(request)


async def set_default(request: web.Request) -> web.Response:
    """Make a version the default."""
    generation = generation_of(request.headers.get("If-Match"))
    body = await read_body(request, DefaultBody)
    name = request.match_info["name"]
    await request.app[MODEL_ADMIN].set_default(request[PRINCIPAL], name, body.version, generation)
    return await _changed(request)


async def delete_version(request: web.Request) -> web.Response:
    """Delete a version that was registered."""
    await request.app[MODEL_ADMIN].delete(request[PRINCIPAL], *_names(request))
    return web.Response(status=204)


def _names(request: web.Request) -> tuple[str, str]:
    return request.match_info["name"], request.match_info["version"]


async def _changed(request: web.Request, status: int = 200) -> web.Response:
    """The model as it is now."""
    name = request.match_info["name"]
    model = request.app[CATALOGUE].find(name)
    if model is None:  # another change came between
        raise UnknownModel(name)
    request[MODEL] = name
    return await model_response(request, model, status)
