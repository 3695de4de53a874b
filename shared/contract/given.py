"""What a prediction was made of, put together from the input and the options of its message. Pure."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from shared.contract.inputs import text_of
from shared.contract.messages import PredictionResult


class Given(NamedTuple):
    """What a prediction was made of, as it is stored and shown: the texts of JSON values.

    Attributes:
        input: of a text an object, with the options if there were any.
        options: of everything else, if there were any; else None.
    """

    input: bytes
    options: bytes | None = None


def given_of(result: PredictionResult) -> Given:
    """What a finished prediction was made of."""
    if result.options == b"{}":
        return Given(result.input)
    value = orjson.loads(result.input)
    if value == {} or (isinstance(value, dict) and text_of(value) is not None):
        return Given(with_options(result.input, result.options))
    return Given(result.input, result.options)


def with_options(input_: bytes, options: bytes) -> bytes:
    """The text of a JSON object, with another as its field `options` unless that is empty.

    Joined as text: what can be parsed may be nested too deeply to be made into text again.
    """
    if options == b"{}":
        return input_
    fields = input_.strip()[:-1].rstrip()  # an object without its closing brace
    return fields + (b"" if fields == b"{" else b",") + b'"options":' + options + b"}"
