"""The headers that tell callers of their limits (draft-ietf-httpapi-ratelimit-headers-10). Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from shared.contract.limits import Rate

_UNITS = {"compute": "milliseconds", "queued": "concurrent-requests", "queued_bytes": "content-bytes"}
_UNITS |= {"waits": "concurrent-requests"}

Rates = Mapping[str, tuple[Rate, float]]
Counts = Mapping[str, tuple[int, int]]


def rate_limit_headers(rates: Rates, counts: Counts) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit`, both lists of structured fields (RFC 9651); none without limits.

    Args:
        rates: by name, each with the ms until it is full again.
        counts: limits of what may be there at a time, by name: the most, and how many are.
    """
    policies = [_policy(name, rate.quota, rate.window_s) for name, (rate, _) in rates.items()]
    policies += [_policy(name, most) for name, (most, _) in counts.items()]
    left = [
        f'"{name}";r={math.ceil(rate.left(full_ms))};t={math.ceil(_next_s(rate, full_ms))}'
        for name, (rate, full_ms) in rates.items()
    ]
    left += [f'"{name}";r={max(0, most - count)}' for name, (most, count) in counts.items()]
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)} if policies else {}


@lru_cache(maxsize=1000)  # every answer tells them
def _policy(name: str, quota: float, window_s: float | None = None) -> str:
    """What may be used, in whole numbers: the draft knows no others."""
    window = "" if window_s is None else f";w={math.ceil(window_s)}"
    unit = f';qu="{_UNITS[name]}"' if name in _UNITS else ""
    return f'"{name}";q={math.floor(quota)}{window}{unit}'


def _next_s(rate: Rate, full_ms: float) -> float:
    """Seconds until there is more: until the next unit if none is left, until all otherwise."""
    return (rate.wait_ms(full_ms, min(1, rate.quota)) or max(0.0, full_ms)) / 1000
