"""How fast streams drain: what a refused client is told to wait.

Every few seconds the length of each stream and the number of entries ever added to it are read (`entries-added` of
XINFO STREAM, Redis >= 7.0); what was added and is not there any more was drained. The rate is smoothed, and decides the
Retry-After of a 503: the time until a tenth of the limit has gone.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from shared.contract.catalogue import ServedVersion
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import Keys
from shared.service.liveness import Liveness
from shared.streams.publishing import Limits, Verdict
from shared.streams.queue_depth import Flow, Flows
from shared.telemetry.metrics import ERRORS

SHORTEST_S, LONGEST_S, UNKNOWN_S = 1, 60, 5
_SMOOTHING = 0.3
_SAMPLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a stream, at a time of a monotonic clock in seconds."""

    at_s: float
    flow: Flow


def drained_per_s(before: Sample, after: Sample) -> float | None:
    """Entries that left between two samples, a second; None where that cannot be known (a flushed or old Redis)."""
    seconds = after.at_s - before.at_s
    if before.flow.added is None or after.flow.added is None or seconds <= 0:
        return None
    drained = (after.flow.added - before.flow.added) - (after.flow.length - before.flow.length)
    return drained / seconds if drained >= 0 else None


def retry_after_s(limit: int, rate: float | None) -> int:
    """Whole seconds until a tenth of the limit is free again."""
    if rate is None:
        return UNKNOWN_S
    if rate <= 0:
        return LONGEST_S
    return max(SHORTEST_S, math.ceil(min(LONGEST_S, limit / 10 / rate)))


class Drain:
    """Keeps the drain rate of every stream."""

    def __init__(self, flows: Flows, keys: Keys, limits: Limits, liveness: Liveness) -> None:
        self._flows = flows
        self._keys = keys
        self._limits = limits
        self._liveness = liveness
        self._samples: dict[str, Sample] = {}
        self._rates: dict[str, float] = {}

    def retry_after_s(self, served: ServedVersion, verdict: Verdict) -> int:
        """What to tell a client that was refused for this reason."""
        if verdict is Verdict.BACKLOG:
            stream, limit = self._keys.requests(served.model, served.version.version), self._limits.max_backlog
        else:  # results drain into Postgres, and memory with them
            stream, limit = self._keys.results, self._limits.max_results
        return retry_after_s(limit, self._rates.get(stream))

    def take(self, now_s: float, flows: Mapping[str, Flow]) -> None:
        """Learn from a look at all streams."""
        for stream, flow in flows.items():
            sample = Sample(now_s, flow)
            before = self._samples.get(stream)
            rate = drained_per_s(before, sample) if before else None
            if rate is None:
                self._rates.pop(stream, None)
            else:
                self._rates[stream] = rate + (1 - _SMOOTHING) * (self._rates.get(stream, rate) - rate)
            self._samples[stream] = sample

    async def keep_measuring(self) -> None:
        """Measure again and again, until cancelled."""
        while True:
            self._liveness.moved("drain")
            try:
                self.take(time.monotonic(), await self._flows.look())
            except StoreUnavailable as error:
                ERRORS.labels("gateway", f"{error.store}_unavailable").inc()
            await asyncio.sleep(_SAMPLE_S)
