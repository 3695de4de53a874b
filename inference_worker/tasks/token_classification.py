"""Task `token-classification`: what stands where in a text, such as names of people and places.

The result is `{"entities": [{"label", "text", "start", "end", "score"}]}`; `start` and `end` count characters of the
text as it was sent. A text over the model's limit is read in chunks; entities are found in what all of them say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.encoders import Computed, load_encoder
from inference_worker.tasks.entities import find_entities
from inference_worker.tasks.forward import Forward
from inference_worker.tasks.protocol import Encoded, Item, Output
from inference_worker.tasks.rows import Row
from inference_worker.tasks.tokens import TextTokenizer, TokenizedText, chunks
from inference_worker.tasks.vectors import Floats, finite, rounded, softmax


class _Read(NamedTuple):
    """A text in rows, and of each of its tokens whether it goes on with the word of the token before."""

    text: TokenizedText
    rows: list[Row]
    continues: list[bool]
    strategy: str


class TokenClassification:
    """Any token classifier."""

    sample = Item("Ada Lovelace wrote to Charles Babbage in London.")

    def __init__(self, model: Computed, tokenizer: TextTokenizer, token_budget: int) -> None:
        self._tokenizer = tokenizer
        self._labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
        self._forward = Forward(model, tokenizer, token_budget, lambda output, mask: output.logits)

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> TokenClassification:
        """Load a token classifier.

        Raises:
            ConfigurationError: the artifact has no trained head for tokens.
        """
        tokenizer = TextTokenizer.load(artifact)
        model = load_encoder("AutoModelForTokenClassification", artifact, tokenizer.inputs, "logits")
        return cls(model, tokenizer, token_budget)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize; `data` is what `predict` needs of each text."""
        return [
            self._read(text, item.options.get("aggregation_strategy", "simple"))
            for item, text in zip(items, self._tokenizer.tokenize([item.text for item in items]), strict=True)
        ]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Find the entities; the confidence is the score of the least sure one, none if there is no entity."""
        rows = [row for each in batch for row in each.data.rows]
        scores: dict[int, Floats] = {}
        for index, of_text in self._forward.each_token(rows, lambda index: self._tokenizer.of_text(rows[index])):
            scores[index] = softmax(of_text)
        parts = iter(scores[index] for index in range(len(rows)))
        return [self._output(each.data, np.concatenate([next(parts) for _ in each.data.rows])) for each in batch]

    def _read(self, text: TokenizedText, strategy: str) -> Encoded:
        rows = [self._tokenizer.row(ids) for ids in chunks(text, self._tokenizer.row_room)]
        read = _Read(text, rows, continuations(self._tokenizer.raw, text), strategy)
        return Encoded(max(len(row.ids) for row in rows), read, len(rows))

    def _output(self, read: _Read, scores: Floats) -> Output:
        found = find_entities(finite(scores), self._labels, read.continues, read.strategy)
        sure = rounded(np.array([entity.score for entity in found], np.float32))
        entities = []
        for entity, score in zip(found, sure, strict=True):
            start, end = read.text.offsets[entity.start][0], read.text.offsets[entity.end - 1][1]
            where = {"text": read.text.text[start:end], "start": start, "end": end}
            entities.append({"label": entity.label, **where, "score": score})
        return Output({"entities": entities}, min(sure, default=None))


def continuations(tokenizer: Any, text: TokenizedText) -> list[bool]:
    """Of each token whether it goes on with the word of the token before; an unknown one never does.

    WordPiece marks such a token with a prefix (`##`). Other tokenizers know no words: there it is one that no space
    stands before.
    """
    if getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None):
        names = tokenizer.convert_ids_to_tokens(text.ids)
        marked = [len(name) != end - start for name, (start, end) in zip(names, text.offsets, strict=True)]
    else:
        marked = [start > 0 and " " not in text.text[start - 1 : start + 1] for start, _ in text.offsets]
    return [within and token != tokenizer.unk_token_id for within, token in zip(marked, text.ids, strict=True)]
