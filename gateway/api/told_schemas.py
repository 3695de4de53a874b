"""JSON Schemas that authors of models made, as components of the OpenAPI document. Pure.

They come from workers and may be anything. A schema is left out if it is none, is nested too deeply, or refers to
something else than its own definitions, or to itself without end; of keywords those that are not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from shared.contract.inputs import walk

PREFIX = "#/components/schemas/"
TYPES = frozenset({"null", "boolean", "object", "array", "number", "integer", "string"})
MOST_LEVELS = 50
_PLAIN_NAME = re.compile(r"[A-Za-z][\w.-]{0,59}", re.ASCII)

_ONE = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_BY_NAME = ("properties", "patternProperties")


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError("is no pattern") from error
    return pattern


_Type = Literal["null", "boolean", "object", "array", "number", "integer", "string"]
_Text, _Flag, _Number = TypeAdapter(str), TypeAdapter(bool), TypeAdapter(int | float)
_Count = TypeAdapter(Annotated[int, Field(ge=0)])
_Values = TypeAdapter(Annotated[list[Any], Field(min_length=1)])
_PLAIN: Mapping[str, TypeAdapter[Any]] = {
    "type": TypeAdapter(_Type | Annotated[list[_Type], Field(min_length=1, max_length=len(TYPES))]),
    "enum": _Values,
    "pattern": TypeAdapter(Annotated[str, Field(max_length=1000), AfterValidator(_compiles)]),
    "multipleOf": TypeAdapter(Annotated[int | float, Field(gt=0)]),
    "required": TypeAdapter(list[str]),
    "const": TypeAdapter(Any),
    "default": TypeAdapter(Any),
    "examples": TypeAdapter(list[Any]),
    **dict.fromkeys(("title", "description", "format", "contentEncoding", "contentMediaType"), _Text),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _Flag),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _Number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _Count),
    **dict.fromkeys(("minContains", "maxContains"), _Count),
}


def components_of(name: str, schema: Any) -> dict[str, Any]:
    """The components that a schema makes: under `name` itself, under names that begin with it its definitions.

    Returns:
        Nothing if it cannot be put in.
    """
    try:
        if any(len(path) > MOST_LEVELS for path, _ in walk(schema)):
            return {}
        definitions = schema.get("$defs", {})
        names = {"#": name} | {
            f"#/$defs/{_escaped(each)}": f"{name}.{each if _PLAIN_NAME.fullmatch(each) else number}"
            for number, each in enumerate(definitions)
        }
        schemas = [schema, *definitions.values()]
        found = {made: _fitted(each, names) for made, each in zip(names.values(), schemas, strict=True)}
        TopologicalSorter({PREFIX + made: set(_same_value(each)) for made, each in found.items()}).prepare()
    except (ValueError, KeyError, TypeError, AttributeError, CycleError):
        return {}
    return found


def types_of(name: str, components: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that what fits a component can have, as far as it says."""
    found: set[str] = set()
    left, seen = [name], set[str]()
    while left:
        each = left.pop()
        if each in seen:
            continue
        seen.add(each)
        left += [reference.removeprefix(PREFIX) for reference in _add_types(components.get(each), found)]
    return frozenset(found)


def _add_types(schema: Any, found: set[str]) -> Iterator[str]:
    """Add the types that a schema names; what it refers to for them is yielded."""
    if not isinstance(schema, dict):
        found |= TYPES
    elif "type" in schema:
        found |= {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    elif "$ref" in schema:
        yield schema["$ref"]
    elif several := schema.get("anyOf") or schema.get("oneOf"):
        for each in several:
            yield from _add_types(each, found)
    else:
        found |= TYPES


def _fitted(schema: Any, names: Mapping[str, str]) -> Any:
    """A schema with what is known of it, and references to components.

    Raises:
        ValueError: something in it is not as it should be.
        KeyError: it refers to what is not there.
    """
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise ValueError("is no schema")
    fitted: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "$ref":
            fitted[keyword] = PREFIX + names[value]
        elif keyword in _ONE:
            fitted[keyword] = _fitted(value, names)
        elif keyword in _SEVERAL:
            fitted[keyword] = [_fitted(each, names) for each in _Values.validate_python(value, strict=True)]
        elif keyword in _BY_NAME:
            fitted[keyword] = {each: _fitted(below, names) for each, below in value.items()}
        elif keyword in _PLAIN:
            fitted[keyword] = _PLAIN[keyword].validate_python(value, strict=True)
    return fitted


def _same_value(schema: Any) -> Iterator[str]:
    """What a schema refers to for the very value that it is of: a circle of those would never end."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"]
        below = [schema.get(each) for each in ("not", "if", "then", "else")]
        for each in (*below, *schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
            yield from _same_value(each)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")  # as in a JSON pointer
