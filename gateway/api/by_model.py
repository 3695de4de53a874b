"""The OpenAPI document by model: what each takes and gives, beside what holds for all of them. Pure.

Versions of a model that take and give the same share components: `NAME.Predict` and `NAME.Batch` are bodies that ask
it, of `NAME.Input` and `NAME.Options`; `NAME.Result` is what it answers. What any model may be sent still fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from gateway.api.told_schemas import PREFIX, components_of, types_of
from shared.contract.catalogue import Model, Version
from shared.contract.schemas import Schemas, schemas_of
from shared.contract.tasks import TASKS

Document = Mapping[str, Any]

MOST_SHOWN = 100
MOST_BYTES = 1_000_000  # of what is shown of models
_ANY_TEXT = "This is great!"
_ONLY_A_TEXT = {"type", "minLength", "title"}  # says no more of a text than all bodies do


class Kind(NamedTuple):
    """A body that asks models: where it is sent, its component for any model, its fields of texts and of other JSON."""

    path: str
    generic: str
    text: str
    other: str


KINDS = {
    "Predict": Kind("/api/v1/predict", "PredictRequest", "text", "input"),
    "Batch": Kind("/api/v1/predict/batch", "BatchRequest", "texts", "inputs"),
}


class Variant(NamedTuple):
    """Versions of a model that take and give the same.

    Attributes:
        name: what the names of its components begin with.
        title: for people.
        components: by their names, as JSON.
        examples: a body of each kind, as JSON; none if no input is known.
        size: in bytes.
    """

    name: str
    title: str
    components: Mapping[str, orjson.Fragment]
    examples: Mapping[str, orjson.Fragment]
    size: int


def variants_of(model: Model, told: Mapping[str, Schemas], base: Document) -> list[Variant]:
    """The variants of a model's active versions, that of the default one first.

    Args:
        told: what workers say of versions, by label.
        base: the document without models.
    """
    alike: list[tuple[Schemas, list[Version]]] = []
    for version in sorted(model.versions, key=lambda each: not each.default):
        if version.active:
            schemas = schemas_of(model.task, told.get(f"{model.name}:{version.version}", {}), model.options)
            same = next((versions for known, versions in alike if known == schemas), None)
            if same is None:
                alike.append((schemas, [version]))
            else:
                same.append(version)
    return [_variant(model, versions, schemas, base["components"]["schemas"]) for schemas, versions in alike]


def document_of(base: Document, variants: Sequence[Variant]) -> Document:
    """The document with as many variants as may be shown; it says if those are not all."""
    shown = _bounded(variants)
    if not shown:
        return base
    schemas, paths = {**base["components"]["schemas"]}, {**base["paths"]}
    results = [_reference(name) for each in shown if (name := f"{each.name}.Result") in each.components]
    for answer in ("Prediction", "StoredPrediction"):
        fields = schemas[answer]["properties"]
        result = {**fields["result"], "anyOf": [*results, *fields["result"]["anyOf"]]}
        schemas[answer] = {**schemas[answer], "properties": {**fields, "result": result}}
    for each in shown:
        schemas |= each.components
    for kind, (path, generic, _, _) in KINDS.items():
        bodies = [*(_reference(f"{each.name}.{kind}") for each in shown), _reference(generic)]
        examples = {each.title: {"value": each.examples[kind]} for each in shown if kind in each.examples}
        content = {"schema": {"anyOf": bodies}, "examples": examples}
        described = {
            "description": _description(len(variants) - len(shown)),
            "required": True,
            "content": {"application/json": content},
        }
        paths[path] = {**paths[path], "post": {**paths[path]["post"], "requestBody": described}}
    return {**base, "paths": paths, "components": {**base["components"], "schemas": schemas}}


def _bounded(variants: Sequence[Variant]) -> list[Variant]:
    shown: list[Variant] = []
    left = MOST_BYTES
    for each in variants:
        if each.size <= left and len(shown) < MOST_SHOWN:
            shown.append(each)
            left -= each.size
    return shown


def _description(not_shown: int) -> str:
    said = "By model; the last is for all of them."
    where = "`GET /api/v1/models/{name}` says what each takes and gives"
    return f"{said} {not_shown} more are not shown: {where}." if not_shown else said


def _variant(model: Model, versions: Sequence[Version], schemas: Schemas, generic: Mapping[str, Any]) -> Variant:
    first = versions[0]
    name, title, asked = model.name, model.name, {"model": model.name}
    if not first.default:  # no name of a model has a capital letter
        name, title = f"{model.name}.V{first.version}", f"{model.name}:{first.version}"
        asked |= {"version": first.version}
    parts, examples = _parts(name, model, schemas), {}
    own = {"model": {"const": model.name}, "version": {"enum": [each.version for each in versions]}}
    for kind, fields in KINDS.items():
        body = _body(fields, generic[fields.generic], name, parts)
        parts[f"{name}.{kind}"] = body | {
            "title": title,
            "description": model.description,
            "properties": body["properties"] | own,
            "required": [*asked, *body["required"]],
        }
        if example := _example(fields, body["properties"], model, schemas):
            examples[kind] = asked | example
    return _encoded(name, title, parts, examples)


def _parts(name: str, model: Model, schemas: Schemas) -> dict[str, Any]:
    """The components of what a variant takes and gives, as far as it is known."""
    named = {"type": "object", "properties": {each: {} for each in model.options}, "additionalProperties": False}
    return {
        **components_of(f"{name}.Input", schemas.get("input")),
        **(components_of(f"{name}.Options", schemas.get("options")) or {f"{name}.Options": named}),
        **components_of(f"{name}.Result", schemas.get("output")),
    }


def _body(fields: Kind, generic: Mapping[str, Any], name: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """What may be sent to a model, made from what may be sent to any."""
    properties, component = generic["properties"], f"{name}.Input"
    types, known, own = types_of(component, parts), parts.get(component), {}
    if "string" in types:
        more = {"allOf": [_reference(component)]} if known and not known.keys() <= _ONLY_A_TEXT else {}
        own[fields.text] = _changed(properties[fields.text], lambda text: text | more)
    if types - {"string", "null"} or not own:
        own[fields.other] = _changed(properties[fields.other], lambda value: _reference(component) if known else value)
    needed = ["options"] if parts[f"{name}.Options"].get("required") else []
    body = {key: value for key, value in generic.items() if key != "oneOf" or len(own) > 1}
    body["required"] = [*(own if len(own) == 1 else ()), *needed]
    own["options"] = _reference(f"{name}.Options")
    left_out = {fields.text, fields.other} - own.keys()
    body["properties"] = {each: own.get(each, schema) for each, schema in properties.items() if each not in left_out}
    return body


def _changed(schema: Mapping[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """The schema of a field, without examples of other models; of a list what its items are is changed."""
    bare = {key: value for key, value in schema.items() if key != "examples"}
    return {**bare, "items": change(bare["items"])} if "items" in bare else change(bare)


def _example(fields: Kind, properties: Mapping[str, Any], model: Model, schemas: Schemas) -> dict[str, Any]:
    """What may be sent, beside the model's name; nothing if no input is known."""
    if "example" in schemas:
        given = schemas["example"]
    elif model.task not in TASKS and fields.text in properties:
        given = _ANY_TEXT
    else:
        return {}
    field = fields.text if isinstance(given, str) and fields.text in properties else fields.other
    options = schemas.get("example_options")
    sent = {field: [given] if field.endswith("s") else given}
    return sent | {"options": options} if isinstance(options, dict) else sent


def _encoded(name: str, title: str, parts: Mapping[str, Any], examples: Mapping[str, Any]) -> Variant:
    components = {each: orjson.dumps(schema) for each, schema in parts.items()}
    bodies = {kind: orjson.dumps(each) for kind, each in examples.items()}
    size = sum(map(len, (*components, *components.values(), *bodies.values())))
    return Variant(
        name,
        title,
        {each: orjson.Fragment(text) for each, text in components.items()},
        {kind: orjson.Fragment(text) for kind, text in bodies.items()},
        size,
    )


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"{PREFIX}{name}"}
