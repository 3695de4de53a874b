"""Task `question-answering`: the part of a text that answers a question.

The input is `{"question", "context"}`, two texts, the result `{"answers": [{"text", "start", "end", "score"}]}`, the
best first; `start` and `end` count characters of the context. Windows, scores and words are those of the pipeline of
this name that transformers had up to version 4: a context over 384 tokens is read in windows that overlap by 128.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from inference_worker.tasks.answers import Window, best_answers
from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.encoders import Computed, load_encoder
from inference_worker.tasks.fields import Fields
from inference_worker.tasks.forward import Forward
from inference_worker.tasks.protocol import Encoded, InvalidInput, Item, Output
from inference_worker.tasks.rows import Row
from inference_worker.tasks.tokens import TextTokenizer
from inference_worker.tasks.vectors import Floats, finite, rounded

MOST_TOKENS, MOST_OVERLAP = 384, 128  # in a window
_SAMPLE = {"question": "When was the bridge closed?", "context": "The bridge over the river was closed on Monday."}


class _Read(NamedTuple):
    """A question with its context: the rows, what each shows of the context, and what is wanted."""

    context: str
    rows: list[Row]
    windows: list[Window]
    options: dict[str, Any]


class QuestionAnswering:
    """Any model that finds where an answer begins and ends."""

    sample = Item(_SAMPLE)

    def __init__(self, model: Computed, tokenizer: TextTokenizer, token_budget: int) -> None:
        self._tokenizer = tokenizer
        self._longest = min(tokenizer.limit, MOST_TOKENS)
        self._overlap = min(self._longest // 2, MOST_OVERLAP)
        self._forward = Forward(model, tokenizer, token_budget, _edges)

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> QuestionAnswering:
        """Load a model for extractive question answering.

        Raises:
            ConfigurationError: the artifact has no trained head for it.
        """
        tokenizer = TextTokenizer.load(artifact)
        model = load_encoder("AutoModelForQuestionAnswering", artifact, tokenizer.inputs, "start_logits")
        return cls(model, tokenizer, token_budget)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize; `data` is what `predict` needs of each question.

        Raises:
            InvalidInput: it is no question with a context, or leaves no room for one.
        """
        return [self._encode(Fields(item.input), dict(item.options)) for item in items]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Answer; the confidence is the score of the best answer."""
        rows = [row for each in batch for row in each.data.rows]
        edges: dict[int, Floats] = {}
        for index, of_row in self._forward.each_token(rows):
            edges[index] = finite(of_row).copy()
        parts = iter(edges[index] for index in range(len(rows)))
        return [_output(each.data, [next(parts) for _ in each.data.rows]) for each in batch]

    def _encode(self, fields: Fields, options: dict[str, Any]) -> Encoded:
        question, context = fields.text("question"), fields.text("context")
        fields.nothing_else()
        asked, text = self._tokenizer.tokenize([question, context])
        room = self._longest + self._tokenizer.pair_room - self._tokenizer.limit - len(asked.ids)
        if room <= self._overlap:
            told = (
                f"has {len(asked.ids)} tokens; a model that reads {self._longest} has no room for the context beside it"
            )
            raise InvalidInput(told, "question")
        words = self._words(context, len(text.ids))
        rows, windows = [], []
        for start, end in _spans(len(text.ids), room, self._overlap):
            row = self._tokenizer.pair_row(asked.ids, text.ids[start:end])
            first = self._tokenizer.of_second(row, end - start).start
            control = [at for at, token in enumerate(row.ids) if token == self._tokenizer.raw.cls_token_id]
            rows.append(row)
            windows.append(Window(first, text.offsets[start:end], words[start:end], control))
        return Encoded(max(len(row.ids) for row in rows), _Read(context, rows, windows, options), len(rows))

    def _words(self, context: str, count: int) -> list[int | None]:
        """Which word of the context each of its tokens belongs to; None if that is not known."""
        words = self._tokenizer.raw(context, add_special_tokens=False, verbose=False).word_ids(0)
        return list(words) if len(words) == count else [None] * count


def _edges(output: Any, mask: Any) -> Tensor:
    """What speaks for each token as the first and as the last of the answer, shape (rows, longest, 2)."""
    return torch.stack([output.start_logits, output.end_logits], -1)


def _spans(count: int, room: int, overlap: int) -> Iterator[tuple[int, int]]:
    start = 0
    while True:
        yield start, min(start + room, count)
        if start + room >= count:
            return
        start += room - overlap


def _output(read: _Read, edges: Sequence[Any]) -> Output:
    found = best_answers(read.context, list(zip(read.windows, edges, strict=True)), **read.options)
    scores = rounded(np.array([answer.score for answer in found], np.float32))
    answers = [
        {"text": read.context[each.start : each.end], "start": each.start, "end": each.end, "score": score}
        for each, score in zip(found, scores, strict=True)
    ]
    return Output({"answers": answers}, min(1.0, scores[0]) if scores else None)
