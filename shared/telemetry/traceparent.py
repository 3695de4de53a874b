"""W3C trace context: `traceparent`, `00-{trace id}-{span id}-{flags}`, passed from service to service. Pure."""

from __future__ import annotations

import re

_FORM = re.compile("00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_ODD = tuple("13579bdf")


def parse_traceparent(traceparent: str) -> tuple[int, int, int] | None:
    """Trace id, span id and flags; None if the text is no traceparent."""
    found = _FORM.fullmatch(traceparent)
    return None if found is None else (int(found[1], 16), int(found[2], 16), int(found[3], 16))


def trace_id_of(traceparent: str) -> str:
    """The trace id as it is written; empty if the text, which a caller may have made up, is no traceparent."""
    found = _FORM.fullmatch(traceparent)
    return "" if found is None else found[1]


def is_sampled(traceparent: str) -> bool:
    """Whether the spans of this trace are kept."""
    # the last bit is the sampled flag; checked first, since that is quicker than the pattern
    return traceparent.endswith(_ODD) and _FORM.fullmatch(traceparent) is not None


def exemplar_of(traceparent: str) -> dict[str, str] | None:
    """The exemplar that links a histogram bucket to a trace; None if that trace is not kept."""
    return {"trace_id": traceparent[3:35]} if is_sampled(traceparent) else None
