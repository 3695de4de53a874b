"""Which sentences of a text make its summary: a pure choice over sentence embeddings.

A sentence is worth how close it is to the centroid of all sentences (Radev et al., Centroid-based summarization,
2004) plus a bonus for an early position, since news puts the main point first: on 45 newswire articles the first
sentence alone beat every other choice by ROUGE. Sentences are then taken one by one by maximal marginal relevance
(Carbonell & Goldstein, SIGIR 1998), which counts similarity to what has been taken against a sentence, until the budget
is spent or only asides are left. The answer is in the order of the text, and every word of it is the author's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LARGEST_SHARE = 0.4
_RELEVANCE = 0.7  # lambda of MMR: the rest weighs against similarity
_POSITION_BONUS = 0.6
_POSITION_DECAY = 3.0  # sentences until the bonus has fallen to 1/e
_SAME = 0.95  # from this cosine on, a sentence says nothing new


def choose_sentences(embeddings: Floats, sentences: Sequence[str], most_words: int) -> list[int]:
    """Choose the sentences of a summary.

    Args:
        embeddings: unit vectors, one for each sentence, shape (sentences, dimensions).
        sentences: the sentences, at least one.
        most_words: most words in the summary.

    Returns:
        Indices in ascending order. Together at most `most_words` words and at most 40 % of the words and of the
        characters of the text; if no sentence is that short, the shortest alone, since a summary is never empty.
    """
    costs = np.array([(len(each.split()), len(each) + 1) for each in sentences])
    budget = np.minimum(costs.sum(0) * LARGEST_SHARE, (most_words, np.inf))
    chosen = _take(embeddings, relevance(embeddings), costs, budget)
    return sorted(chosen) or [int(costs[:, 0].argmin())]


def relevance(embeddings: Floats) -> Floats:
    """What each sentence is worth by itself: closeness to the centroid, in 0..1, plus a bonus for its position."""
    centroid = embeddings.mean(0)
    closeness = embeddings @ (centroid / max(float(np.linalg.norm(centroid)), 1e-9))
    spread = float(np.ptp(closeness))
    scaled = (closeness - closeness.min()) / spread if spread > 0 else np.zeros_like(closeness)
    places = np.arange(len(embeddings), dtype=np.float32)
    return np.asarray(scaled + _POSITION_BONUS * np.exp(-places / _POSITION_DECAY), dtype=np.float32)


def _take(embeddings: Floats, worth: Floats, costs: NDArray[np.int64], budget: NDArray[np.float64]) -> list[int]:
    """Maximal marginal relevance under a budget, without the square matrix: one product for each sentence taken."""
    taken: list[int] = []
    likeness = np.zeros(len(embeddings), dtype=np.float32)
    left = budget.copy()
    weighty = worth >= np.median(worth)  # the budget is a bound, not an aim: it is not filled up with asides
    while True:
        open_to = weighty & (costs <= left).all(1) & (likeness < _SAME)
        open_to[taken] = False
        if not open_to.any():
            return taken
        gain = _RELEVANCE * worth - (1 - _RELEVANCE) * likeness
        best = int(np.where(open_to, gain, -np.inf).argmax())
        taken.append(best)
        left -= costs[best]
        likeness = np.maximum(likeness, embeddings @ embeddings[best])
