"""Validating the `options` of a request. Pure.

A built-in task validates them with a pydantic model. For a custom task, the gateway checks the names against those in
the catalogue and limits the size; the task checks the values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from shared.contract.errors import MillstreamError
from shared.contract.inputs import HAS_NUL, HAS_SURROGATE, NUL, shown
from shared.contract.tasks import NO_NUL, TASKS

MAX_CUSTOM_BYTES = 16_384
CUSTOM_DEFAULT = ("labels", "max_length")
_NOTHING = b"{}"


class OptionErrors(MillstreamError):
    """Options that a task does not accept.

    Attributes:
        errors: for each, its place below `options` and what is wrong.
    """

    def __init__(self, errors: Sequence[tuple[Sequence[str | int], str]]) -> None:
        super().__init__("; ".join(f"options.{'.'.join(map(str, place))}: {message}" for place, message in errors))
        self.errors = errors


def encode_options(task: str, options: Mapping[str, Any] | None, custom: Sequence[str] = CUSTOM_DEFAULT) -> bytes:
    """Validate a request's options and return their JSON text.

    Args:
        task: the task of the requested model.
        custom: names of the options that a custom task accepts.

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
    """A pydantic error, reworded if ours is clearer; never with the value, since inputs are private."""
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] == NO_NUL:
        return HAS_NUL
    if error["type"] == "string_unicode":
        return HAS_SURROGATE
    return str(error["msg"])


def _message(task: str, error: Mapping[str, Any]) -> str:
    name = error["loc"][-1] if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"a {task} model has no option {_printable(name)!r}"
    if error["type"] == "missing":
        return f"a {task} model needs options.{name}"
    return describe_invalid_text(error)


def _printable(name: str | int) -> str | int:
    return name if isinstance(name, int) else shown(name)


def _custom(task: str, options: Mapping[str, Any], names: Sequence[str]) -> bytes:
    unknown = [name for name in options if name not in names]
    if unknown:
        shown = [_printable(name) for name in unknown[:20]]
        raise OptionErrors([((name,), f"a {task} model has no option {name!r}") for name in shown])
    try:
        encoded = orjson.dumps(options)  # rejects lone surrogates, and integers that it could not read back
        json.dumps(options, allow_nan=False)  # rejects NaN and infinities, which orjson turns into null
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionErrors([((), f"must be JSON in valid Unicode, not nested too deeply: {error}")]) from None
    if len(encoded) > MAX_CUSTOM_BYTES:
        raise OptionErrors([((), f"must be at most {MAX_CUSTOM_BYTES} bytes as JSON, not {len(encoded)}")])
    if NUL.search(encoded):
        raise OptionErrors([((), HAS_NUL)])
    return encoded
