"""Task `text-ranking`: which documents answer a query best, by a cross-encoder that reads each beside the query.

The input is `{"query": "…", "documents": ["…", …]}`, the result `{"ranking": [{"index", "score"}]}`, the best first:
`index` counts the documents from 0. Scores are those of sentence-transformers' `CrossEncoder`: probabilities, or the
model's own numbers if its configuration says so. A long document is read in chunks; its score is that of the best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.classifiers import load_classifier
from inference_worker.tasks.encoders import Computed
from inference_worker.tasks.fields import Fields
from inference_worker.tasks.forward import Forward
from inference_worker.tasks.protocol import Encoded, InvalidInput, Item, Output
from inference_worker.tasks.rows import Row
from inference_worker.tasks.tokens import TextTokenizer, chunks
from inference_worker.tasks.vectors import Floats, parts_of, rounded, sigmoid
from shared.contract.errors import ConfigurationError

MOST_DOCUMENTS = 256
_SAMPLE = {"query": "When was the bridge closed?", "documents": ["It was closed on Monday.", "Repairs take six weeks."]}


class TextRanking:
    """Any sequence classifier with one output."""

    sample = Item(_SAMPLE)

    def __init__(self, model: Computed, tokenizer: TextTokenizer, token_budget: int, *, as_probability: bool) -> None:
        self._tokenizer, self._as_probability = tokenizer, as_probability
        self._forward = Forward(model, tokenizer, token_budget, lambda output, mask: output.logits)

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> TextRanking:
        """Load a cross-encoder.

        Raises:
            ConfigurationError: it has more than one output, or makes something else of it than is known.
        """
        if artifact.config.num_labels != 1:
            raise ConfigurationError(
                f"{artifact.location} has {artifact.config.num_labels} labels: text-ranking needs a cross-encoder with "
                "one output; serve this one as text-classification"
            )
        return cls(*load_classifier(artifact), token_budget, as_probability=gives_probabilities(artifact))

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize; `data` is the rows of each document.

        Raises:
            InvalidInput: it is not a query with documents, or the query leaves no room for one.
        """
        return [self._encode(Fields(item.input)) for item in items]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Rank; the confidence is the score of the best document, if scores are probabilities."""
        logits = self._forward([row for each in batch for rows in each.data for row in rows])
        scores = sigmoid(logits) if self._as_probability else logits
        parts = parts_of(scores, [each.rows for each in batch])
        return [self._rank(part, each.data) for part, each in zip(parts, batch, strict=True)]

    def _encode(self, fields: Fields) -> Encoded:
        query, documents = fields.text("query"), fields.texts("documents", MOST_DOCUMENTS)
        fields.nothing_else()
        head, *bodies = self._tokenizer.tokenize([query, *documents])
        room = self._tokenizer.pair_room - len(head.ids)
        if room < self._tokenizer.limit // 4:
            raise InvalidInput(
                f"has {len(head.ids)} tokens; beside it a model that reads {self._tokenizer.limit} has no room for a "
                "document",
                "query",
            )
        rows = [[self._tokenizer.pair_row(head.ids, ids) for ids in chunks(body, room)] for body in bodies]
        longest = max(len(row.ids) for document in rows for row in document)
        return Encoded(longest, rows, sum(map(len, rows)))

    def _rank(self, scores: Floats, rows: Sequence[Sequence[Row]]) -> Output:
        best = rounded(np.stack([part.max() for part in parts_of(scores, [len(document) for document in rows])]))
        order = sorted(range(len(best)), key=lambda index: -best[index])
        ranking = [{"index": index, "score": best[index]} for index in order]
        return Output({"ranking": ranking}, best[order[0]] if self._as_probability else None)


def gives_probabilities(artifact: Artifact) -> bool:
    """Whether a cross-encoder's scores go through a sigmoid; as of sentence-transformers, unless it says otherwise.

    Raises:
        ConfigurationError: it names another function.
    """
    said = getattr(artifact.config, "sentence_transformers", None) or {}
    name = said.get("activation_fn") or getattr(artifact.config, "sbert_ce_default_activation_function", None)
    kind = str(name or "Sigmoid").rsplit(".", 1)[-1]
    if kind not in ("Sigmoid", "Identity"):
        raise ConfigurationError(
            f"{artifact.location} makes its scores by {name}: text-ranking knows Sigmoid, Identity"
        )
    return kind == "Sigmoid"
