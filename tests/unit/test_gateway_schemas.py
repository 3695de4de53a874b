"""What the OpenAPI document says of a field, and what the gateway does with it, agree."""

from __future__ import annotations

import re
import sys

from gateway.api.operations import OPERATIONS
from gateway.api.request_schemas import TEXT_PATTERN
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
