"""Task `zero-shot-classification`: scores for labels that the request brings (`options.labels`).

Two kinds of model can do it. A text encoder compares the text with a sentence about each label: the cosine of their
embeddings, over a temperature, through a softmax. A classifier trained on natural language inference is asked whether
the text entails a sentence about each label (Yin, Hay & Roth, EMNLP 2019), at the cost of one row for each label. The
artifact's configuration, or else its weights, tell which kind it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.classifiers import is_classifier, load_classifier
from inference_worker.tasks.embedding import Embedder
from inference_worker.tasks.encoders import Computed
from inference_worker.tasks.forward import Forward
from inference_worker.tasks.protocol import Encoded, InvalidInput, Item, Output
from inference_worker.tasks.rows import Row
from inference_worker.tasks.text_classification import label_output
from inference_worker.tasks.tokens import TextTokenizer
from inference_worker.tasks.vectors import Floats, average_by_weight, parts_of, softmax
from shared.contract.errors import ConfigurationError

TEMPERATURE = 0.05  # sentence-transformers trains with cosines times 20: the same scale makes them probabilities
SIMILARITY_PROMPT = "This text is about {}."
ENTAILMENT_PROMPT = "This example is {}."
_SAMPLE = Item("The team won the final after extra time.", {"labels": ["sport", "politics", "cooking"]})
_REMEMBERED_PROMPTS = 4096  # a service is asked for the same few labels over and over; 4096 vectors are 6 MB


def load_zero_shot(artifact: Artifact, token_budget: int) -> SimilarityZeroShot | EntailmentZeroShot:
    """Load an inference classifier as one, and any other encoder by similarity.

    Raises:
        ConfigurationError: a classifier that has no label `entailment`.
    """
    if is_classifier(artifact):
        return EntailmentZeroShot.load(artifact, token_budget)
    return SimilarityZeroShot(Embedder.load(artifact, token_budget))


class SimilarityZeroShot:
    """Labels by embedding similarity."""

    sample = _SAMPLE

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._prompts: OrderedDict[str, Floats] = OrderedDict()  # only `predict` touches it

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize texts; `data` is (rows, the prompt of each label, the rows of each prompt).

        Raises:
            InvalidInput: an item has no labels, only one, or options that only inference models have.
        """
        prompts = [_prompts(item.options) for item in items]
        texts = [item.text for item in items]
        distinct = sorted({prompt for each in prompts for prompt in each.values()})
        rows = self._embedder.rows([*texts, *distinct])
        by_prompt = dict(zip(distinct, rows[len(texts) :], strict=True))
        return [
            Encoded(
                max(len(row.ids) for row in text),
                (text, each, {prompt: by_prompt[prompt] for prompt in each.values()}),
                len(text),
            )
            for text, each in zip(rows[: len(texts)], prompts, strict=True)
        ]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Compare; the confidence is the score of the best label."""
        self._learn({prompt: rows for each in batch for prompt, rows in each.data[2].items()})
        texts = self._embedder.embed_unit([each.data[0] for each in batch])
        return [self._compare(text, each.data[1]) for text, each in zip(texts, batch, strict=True)]

    def _compare(self, text: Floats, prompts: Mapping[str, str]) -> Output:
        cosines = np.stack([self._prompts[prompt] for prompt in prompts.values()]) @ text
        return label_output(list(prompts), softmax(cosines / TEMPERATURE))

    def _learn(self, prompts: Mapping[str, Sequence[Row]]) -> None:
        """Embed the prompts not seen lately, and forget the oldest beyond the limit, though none of this batch."""
        new = [prompt for prompt in prompts if prompt not in self._prompts]
        if new:
            self._prompts.update(zip(new, self._embedder.embed_unit([prompts[prompt] for prompt in new]), strict=True))
        for prompt in prompts:
            self._prompts.move_to_end(prompt)
        while len(self._prompts) > max(_REMEMBERED_PROMPTS, len(prompts)):
            self._prompts.popitem(last=False)


class EntailmentZeroShot:
    """Labels by natural language inference: the text is the premise, a sentence about the label the hypothesis."""

    sample = _SAMPLE

    def __init__(self, model: Computed, tokenizer: TextTokenizer, token_budget: int, entailment: int) -> None:
        self._tokenizer = tokenizer
        contradiction = -1 if entailment == 0 else 0  # where transformers' pipeline looks for it
        self._forward = Forward(
            model, tokenizer, token_budget, lambda output, mask: output.logits[:, [contradiction, entailment]]
        )

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> EntailmentZeroShot:
        """Load an inference classifier.

        Raises:
            ConfigurationError: none of its labels is `entailment`.
        """
        labels = {str(name).lower(): index for index, name in artifact.config.id2label.items()}
        entailment = next((index for name, index in labels.items() if name.startswith("entail")), None)
        if entailment is None:
            raise ConfigurationError(
                f"{artifact.location} is a classifier for {', '.join(labels)}: zero-shot-classification needs one with "
                "the label 'entailment', or a text encoder; serve this one as text-classification"
            )
        return cls(*load_classifier(artifact), token_budget, int(entailment))

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize pairs; `data` is (labels, rows of each label, whether labels are independent of each other).

        Raises:
            InvalidInput: an item has no labels, or one too long for the model.
        """
        return [self._encode(item) for item in items]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Ask for each label; the confidence is the score of the best one."""
        logits = self._forward([row for each in batch for rows in each.data[1] for row in rows])
        parts = parts_of(logits, [each.rows for each in batch])
        return [self._answer(part, *each.data) for part, each in zip(parts, batch, strict=True)]

    def _encode(self, item: Item) -> Encoded:
        labels = _labels(item.options)
        template = item.options.get("hypothesis_template") or ENTAILMENT_PROMPT
        [rows] = self._tokenizer.pair_rows([item.text], [_prompt(template, label) for label in labels])
        longest = max(len(row.ids) for label in rows for row in label)
        independent = bool(item.options.get("multi_label")) or len(labels) == 1
        return Encoded(longest, (labels, rows, independent), sum(map(len, rows)))

    @staticmethod
    def _answer(logits: Floats, labels: Sequence[str], rows: Sequence[Sequence[Row]], independent: bool) -> Output:
        """`logits` of shape (labels x chunks, 2): of the contradiction and of the entailment of each."""
        if independent:  # does the text rather entail it, or contradict it?
            by_chunk = softmax(logits)[:, 1].reshape(len(labels), -1).T
        else:  # (chunks, labels): each chunk chooses among the labels
            by_chunk = softmax(logits[:, 1].reshape(len(labels), -1).T)
        return label_output(labels, average_by_weight(by_chunk, rows[0]))


def _labels(options: Mapping[str, Any]) -> list[str]:
    labels = options.get("labels")
    if not labels:
        raise InvalidInput("zero-shot-classification needs options.labels")
    return list(dict.fromkeys(labels))


def _prompts(options: Mapping[str, Any]) -> dict[str, str]:
    """The sentence about each label, for a text encoder."""
    labels = _labels(options)
    if options.get("multi_label") or len(labels) == 1:
        raise InvalidInput(
            "this model compares labels with each other: it needs two or more, and knows no multi_label, which takes a "
            "model trained on natural language inference"
        )
    template = options.get("hypothesis_template") or SIMILARITY_PROMPT
    return {label: _prompt(template, label) for label in labels}


def _prompt(template: str, label: str) -> str:
    return template.replace("{}", label)
