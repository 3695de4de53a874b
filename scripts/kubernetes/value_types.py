"""The kinds of values that the chart's schema is made of: names, sizes, addresses, closed objects."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$"}
OPTIONAL_NAME = {**NAME, "type": ["string", "null"]}
TEXT = {"type": "string"}
OPTIONAL_TEXT = {"type": ["string", "null"], "minLength": 1}
FLAG = {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
IMAGE = {"type": "string", "pattern": "^[a-z0-9][a-zA-Z0-9./:_-]*:[a-zA-Z0-9._-]+(@sha256:[0-9a-f]{64})?$"}
CPU = {"type": ["string", "number"], "pattern": "^([0-9]+m|[0-9]+(\\.[0-9]+)?)$", "exclusiveMinimum": 0}
SIZE = {"type": "string", "pattern": "^[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)$"}
ADDRESS = {"type": "string", "pattern": "^[^/:@]+:[0-9]{1,5}$"}
URL = {"type": ["string", "null"], "pattern": "^https?://[^/]+:[0-9]{1,5}$"}
# What WORKER_MODELS takes: a model, a model:version, either with `*` and `?`, or a group.
SERVED = {
    "type": "string",
    "pattern": "^!?(group:[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[a-z0-9*?]([a-z0-9._*?-]{0,61}[a-z0-9*?])?"
    "(:[a-z0-9*?]([a-z0-9._*?-]{0,18}[a-z0-9*?])?)?)$",
}
# Model and version become the values of label selectors: 63 letters at most, the last one no sign.
VERSION = {
    "type": "string",
    "pattern": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?:[a-z0-9]([a-z0-9._-]{0,18}[a-z0-9])?$",
}


def integer(least: int, most: int) -> Schema:
    """A whole number."""
    return {"type": "integer", "minimum": least, "maximum": most}


def listed(items: Schema, least: int = 0) -> Schema:
    """A list without doubles."""
    return {"type": "array", "items": items, "minItems": least, "uniqueItems": True}


def closed(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    """An object that has nothing but these."""
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": list(required)} if required else {})


def reference(name: str) -> Schema:
    """One of `$defs`."""
    return {"$ref": f"#/$defs/{name}"}
