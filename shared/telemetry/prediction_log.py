"""Events of single predictions: accepted, finished, stored. `grep` for an id to follow a prediction.

At a low rate every event is logged. Above a limit per second, a process logs only the events of a fixed share of ids,
chosen by the id itself: all services choose the same ones, so that these are logged from start to end at any rate.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from shared.telemetry.traceparent import trace_id_of

MOST_PER_S = 20
ALWAYS_ENDING = "00"  # one id in 256


class PredictionLog:
    """Logs events of predictions, at a limited rate.

    Args:
        logger: receives them, at level INFO.
        most_per_s: events logged in one second before only the chosen ids are logged.
    """

    def __init__(
        self, logger: logging.Logger, most_per_s: int = MOST_PER_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._most_per_s = most_per_s
        self._clock = clock
        self._second = 0
        self._logged = 0

    def wants(self, prediction_id: str) -> bool:
        """Whether to log an event of this prediction; counts it against the limit if so."""
        if not self._logger.isEnabledFor(logging.INFO):
            return False
        second = int(self._clock())
        if second != self._second:
            self._second, self._logged = second, 0
        if self._logged < self._most_per_s:
            self._logged += 1
            return True
        return prediction_id.endswith(ALWAYS_ENDING)

    def event(self, name: str, prediction_id: str, traceparent: str = "", **fields: object) -> None:
        """Log an event for which `wants` returned True; empty fields are left out."""
        known = {"prediction_id": prediction_id, "trace_id": trace_id_of(traceparent), **fields}
        self._logger.info(name, extra={field: value for field, value in known.items() if value not in ("", None)})
