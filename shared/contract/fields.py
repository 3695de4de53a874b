"""Reading the fields of a message: a function takes one field, or raises `MalformedMessage` for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from shared.contract.callbacks import MOST_CHARS as CALLBACK_MAX_CHARS
from shared.contract.errors import MalformedMessage
from shared.contract.ids import is_id
from shared.contract.inputs import NUL, normal
from shared.contract.queues import Priority
from shared.contract.tags import read_tags

LARGEST_INT = 2**31 - 1  # of Postgres
_BATCH = Priority.BATCH.value.encode()

Fields = Mapping[bytes, bytes]


def raw_field(fields: Fields, name: bytes, default: bytes | None = None) -> bytes:
    """A field as it came; of one that is missing the default, if there is one."""
    value = fields.get(name, default)
    if value is None:
        raise MalformedMessage("missing_field", f"field {name.decode()!r} is missing")
    return value


def text_field(fields: Fields, name: bytes, default: bytes | None = None) -> str:
    """A text."""
    try:
        return raw_field(fields, name, default).decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage("bad_field", f"field {name.decode()!r} is not UTF-8") from error


def name_field(fields: Fields, name: bytes, most_chars: int) -> str:
    """A text that is not empty, not longer than so many characters, and without NUL."""
    text = text_field(fields, name)
    if not 0 < len(text) <= most_chars or "\0" in text:
        raise MalformedMessage(
            "bad_field", f"field {name.decode()!r} is not of 1 to {most_chars} characters without NUL"
        )
    return text


def optional_name_field(fields: Fields, name: bytes, most_chars: int) -> str:
    """A name, or '' if the field is missing or empty."""
    return name_field(fields, name, most_chars) if fields.get(name) else ""


def integer_field(fields: Fields, name: bytes, most: int, default: bytes | None = None) -> int:
    """A whole number from 0 to `most`."""
    raw = raw_field(fields, name, default)
    if not (raw.isdigit() and len(raw) <= 18 and (number := int(raw)) <= most):
        raise MalformedMessage("bad_field", f"field {name.decode()!r} is not a whole number from 0 to {most}")
    return number


def number_field(fields: Fields, name: bytes) -> float | None:
    """A number from 0 to 1; None if the field is missing or empty."""
    raw = fields.get(name)
    if not raw:
        return None
    try:
        value = float(raw)
    except ValueError as error:
        raise MalformedMessage("bad_field", f"field {name.decode()!r} is not a number") from error
    if not 0 <= value <= 1:
        raise MalformedMessage("bad_field", f"field {name.decode()!r} is not between 0 and 1")
    return value


def json_field(fields: Fields, name: bytes, default: bytes | None = None) -> Any:
    """The value of a JSON text."""
    raw = raw_field(fields, name, default) or default or b""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedMessage("bad_json", f"field {name.decode()!r} is not JSON: {error}") from error


def object_field(fields: Fields, name: bytes, default: bytes | None = None) -> dict[str, Any]:
    """A JSON object."""
    value = json_field(fields, name, default)
    if not isinstance(value, dict):
        raise MalformedMessage("bad_json", f"field {name.decode()!r} is not a JSON object")
    return value


def id_field(fields: Fields, name: bytes = b"id") -> str:
    """The id of a prediction or an experiment."""
    text = text_field(fields, name)
    if not is_id(text):
        raise MalformedMessage("bad_id", f"field {name.decode()!r} is not a UUID in its canonical form")
    return text


def input_field(fields: Fields) -> Any:
    """What to predict for."""
    value = json_field(fields, b"input")
    if value is None or value == {} or NUL.search(fields[b"input"]):
        raise MalformedMessage("bad_input", "field 'input' has nothing to predict for, or a NUL")
    return normal(value)


def passable(value: Any, name: str) -> Any:
    """A value that a child can be sent: what is nested as deeply as JSON may be read cannot be written again."""
    if isinstance(value, str) or not value:  # for speed: most inputs are texts, and most options empty
        return value
    try:
        orjson.dumps([[value]])
    except TypeError as error:
        raise MalformedMessage("bad_json", f"field {name!r} cannot be passed on: {error}") from error
    return value


def priority_of(fields: Fields) -> Priority:
    """The priority of a request or result; one that is not known is none to refuse it for."""
    return Priority.BATCH if fields.get(b"priority") == _BATCH else Priority.INTERACTIVE


def tags_of(fields: Fields) -> bytes:
    """The tags of a request or result, as JSON; what are none is no reason to refuse it."""
    tags = fields.get(b"tags", b"")
    return tags if tags and read_tags(tags) else b""


def callback_of(fields: Fields) -> str:
    """Where to tell that a request has finished; what cannot be taken apart as a URL is no reason to refuse it."""
    url = fields.get(b"callback_url", b"")
    if not url or len(url) > CALLBACK_MAX_CHARS or not url.isascii() or b"\0" in url:
        return ""
    try:
        urlsplit(url)
    except ValueError:
        return ""
    return url.decode()
