"""Tags: what callers note on a prediction to find it again, as pairs of short texts. Pure.

They travel beside the input and are not counted among its bytes, so all of them together are at most 1 kB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import orjson

MOST_TAGS = 8
KEY_PATTERN = r"^[A-Za-z0-9_.-]{1,32}$"
VALUE_PATTERN = r"^[A-Za-z0-9 _.,;:/@+=()#-]{1,64}$"
TAG_PATTERN = r"^[A-Za-z0-9_.-]{1,32}:[A-Za-z0-9 _.,;:/@+=()#-]{1,64}$"

_KEY, _VALUE = re.compile(KEY_PATTERN[1:-1]), re.compile(VALUE_PATTERN[1:-1])


class Tag(NamedTuple):
    """One of them."""

    key: str
    value: str


def read_tags(text: bytes) -> dict[str, str] | None:
    """The tags in the text of a JSON object; None if it is something else, or they are no tags."""
    try:
        tags = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(tags, dict) or len(tags) > MOST_TAGS or not all(_is_tag(*pair) for pair in tags.items()):
        return None
    return tags


def encode_tags(tags: Mapping[str, str] | None) -> bytes:
    """The text of a JSON object; empty without any."""
    return orjson.dumps(tags, option=orjson.OPT_SORT_KEYS) if tags else b""


def _is_tag(key: str, value: object) -> bool:
    return bool(_KEY.fullmatch(key)) and isinstance(value, str) and bool(_VALUE.fullmatch(value))
