"""BentoML. Its batches wait as long as it thinks best: of `max_latency_ms` it makes an aim."""

from __future__ import annotations

import os
import sys

import bentoml

from tests.load.peers.models.sentiment import BATCH_SIZE, WORKERS, Sentiment


@bentoml.service(workers=WORKERS, traffic={"timeout": 60, "max_concurrency": 1000})
class Labels:
    """One worker."""

    def __init__(self) -> None:
        self.model = Sentiment()

    @bentoml.api(batchable=True, max_batch_size=BATCH_SIZE, max_latency_ms=10_000, route="/predict")
    def predict(self, text: list[str]) -> list[str]:
        """Compute a batch."""
        return self.model.labels(text)


if __name__ == "__main__":
    command = [sys.executable, "-m", "bentoml", "serve", "tests.load.peers.models.with_bentoml:Labels"]
    os.execv(command[0], [*command, "--host=127.0.0.1", f"--port={sys.argv[1]}"])
