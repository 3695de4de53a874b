"""Which of the awaited predictions are looked up next, since their hints may have been lost. Pure.

Whatever number is awaited, a look is of so many at most, those that nobody has looked at for the longest time.
"""

from __future__ import annotations

from itertools import islice

MOST_AT_ONCE = 1000
_EARLY = 0.75  # of the interval: who looks from time to time would otherwise come a moment too early, and then too late


class Rechecks:
    """Remembers when each prediction was looked at last.

    Args:
        interval_s: none is looked at again much sooner.
    """

    def __init__(self, interval_s: float) -> None:
        self._least_s = _EARLY * interval_s
        self._looked_at: dict[str, float] = {}  # what was looked at the longest time ago is first

    def add(self, prediction_id: str, now: float) -> None:
        """It is awaited from now on, and was looked at just now."""
        self._looked_at.setdefault(prediction_id, now)

    def discard(self, prediction_id: str) -> None:
        """It is awaited no more."""
        self._looked_at.pop(prediction_id, None)

    def due(self, now: float) -> list[str]:
        """Those to look at now: from here on they count as looked at."""
        due = []
        for prediction_id, looked_at in islice(self._looked_at.items(), MOST_AT_ONCE):
            if now - looked_at < self._least_s:
                break
            due.append(prediction_id)
        for prediction_id in due:
            del self._looked_at[prediction_id]
            self._looked_at[prediction_id] = now
        return due
