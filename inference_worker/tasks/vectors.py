"""What tasks make of a model's numbers: scores, means of chunks, lengths, plain floats. NumPy alone.

All arrays are float32, with a row for each text or chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference_worker.tasks.rows import Row

Floats = NDArray[np.float32]

_PLACES = 6  # decimals in an answer: what bfloat16 or float32 can tell apart
_LEAST_LENGTH = 1e-12  # of a vector that is divided by it


def floats(vector: Any) -> Floats:
    """An array of float32 from one, or from a tensor of torch wherever that is; it may share its memory."""
    array: Floats = np.asarray(vector.float().cpu() if hasattr(vector, "cpu") else vector, np.float32)
    return array


def softmax(numbers: Floats, axis: int = -1) -> Floats:
    """Probabilities that add up to 1 along an axis; the same shape."""
    powers = np.exp(numbers - numbers.max(axis, keepdims=True))
    shares: Floats = powers / powers.sum(axis, keepdims=True)
    return shares


def sigmoid(numbers: Floats) -> Floats:
    """A probability for each number by itself; the same shape."""
    small = np.exp(-np.abs(numbers))  # never above 1, so that nothing overflows
    shares: Floats = np.where(numbers >= 0, 1, small) / (1 + small)
    return shares


def unit(vectors: Floats) -> Floats:
    """Vectors of length 1 in the directions of these, along the last axis."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    directions: Floats = vectors / np.maximum(lengths, _LEAST_LENGTH)
    return directions


def parts_of(vectors: Floats, sizes: Sequence[int]) -> list[Floats]:
    """Cut the rows of a batch, shape (rows, size), into those of each text: an array for each of `sizes`, in order."""
    return np.split(vectors, np.cumsum(sizes)[:-1])


def average_by_weight(vectors: Floats, rows: Sequence[Row]) -> Floats:
    """The mean of a text's chunk vectors, shape (chunks, size) to (size,), each weighted by its tokens of text."""
    weights = np.array([row.weight for row in rows], np.float32)
    mean: Floats = (weights / weights.sum()) @ vectors
    return mean


def rounded(values: Floats) -> list[float]:
    """A vector as plain floats for JSON.

    Raises:
        ValueError: one of them is not finite, which JSON cannot express and no client could use.
    """
    return [round(float(value), _PLACES) for value in finite(values).tolist()]


def finite(values: Floats) -> Floats:
    """The same numbers.

    Raises:
        ValueError: one of them is not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("the model answered with a number that is not finite")
    return values
