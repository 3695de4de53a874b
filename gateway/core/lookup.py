"""Finding predictions: Redis holds those in flight, Postgres those that are finished and stored.

Redis is asked before Postgres: a state is deleted only after its row has been committed, so an accepted prediction can
be found at any moment.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.core.finished import Finished, from_result
from gateway.core.history import History
from shared.contract.errors import StoreUnavailable
from shared.contract.messages import PredictionResult
from shared.streams.prediction_state import ANY_BYTES, PredictionStates, Queued
from shared.telemetry.metrics import ERRORS


class Lookup:
    """Looks predictions up in both stores."""

    def __init__(self, states: PredictionStates, history: History) -> None:
        self._states = states
        self._history = history

    async def locate(self, prediction_id: str, *, wait: bool = False) -> Finished | Queued | None:
        """Find one prediction; None if neither store knows the id.

        Args:
            wait: also ask Redis for a hint when it finishes.

        Raises:
            StoreUnavailable: one store cannot be reached and the other does not have it.
        """
        try:
            state = await self._states.look(prediction_id, wait=wait)
        except StoreUnavailable:
            stored = await self._history.find([prediction_id])
            if prediction_id in stored:
                return stored[prediction_id]
            raise
        if isinstance(state, PredictionResult):
            return from_result(state)
        if state is not None:
            return state
        return (await self._history.find([prediction_id])).get(prediction_id)

    async def finished(self, prediction_ids: Sequence[str]) -> list[Finished]:
        """The finished ones among several predictions; see `look`."""
        found = await self.look(prediction_ids)
        return [each for each in found.values() if isinstance(each, Finished)]

    async def look(
        self, prediction_ids: Sequence[str], placed: Collection[str] = (), most_bytes: int = ANY_BYTES
    ) -> dict[str, Finished | Queued | None]:
        """Several predictions, by their ids, with one call to each store; asks for hints about those not finished.

        None is one that neither store knows. If Postgres is unavailable, those that Redis does not know are left out.

        Args:
            placed: whose places in their queues are looked at, too.
            most_bytes: of results from Redis, about: those that would be more are left out.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        states = await self._states.look_all(prediction_ids, placed, most_bytes)
        gone = [each for each, state in states.items() if state is None]
        known: dict[str, Finished | Queued | None] = {
            each: from_result(state) if isinstance(state, PredictionResult) else state
            for each, state in states.items()
            if state is not None
        }
        return known | await self._stored(gone)

    async def _stored(self, prediction_ids: Sequence[str]) -> dict[str, Finished | None]:
        if not prediction_ids:
            return {}
        try:
            return dict.fromkeys(prediction_ids) | await self._history.find(prediction_ids)
        except StoreUnavailable as error:
            ERRORS.labels("gateway", f"{error.store}_{error.reason}").inc()
            return {}
