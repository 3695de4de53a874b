"""What a caller is told of its limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.core.errors import LimitReached
from shared.contract.limits import CallerLimits, Rate, Used
from shared.streams.publishing import Verdict

QUEUED_S = 2  # how soon something of what waits may have ended


class Standing(NamedTuple):
    """How a caller stands.

    Attributes:
        rates: its rates by name, each with the ms until it is full again.
        counts: its other limits by name: the most, and how many are used.
    """

    rates: Mapping[str, tuple[Rate, float]]
    counts: Mapping[str, tuple[int, int]]


def standing_of(limits: CallerLimits, used: Used) -> Standing:
    """How a caller stands that has used so much."""
    rates = {"requests": (limits.requests, used.requests_ms), "compute": (limits.compute_ms, used.compute_ms)}
    counts = {"queued": (limits.queued, used.queued), "queued_bytes": (limits.queued_bytes, used.queued_bytes)}
    return Standing(
        {name: (rate, until_full) for name, (rate, until_full) in rates.items() if rate is not None},
        {name: (most, count) for name, (most, count) in counts.items() if most is not None},
    )


def refusal(verdict: Verdict, limits: CallerLimits, used: Used, requests: int, cost_us: int) -> LimitReached:
    """The error for a group of so many requests, which would cost so much."""
    standing = standing_of(limits, used)
    if verdict is Verdict.CALLER_REQUESTS and limits.requests is not None:
        units = requests * limits.weight
        wait_ms = limits.requests.wait_ms(used.requests_ms, units)
        detail = f"you may send {_words(limits.requests)}, and this counts as {units:g}"
        return LimitReached("requests", _advice(detail, wait_ms, units, limits.requests), wait_ms, *standing)
    if verdict is Verdict.CALLER_COMPUTE and limits.compute_ms is not None:
        cost_ms = cost_us / 1000
        wait_ms = limits.compute_ms.wait_ms(used.compute_ms, cost_ms)
        detail = f"you may use {_words(limits.compute_ms)} of computing, in ms, and this may take {cost_ms:.3g}"
        return LimitReached("compute", _advice(detail, wait_ms, cost_ms, limits.compute_ms), wait_ms, *standing)
    name = "queued" if verdict is Verdict.CALLER_QUEUED else "queued_bytes"
    most, count = standing.counts[name]
    what = "requests" if name == "queued" else "bytes of inputs"
    detail = (
        f"you may have {most} {what} waiting, and {count} are; try again when some have ended, or send less at once"
    )
    return LimitReached(name, detail, QUEUED_S * 1000 if count else None, *standing)


def _words(rate: Rate) -> str:
    return f"{rate.quota:g} in {rate.window_s:g} s"


def _advice(detail: str, wait_ms: float, units: float, rate: Rate) -> str:
    return f"{detail}; " + ("send less at once" if units > rate.quota else f"try again in {wait_ms / 1000:.0f} s")
