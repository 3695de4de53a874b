"""Measuring how fast entries leave the streams, for the Retry-After values of `gateway.core.retry_after`."""

from __future__ import annotations

import time

from gateway.core.retry_after import RetryAfter
from shared.streams.queue_depth import Flows

MEASURE_EVERY_S = 1.0


class Throughput:
    """Samples all streams."""

    def __init__(self, flows: Flows, retry_after: RetryAfter) -> None:
        self._flows = flows
        self._retry_after = retry_after

    async def measure(self) -> None:
        """Take one sample.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        flows = await self._flows.look()
        self._retry_after.learn(time.monotonic(), flows)
