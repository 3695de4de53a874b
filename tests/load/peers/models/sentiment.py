"""The model that all servers have: sentiment 1.1.0, computed by torch on one thread.

Runs alone too, as what no server can surpass: `python -m tests.load.peers.models.sentiment TEXTS [--sort]`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import islice

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from inference_worker.tasks.artifacts import open_artifact
from inference_worker.tasks.threads import use_threads
from inference_worker.tasks.torch_models import DTYPES, computed_in, set_threads
from tests.load.text_client import texts
from tests.processes import REPOSITORY

ARTIFACT = "artifacts/sentiment-svd-r128"
BATCH_SIZE, WAIT_MS, WORKERS = 16, 5, 2


class Sentiment:
    """Loads the model into this process, as the documentation of transformers does."""

    def __init__(self) -> None:
        use_threads(1)
        location = REPOSITORY / "models" / ARTIFACT
        artifact = open_artifact(str(location), "bfloat16")
        set_threads()
        self._tokenizer = AutoTokenizer.from_pretrained(location)
        dtype = DTYPES[computed_in(artifact)]  # as Millstream's: bfloat16 where the CPU has it
        self._model = AutoModelForSequenceClassification.from_pretrained(location, dtype=dtype).eval()
        self.labels(["ready"])

    def labels(self, batch: Sequence[str]) -> list[str]:
        """Of each text, computed in one pass."""
        inputs = self._tokenizer(list(batch), padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            best = self._model(**inputs).logits.argmax(-1).tolist()
        return [self._model.config.id2label[each] for each in best]


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
