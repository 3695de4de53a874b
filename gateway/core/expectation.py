"""What one caller waits for, and what it is told meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, Self

from gateway.core.finished import Finished
from shared.contract.progress import Progress
from shared.streams.prediction_state import Queued


class Registry(Protocol):
    """Who wakes those who wait."""

    def add(self, expectation: Expectation) -> None:
        """Somebody begins to wait."""

    def remove(self, expectation: Expectation) -> None:
        """Somebody waits no more."""


class Expectation:
    """One caller's wait for a group of predictions: a context manager, entered before they are published.

    Attributes:
        label: `model:version` of all of them; empty if it is not known.
        caller: the id of who waits; may be empty.
        watches: whether it wants to know more than the end.
        accepted: whether its predictions are known to have been accepted, so that one that is nowhere is gone.
    """

    __slots__ = ("_waiters", "accepted", "caller", "futures", "label")  # there may be thousands
    watches = False

    def __init__(self, waiters: Registry, prediction_ids: Sequence[str], label: str, caller: str) -> None:
        loop = asyncio.get_running_loop()
        self._waiters = waiters
        self.label, self.caller = label, caller
        self.accepted = False
        self.futures: dict[str, asyncio.Future[Finished | None]] = {
            each: loop.create_future() for each in prediction_ids
        }

    def __enter__(self) -> Self:
        self._waiters.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._waiters.remove(self)

    async def results(self, timeout_s: float) -> list[Finished | None]:
        """Wait for all, which have been accepted; None for each that is gone, or does not finish in time or before the
        gateway stops waiting.
        """
        self.accepted = True
        timer = asyncio.get_running_loop().call_later(timeout_s, self.give_up)
        try:
            return [await future for future in self.futures.values()]
        finally:
            timer.cancel()

    def wake(self, prediction_id: str, finished: Finished | None) -> None:
        """Report that a prediction has finished (or, with None, give up on it)."""
        future = self.futures[prediction_id]
        if not future.done():
            future.set_result(finished)

    def give_up(self) -> None:
        """Stop waiting for those that have not finished."""
        for prediction_id in self.futures:
            self.wake(prediction_id, None)

    def seen(self, state: Queued) -> None:
        """Take note of a prediction that has not finished; see `gateway.core.watching`."""

    def told(self, progress: Progress) -> None:
        """Take note of how far a prediction is; see `gateway.core.watching`."""

    def closing(self) -> None:
        """The gateway is stopping; who only waits still does for a while."""
