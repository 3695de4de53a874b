"""Running rows through a model in passes that fit in memory, and what tasks do with the outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from inference_worker.tasks.rows import Row, pad, passes
from inference_worker.tasks.tokens import TextTokenizer

Reduce = Callable[[Any, Tensor], Tensor]

# On a CPU a pass of some hundred tokens already keeps every core busy; what a larger one adds is padding. 256 texts of
# log-normal length, 2 threads, bfloat16: 236 texts/s at 512 tokens a pass, 165 at 2048, 105 at 8192.
_TOKENS_A_PASS = 512
_PLACES = 6  # decimals in an answer: what bfloat16 or float32 can tell apart


class Forward:
    """A model and how to feed it.

    Args:
        model: takes the tensors of `rows.pad` as keyword arguments.
        tokenizer: knows the padding and which of the tensors the model takes.
        token_budget: most padded tokens in one pass; fewer are used if that is faster.
        reduce: makes one vector for each row, shape (rows, anything), from the model's output and the attention mask.
    """

    def __init__(self, model: Any, tokenizer: TextTokenizer, token_budget: int, reduce: Reduce) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._token_budget = min(token_budget, _TOKENS_A_PASS)
        self._reduce = reduce

    def __call__(self, rows: Sequence[Row]) -> Tensor:
        """One float32 vector for each row, in the order of the rows: shape (rows, anything)."""
        vectors: list[Tensor | None] = [None] * len(rows)
        for index, vector in self.each(rows):
            vectors[index] = vector
        return torch.stack([vector for vector in vectors if vector is not None])

    def each(self, rows: Sequence[Row]) -> Iterator[tuple[int, Tensor]]:
        """What is made of each row, pass by pass, with the row's index; every row comes once.

        `reduce` may make something of each token here, shape (longest row of the pass, anything). What is to be kept
        of it is copied by whoever asks: all the rest of a pass is gone before the next.
        """
        for indices in passes([len(row.ids) for row in rows], self._token_budget):
            yield from zip(indices, self._pass([rows[index] for index in indices]), strict=True)

    def _pass(self, rows: Sequence[Row]) -> Tensor:
        inputs = pad(rows, self._tokenizer.pad_id)
        with torch.inference_mode():
            output = self._model(**{name: inputs[name] for name in self._tokenizer.inputs})
            return self._reduce(output, inputs["attention_mask"])


def parts_of(vectors: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Cut the rows of a batch, shape (rows, size), into those of each text: a tensor for each of `sizes`, in order."""
    return list(torch.split(vectors, list(sizes)))


def average_by_weight(vectors: Tensor, rows: Sequence[Row]) -> Tensor:
    """The mean of a text's chunk vectors, shape (chunks, size) to (size,), each weighted by its tokens of text."""
    weights = torch.tensor([float(row.weight) for row in rows])
    return (weights / weights.sum()) @ vectors


def rounded(values: Tensor) -> list[float]:
    """A vector as plain floats for JSON.

    Raises:
        ValueError: one of them is not finite, which JSON cannot express and no client could use.
    """
    return [round(float(value), _PLACES) for value in finite(values).tolist()]


def finite(values: Tensor) -> Tensor:
    """The same numbers.

    Raises:
        ValueError: one of them is not finite.
    """
    if not bool(values.isfinite().all()):
        raise ValueError("the model answered with a number that is not finite")
    return values
