"""GET /api/v1/models: the models, their versions, and how many workers serve each."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.core.errors import UnknownModel
from gateway.http.context import CATALOGUE, MODEL, WORKERS
from gateway.http.responses import json_response
from shared.contract.catalogue import Model


async def list_models(request: web.Request) -> web.Response:
    """All models."""
    catalogue = request.app[CATALOGUE]
    live = await request.app[WORKERS].live(catalogue.served())
    return json_response({"items": [_info(model, live) for model in catalogue.models]})


async def read_model(request: web.Request) -> web.Response:
    """One model."""
    catalogue = request.app[CATALOGUE]
    name = request.match_info["name"]
    model = catalogue.find(name)
    if model is None:
        raise UnknownModel(name, known=[each.name for each in catalogue.models])
    request[MODEL] = name
    return json_response(_info(model, await request.app[WORKERS].live(catalogue.served())))


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
