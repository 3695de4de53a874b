"""Writing token by token for several requests in one pass, each as if it were alone.

`generate` of transformers knows one temperature, one limit, and one source of chance for a whole batch. Here each row
has its own: a `RowSampler` draws a row's token by that row's generator and leaves the row no other choice; `RowStops`
ends each row by itself. A row that is drawn with a seed has the tokens that transformers draws alone on a CPU after
`torch.manual_seed(seed)`; on a GPU, too, they are drawn by the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

_DEFAULT_TOP_K = 50  # of transformers, if a model says nothing
_MARGIN = 4  # tokens more than a stop has bytes: a character may be several tokens, a word's space none


@dataclass(frozen=True, slots=True)
class Wish:
    """How one text is to be written.

    Attributes:
        most: tokens that may be written.
        temperature: 0 for always the likeliest token.
        stop: texts that end it.
    """

    most: int
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()


class RowSampler(LogitsProcessor):
    """Draws each row's token by that row's temperature and seed.

    Args:
        said: the model's own generation settings, of which `top_k`, `top_p` and `min_p` count.
    """

    def __init__(self, wishes: Sequence[Wish], said: Mapping[str, Any]) -> None:
        self._rows = [
            (row, torch.Generator().manual_seed(wish.seed), _warpers(wish.temperature, said))
            for row, wish in enumerate(wishes)
            if wish.temperature > 0
        ]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores, shape (rows, vocabulary), in which a row that is drawn has one token left."""
        chosen = scores.clone()
        for row, generator, warpers in self._rows:
            own = scores[row : row + 1]
            for warper in warpers:
                own = warper(input_ids[row : row + 1], own)
            token = torch.multinomial(own.softmax(-1).cpu(), 1, generator=generator)  # a seed is the same everywhere
            chosen[row] = -torch.inf
            chosen[row, token] = 0.0
        return chosen


class RowStops(StoppingCriteria):
    """Ends each row by itself.

    Args:
        start: where in a row the written tokens begin.
        tokenizer: reads what was written.
        stopped: whether nobody wants a row any more.

    Attributes:
        lengths: how many tokens each row has written when it ended.
    """

    def __init__(
        self, wishes: Sequence[Wish], start: int, tokenizer: Any, stopped: Callable[[int], bool] = lambda _: False
    ) -> None:
        self.lengths = [wish.most for wish in wishes]
        self._wishes, self._start, self._tokenizer, self._stopped = wishes, start, tokenizer, stopped

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Which rows have ended, shape (rows,)."""
        written = input_ids.shape[1] - self._start
        for row, wish in enumerate(self._wishes):
            if written >= self.lengths[row]:
                continue
            stopped = self._stopped(row)
            if stopped or (wish.stop and self._has_stop(input_ids[row, self._start :], wish.stop)):
                self.lengths[row] = written
        return torch.tensor([written >= length for length in self.lengths], device=input_ids.device)

    def _has_stop(self, written: Tensor, stops: Sequence[str]) -> bool:
        longest = max(len(stop.encode()) for stop in stops) + _MARGIN
        end = self._tokenizer.decode(written[-longest:], skip_special_tokens=True)
        return any(stop in end for stop in stops)


class UnwantedPass(StoppingCriteria):
    """Ends a pass once nobody wants any row of it, however many beams each has; what is written then means nothing.

    Args:
        rows: how many.
        stopped: whether nobody wants a row any more.
    """

    def __init__(self, rows: int, stopped: Callable[[int], bool]) -> None:
        self._rows, self._stopped = rows, stopped

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Which rows have ended, shape (rows x beams,): all of them, or none."""
        ended = all(self._stopped(row) for row in range(self._rows))
        return torch.full((input_ids.shape[0],), ended, dtype=torch.bool, device=input_ids.device)


class RowTexts(StoppingCriteria):
    """Tells what each row has written so far, and ends none.

    Args:
        start: where in a row the written tokens begin.
        due: whether somebody may want to know it of a row now.
        tell: called with a row and its tokens.
    """

    def __init__(self, start: int, due: Callable[[int], bool], tell: Callable[[int, list[int]], None]) -> None:
        self._start, self._due, self._tell = start, due, tell

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Which rows have ended, shape (rows,)."""
        rows = input_ids.shape[0]
        for row in range(rows):
            if self._due(row):
                self._tell(row, input_ids[row, self._start :].tolist())
        return torch.zeros(rows, dtype=torch.bool, device=input_ids.device)


def settled(text: str, stops: Sequence[str]) -> str:
    """The part of a text being written that will not change: without half a character, or what may become a stop."""
    text = cut_at_stop(text, stops).rstrip("\ufffd")
    for size in range(min(len(text), max(map(len, stops), default=0)), 0, -1):
        if any(stop.startswith(text[-size:]) for stop in stops):
            return text[:-size]
    return text


def cut_at_stop(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of the stops."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def _warpers(temperature: float, said: Mapping[str, Any]) -> list[Any]:
    top_k, top_p, min_p = said.get("top_k", _DEFAULT_TOP_K), said.get("top_p"), said.get("min_p")
    warpers: list[Any] = [TemperatureLogitsWarper(temperature)] if temperature != 1 else []
    warpers += [TopKLogitsWarper(top_k)] if top_k else []
    warpers += [TopPLogitsWarper(top_p)] if top_p is not None and top_p < 1 else []
    return [*warpers, *([MinPLogitsWarper(min_p)] if min_p is not None else [])]
