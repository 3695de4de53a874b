"""Mosec."""

from __future__ import annotations

import sys
from typing import Any

from mosec import Server, Worker

from tests.load.peers.models.sentiment import BATCH_SIZE, WAIT_MS, WORKERS, Sentiment


class Labels(Worker):
    """One worker."""

    def __init__(self) -> None:
        self.model = Sentiment()

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, str]]:
        """Compute a batch."""
        return [{"label": label} for label in self.model.labels([each["text"] for each in data])]


if __name__ == "__main__":
    port = sys.argv.pop()
    sys.argv += [f"--port={port}", "--address=127.0.0.1", "--timeout=60000", "--route=/predict"]
    server = Server()
    server.append_worker(Labels, num=WORKERS, max_batch_size=BATCH_SIZE, max_wait_time=WAIT_MS, route="/predict")
    server.run()
