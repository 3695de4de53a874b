"""The OpenAPI 3.1 document, made from a table of operations and the pydantic models of requests and responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.core.principal import Scope
from gateway.http.middleware import Handler
from gateway.http.problems import Problem
from gateway.http.queries import Query

_BEARER = "bearer"
_JSON, _PROBLEM, _BYTES = "application/json", "application/problem+json", "application/octet-stream"
# Of a stream of server-sent events: one of them.
_EVENT = {
    "type": "object",
    "properties": {each: {"type": "string"} for each in ("event", "id", "data")},
    "required": ["event", "data"],
}
_TAGS = {"api": "API", "v2": "Open Inference Protocol v2", "v1": "OpenAI", "hf": "Hugging Face"}

# One model, any of several, a media type that is no JSON, or no body.
Answer = type[BaseModel] | tuple[type[BaseModel], ...] | str | None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A path or header parameter, with its JSON schema."""

    name: str
    place: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of an API.

    Attributes:
        scopes: any of these is enough to use it; with none it is open to all.
        answers: the response body for each success status.
        problems: its error statuses.
        query: the model of its query parameters.
        parameters: path and header parameters.
        problem: how its errors look.
        binary: whether body and answers may be bytes too.
    """

    method: str
    path: str
    handler: Handler
    scopes: tuple[Scope, ...]
    summary: str
    answers: Mapping[int, Answer]
    problems: Sequence[int] = ()
    body: type[BaseModel] | None = None
    query: type[Query] | None = None
    parameters: Sequence[Parameter] = ()
    problem: type[Problem] = Problem
    binary: bool = False


def openapi(
    operations: Sequence[Operation],
    version: str,
    schemas: Mapping[str, dict[str, Any]],
    maxima: Mapping[str, float],
    *,
    secured: bool,
) -> dict[str, Any]:
    """The document.

    Args:
        schemas: components, or parts of them, that are known only at startup.
        maxima: the most that query parameters can be, by their names; known only at startup too.
        secured: whether it must be known who asks.
    """
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Millstream",
            "version": version,
            "description": "One HTTP API for many machine-learning models.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(operations, maxima),
        "components": {"schemas": _merged(_schemas(operations), schemas)},
    }
    return _merged(document, _security(operations)) if secured else document


def _security(operations: Sequence[Operation]) -> dict[str, Any]:
    """The part of the document about who may do what."""
    paths: dict[str, Any] = {}
    for each in operations:
        if each.scopes:
            described = {
                "security": [{_BEARER: []}],
                "description": f"Needs the scope {' or '.join(f'`{scope}`' for scope in each.scopes)}.",
                "responses": {
                    str(status): _response(status, {_PROBLEM: _reference(each.problem)}) for status in (401, 403)
                },
            }
            paths.setdefault(each.path, {})[each.method.lower()] = described
    bearer = {"type": "http", "scheme": "bearer", "description": "a JWT, or an API key (`msk_…`)"}
    return {"paths": paths, "components": {"securitySchemes": {_BEARER: bearer}}}


def _paths(operations: Sequence[Operation], maxima: Mapping[str, float]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, maxima)
    return paths


def _operation(operation: Operation, maxima: Mapping[str, float]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "tags": [_TAGS.get(operation.path.split("/")[1], "Operations")],
        "responses": _responses(operation),
    }
    if operation.body is not None:
        content = {kind: {"schema": schema} for kind, schema in _content(operation, operation.body).items()}
        described["requestBody"] = {"required": True, "content": content}
    parameters = [_parameter(each) for each in operation.parameters] + _query_parameters(operation.query, maxima)
    if parameters:
        described["parameters"] = parameters
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _query_parameters(query: type[Query] | None, maxima: Mapping[str, float]) -> list[dict[str, Any]]:
    schemas = {} if query is None else _properties(query)
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            "schema": _without_null(schema) | ({"maximum": maxima[name]} if name in maxima else {}),
        }
        for name, schema in schemas.items()
    ]


@cache  # as for `_definitions`; operations share queries besides
def _properties(query: type[Query]) -> Mapping[str, Mapping[str, Any]]:
    properties: dict[str, dict[str, Any]] = query.model_json_schema()["properties"]
    return properties


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema: for an optional one pydantic allows null, which a query string cannot express."""
    values = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    merged = {**schema, **(values[0] if values else {})}
    left_out = ("title", "description", "anyOf")
    return {key: value for key, value in merged.items() if key not in left_out and (key, value) != ("default", None)}


def _responses(operation: Operation) -> dict[str, Any]:
    responses = {
        str(status): _response(status, _content(operation, answer)) for status, answer in operation.answers.items()
    }
    for status in operation.problems:
        responses[str(status)] = _response(status, {_PROBLEM: _reference(operation.problem)})
    return responses


def _response(status: int, content: Mapping[str, Any]) -> dict[str, Any]:
    described = {"content": {kind: {"schema": schema} for kind, schema in content.items()}} if content else {}
    return {"description": HTTPStatus(status).phrase, **described}


def _content(operation: Operation, answer: Answer) -> dict[str, Any]:
    """The schema of a body or an answer for each media type that it may have."""
    if isinstance(answer, str):
        return {answer: _EVENT}
    models = _models(answer)
    if not models:
        return {}
    schema = {"anyOf": [_reference(each) for each in models]} if len(models) > 1 else _reference(models[0])
    return {_JSON: schema, **({_BYTES: {"type": "string", "format": "binary"}} if operation.binary else {})}


def _models(answer: Answer) -> tuple[type[BaseModel], ...]:
    if answer is None or isinstance(answer, str):
        return ()
    return answer if isinstance(answer, tuple) else (answer,)


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    used: set[type[BaseModel]] = {Problem}
    for each in operations:
        used.add(each.problem)
        used.update(model for answer in each.answers.values() for model in _models(answer))
        if each.body is not None:
            used.add(each.body)
    return _definitions(tuple(sorted(used, key=lambda model: model.__name__)))


@cache  # it takes a tenth of a second, and tests make many applications
def _definitions(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _merged(whole: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(whole)
    for name, part in parts.items():
        merged[name] = _merged(merged[name], part) if isinstance(part, Mapping) and name in merged else part
    return merged
