"""From labels of tokens to the entities of a text, as the pipeline `token-classification` of transformers does it.

Pure functions over the scores of a text's tokens. Labels may begin with `B-` (an entity begins) or `I-` (it goes on).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

OUTSIDE = "O"


class Entity(NamedTuple):
    """A part of a text, from `start` to `end` counted in tokens, with its label and the score of that."""

    label: str
    start: int
    end: int
    score: float


def find_entities(scores: Floats, labels: Sequence[str], continues: Sequence[bool], strategy: str) -> list[Entity]:
    """Find the entities of a text.

    Args:
        scores: probabilities, shape (tokens, labels).
        continues: of each token whether it goes on with the word of the token before.
        strategy: `none`, `simple`, `first`, `average` or `max`, see `TokenClassificationOptions`.

    Returns:
        In the order of the text, without those that are labelled `O`.
    """
    if strategy in _WORD_SCORES:
        found = [_word(scores, span, labels, _WORD_SCORES[strategy]) for span in _words(continues)]
    else:
        best = scores.argmax(1)
        found = [Entity(labels[label], at, at + 1, float(scores[at, label])) for at, label in enumerate(best)]
    if strategy != "none":
        found = [_joined(group) for group in _groups(found)]
    return [entity for entity in found if entity.label != OUTSIDE]


def _words(continues: Sequence[bool]) -> Iterator[tuple[int, int]]:
    starts = [at for at, within in enumerate(continues) if at == 0 or not within]
    return pairwise([*starts, len(continues)])


def _word(scores: Floats, span: tuple[int, int], labels: Sequence[str], score: Callable[[Floats], Floats]) -> Entity:
    of_word = score(scores[slice(*span)])
    best = int(of_word.argmax())
    return Entity(labels[best], *span, float(of_word[best]))


_WORD_SCORES: Mapping[str, Callable[[Floats], Floats]] = {
    "first": lambda tokens: tokens[0],
    "average": lambda tokens: tokens.mean(0),
    "max": lambda tokens: tokens[tokens.max(1).argmax()],
}


def _groups(found: Sequence[Entity]) -> Iterator[list[Entity]]:
    """Neighbours of the same kind; one that says that it begins an entity begins a group."""
    group: list[Entity] = []
    for each in found:
        if group and (each.label.startswith("B-") or _kind(each.label) != _kind(group[-1].label)):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _kind(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


def _joined(group: Sequence[Entity]) -> Entity:
    label = group[0].label.split("-", 1)[-1]
    score = sum(each.score for each in group) / len(group)
    return Entity(label, group[0].start, group[-1].end, score)
