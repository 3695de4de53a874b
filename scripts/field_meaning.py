"""What a field of a settings or catalogue class is for, and what its value must keep to, for the tables in the docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def meaning(kind: type[BaseModel], name: str) -> str:
    """What a field is for, and what its value must keep to."""
    field = kind.model_fields[name]
    limits = _limits(kind.model_json_schema()["properties"][name])
    return ((field.description or "") + (f" ({limits})" if limits else "")).replace("|", "\\|")


def _limits(schema: Mapping[str, Any]) -> str:
    """What a value must keep to, from the field's JSON schema."""
    if "anyOf" in schema:  # an optional value: its other form is null
        return _limits(schema["anyOf"][0])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "maxLength" in schema:
        return f"at most {schema['maxLength']} characters"
    least, most = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    if least is not None and most is not None:
        return f"{least:g} to {most:.15g}"
    parts = [f"at least {least:g}"] if least is not None else []
    parts += [f"above {above:g}"] if above is not None else []
    parts += [f"at most {most:.15g}"] if most is not None else []
    return ", ".join(parts)
