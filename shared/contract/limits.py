"""What a caller may ask for: rates, and what may wait at a time. Pure.

A rate is the generic cell rate algorithm (ITU-T I.371, annex A): `quota` units may be used at once, and they come back
evenly over `window_s`. All that is kept of it is when everything will have come back.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_ROUNDING = 1e-6  # of a unit: what counts as a whole one


class Rate(NamedTuple):
    """So many units in so many seconds."""

    quota: float
    window_s: float

    @property
    def interval_ms(self) -> float:
        """How long one unit takes to come back."""
        return self.window_s * 1000 / self.quota

    def left(self, until_full_ms: float) -> int:
        """How many units may be used now, if everything will have come back in so many ms."""
        return max(0, math.floor((self.window_s * 1000 - max(0.0, until_full_ms)) / self.interval_ms + _ROUNDING))

    def wait_ms(self, until_full_ms: float, units: float) -> float:
        """How long until so many units may be used; infinity if they are more than there ever are."""
        if units > self.quota + _ROUNDING:
            return math.inf
        return max(0.0, max(0.0, until_full_ms) + units * self.interval_ms - self.window_s * 1000)


class CallerLimits(NamedTuple):
    """The limits of one caller for requests to one model; None: no limit.

    Attributes:
        requests: a rate; each request counts as `weight` units.
        compute_ms: a rate of milliseconds that models compute.
        queued, queued_bytes: requests, and bytes of their inputs and options, that wait or are computed at a time.
        waits: predictions that one gateway waits for at a time.
    """

    requests: Rate | None = None
    compute_ms: Rate | None = None
    queued: int | None = None
    queued_bytes: int | None = None
    waits: int | None = None
    weight: float = 1.0


class Used(NamedTuple):
    """What a caller has used: ms until each rate is full again, and what waits."""

    requests_ms: float
    compute_ms: float
    queued: int
    queued_bytes: int
