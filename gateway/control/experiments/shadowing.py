"""Copies of requests for a shadow version.

A copy is a request of its own. It belongs to nobody, so it is in nobody's history and charged to nobody, and nobody
waits for it. It must never be in the way: it is published after its original was accepted, as `batch`, refused long
before that would have been, and dropped without a word to the caller.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from gateway.control.experiments.assignment import Experiment
from gateway.core.submissions import Submissions
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import RANDOM_BITS, uuid7
from shared.contract.live_catalogue import LiveCatalogue
from shared.contract.queues import Priority
from shared.streams.publishing import Group, Limits, NewRequest, Publisher, Verdict
from shared.telemetry.metrics import SHADOW_COPIES

_SHARE_OF_LIMITS = 10  # a copy is refused where a tenth of what requests may fill is full
_SHARE_OF_MEMORY = 2


def shadow_limits(limits: Limits) -> Limits:
    """The limits of copies, from those of requests."""
    return replace(
        limits,
        max_backlog=max(1, limits.max_backlog // _SHARE_OF_LIMITS),
        max_backlog_bytes=max(1, limits.max_backlog_bytes // _SHARE_OF_LIMITS),
        max_results=max(1, limits.max_results // _SHARE_OF_LIMITS),
        max_memory_percent=max(1, limits.max_memory_percent // _SHARE_OF_MEMORY),
    )


class Shadowing:
    """Publishes copies in the background, for one gateway process.

    As many may be under way as may wait in a shadow's queue: `Submissions` refuses the rest at once.
    """

    def __init__(self, publisher: Publisher, limits: Limits, catalogue: LiveCatalogue, shard: int = 0) -> None:
        """Args:
        publisher: one with these limits, which are those of copies.
        """
        self._submissions = Submissions(publisher, limits.max_backlog, limits.max_backlog_bytes)
        self._catalogue = catalogue
        self._shard = shard
        self._under_way: set[asyncio.Task[None]] = set()

    def copy(self, experiment: Experiment, requests: Sequence[NewRequest]) -> None:
        """Copy those of the requests that are drawn, unless they were answered by the cache.

        A shadow that is not in the catalogue (any more) gets none.
        """
        shadow = experiment.shadow
        drawn = [each for each in requests if each.answer is None and experiment.copies(each.id)]
        if shadow is None or not drawn or self._catalogue.resolve(experiment.model, shadow.version) is None:
            return
        copies = [self._copy_of(each) for each in drawn]
        task = asyncio.create_task(self._publish(experiment.model, shadow.version, copies), name="shadow")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Drop what is under way."""
        tasks = list(self._under_way)
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _copy_of(self, original: NewRequest) -> NewRequest:
        return original._replace(
            id=uuid7(time.time_ns() // 1_000_000, secrets.randbits(RANDOM_BITS), self._shard),
            principal="",
            traceparent="",
            wait=False,
            cost_us=0,
            arm="",
            shadow_of=original.id,
            shadow_for=original.principal,
            tags=b"",
            callback_url="",  # who asked for the original is told once
        )

    async def _publish(self, model: str, version: str, copies: Sequence[NewRequest]) -> None:
        try:
            published = await self._submissions.submit(model, version, Group(copies), Priority.BATCH)
            outcome = "accepted" if published.verdict is Verdict.ACCEPTED else "refused"
        except StoreUnavailable:
            outcome = "unavailable"
        SHADOW_COPIES.labels(model, outcome).inc(len(copies))
