"""What a version takes and gives, as JSON Schema: told by workers in their heartbeats, shown to callers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
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


def schemas_of(task: str, told: Schemas) -> Schemas:
    """What is shown of a version: what its workers tell, and of a built-in task what is known of all its versions."""
    known = TASKS.get(task)
    if known is None:
        return told
    return {"options": known.options.model_json_schema(), **TASK_SCHEMAS[task], **told}
