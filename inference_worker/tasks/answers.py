"""From the scores of tokens to the answers that a text gives: pure, as the pipeline of transformers 4 did it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]

_FAR = -10000.0  # what a token that cannot be in an answer has for a logit


class Window(NamedTuple):
    """A row with a part of the context.

    Attributes:
        first: where in the row the context begins.
        offsets: of each token of the context, in characters.
        words: of each token of the context the number of its word, or None.
        control: where in the row the token stands that means "no answer" to some models.
    """

    first: int
    offsets: Sequence[tuple[int, int]]
    words: Sequence[int | None]
    control: Sequence[int]


class Answer(NamedTuple):
    """From `start` to `end` in characters of the context; both 0 for no answer."""

    start: int
    end: int
    score: float


def best_answers(
    context: str,
    read: Sequence[tuple[Window, Floats]],
    top_k: int = 1,
    max_answer_len: int = 15,
    handle_impossible_answer: bool = False,
) -> list[Answer]:
    """Find answers.

    Args:
        context: the text.
        read: each window, and the logits of its row's tokens as first and last of an answer, shape (tokens, 2).
        top_k, max_answer_len, handle_impossible_answer: see `QuestionAnsweringOptions`.

    Returns:
        At most `top_k`, the best first. The scores of equal texts are added, so that one may be above 1.
    """
    found: dict[str, Answer] = {}
    no_answer = 1_000_000.0
    for window, logits in read:
        starts, ends = _probabilities(window, logits)
        no_answer = min(no_answer, float(starts[0] * ends[0]))
        starts[0] = ends[0] = 0.0
        for first, last, score in _spans(starts, ends, top_k * 2 + 10, max_answer_len):
            if not (_allowed(window, first) and _allowed(window, last)):
                continue
            start, end = _words(window, first, last)
            key = context[start:end].lower()
            known = found.get(key)
            found[key] = known._replace(score=known.score + score) if known else Answer(start, end, score)
    answers = [*found.values(), *([Answer(0, 0, no_answer)] if handle_impossible_answer else [])]
    return sorted(answers, key=lambda answer: -answer.score)[:top_k]


def _probabilities(window: Window, logits: Floats) -> tuple[Floats, Floats]:
    allowed = np.zeros(len(logits), dtype=bool)
    allowed[window.first : window.first + len(window.offsets)] = True
    allowed[list(window.control)] = True
    logits = np.where(allowed[:, None], logits, _FAR)
    odds = np.exp(logits - logits.max(0))
    odds = odds / odds.sum(0)
    return odds[:, 0].copy(), odds[:, 1].copy()


def _spans(starts: Floats, ends: Floats, most: int, longest: int) -> list[tuple[int, int, float]]:
    """The best spans of at most `longest` tokens, as positions in the row with their scores."""
    scores = np.tril(np.triu(np.outer(starts, ends)), longest - 1)
    flat = scores.flatten()
    best = np.argpartition(-flat, most)[:most] if most < len(flat) else np.arange(len(flat))
    best = best[np.argsort(-flat[best])]
    return [
        (int(first), int(last), float(scores[first, last]))
        for first, last in zip(*np.unravel_index(best, scores.shape), strict=True)
    ]


def _allowed(window: Window, at: int) -> bool:
    return window.first <= at < window.first + len(window.offsets)


def _words(window: Window, first: int, last: int) -> tuple[int, int]:
    """Where the words of the first and the last token begin and end; a token without a word stands for itself."""
    first, last = first - window.first, last - window.first
    words = window.words
    if words[first] is not None and words[last] is not None:
        first = words.index(words[first])
        last = len(words) - 1 - list(reversed(words)).index(words[last])
    return window.offsets[first][0], window.offsets[last][1]
