"""Checking the `options` of a request: those of a built-in task by its model, those of a custom task by their names.

A custom task's options are its own affair: the catalogue lists their names, a gateway refuses others and bounds their
size, and the task itself judges the values. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from shared.contract.errors import MillstreamError
from shared.contract.tasks import NO_NUL, TASKS

MAX_CUSTOM_BYTES = 16_384
CUSTOM_DEFAULT = ("labels", "max_length")
_NOTHING = b"{}"
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class OptionErrors(MillstreamError):
    """Options that a task does not take.

    Attributes:
        errors: for each what is wrong, and where it stands below `options`.
    """

    def __init__(self, errors: Sequence[tuple[Sequence[str | int], str]]) -> None:
        super().__init__("; ".join(f"options.{'.'.join(map(str, place))}: {message}" for place, message in errors))
        self.errors = errors


def encode_options(task: str, options: Mapping[str, Any] | None, custom: Sequence[str] = CUSTOM_DEFAULT) -> bytes:
    """The JSON text of a request's options, once they are checked.

    Args:
        task: the task of the model that is asked.
        custom: the options that a custom task takes, by their names.

    Raises:
        OptionErrors: an option is missing, unknown or wrong.
    """
    known = TASKS.get(task)
    if known is None:
        return _custom(task, options, custom) if options else _NOTHING
    try:
        checked = known.options.model_validate(options or {})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        errors = [(tuple(map(_printable, each["loc"])), _message(task, dict(each))) for each in found[:20]]
        raise OptionErrors(errors) from None
    return checked.model_dump_json(exclude_unset=True).encode() if options else _NOTHING


def describe_invalid_text(error: Mapping[str, Any]) -> str:
    """What pydantic found wrong, in our words if they are clearer; never the value, since inputs are private."""
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] == NO_NUL:
        return "must not contain NUL characters (U+0000)"
    if error["type"] == "string_unicode":
        return "must be valid Unicode: it contains a lone surrogate"
    return str(error["msg"])


def _message(task: str, error: Mapping[str, Any]) -> str:
    name = error["loc"][-1] if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"a {task} model takes no option {_printable(name)!r}"
    if error["type"] == "missing":
        return f"a {task} model needs options.{name}"
    return describe_invalid_text(error)


def _printable(name: str | int) -> str | int:
    """A name that a client chose, fit for an answer: short, and without lone surrogates."""
    return name if isinstance(name, int) else name[:100].encode("utf-8", "replace").decode()


def _custom(task: str, options: Mapping[str, Any], names: Sequence[str]) -> bytes:
    unknown = [name for name in options if name not in names]
    if unknown:
        shown = [_printable(name) for name in unknown[:20]]
        raise OptionErrors([((name,), f"a {task} model takes no option {name!r}") for name in shown])
    try:
        encoded = orjson.dumps(options)  # refuses lone surrogates, and what it could not read back
        json.dumps(options, allow_nan=False)  # refuses NaN and infinities, which orjson makes null
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionErrors([((), f"must be JSON, of valid Unicode and not nested too deeply: {error}")]) from None
    if len(encoded) > MAX_CUSTOM_BYTES:
        raise OptionErrors([((), f"must have at most {MAX_CUSTOM_BYTES} bytes as JSON, not {len(encoded)}")])
    if _ESCAPED_NUL.search(encoded):
        raise OptionErrors([((), "must not contain NUL characters (U+0000)")])
    return encoded
