"""`If-Match` (RFC 9110, section 13.1.1) for things whose entity tag is a number that rises with each change. Pure."""

from __future__ import annotations

import re

from gateway.http.problems import ProblemError

_TAGS = re.compile(r'(?:W/)?"[!#-~]*"(?:\s*,\s*(?:W/)?"[!#-~]*")*')
_NUMBER = re.compile(r'"([0-9]{1,18})"')


def etag(generation: int) -> str:
    """The entity tag of a generation."""
    return f'"{generation}"'


def generation_of(if_match: str | None) -> int | None:
    """The generation that a change is for; None if it is for any (`*`).

    Raises:
        ProblemError: 428 without the header, 412 if it is for something that never was.
    """
    if if_match is None:
        detail = (
            "say what this is to change: send the ETag that you have read as If-Match (or `*` for whatever it is now)"
        )
        raise ProblemError(428, "precondition-required", detail)
    text = if_match.strip()
    if text == "*":
        return None
    numbers = _NUMBER.findall(text) if _TAGS.fullmatch(text) and "W/" not in text else []
    if len(numbers) != 1:
        raise ProblemError(412, "outdated", 'If-Match must be one ETag as it was read, such as "3", or `*`')
    return int(numbers[0])
