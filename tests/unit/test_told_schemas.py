"""Schemas that authors of models made, as components: references, circles, bounds, and whatever else comes."""

from __future__ import annotations

import time
from enum import Enum
from typing import Annotated, Any, Literal

import orjson
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, TypeAdapter

from gateway.api.told_schemas import MOST_LEVELS, PREFIX, components_of, types_of

DEEP: Any = {}
for _ in range(MOST_LEVELS):
    DEEP = {"not": DEEP}


class Colour(Enum):
    RED = "red"


class Tree(BaseModel):
    """Has trees."""

    name: str = Field(pattern="^[a-z]+$", max_length=20, examples=["$ref"])
    colour: Colour | None = None
    children: list[Tree] = []
    both: Annotated[int | float, Field(ge=0, multiple_of=2)] = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    const: int = 1


class Dog(BaseModel):
    kind: Literal["dog"]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


def validator(name: str, components: Any) -> Draft202012Validator:
    schema = {"$ref": f"{PREFIX}{name}", "components": {"schemas": components}}
    return Draft202012Validator(orjson.loads(orjson.dumps(schema)))


@pytest.mark.parametrize("kind", [Tree, list[Tree], Pet, dict[str, Pet], int | str, Any, tuple[int, Tree]])
def test_what_pydantic_makes_means_the_same_as_a_component(kind: Any) -> None:
    schema = TypeAdapter(kind).json_schema()
    components = components_of("a.Input", schema)
    assert all(name.startswith("a.Input") for name in components)
    for each in components.values():
        Draft202012Validator.check_schema(each)
    tree: Any = {"name": "a", "colour": "red", "both": 4, "children": [{"name": "b"}]}
    wrong: Any = {"name": "a", "children": [{"name": "b", "both": 3}]}
    values: list[Any] = [1, "a", None, tree, wrong, {"kind": "cat"}, {"kind": "cow"}, {"kind": "cat", "const": "x"}]
    values += [[each] for each in values] + [{"a": each} for each in values] + [[1, tree], [1, wrong]]
    told, made = Draft202012Validator(schema), validator("a.Input", components)
    assert [made.is_valid(each) for each in values] == [told.is_valid(each) for each in values]


def test_names_of_definitions_are_those_of_components() -> None:
    schema = {
        "$defs": {"A": {"type": "string"}, "a/b~c": {"type": "array"}, "é": {"type": "null"}, "1": {"type": "object"}},
        "properties": {
            "$ref": {"$ref": "#/$defs/A"},
            "one": {"$ref": "#/$defs/a~1b~0c"},
            "two": {"$ref": "#/$defs/é"},
            "three": {"$ref": "#/$defs/1"},
            "self": {"$ref": "#"},
        },
        "default": {"$ref": "#/$defs/nothing"},
    }
    components = components_of("m.Input", schema)
    assert list(components) == ["m.Input", "m.Input.A", "m.Input.1", "m.Input.2", "m.Input.3"]
    found = {name: each["$ref"].removeprefix(PREFIX) for name, each in components["m.Input"]["properties"].items()}
    assert found == {
        "$ref": "m.Input.A",
        "one": "m.Input.1",
        "two": "m.Input.2",
        "three": "m.Input.3",
        "self": "m.Input",
    }
    assert components["m.Input"]["default"] == schema["default"], "a value, no schema"


def test_what_is_not_known_is_left_out() -> None:
    schema = {"type": "object", "$id": "https://a.example/b", "$anchor": "a", "xml": 1, "discriminator": {"mapping": 1}}
    assert components_of("a", schema) == {"a": {"type": "object"}}


@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        5,
        "string",
        [],
        {"type": "text"},
        {"type": []},
        {"type": ["string", 1]},
        {"enum": []},
        {"required": "a"},
        {"minLength": -1},
        {"minLength": True},
        {"multipleOf": 0},
        {"pattern": "("},
        {"pattern": "(" * 900},
        {"pattern": "a" * 1001},
        {"title": 1},
        {"properties": []},
        {"properties": {"a": 1}},
        {"items": [{}]},
        {"anyOf": {}},
        {"anyOf": [1]},
        {"$ref": 1},
        {"$ref": ["#"]},
        {"$ref": "#/$defs/A"},
        {"$ref": "https://a.example/schema.json"},
        {"$ref": "#/components/schemas/Prediction"},
        {"$defs": []},
        {"$defs": {"A": 1}},
        {"$ref": "#"},
        {"$defs": {"A": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/A"}]}}},
        {"$defs": {"A": {"allOf": [{"not": {"$ref": "#/$defs/B"}}]}, "B": {"if": {"$ref": "#/$defs/A"}}}},
        {"not": DEEP},
    ],
    ids=range(33),
)
def test_what_is_no_schema_or_without_end_is_left_out(schema: Any) -> None:
    assert components_of("a", schema) == {}


def test_the_worst_of_its_size_costs_little() -> None:
    """What a heartbeat may tell of a version: 16 KB."""
    many = {"$defs": {f"é{number}": {"$ref": "#"} for number in range(700)}, "type": "object"}
    doubling: dict[str, Any] = {"$defs": {"A0": {"type": "string"}}, "$ref": "#/$defs/A199"}
    for number in range(1, 200):
        doubling["$defs"][f"A{number}"] = {"anyOf": [{"$ref": f"#/$defs/A{number - 1}"}] * 2}
    wide = {"anyOf": [{"type": "string", "pattern": "(a{1,100}){1,100}"}] * 300}
    began = time.process_time()
    for schema in (many, doubling, wide):
        assert 9000 < len(orjson.dumps(schema)) < 17_000
        components = components_of("a", schema)
        assert types_of("a", components) == {"object" if schema is many else "string"}
    assert time.process_time() - began < 1


def test_the_types_of_what_fits_are_those_that_are_named() -> None:
    text, number = {"type": "string"}, {"type": ["number", "null"]}
    assert types_of("a", components_of("a", text)) == {"string"}
    assert types_of("a", components_of("a", {"anyOf": [text, number]})) == {"string", "number", "null"}
    assert types_of("a", components_of("a", {"$ref": "#/$defs/A", "$defs": {"A": number}})) == {"number", "null"}
    for anything in ({}, {"allOf": [text]}, None):
        assert len(types_of("a", components_of("a", anything))) == 7
