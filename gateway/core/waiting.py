"""Waiting for predictions to finish.

Hints wake waiters. A hint is a hint: it comes over pub/sub, and can be lost. So at every reconnect and every two
seconds the states of all that is waited for are read, then Postgres is asked for those without a state, and at the end
of its wait each caller looks once more. Losing every hint costs latency, never an answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from gateway.core.finished import Finished, from_hint
from gateway.core.lookup import Predictions
from shared.contract.errors import StoreUnavailable
from shared.contract.hints import Hint
from shared.service.backoff import Backoff
from shared.service.liveness import Liveness
from shared.streams.prediction_state import PredictionStates
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)

_LOOK_AT_ONCE = 500


class Expectation:
    """One caller's wait for a group of predictions: a context, entered before their requests are published."""

    def __init__(self, waiters: Waiters, prediction_ids: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        self._waiters = waiters
        self.futures: dict[str, asyncio.Future[Finished | None]] = {
            each: loop.create_future() for each in prediction_ids
        }

    def __enter__(self) -> Expectation:
        self._waiters.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._waiters.remove(self)

    async def results(self, timeout_s: float) -> list[Finished | None]:
        """Wait for all; None for each that does not finish in time, or before the gateway stops."""
        timer = asyncio.get_running_loop().call_later(timeout_s, self.give_up)
        try:
            return [await future for future in self.futures.values()]
        finally:
            timer.cancel()

    def wake(self, prediction_id: str, finished: Finished | None) -> None:
        """Say that a prediction has finished."""
        future = self.futures[prediction_id]
        if not future.done():
            future.set_result(finished)

    def give_up(self) -> None:
        """End the wait for those that have not finished."""
        for prediction_id in self.futures:
            self.wake(prediction_id, None)


class Waiters:
    """Everything this gateway waits for."""

    def __init__(
        self, states: PredictionStates, predictions: Predictions, liveness: Liveness, recheck_s: float
    ) -> None:
        self._states = states
        self._predictions = predictions
        self._liveness = liveness
        self._recheck_s = recheck_s
        self._waiting: dict[str, list[Expectation]] = {}
        self.count = 0
        self.listening = asyncio.Event()

    def expect(self, prediction_ids: Sequence[str]) -> Expectation:
        """Wait for predictions; use it as a context."""
        return Expectation(self, prediction_ids)

    def add(self, expectation: Expectation) -> None:
        """Note who waits for what."""
        self.count += len(expectation.futures)
        for prediction_id in expectation.futures:
            self._waiting.setdefault(prediction_id, []).append(expectation)

    def remove(self, expectation: Expectation) -> None:
        """Forget it again."""
        self.count -= len(expectation.futures)
        for prediction_id in expectation.futures:
            others = self._waiting[prediction_id]
            others.remove(expectation)
            if not others:
                del self._waiting[prediction_id]

    def stop(self) -> None:
        """End all waits: callers answer with what they know."""
        for expectations in list(self._waiting.values()):
            for expectation in expectations:
                expectation.give_up()

    async def listen(self) -> None:
        """Take hints until cancelled, reconnecting when the connection is lost."""
        backoff = Backoff(longest_s=2)
        never = asyncio.Event()
        while True:
            try:
                async for hints in self._states.hints():
                    self._liveness.moved("hints")
                    if not self.listening.is_set():
                        self.listening.set()
                        backoff.succeeded()
                        await self.recheck()
                    for hint in hints or ():
                        await self._take(hint)
            except StoreUnavailable as error:
                self.listening.clear()
                self._liveness.moved("hints")
                ERRORS.labels("gateway", "redis_unavailable").inc()
                log.warning("hints lost", extra={"detail": str(error)})
                await backoff.pause(never)

    async def keep_rechecking(self) -> None:
        """Look after waiters whose hint may have been lost, every `recheck_s` seconds, until cancelled."""
        while True:
            self._liveness.moved("recheck")
            await asyncio.sleep(self._recheck_s)
            try:
                await self.recheck()
            except StoreUnavailable as error:
                ERRORS.labels("gateway", f"{error.store}_unavailable").inc()

    async def recheck(self) -> None:
        """Read the states of all that is waited for, then Postgres for those that have none.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        waited_for = list(self._waiting)
        for start in range(0, len(waited_for), _LOOK_AT_ONCE):
            for finished in await self._predictions.finished(waited_for[start : start + _LOOK_AT_ONCE]):
                self._wake(finished)

    async def _take(self, hint: Hint) -> None:
        if hint.id not in self._waiting:
            return
        finished = from_hint(hint)
        if finished is not None:
            self._wake(finished)
            return
        for each in await self._predictions.finished([hint.id]):  # it was too long for a hint
            self._wake(each)

    def _wake(self, finished: Finished) -> None:
        for expectation in self._waiting.get(finished.id, ()):
            expectation.wake(finished.id, finished)
