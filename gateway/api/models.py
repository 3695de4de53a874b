"""GET /api/v1/models: the models, their versions, and how many workers serve each."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from gateway.core.errors import UnknownModel
from gateway.core.principal import Scope
from gateway.http.context import CATALOGUE, DRIFT, MODEL, PRINCIPAL, WORKERS
from gateway.http.preconditions import etag
from gateway.http.responses import json_response
from shared.contract.catalogue import Model
from shared.contract.registry import RegisteredVersion
from shared.contract.schemas import schemas_of


async def list_models(request: web.Request) -> web.Response:
    """All models that the caller may use."""
    live, errors = await _serving(request)
    return json_response({"items": [_info(model, live, errors) for model in _models(request)]})


async def read_model(request: web.Request) -> web.Response:
    """One model."""
    name = request.match_info["name"]
    models = _models(request)
    model = next((each for each in models if each.name == name), None)
    if model is None:
        raise UnknownModel(name, known=[each.name for each in models])
    request[MODEL] = name
    return await model_response(request, model)


async def model_response(request: web.Request, model: Model, status: int = 200) -> web.Response:
    """One model; who may change it also sees how far each worker is with its versions, and how
    far their answers have moved.

    Its ETag is of what is decided about it, not of what workers do.
    """
    info = _info(model, *await _serving(request))
    if request[PRINCIPAL].may(Scope.ADMIN):
        states = await request.app[WORKERS].states()
        labels = [f"{model.name}:{each.version}" for each in model.versions]
        drift = await request.app[DRIFT].read(labels)
        for label, version in zip(labels, info["versions"], strict=True):
            by_worker = states.get(label, {})
            version["drift"] = orjson.Fragment(drift[label]) if label in drift else None
            version["states"] = [
                {"worker": worker, "state": each.state, "reason": each.reason or None}
                for worker, each in sorted(by_worker.items())
            ]
    schemas = await request.app[WORKERS].schemas()
    for version in info["versions"]:
        version["schemas"] = schemas_of(
            model.task, schemas.get(f"{model.name}:{version['version']}", {}), model.options
        )
    generation = request.app[CATALOGUE].generation(model.name)
    return json_response(info, status=status, headers={"ETag": etag(generation)})


def _models(request: web.Request) -> list[Model]:
    return [each for each in request.app[CATALOGUE].models if request[PRINCIPAL].may_use(each.name)]


async def _serving(request: web.Request) -> tuple[dict[str, int], dict[str, str]]:
    """How many workers serve each version, and why workers cannot load some."""
    workers, served = request.app[WORKERS], request.app[CATALOGUE].served()
    return await workers.live(served), await workers.load_errors(served)


def _info(model: Model, live: dict[str, int], errors: dict[str, str]) -> dict[str, Any]:
    return {
        "name": model.name,
        "task": model.task,
        "description": model.description,
        "group": model.group,
        "versions": [
            {
                "version": version.version,
                "is_default": version.default,
                "is_active": version.active,
                "digest": version.digest if isinstance(version, RegisteredVersion) else None,
                "workers": live.get(f"{model.name}:{version.version}", 0),
                "limits": version.limits.model_dump(),
                "load_error": errors.get(f"{model.name}:{version.version}"),
            }
            for version in model.versions
        ],
    }
