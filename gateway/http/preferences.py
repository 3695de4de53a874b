"""How long to wait and when to expire, from query and headers. Pure.

`?wait=S` wins over the header `Prefer` (RFC 7240), which wins over the default. In that header `wait=S` wins over
`respond-async`: both together mean an asynchronous answer after S seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.http.problems import invalid
from gateway.settings import MAX_TIMEOUT_S, MAX_WAIT_S

_NUMBER = re.compile(r"[-+]?[0-9]*\.?[0-9]*([eE][-+]?[0-9]+)?", re.ASCII)  # float() takes `1_0`, ` 1` and `١` too


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds to wait for the answer, and the preference that asked for it, to be confirmed ('' for none)."""

    seconds: float
    applied: str = ""


def wait_of(query: Mapping[str, str], prefer: str | None, default_s: float) -> Wait:
    """How long the client wants to wait.

    Raises:
        ProblemError: 422 where `wait` is not a number of seconds in 0..60.
    """
    if "wait" in query:
        return Wait(_seconds("wait", query["wait"], 0, MAX_WAIT_S))
    if prefer is None:
        return Wait(default_s)
    preferences = _preferences(prefer)
    value = preferences.get("wait", "")
    if value.isascii() and value.isdigit():
        seconds = min(int(value[:9]), MAX_WAIT_S)
        return Wait(seconds, f"wait={seconds}")
    return Wait(0, "respond-async") if "respond-async" in preferences else Wait(default_s)


def _preferences(header: str) -> dict[str, str]:
    """Preferences by name; parameters (after a `;`) are left out, and of one named twice the first counts."""
    preferences: dict[str, str] = {}
    for preference in header.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        preferences.setdefault(name.strip().lower(), value.strip().strip('"'))
    return preferences


def timeout_ms_of(query: Mapping[str, str], default_s: float) -> int:
    """Milliseconds until the request expires.

    Raises:
        ProblemError: 422 where `timeout` is not a number of seconds above 0, at most a day.
    """
    if "timeout" not in query:
        return round(default_s * 1000)
    return max(1, round(_seconds("timeout", query["timeout"], 0.001, MAX_TIMEOUT_S) * 1000))


def _seconds(name: str, text: str, low: float, high: float) -> float:
    try:
        seconds = float(text) if _NUMBER.fullmatch(text) else math.nan
    except ValueError:
        seconds = math.nan
    if not low <= seconds <= high:
        raise invalid([(("query", name), f"must be a number of seconds from {low:g} to {high:g}")])
    return seconds
