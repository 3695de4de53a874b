"""The OpenAPI 3.1 document, made from the table of operations and the pydantic models that validate the requests."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api.operations import Operation
from gateway.api.schemas import Problem, QueuedPrediction, StoredPrediction

_JSON, _PROBLEM = "application/json", "application/problem+json"


def openapi(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Millstream",
            "version": version,
            "description": "One HTTP API for many machine-learning models.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(operations),
        "components": {"schemas": _schemas(operations)},
    }


def _paths(operations: Sequence[Operation]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return paths


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "tags": ["API" if operation.path.startswith("/api") else "Operations"],
        "responses": _responses(operation),
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {_JSON: {"schema": _reference(operation.body)}}}
    if operation.parameters:
        described["parameters"] = [
            {
                "name": each.name,
                "in": each.place,
                "required": each.required,
                "description": each.description,
                "schema": dict(each.schema),
            }
            for each in operation.parameters
        ]
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    responses = {str(status): _response(status, _JSON, _answer(model)) for status, model in operation.answers.items()}
    for status in operation.problems:
        responses[str(status)] = _response(status, _PROBLEM, _reference(Problem))
    return responses


def _response(status: int, media_type: str, schema: dict[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {"description": HTTPStatus(status).phrase}
    return {"description": HTTPStatus(status).phrase, "content": {media_type: {"schema": schema}}}


def _answer(model: type[BaseModel] | None) -> dict[str, Any] | None:
    if model is None:
        return None
    if model is StoredPrediction:
        return {"anyOf": [_reference(StoredPrediction), _reference(QueuedPrediction)]}
    return _reference(model)


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    used: set[type[BaseModel]] = {Problem, QueuedPrediction}
    for each in operations:
        used.update(model for model in each.answers.values() if model is not None)
        if each.body is not None:
            used.add(each.body)
    ordered = sorted(used, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas
