"""Ray Serve."""

from __future__ import annotations

import signal
import sys
from typing import Any

import ray
from ray import serve

from tests.load.peers.models.sentiment import BATCH_SIZE, WAIT_MS, WORKERS, Sentiment


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 1})
class Labels:
    """One replica."""

    def __init__(self) -> None:
        self.model = Sentiment()

    @serve.batch(max_batch_size=BATCH_SIZE, batch_wait_timeout_s=WAIT_MS / 1000)
    async def predict(self, texts: list[str]) -> list[str]:
        """Compute a batch."""
        return self.model.labels(texts)

    async def __call__(self, request: Any) -> dict[str, str]:
        """One answer."""
        return {"label": await self.predict((await request.json())["text"])}


if __name__ == "__main__":
    ray.init(num_cpus=WORKERS, include_dashboard=False, object_store_memory=200 * 2**20)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Labels.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
