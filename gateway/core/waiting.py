"""Waiting for predictions to finish.

Hints wake waiters, but they come over pub/sub and can be lost. So at every reconnect the states of all awaited
predictions are read, and then each RECHECK_INTERVAL_S, as far as one look a second reaches (see `rechecks`); those
without a state are looked up in Postgres. When its time is up, each caller checks once more. Losing every hint costs
latency, never an answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Sequence

from gateway.core.errors import LimitReached, Refused, UnknownPrediction
from gateway.core.expectation import Expectation
from gateway.core.finished import Finished, from_hint
from gateway.core.lookup import Lookup
from gateway.core.principal import ANYBODY, Principal
from gateway.core.rechecks import MOST_AT_ONCE, Rechecks
from gateway.core.retry_after import IN_FLIGHT_S, STOPPING_S
from shared.contract.errors import StoreUnavailable
from shared.contract.hints import Hint
from shared.contract.ids import is_id
from shared.contract.limits import CallerLimits
from shared.service.backoff import Backoff
from shared.service.liveness import Liveness
from shared.streams.prediction_state import PredictionStates, Queued
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
_MOST_BYTES = 32 * 2**20  # of results in one look: those beyond are read by another
_BEGIN_AT_ONCE = 16  # streams of events: all come back together when another gateway stops


class Waiters:
    """Everything this gateway waits for.

    Attributes:
        count: predictions being waited for; one that two callers wait for counts twice.
        closing: the gateway is stopping: no new wait begins.
        listening: set while subscribed to hints.
        lost: why it is not subscribed, for people.
        max_of_version: predictions of one version that may be waited for.
    """

    def __init__(
        self,
        states: PredictionStates,
        lookup: Lookup,
        liveness: Liveness,
        max_in_flight: int,
        max_of_version: int | None = None,
        recheck_interval_s: float = 0.0,
    ) -> None:
        self._states = states
        self._lookup = lookup
        self._liveness = liveness
        self._max_in_flight = max_in_flight
        self.max_of_version = max_of_version or max_in_flight
        self._of_version: Counter[str] = Counter()
        self._of_caller: Counter[str] = Counter()
        self._waiting: dict[str, list[Expectation]] = {}
        self._rechecks = Rechecks(recheck_interval_s)
        self._beginning = asyncio.Semaphore(_BEGIN_AT_ONCE)
        self.count = 0
        self.closing = False
        self.listening = asyncio.Event()
        self.lost = "it has not been reached yet"

    def check_room(self, count: int, label: str = "", caller: str = "", limits: CallerLimits | None = None) -> None:
        """Check that `count` more predictions, of one version if that is known, may be waited for.

        Raises:
            LimitReached: by this caller.
            Refused: the gateway is stopping, or is already waiting for too many, or for too many of this version.
        """
        if self.closing:
            raise Refused("stopping", "this gateway is stopping; try again", STOPPING_S)
        if self.count + count > self._max_in_flight:
            detail = f"this gateway is already waiting for too many predictions (its limit is {self._max_in_flight})"
            raise Refused("overloaded", detail, IN_FLIGHT_S, limit="in_flight")
        if label and self._of_version[label] + count > self.max_of_version:
            limit = f"its limit for one version is {self.max_of_version}"
            detail = f"this gateway is already waiting for too many predictions of {label} ({limit})"
            raise Refused("overloaded", f"{detail}; ask with wait=0", IN_FLIGHT_S, limit="in_flight_of_version")
        most, waits = limits.waits if limits else None, self._of_caller[caller]
        if most is not None and count and waits + count > most:
            detail = f"you may wait for {most} predictions at a time, and do for {waits}; ask with wait=0"
            raise LimitReached("waits", detail, IN_FLIGHT_S * 1000, {}, {"waits": (most, waits)})

    async def read(
        self, prediction_id: str, wait_s: float, caller: Principal = ANYBODY, limits: CallerLimits | None = None
    ) -> Finished | Queued:
        """Read one prediction; waits at most `wait_s` seconds until it is finished.

        Raises:
            UnknownPrediction: neither store knows the id, or the caller may not know it.
            Refused: it would have to wait, but this gateway is already waiting for too many.
            StoreUnavailable: one store cannot be reached and the other does not have it.
        """
        if not is_id(prediction_id):
            raise UnknownPrediction(prediction_id)
        if self.closing or wait_s <= 0:
            return await self._read(prediction_id, caller)
        self.check_room(1, caller=caller.id, limits=limits)
        with self.expect([prediction_id], caller=caller.id) as expected:
            found = await self._read(prediction_id, caller, wait=True)
            if not isinstance(found, Queued):
                return found
            await expected.results(wait_s)
            return await self._read(prediction_id, caller)

    async def look(self, prediction_id: str, caller: Principal) -> Finished | Queued:
        """Read one prediction that is watched, and ask for hints of how far it is.

        Raises:
            UnknownPrediction, StoreUnavailable: as of `read`.
        """
        async with self._beginning:
            found = await self._read(prediction_id, caller, wait=True)
            if isinstance(found, Queued):
                await self._states.listen(prediction_id)
            return found

    async def _read(self, prediction_id: str, caller: Principal, *, wait: bool = False) -> Finished | Queued:
        found = await self._lookup.locate(prediction_id, wait=wait)
        if found is None or not caller.may_read(found.principal, found.model):
            raise UnknownPrediction(prediction_id)
        return found

    def expect(self, prediction_ids: Sequence[str], label: str = "", caller: str = "") -> Expectation:
        """Wait for predictions, of one version if that is known; use it as a context manager."""
        return Expectation(self, prediction_ids, label, caller)

    def add(self, expectation: Expectation) -> None:
        """Register a wait."""
        now = time.monotonic()
        self.count += len(expectation.futures)
        self._of_version[expectation.label] += len(expectation.futures)
        self._of_caller[expectation.caller] += len(expectation.futures)
        for prediction_id in expectation.futures:
            self._waiting.setdefault(prediction_id, []).append(expectation)
            self._rechecks.add(prediction_id, now)

    def remove(self, expectation: Expectation) -> None:
        """Unregister a wait."""
        self.count -= len(expectation.futures)
        self._of_version[expectation.label] -= len(expectation.futures)
        self._of_caller[expectation.caller] -= len(expectation.futures)
        if self._of_caller[expectation.caller] <= 0:
            del self._of_caller[expectation.caller]  # there may be any number of callers
        for prediction_id in expectation.futures:
            others = self._waiting[prediction_id]
            others.remove(expectation)
            if not others:
                del self._waiting[prediction_id]
                self._rechecks.discard(prediction_id)

    def close(self) -> None:
        """Begin no new wait, and end all streams of events."""
        self.closing = True
        for expectation in self._all():
            expectation.closing()

    def give_up(self) -> None:
        """End all waits: callers respond with what they have."""
        for expectation in self._all():
            expectation.give_up()

    def _all(self) -> list[Expectation]:
        return [each for expectations in self._waiting.values() for each in expectations]

    async def listen(self, stop: asyncio.Event) -> None:
        """Process hints until `stop` is set; reconnects if the connection is lost."""
        backoff = Backoff(longest_s=2)
        while not stop.is_set():
            try:
                async for hints in self._states.hints():
                    self._liveness.moved("hints")
                    if stop.is_set():
                        break
                    if not self.listening.is_set():
                        self.listening.set()
                        backoff.succeeded()
                        await self._recheck_all()
                    for hint in hints or ():
                        await self._take(hint)
            except StoreUnavailable as error:
                self.listening.clear()
                self.lost = str(error)
                self._liveness.moved("hints")
                ERRORS.labels("gateway", f"{error.store}_{error.reason}").inc()
                log.warning("hints lost", extra={"reason": error.reason, "detail": str(error)})
                await backoff.pause(stop)

    async def recheck(self) -> None:
        """Look up those awaited predictions whose turn it is, since hints may have been lost; nobody waits on for one
        that is gone.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        if due := self._rechecks.due(time.monotonic()):
            await self._look_up(due)

    async def _recheck_all(self) -> None:
        waited_for = list(self._waiting)
        for start in range(0, len(waited_for), MOST_AT_ONCE):
            await self._look_up(waited_for[start : start + MOST_AT_ONCE])

    async def _look_up(self, prediction_ids: Sequence[str]) -> None:
        watched = [each for each in prediction_ids if any(one.watches for one in self._waiting.get(each, ()))]
        accepted = {one for each in prediction_ids for one in self._waiting.get(each, ()) if one.accepted}
        found = await self._lookup.look(prediction_ids, watched, _MOST_BYTES)
        finished = [each for each in found.values() if isinstance(each, Finished)]
        if finished:  # a fallback that nobody sees would hide that hints do not come
            ERRORS.labels("gateway", "hint_missed").inc(len(finished))
        for prediction_id, state in found.items():
            self._tell(prediction_id, state, accepted)

    def _tell(self, prediction_id: str, state: Finished | Queued | None, accepted: Collection[Expectation]) -> None:
        """Tell who waits for a prediction what a look has found; of nothing only those who were accepted before it."""
        for expectation in self._waiting.get(prediction_id, ()):
            if isinstance(state, Queued):
                expectation.seen(state)
            elif state is not None or expectation in accepted:
                expectation.wake(prediction_id, state)

    async def _take(self, hint: Hint) -> None:
        if hint.id not in self._waiting:
            return
        if hint.progress is not None:
            for expectation in self._waiting[hint.id]:
                expectation.told(hint.progress)
            return
        labels = {expectation.label for expectation in self._waiting[hint.id]}
        if hint.outcome is not None and not labels <= {"", f"{hint.model}:{hint.version}"}:
            ERRORS.labels("gateway", "strange_hint").inc()  # not by our scripts: the state tells, at the next recheck
            return
        finished = from_hint(hint)
        if finished is not None:
            self._wake(finished)
            return
        for each in await self._lookup.finished([hint.id]):  # the outcome was too long for a hint
            self._wake(each)

    def _wake(self, finished: Finished) -> None:
        for expectation in self._waiting.get(finished.id, ()):
            expectation.wake(finished.id, finished)
