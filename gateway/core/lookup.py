"""Finding predictions: Redis holds those in flight, Postgres those that are finished and stored.

Redis is asked before Postgres: a state is deleted only after its row has been committed, so an accepted prediction can
be found at any moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.core.finished import Finished, from_result
from gateway.core.history import History
from shared.contract.errors import StoreUnavailable
from shared.contract.messages import PredictionResult
from shared.streams.prediction_state import PredictionStates, Queued
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
        """The finished ones among several predictions, with one call to each store; asks for hints about the others.

        If Postgres is unavailable, those that Redis knows are still returned.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        states = await self._states.look_all(prediction_ids)
        found = [from_result(state) for state in states if isinstance(state, PredictionResult)]
        gone = [each for each, state in zip(prediction_ids, states, strict=True) if state is None]
        return [*found, *await self._stored(gone)]

    async def _stored(self, prediction_ids: Sequence[str]) -> Iterable[Finished]:
        if not prediction_ids:
            return ()
        try:
            return (await self._history.find(prediction_ids)).values()
        except StoreUnavailable as error:
            ERRORS.labels("gateway", f"{error.store}_{error.reason}").inc()
            return ()
