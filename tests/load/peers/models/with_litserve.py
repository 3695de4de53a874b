"""LitServe."""

import sys
from typing import Any

import litserve

from tests.load.peers.models.sentiment import BATCH_SIZE, WAIT_MS, WORKERS, Sentiment


class Api(litserve.LitAPI):
    """One worker."""

    def setup(self, device: str) -> None:
        """Load."""
        self.model = Sentiment()

    def decode_request(self, request: dict[str, Any]) -> str:
        """The text of a body."""
        return str(request["text"])

    def predict(self, x: list[str]) -> list[str]:
        """Compute a batch."""
        return self.model.labels(x)

    def encode_response(self, output: str) -> dict[str, str]:
        """One answer."""
        return {"label": output}


if __name__ == "__main__":
    api = Api(max_batch_size=BATCH_SIZE, batch_timeout=WAIT_MS / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS, timeout=60)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="warning")
