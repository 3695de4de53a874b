"""Running rows through a model in passes that fit in memory, and what tasks do with the outcome."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from inference_worker.tasks.devices import CPU
from inference_worker.tasks.encoders import Computed
from inference_worker.tasks.hub import words
from inference_worker.tasks.rows import Row, Side, pad, passes
from inference_worker.tasks.tokens import TextTokenizer
from inference_worker.tasks.vectors import Floats, floats
from shared.contract.catalogue import CPU_TOKENS
from shared.contract.errors import ConfigurationError

log = logging.getLogger(__name__)

Reduce = Callable[[Any, Any], Any]

# Of `CPU_TOKENS`: 256 texts of log-normal length, 2 threads, bfloat16: 236 texts/s at 512 tokens a pass, 165 at 2048,
# 105 at 8192. On a CPU no pass is larger, whatever the budget is.
_LONGEST_TRIAL = 4096  # tokens; models that read more have no table of positions that could end
_SHORT, _LONG = "A short text.", "A text that is longer than the other one, so that the other is filled up beside it."
_NOISE = {"float32": 1e-4}  # what padding may change, as a share of the largest number
_NOISE_HALVED = 0.1


class Forward:
    """A model and how to feed it.

    Args:
        model: what computes.
        tokenizer: knows the padding and which of the arrays of `rows.pad` the model takes.
        token_budget: most padded tokens in one pass; on a CPU fewer are used, which is faster.
        reduce: makes one vector for each row, shape (rows, anything), from the model's output and the mask
            of what is pooled, float32, both on the model's device: arrays, or tensors of torch.

    Raises:
        ConfigurationError: the model cannot read a row as long as its configuration says.
    """

    def __init__(self, model: Computed, tokenizer: TextTokenizer, token_budget: int, reduce: Reduce) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._inputs = model.takes(tokenizer.inputs)
        self._token_budget = min(token_budget, CPU_TOKENS) if model.device == CPU else token_budget
        self._reduce = reduce
        self._side: Side = "left" if model.config.model_type == "xlnet" else "right"  # XLNet's head reads the last one
        self._try()
        self._filled = tokenizer.pad_id is not None and self._ignores_padding()
        if self._filled and not model.traced:
            self._skip_padding()

    def __call__(self, rows: Sequence[Row]) -> Floats:
        """One vector for each row, in the order of the rows: shape (rows, anything)."""
        vectors: dict[int, Floats] = {}
        for index, vector in self._each(rows):
            vectors[index] = np.array(floats(vector))  # an engine may use the same memory for the next pass
        return np.stack([vectors[index] for index in range(len(rows))])

    def each_token(
        self, rows: Sequence[Row], wanted: Callable[[int], Any] = lambda index: slice(None)
    ) -> Iterator[tuple[int, Floats]]:
        """What `reduce` makes of each token, pass by pass, with the row's index; every row comes once.

        What is to be kept is copied by whoever asks: all the rest of a pass is gone before the next.

        Args:
            wanted: which tokens of a row are needed, a slice or places: only these leave the model's device.

        Yields:
            Of each row its index, and an array of shape (wanted tokens of the row, anything).
        """
        for index, vectors in self._each(rows):
            tokens = len(rows[index].ids)
            yield index, floats(self._own(vectors, tokens)[wanted(index)])

    def _each(self, rows: Sequence[Row]) -> Iterator[tuple[int, Any]]:
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

    def _pass(self, rows: Sequence[Row]) -> Any:
        if self._tokenizer.pad_id is None and len(rows) > 1:  # nothing would tell the model where a row ends
            return [self._pass([row])[0] for row in rows]
        padded = pad(rows, self._tokenizer.pad_id, self._side)
        inputs = {name: padded[name] for name in self._inputs}
        return self._model.compute(inputs, padded["pooled_mask"].astype(np.float32), self._reduce)

    def _try(self) -> None:
        """Read a text, and a row of the most tokens: some count positions from behind the pad token, and have fewer."""
        tokenizer = self._tokenizer
        [text, *_] = tokenizer.rows([_SHORT])[0]
        if why := self._fails(text):
            raise ConfigurationError(f"the model cannot compute a text: {why}")
        if tokenizer.limit > _LONGEST_TRIAL or self._model.traced:
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
        except MemoryError:
            raise
        except Exception as error:  # noqa: B902 - an architecture that does not fit fails in its own way
            if isinstance(error, self._model.out_of_memory):
                raise
            return words(error)
        return ""

    def _ignores_padding(self) -> bool:
        """Whether a row means the same beside a longer one; models without a mask, such as FNet, mix the padding in."""
        rows = [rows[0] for rows in self._tokenizer.rows([_SHORT, _LONG])]
        if len(rows[0].ids) == len(rows[1].ids):
            return True
        alone, beside = (np.array(floats(self._pass(each)[0])) for each in (rows[:1], rows))
        shown = min(len(alone), len(rows[0].ids)) if alone.shape != beside.shape else len(alone)
        if self._alike_enough(alone[:shown], beside[:shown]):
            return True
        log.warning("padding changes what this model answers: only texts of one length are computed together")
        return False

    def _skip_padding(self) -> None:
        """Have padding left out if that changes nothing."""
        row = self._tokenizer.rows([_SHORT])[0][0]
        short = self._tokenizer.row([row.ids[len(row.ids) // 2]])
        rows = [row, short, short]
        padded = self._vectors(rows)
        self._model.skips_padding = len(short.ids) < len(row.ids) != len(rows)
        same = all(map(self._alike_enough, padded, self._vectors(rows)))
        self._model.skips_padding &= same

    def _vectors(self, rows: Sequence[Row]) -> list[Floats]:
        """What one pass makes of each row, or of each row's own tokens."""
        made = zip(rows, map(floats, self._pass(rows)), strict=True)
        return [np.array(each if each.ndim == 1 else self._own(each, len(row.ids))) for row, each in made]

    def _own(self, vectors: Any, tokens: int) -> Any:
        """Of the vectors of a row's tokens and padding those of its tokens."""
        return vectors[-tokens:] if self._side == "left" else vectors[:tokens]

    def _alike_enough(self, one: Floats, other: Floats) -> bool:
        """Whether two answers differ by no more than their dtype makes of the order of a sum."""
        most = _NOISE.get(self._model.dtype, _NOISE_HALVED) * max(1.0, float(np.abs(one).max()))
        return float(np.abs(one - other).max()) <= most
