"""Running rows through a model in passes that fit in memory, and what tasks do with the outcome."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from inference_worker.tasks.devices import device_of, moved
from inference_worker.tasks.encoders import accepted
from inference_worker.tasks.hub import words
from inference_worker.tasks.rows import Row, Side, pad, passes
from inference_worker.tasks.tokens import TextTokenizer
from shared.contract.catalogue import CPU_TOKENS
from shared.contract.errors import ConfigurationError

log = logging.getLogger(__name__)

Reduce = Callable[[Any, Tensor], Tensor]

# Of `CPU_TOKENS`: 256 texts of log-normal length, 2 threads, bfloat16: 236 texts/s at 512 tokens a pass, 165 at 2048,
# 105 at 8192. On a CPU no pass is larger, whatever the budget is.
_PLACES = 6  # decimals in an answer: what bfloat16 or float32 can tell apart
_LONGEST_TRIAL = 4096  # tokens; models that read more have no table of positions that could end
_SHORT, _LONG = "A short text.", "A text that is longer than the other one, so that the other is filled up beside it."
_NOISE = {torch.float32: 1e-4}  # what padding may change, as a share of the largest number
_NOISE_HALVED = 0.1


class Forward:
    """A model and how to feed it.

    Args:
        model: takes the tensors of `rows.pad` as keyword arguments.
        tokenizer: knows the padding and which of the tensors the model takes.
        token_budget: most padded tokens in one pass; on a CPU fewer are used, which is faster.
        reduce: makes one vector for each row, shape (rows, anything), from the model's output and the mask
            of what is pooled, both on the model's device.

    Raises:
        ConfigurationError: the model cannot read a row as long as its configuration says.
    """

    def __init__(self, model: Any, tokenizer: TextTokenizer, token_budget: int, reduce: Reduce) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._inputs = accepted(model, tokenizer.inputs)
        self._fixed = dict.fromkeys(accepted(model, ("use_cache",), sure=True), False)
        self._device = device_of(model)
        self._token_budget = min(token_budget, CPU_TOKENS) if self._device.type == "cpu" else token_budget
        self._reduce = reduce
        self._side: Side = "left" if model.config.model_type == "xlnet" else "right"  # XLNet's head reads the last one
        self._try()
        self._filled = tokenizer.pad_id is not None and self._ignores_padding()

    def __call__(self, rows: Sequence[Row]) -> Tensor:
        """One float32 vector for each row, in the order of the rows: shape (rows, anything)."""
        vectors: list[Tensor | None] = [None] * len(rows)
        for index, vector in self._each(rows):
            vectors[index] = vector.clone()  # an engine may use the same memory for the next pass
        return torch.stack([vector for vector in vectors if vector is not None]).cpu()

    def each_token(
        self, rows: Sequence[Row], wanted: Callable[[int], Any] = lambda index: slice(None)
    ) -> Iterator[tuple[int, Tensor]]:
        """What `reduce` makes of each token, pass by pass, with the row's index; every row comes once.

        What is to be kept is copied by whoever asks: all the rest of a pass is gone before the next.

        Args:
            wanted: which tokens of a row are needed, a slice or places: only these leave the model's device.

        Yields:
            Of each row its index, and a tensor of shape (wanted tokens of the row, anything).
        """
        for index, vectors in self._each(rows):
            tokens = len(rows[index].ids)
            own = vectors[-tokens:] if self._side == "left" else vectors[:tokens]
            yield index, own[wanted(index)].cpu()

    def _each(self, rows: Sequence[Row]) -> Iterator[tuple[int, Tensor]]:
        """What is made of each row, on the model's device."""
        for group in self._alike(rows):
            for places in passes([len(rows[index].ids) for index in group], self._token_budget, mixed=self._filled):
                indices = [group[place] for place in places]
                yield from zip(indices, self._pass([rows[index] for index in indices]), strict=True)

    def _alike(self, rows: Sequence[Row]) -> Iterable[Sequence[int]]:
        """The indices of rows that may share a pass: encoder-decoders want as many end tokens in each."""
        if not self._model.config.is_encoder_decoder:
            return [range(len(rows))]
        end, groups = self._model.config.eos_token_id, defaultdict[int, list[int]](list)
        for index, row in enumerate(rows):
            groups[list(row.ids).count(end)].append(index)
        return groups.values()

    def _pass(self, rows: Sequence[Row]) -> Tensor:
        if self._tokenizer.pad_id is None and len(rows) > 1:  # nothing would tell the model where a row ends
            return torch.cat([self._pass([row]) for row in rows])
        inputs = moved(pad(rows, self._tokenizer.pad_id, self._side), self._device)
        with torch.inference_mode():
            output = self._model(**{name: inputs[name] for name in self._inputs}, **self._fixed)
            return self._reduce(output, inputs["pooled_mask"])

    def _try(self) -> None:
        """Read a text, and a row of the most tokens: some count positions from behind the pad token, and have fewer."""
        tokenizer = self._tokenizer
        [text, *_] = tokenizer.rows([_SHORT])[0]
        if why := self._fails(text):
            raise ConfigurationError(f"the model cannot compute a text: {why}")
        if tokenizer.limit > _LONGEST_TRIAL or not isinstance(self._model, torch.nn.Module):
            return
        claimed, token = tokenizer.limit, text.ids[len(text.ids) // 2]
        for offset in (0, (tokenizer.pad_id or 0) + 1):
            tokenizer.limit = claimed - offset
            why = self._fails(tokenizer.row([token] * tokenizer.row_room))
            if not why:
                return
        raise ConfigurationError(
            f"the model fails on a row of {claimed} tokens, which its configuration says that it reads ({why}): set "
            "model_max_length in tokenizer_config.json to what it was trained with"
        )

    def _fails(self, row: Row) -> str:
        try:
            self._pass([row])
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # noqa: B902 - an architecture that does not fit fails in its own way
            return words(error)
        return ""

    def _ignores_padding(self) -> bool:
        """Whether a row means the same beside a longer one; models without a mask, such as FNet, mix the padding in."""
        rows = [rows[0] for rows in self._tokenizer.rows([_SHORT, _LONG])]
        if len(rows[0].ids) == len(rows[1].ids):
            return True
        alone, beside = self._pass(rows[:1])[0], self._pass(rows)[0]
        shown = min(len(alone), len(rows[0].ids)) if alone.shape != beside.shape else len(alone)
        apart = (alone[:shown] - beside[:shown]).abs().max().item()
        noise = _NOISE.get(getattr(self._model, "dtype", torch.float32), _NOISE_HALVED)
        if apart <= noise * max(1.0, alone.abs().max().item()):
            return True
        log.warning("padding changes what this model answers: only texts of one length are computed together")
        return False


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
