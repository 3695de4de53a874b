"""How far a prediction is that is being computed, as its model tells it: on its way to who listens. Pure."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import orjson

from shared.contract.errors import MalformedMessage

MOST_TEXT_CHARS = 16_384  # of what is written so far: of a longer text its end is told


class Progress(NamedTuple):
    """How far a prediction is.

    Attributes:
        share: of the work that is done, 0 to 1.
        text: what is written so far, from its character `start` on.
    """

    share: float | None = None
    text: str | None = None
    start: int = 0


def progress_of(share: float | None, text: str | None) -> Progress:
    """What is passed on of what a model tells: the end of a text that is too long, and nothing that is no text."""
    start = 0 if text is None else max(0, len(text) - MOST_TEXT_CHARS)
    told = None if text is None else text[start:].encode(errors="replace").decode()
    return Progress(None if share is None else min(max(float(share), 0.0), 1.0), told, start)


def encode_progress(progress: Progress) -> bytes:
    """The text of a JSON array."""
    return orjson.dumps([progress.share, progress.text, progress.start])


def decode_progress(encoded: bytes) -> Progress:
    """What `encode_progress` wrote.

    Raises:
        MalformedMessage: it is something else.
    """
    try:
        return checked_progress(orjson.loads(encoded))
    except orjson.JSONDecodeError as error:
        raise MalformedMessage("bad_json", f"progress that is not JSON: {error}") from error


def checked_progress(told: Any) -> Progress:
    """The progress that a JSON value says.

    Raises:
        MalformedMessage: it says none.
    """
    if not isinstance(told, list) or len(told) != 3:
        raise MalformedMessage("bad_field", "progress is not of three parts")
    share, text, start = told
    if not (share is None or (_is_number(share) and 0 <= share <= 1)):
        raise MalformedMessage("bad_field", "the share of progress is not from 0 to 1")
    if not (text is None or (isinstance(text, str) and len(text) <= MOST_TEXT_CHARS)):
        raise MalformedMessage("bad_field", f"the text of progress is none of at most {MOST_TEXT_CHARS} characters")
    if not isinstance(start, int) or isinstance(start, bool) or start < 0:
        raise MalformedMessage("bad_field", "the start of progress is not a whole number")
    return Progress(None if share is None else float(share), text, start)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
