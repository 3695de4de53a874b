"""Task `text-classification`: a label and the score of every label, as `{"label", "scores": {label: score}}`.

A text over the model's limit is scored in chunks; its scores are their mean, weighted by their tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import AutoModelForSequenceClassification

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.encoders import load_encoder
from inference_worker.tasks.forward import Forward, average_by_weight, parts_of, rounded
from inference_worker.tasks.protocol import Encoded, Item, Output
from inference_worker.tasks.tokens import TextTokenizer


class TextClassification:
    """Any sequence classifier: one label out of several (softmax), or labels independent of each other (sigmoid).

    Attributes:
        labels: what the model's configuration names.
    """

    sample = Item("This is a sentence of ordinary length, neither short nor long, to warm up with.")

    def __init__(self, model: Any, tokenizer: TextTokenizer, token_budget: int) -> None:
        self._tokenizer = tokenizer
        self.labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
        independent = model.config.problem_type == "multi_label_classification" or len(self.labels) == 1
        reduce = _independent_scores if independent else _exclusive_scores
        self._forward = Forward(model, tokenizer, token_budget, reduce)

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> TextClassification:
        """Load a sequence classifier.

        Raises:
            ConfigurationError: the artifact has no trained classification head.
        """
        tokenizer = TextTokenizer.load(artifact)
        artifact.config.pad_token_id = tokenizer.pad_id  # a decoder finds its last token by it
        model = load_encoder(AutoModelForSequenceClassification, artifact, tokenizer.inputs, "logits")
        return cls(model, tokenizer, token_budget)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize; `data` is the list of rows."""
        encoded = self._tokenizer.rows([item.text for item in items])
        return [Encoded(max(len(row.ids) for row in rows), rows, len(rows)) for rows in encoded]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Score; the confidence is the score of the best label."""
        scores = parts_of(self._forward([row for each in batch for row in each.data]), [each.rows for each in batch])
        return [
            label_output(self.labels, average_by_weight(part, each.data))
            for part, each in zip(scores, batch, strict=True)
        ]


def label_output(labels: Sequence[str], scores: Tensor) -> Output:
    """An answer from scores, shape (labels,): the best label, and all of them from best to worst."""
    ranked = sorted(zip(labels, rounded(scores), strict=True), key=lambda pair: -pair[1])
    best, score = ranked[0]
    return Output({"label": best, "scores": dict(ranked)}, score)


def _exclusive_scores(output: Any, mask: Tensor) -> Tensor:
    return output.logits.float().softmax(-1)  # type: ignore[no-any-return]


def _independent_scores(output: Any, mask: Tensor) -> Tensor:
    return output.logits.float().sigmoid()  # type: ignore[no-any-return]
