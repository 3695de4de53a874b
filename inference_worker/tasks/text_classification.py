"""Task `text-classification`: a label and the score of every label, as `{"label", "scores": {label: score}}`.

The scores are those of transformers' pipeline: what a regression model answers stays as it is. A text over the model's
limit is scored in chunks; its scores are their mean, weighted by their tokens. `options.text_pair` is the second text
of models that judge pairs; only the first is ever cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.classifiers import labels_of, load_classifier
from inference_worker.tasks.encoders import Computed
from inference_worker.tasks.forward import Forward
from inference_worker.tasks.protocol import Encoded, Item, Output
from inference_worker.tasks.rows import Row
from inference_worker.tasks.tokens import TextTokenizer
from inference_worker.tasks.vectors import Floats, average_by_weight, parts_of, rounded, sigmoid, softmax


class TextClassification:
    """Any sequence classifier: one label out of several (softmax), labels independent of each other (sigmoid), or
    numbers (as they are, without a confidence).

    Attributes:
        labels: what the model's configuration names.
    """

    sample = Item("This is a sentence of ordinary length, neither short nor long, to warm up with.")

    def __init__(self, model: Computed, tokenizer: TextTokenizer, token_budget: int) -> None:
        self._tokenizer = tokenizer
        self.labels = labels_of(model.config)
        self._bounded = model.config.problem_type != "regression"
        self._scores = _scores(model.config)
        self._forward = Forward(model, tokenizer, token_budget, lambda output, mask: output.logits)

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> TextClassification:
        """Load a sequence classifier.

        Raises:
            ConfigurationError: the artifact has no trained classification head.
        """
        return cls(*load_classifier(artifact), token_budget)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize; `data` is the list of rows.

        Raises:
            InvalidInput: a second text leaves no room for the first.
        """
        alone = iter(self._tokenizer.rows([item.text for item in items if _second(item) is None]))
        encoded = [next(alone) if _second(item) is None else self._pair_rows(item) for item in items]
        return [Encoded(max(len(row.ids) for row in rows), rows, len(rows)) for rows in encoded]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Score; the confidence is the score of the best label."""
        logits = self._forward([row for each in batch for row in each.data])
        scores = parts_of(self._scores(logits), [each.rows for each in batch])
        return [
            label_output(self.labels, average_by_weight(part, each.data), bounded=self._bounded)
            for part, each in zip(scores, batch, strict=True)
        ]

    def _pair_rows(self, item: Item) -> list[Row]:
        [[rows]] = self._tokenizer.pair_rows([item.text], [str(_second(item))], "options.text_pair")
        return rows


def label_output(labels: Sequence[str], scores: Floats, *, bounded: bool = True) -> Output:
    """An answer from scores, shape (labels,): the best label, and all of them from best to worst.

    The best score is the confidence, unless scores are not bounded to 0..1.
    """
    ranked = sorted(zip(labels, rounded(scores), strict=True), key=lambda pair: -pair[1])
    best, score = ranked[0]
    return Output({"label": best, "scores": dict(ranked)}, score if bounded else None)


def _second(item: Item) -> str | None:
    return item.options.get("text_pair")


def _scores(config: Any) -> Callable[[Floats], Floats]:
    """As transformers' pipeline chooses."""
    if config.problem_type == "regression":
        return lambda logits: logits
    independent = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return sigmoid if independent else softmax
