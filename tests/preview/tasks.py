"""Stand-ins for models, with times and confidences that look like something in a graph."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

from inference_worker.tasks.protocol import Encoded, Item, Output


class Varied:
    """Answers after a while, with a confidence that varies; `raise…` raises.

    The location says how: `base_s/per_item_s/alpha/beta`, the last two of a beta distribution.
    """

    sample = Item("warm up")
    labels = ("POSITIVE", "NEGATIVE")

    def __init__(self, location: str, dtype: str, token_budget: int) -> None:
        name = location.rsplit("/", 1)[-1]
        self._base_s, self._item_s, self._alpha, self._beta = (float(part) for part in name.split("_"))

    def encode(self, items: Sequence[Item]) -> Sequence[Encoded]:
        """One token a word."""
        return [Encoded(tokens=len(item.text.split()), data=item.text) for item in items]

    def predict(self, batch: Sequence[Encoded]) -> Sequence[Output]:
        """Wait as a model would compute."""
        if any(str(each.data).startswith("raise") for each in batch):
            raise ValueError("this model cannot read that")
        threading.Event().wait((self._base_s + self._item_s * len(batch)) * random.uniform(0.8, 1.3))
        return [self._one() for _ in batch]

    def _one(self) -> Output:
        confidence = min(1.0, max(0.01, random.betavariate(self._alpha, self._beta)))
        label = "POSITIVE" if random.random() < 0.6 else "NEGATIVE"
        return Output({"label": label, "scores": {label: confidence}}, confidence)
