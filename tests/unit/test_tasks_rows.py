"""Padding and passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.tasks.rows import Row, pad, passes
from inference_worker.tasks.vectors import average_by_weight, rounded, sigmoid, softmax, unit


def test_rows_are_padded_to_the_longest_on_either_side() -> None:
    rows = [Row([5, 6, 7], [0, 0, 1], 1), Row([8], [0], 1)]
    right, left = pad(rows, 9), pad(rows, 9, "left")
    assert right["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert right["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert right["token_type_ids"].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert left["input_ids"].tolist() == [[5, 6, 7], [9, 9, 8]]
    assert left["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]


@given(lengths=st.lists(st.integers(1, 50), max_size=40), budget=st.integers(1, 200))
def test_each_row_is_in_one_pass_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = list(passes(lengths, budget))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or len(group) * max(lengths[index] for index in group) <= budget for group in groups)


def test_chunks_count_by_their_tokens() -> None:
    scores = np.array([[1.0, 0.0], [0.0, 1.0]])
    mean = average_by_weight(scores, [Row([], [], 30), Row([], [], 10)])
    assert mean.tolist() == pytest.approx([0.75, 0.25])


def test_numbers_are_rounded_and_must_be_finite() -> None:
    assert rounded(np.array([0.12345678, 1.0])) == [0.123457, 1.0]
    with pytest.raises(ValueError, match="not finite"):
        rounded(np.array([float("nan")]))


def test_probabilities_are_those_of_torch_also_of_the_largest_numbers() -> None:
    numbers = np.array([[0.0, 3.5, -2.0], [88.0, -90.0, 1e4], [-1e4, 0.5, 0.5]], np.float32)
    tensor = torch.from_numpy(numbers)
    assert softmax(numbers) == pytest.approx(tensor.softmax(-1).numpy(), abs=1e-6)
    assert softmax(numbers, 0) == pytest.approx(tensor.softmax(0).numpy(), abs=1e-6)
    assert sigmoid(numbers) == pytest.approx(tensor.sigmoid().numpy(), abs=1e-6)
    assert softmax(numbers).dtype == sigmoid(numbers).dtype == np.float32


def test_a_vector_of_nothing_has_no_direction() -> None:
    directions = unit(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    assert directions == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]], np.float32))
