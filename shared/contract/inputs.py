"""What one prediction is made of: a text, or any other JSON value. Pure.

In streams it is JSON: a text is `{"text": …}`, everything else is what was sent. Where it is read, a text is a `str`,
whichever way it was sent: as `text`, or as the `input` `"…"` or `{"text": "…"}`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from shared.contract.errors import MillstreamError

INVALID_INPUT = "invalid_input"  # an outcome's error begins with it if its version does not take the input
MOST_LEVELS = 100
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # in JSON; behind a backslash that is itself escaped it is text
HAS_NUL, HAS_SURROGATE = (
    "must not contain NUL characters (U+0000)",
    "must be valid Unicode: it contains a lone surrogate",
)
_SHOWN_CHARS = 100
_ERROR = re.compile(rf"{INVALID_INPUT}(?: at (?P<path>[\w-]+(?:\.[\w-]+)*))?: (?P<message>.*)", re.ASCII | re.DOTALL)
_PLAIN = re.compile(r"[\w-]+", re.ASCII)

Path = tuple[str | int, ...]


class UnfitInput(MillstreamError):
    """A JSON value that cannot be an input.

    Attributes:
        path: where in the value.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def refusal_of(message: str, path: Path = ()) -> str:
    """The error of an outcome whose version does not take the input: `invalid_input at input.petals.2: …`.

    Args:
        path: where in the request, from `input` or `options` on; it is told up to the first name that is not plain.
    """
    plain: list[str] = []
    for each in map(str, path):
        if not _PLAIN.fullmatch(each):
            break
        plain.append(each)
    return f"{INVALID_INPUT}{' at ' if plain else ''}{'.'.join(plain)}: {message}"


def read_refusal(error: str) -> tuple[Path, str] | None:
    """The path and message of an error of that kind; None for another."""
    found = _ERROR.fullmatch(error)
    if found is None:
        return None
    path = found["path"].split(".") if found["path"] else []
    return tuple(int(each) if each.isdigit() else each for each in path), found["message"]


def text_of(value: Any) -> str | None:
    """The text that a JSON value is; None if it is something else."""
    if isinstance(value, dict) and len(value) == 1:
        value = value.get("text")
    return value if isinstance(value, str) else None


def normal(value: Any) -> Any:
    """A value as it is read: a text as a `str`."""
    text = text_of(value)
    return value if text is None else text


def size_of(value: Any) -> int:
    """The size by which limits, costs and windows count: characters of a text, or bytes of JSON."""
    return len(value) if isinstance(value, str) else len(orjson.dumps(value))


def encode_input(value: Any) -> bytes:
    """A value that was sent, as JSON for a stream.

    Raises:
        UnfitInput: it is nested too deeply, or has what JSON, Unicode or Postgres does not hold.
    """
    if value in (None, {}):
        raise UnfitInput((), "must not be empty")
    for path, each in walk(value):
        if len(path) > MOST_LEVELS:
            raise UnfitInput(path[:3], f"is nested more than {MOST_LEVELS} levels deep")
        if problem := problem_of(each):
            raise UnfitInput(path, problem)
    return orjson.dumps(value)


def walk(value: Any) -> Iterator[tuple[Path, Any]]:
    """Every value below a JSON value, itself first, with its path; of objects also the names, as strings.

    What is deeper than `MOST_LEVELS` is not looked into.
    """
    left: list[tuple[Path, Any]] = [((), value)]
    while left:
        path, each = left.pop()
        yield path, each
        if len(path) > MOST_LEVELS:
            continue
        if isinstance(each, dict):
            for name, below in each.items():
                yield (*path, shown(name)), name
                left.append(((*path, name), below))
        elif isinstance(each, list):
            left.extend(((*path, index), below) for index, below in enumerate(each))


def with_strings(value: Any, texts: Mapping[str, str]) -> Any:
    """A copy in which each string, but not the names in objects, stands for another. Not deeper than `MOST_LEVELS`."""
    if isinstance(value, str):
        return texts[value]
    if isinstance(value, dict):
        return {name: with_strings(below, texts) for name, below in value.items()}
    if isinstance(value, list):
        return [with_strings(below, texts) for below in value]
    return value


def strings_of(value: Any) -> set[str]:
    """The strings that `with_strings` replaces."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        return {text for below in value.values() for text in strings_of(below)}
    if isinstance(value, list):
        return {text for below in value for text in strings_of(below)}
    return set()


def shown(name: str) -> str:
    """A name chosen by a client, made safe for a response: shortened, without lone surrogates."""
    return name[:_SHOWN_CHARS].encode("utf-8", "replace").decode()


def problem_of(value: Any) -> str:
    """What is wrong with one JSON value, whatever is below it; empty if nothing is."""
    if isinstance(value, str):
        if "\0" in value:
            return HAS_NUL
        if not value.isascii() and _has_lone_surrogate(value):
            return HAS_SURROGATE
    elif isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        return "must be a whole number of at most 64 bits; send a longer one as a string"
    return ""


def _has_lone_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
