"""When a refused caller should retry: all Retry-After values are decided here. Pure.

If a stream is full, it is the time until a tenth of its limit is free again, at the rate at which entries leave. The
rate comes from two samples of the stream's length and of the number of entries ever added to it (`entries-added` of
XINFO STREAM, Redis >= 7.0): what was added and is no longer there has left. It is smoothed exponentially.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from shared.contract.keys import Keys
from shared.contract.queues import Queue
from shared.streams.publishing import Limits, Verdict
from shared.streams.queue_depth import Flow

STOPPING_S = 1  # the next request goes to another gateway
IN_FLIGHT_S = 2
CONNECTIONS_S = 2
STORE_UNAVAILABLE_S = 2
SHORTEST_S, LONGEST_S, UNKNOWN_S = 1, 60, 5
_SMOOTHING = 0.3


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of a stream, with its time by a monotonic clock in seconds."""

    at_s: float
    flow: Flow


def departure_rate(before: Sample, after: Sample) -> float | None:
    """Entries that left between two samples, per second; None if unknown (Redis was flushed, or is older than 7.0)."""
    seconds = after.at_s - before.at_s
    if before.flow.added is None or after.flow.added is None or seconds <= 0:
        return None
    left = (after.flow.added - before.flow.added) - (after.flow.length - before.flow.length)
    return left / seconds if left >= 0 else None


def until_room_s(limit: int, rate: float | None) -> int:
    """Seconds, rounded up, until a tenth of the limit is free again, at `rate` entries per second."""
    if rate is None:
        return UNKNOWN_S
    if rate <= 0:
        return LONGEST_S
    return max(SHORTEST_S, math.ceil(min(LONGEST_S, limit / 10 / rate)))


class RetryAfter:
    """Tracks the departure rate of each stream."""

    def __init__(self, keys: Keys, limits: Limits) -> None:
        self._keys = keys
        self._limits = limits
        self._samples: dict[str, Sample] = {}
        self._rates: dict[str, float] = {}

    def refused_s(self, queue: Queue, verdict: Verdict) -> int:
        """Retry-After for a request that was refused for this reason, in seconds."""
        if verdict is Verdict.IDEMPOTENCY:
            return LONGEST_S  # keys are remembered for hours
        if verdict is Verdict.BACKLOG:
            stream, limit = self._keys.requests(*queue), self._limits.max_backlog
        elif verdict is Verdict.BACKLOG_BYTES:  # what waits is about as many bytes each
            stream = self._keys.requests(*queue)
            limit = self._samples[stream].flow.length if stream in self._samples else 0
        else:  # results go to Postgres, which also frees memory
            stream, limit = self._keys.results, self._limits.max_results
        return until_room_s(limit, self._rates.get(stream))

    def rate(self, queue: Queue) -> float | None:
        """Entries that leave a queue per second; None if that is not known."""
        return self._rates.get(self._keys.requests(*queue))

    def learn(self, now_s: float, flows: Mapping[str, Flow]) -> None:
        """Update the rates with a sample of all streams, at a time by a monotonic clock in seconds."""
        for stream, flow in flows.items():
            sample = Sample(now_s, flow)
            before = self._samples.get(stream)
            rate = departure_rate(before, sample) if before else None
            if rate is None:
                self._rates.pop(stream, None)
            else:
                self._rates[stream] = rate + (1 - _SMOOTHING) * (self._rates.get(stream, rate) - rate)
            self._samples[stream] = sample
