"""How often a model answers with each of its labels, so that a change in its answers shows.

The labels are those that the model's own configuration names, the first `MOST_LABELS` of them; all other answers are
counted as `other`. Labels that come with a request (zero-shot) are not counted: there is no limit to their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from shared.contract.messages import Status
from shared.streams.request_stream import Completed
from shared.telemetry.metrics import PREDICTIONS_BY_LABEL

MOST_LABELS = 20
OTHER = "other"


class LabelCounts:
    """Counts the labels of one model version; nothing if it has none of its own."""

    def __init__(self, model: str, version: str, labels: Sequence[str]) -> None:
        self._names = (model, version)
        # Made at the start, so that each series begins at 0 and its first increase is seen; bound for speed.
        self._counters = {label: PREDICTIONS_BY_LABEL.labels(*self._names, label) for label in labels[:MOST_LABELS]}

    def count(self, answered: Sequence[str | None], finished: Sequence[Completed], first: Sequence[bool]) -> None:
        """Count the labels that a batch was answered with, of those that succeeded and whose outcome stands."""
        if not self._counters:
            return
        labels = Counter(
            OTHER if label is None else label
            for label, each, stands in zip(answered, finished, first, strict=True)
            if stands and each.outcome.status is Status.SUCCEEDED
        )
        for label, number in labels.items():
            counter = self._counters.get(label)
            if counter is None:
                counter = PREDICTIONS_BY_LABEL.labels(*self._names, OTHER)
            counter.inc(number)
