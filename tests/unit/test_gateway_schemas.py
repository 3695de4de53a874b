"""What the OpenAPI document says of a field, and what the gateway does with it, agree."""

from __future__ import annotations

import re
import sys
from typing import Any

from gateway.api.operations import OPERATIONS
from gateway.api.request_schemas import TEXT_PATTERN, bounds_schema
from gateway.app import EVERY_OPERATION
from gateway.http.openapi import openapi
from shared.contract.tasks import NO_NUL


def test_the_documented_pattern_of_a_text_is_what_is_checked() -> None:
    """Not blank, as `str.strip` has it, and no NUL: in one pattern, since JSON Schema's `\\s` is another set."""
    for char in map(chr, range(sys.maxunicode + 1)):
        taken = bool(char.strip()) and re.search(NO_NUL, char) is not None
        assert (re.search(TEXT_PATTERN, char) is not None) == taken, repr(char)
    assert re.search(TEXT_PATTERN, " \n a \n ") and not re.search(TEXT_PATTERN, "a\0")
    documented = openapi(OPERATIONS, "1", {}, {}, secured=True)["components"]["schemas"]["PredictRequest"]["properties"]
    assert documented["text"]["pattern"] == TEXT_PATTERN


def test_everything_in_the_document_is_described_and_every_parameter_has_an_example() -> None:
    document = openapi(EVERY_OPERATION, "1", bounds_schema(2000, 64), {"timeout": 60}, secured=True)
    parameters = {
        f"{method} {path} {each['name']}": each
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for each in operation.get("parameters", ())
    }
    schemas = document["components"]["schemas"]
    fields = {
        f"{name}.{field}": each for name in schemas for field, each in schemas[name].get("properties", {}).items()
    }
    assert len(parameters) > 50 and len(fields) > 150
    described = {**parameters, **schemas, **fields}
    assert [name for name, each in described.items() if not (each.get("description") or "$ref" in each)] == []
    assert [name for name, each in parameters.items() if not shows_what_it_may_be(each["schema"])] == []


def shows_what_it_may_be(schema: dict[str, Any]) -> bool:
    """Whether it needs no example, or has one."""
    if "enum" in schema or "format" in schema or "examples" in schema:
        return True
    return "default" in schema or schema.get("type") in ("integer", "number")
