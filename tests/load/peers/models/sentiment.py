"""The model that all servers have: sentiment 1.1.0, computed by torch on one thread.

Runs alone too, as what no server can surpass: `python -m tests.load.peers.models.sentiment TEXTS [--sort]`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import islice

from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item
from inference_worker.tasks.threads import use_threads
from tests.load.text_client import texts
from tests.processes import REPOSITORY

ARTIFACT = "artifacts/sentiment-svd-r128"
BATCH_SIZE, WAIT_MS, WORKERS = 16, 5, 2


class Sentiment:
    """Loads the model into this process."""

    def __init__(self) -> None:
        use_threads(1)
        location = str(REPOSITORY / "models" / ARTIFACT)
        self._task = load_task("text-classification", location, "bfloat16", 4096, "torch")
        self.labels(["ready"])

    def labels(self, batch: Sequence[str]) -> list[str]:
        """Of each text, computed in one pass."""
        outputs = self._task.predict(self._task.encode([Item(text) for text in batch]))
        return [str(output.result["label"]) for output in outputs]


def main() -> None:
    """Compute so many texts, 16 in a pass; prints texts a second."""
    model, batch = Sentiment(), list(islice(texts(7), int(sys.argv[1])))
    started = time.perf_counter()
    if "--sort" in sys.argv:
        batch.sort(key=len)
    for start in range(0, len(batch), BATCH_SIZE):
        model.labels(batch[start : start + BATCH_SIZE])
    print(len(batch) / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
