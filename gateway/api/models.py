"""GET /api/v1/models: what can be asked, and who serves it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.api.predict import json_response
from gateway.http.context import GATEWAY, MODEL, Gateway
from gateway.http.problems import ProblemError, unavailable
from shared.contract.catalogue import Model
from shared.contract.errors import StoreUnavailable


async def list_models(request: web.Request) -> web.Response:
    """All models."""
    gateway = request.app[GATEWAY]
    live = await _live(gateway)
    return json_response({"items": [_info(model, live) for model in gateway.catalogue.models]})


async def read_model(request: web.Request) -> web.Response:
    """One model."""
    gateway = request.app[GATEWAY]
    name = request.match_info["name"]
    model = gateway.catalogue.find(name)
    if model is None:
        known = ", ".join(each.name for each in gateway.catalogue.models)
        raise ProblemError(404, "unknown-model", f"there is no model {name[:100]!r}; there are: {known}")
    request[MODEL] = name
    return json_response(_info(model, await _live(gateway)))


async def _live(gateway: Gateway) -> dict[str, int]:
    try:
        return await gateway.workers.live(gateway.catalogue.served())
    except StoreUnavailable as error:
        raise unavailable("queue-unavailable", "the queue cannot be asked who serves what; try again", 2) from error


def _info(model: Model, live: dict[str, int]) -> dict[str, Any]:
    return {
        "name": model.name,
        "task": model.task,
        "description": model.description,
        "versions": [
            {
                "version": version.version,
                "is_default": version.default,
                "is_active": version.active,
                "workers": live.get(f"{model.name}:{version.version}", 0),
            }
            for version in model.versions
        ],
    }
