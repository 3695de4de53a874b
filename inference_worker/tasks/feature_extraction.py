"""Task `feature-extraction`: the embedding of a text, as `{"embedding": [floats]}`.

It is what sentence-transformers' `encode` answers: a unit vector if the model's last module normalizes, else as long as
it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.embedding import Embedder
from inference_worker.tasks.protocol import Encoded, InvalidInput, Item, Output
from inference_worker.tasks.rows import Row
from inference_worker.tasks.vectors import rounded, unit


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
        """Tokenize; `data` is (rows, how many numbers are kept, whether they are normalized).

        Raises:
            InvalidInput: the model has no such prompt, or fewer numbers than are asked for.
        """
        return [
            Encoded(max(len(row.ids) for row in rows), (rows, self._kept(item), self._normalized(item)), len(rows))
            for item, rows in zip(items, self._rows(items), strict=True)
        ]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Embed; no confidence."""
        vectors = self._embedder.embed([each.data[0] for each in batch])
        outputs = []
        for vector, each in zip(vectors, batch, strict=True):
            _, kept, normalized = each.data
            outputs.append(Output({"embedding": rounded(unit(vector[:kept]) if normalized else vector[:kept])}))
        return outputs

    def _rows(self, items: Sequence[Item]) -> list[list[Row]]:
        """Neighbours with the same prompt are tokenized together."""
        return [
            rows
            for name, group in groupby(items, key=_prompt_name)
            for rows in self._embedder.rows([item.text for item in group], name)
        ]

    def _kept(self, item: Item) -> int:
        asked = item.options.get("dimensions")
        if asked is not None and asked > self._embedder.size:
            raise InvalidInput(f"options.dimensions: {asked} are asked for, and the model has {self._embedder.size}")
        return int(asked or self._embedder.settings.dimensions or self._embedder.size)

    @staticmethod
    def _normalized(item: Item) -> bool:
        return bool(item.options.get("normalize"))


def _prompt_name(item: Item) -> str | None:
    return item.options.get("prompt_name")
