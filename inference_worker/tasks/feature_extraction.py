"""Task `feature-extraction`: the embedding of a text, as `{"embedding": [floats]}`, a unit vector."""

from __future__ import annotations

from collections.abc import Sequence

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.embedding import Embedder
from inference_worker.tasks.forward import rounded
from inference_worker.tasks.protocol import Encoded, Item, Output


class FeatureExtraction:
    """Embeds texts. A text over the model's limit is embedded in chunks, whose mean is taken (see `embedding`)."""

    sample = Item("A text to measure the distance to other texts by.")

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> FeatureExtraction:
        """Load an encoder (see `Embedder.load`)."""
        return cls(Embedder.load(artifact, token_budget))

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize; `data` is the list of rows."""
        encoded = self._embedder.rows([item.text for item in items])
        return [Encoded(max(len(row.ids) for row in rows), rows, len(rows)) for rows in encoded]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Embed; no confidence."""
        return [
            Output({"embedding": rounded(vector)}) for vector in self._embedder.embed([each.data for each in batch])
        ]
