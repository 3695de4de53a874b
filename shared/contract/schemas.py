"""What a version takes and gives, as JSON Schema: told by workers in their heartbeats, shown to callers. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from shared.contract.task_schemas import TASK_SCHEMAS
from shared.contract.tasks import TASKS

MOST_BYTES = 262_144  # of all versions of one worker
NAMES = ("input", "options", "output", "example", "example_options")

Schemas = Mapping[str, Any]  # by the names above, each only if it is known


def encode_schemas(schemas: Mapping[str, Schemas]) -> bytes:
    """The text of schemas by label, for a heartbeat; without those that do not fit any more."""
    fitting: dict[str, orjson.Fragment] = {}
    left = MOST_BYTES
    for label, each in schemas.items():
        text = orjson.dumps(each)
        left -= len(text)
        if each and left >= 0:
            fitting[label] = orjson.Fragment(text)
    return orjson.dumps(fitting)


def decode_schemas(text: bytes | None) -> dict[str, Schemas]:
    """Schemas by label, from a heartbeat; none if they cannot be read."""
    try:
        told = orjson.loads(text or b"{}")
        orjson.dumps([[told]])  # what is nested too deeply to be answered is a TypeError
        return {str(label): {name: each[name] for name in NAMES if name in each} for label, each in told.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def schemas_of(task: str, told: Schemas, named: Collection[str]) -> Schemas:
    """What is shown of a version: what its workers tell, and of a built-in task what is known of all its versions.

    Args:
        named: the options that the catalogue names for a class of the user's own: no others get through to it.
    """
    known = TASKS.get(task)
    if known is not None:
        return {"options": known.options.model_json_schema(), **TASK_SCHEMAS[task], **told}
    shown = dict(told)
    if isinstance(told.get("options"), dict):
        shown["options"] = _accepted(told["options"], named)
    if isinstance(told.get("example_options"), dict):
        shown["example_options"] = {name: value for name, value in told["example_options"].items() if name in named}
    return shown


def _accepted(options: Mapping[str, Any], named: Collection[str]) -> dict[str, Any]:
    """The schema of options, of those that are named alone."""
    accepted = {**options, **({"propertyNames": {"enum": list(named)}} if named else {"maxProperties": 0})}
    if isinstance(properties := options.get("properties"), dict):
        accepted["properties"] = {name: schema for name, schema in properties.items() if name in named}
    return accepted
