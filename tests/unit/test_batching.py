"""The batching policy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.batching import (
    DEEP_READ_BATCHES,
    MOST_CONSIDERED,
    MOST_ENCODED_CHARS,
    MOST_WAITING_BYTES,
    QUIET_PASSES,
    encode_windows,
    limits_of_batch,
    next_pass,
    next_priority,
    read_size,
)
from shared.contract.catalogue import BatchLimits
from shared.contract.queues import Priority

costs = st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 5)), min_size=1, max_size=400)
children = st.integers(1, 8)
limits = st.builds(BatchLimits, max_batch_size=st.integers(1, 32), max_batch_tokens=st.integers(64, 8192))


def passes(items: list[tuple[int, int]], share: int, bounds: BatchLimits) -> list[list[int]]:
    """All passes, one after another, as indices into `items`."""
    left = list(range(len(items)))
    cut = []
    while left:
        chosen = [left[index] for index in next_pass([items[index] for index in left], share, bounds)]
        assert chosen, "nothing is computed while work waits"
        cut.append(chosen)
        left = [index for index in left if index not in chosen]
    return cut


@given(costs, children, limits)
def test_the_oldest_is_always_computed_next(items: list[tuple[int, int]], number: int, bounds: BatchLimits) -> None:
    assert next_pass(items, number, bounds)[0] == 0


@given(costs, children, limits)
def test_every_item_is_in_exactly_one_pass(items: list[tuple[int, int]], number: int, bounds: BatchLimits) -> None:
    cut = [index for chosen in passes(items, number, bounds) for index in chosen]
    assert sorted(cut) == list(range(len(items)))


@given(costs, children, limits)
def test_no_pass_exceeds_its_limits(items: list[tuple[int, int]], number: int, bounds: BatchLimits) -> None:
    chosen = next_pass(items, number, bounds)
    assert 1 <= len(chosen) <= bounds.max_batch_size
    assert len(chosen) <= math.ceil(len(items) / number)
    assert all(index < MOST_CONSIDERED for index in chosen)
    padded = max(items[index][0] for index in chosen) * sum(items[index][1] for index in chosen)
    assert padded <= bounds.tokens or len(chosen) == 1


@given(costs, children, limits)
def test_work_is_left_for_each_child(items: list[tuple[int, int]], number: int, bounds: BatchLimits) -> None:
    left = list(items)
    for busy in range(min(number, len(items))):
        chosen = next_pass(left, number - busy, bounds)  # with those that are still free
        assert chosen, "a child is idle while work waits"
        left = [each for index, each in enumerate(left) if index not in chosen]


def test_items_of_like_length_are_computed_together() -> None:
    mixed = [(10, 1), (500, 1)] * 8
    bounds = BatchLimits(max_batch_size=8, max_batch_tokens=100_000)
    assert passes(mixed, 1, bounds) == [list(range(0, 16, 2)), list(range(1, 16, 2))]


def test_nothing_waits_means_no_pass() -> None:
    assert next_pass([], 2, BatchLimits()) == []


def test_a_deep_queue_is_read_several_batches_ahead() -> None:
    bounds = BatchLimits(max_batch_size=8)
    assert read_size(0, 0, 0, bounds) == read_size(0, 0, 7, bounds) == 8
    assert read_size(0, 0, 8, bounds) == read_size(0, 0, 32, bounds) == 8 * DEEP_READ_BATCHES
    assert read_size(5, 0, 3, bounds) == 3
    assert read_size(8, 0, 3, bounds) == read_size(100, 0, 32, bounds) == 0


def test_nothing_more_is_read_while_what_waits_is_large() -> None:
    bounds = BatchLimits(max_batch_size=8)
    assert read_size(1, MOST_WAITING_BYTES, 8, bounds) > 0
    assert read_size(1, MOST_WAITING_BYTES + 1, 8, bounds) == 0


def test_megabytes_may_wait_and_hundreds_of_them_may_not() -> None:
    bounds = BatchLimits(max_batch_size=8)
    assert read_size(1, 1_000_000, 8, bounds) > 0
    assert read_size(1, 100_000_000, 8, bounds) == 0


def test_a_pass_fills_its_budget_of_padded_tokens_to_the_last() -> None:
    assert next_pass([(10, 2), (10, 3), (9, 1)], 1, BatchLimits(max_batch_size=8, max_batch_tokens=64)) == [0, 1, 2]
    items = [(8, 2), (8, 5), (8, 1), (8, 1)]
    assert next_pass(items, 1, BatchLimits(max_batch_size=8, max_batch_tokens=64)) == [0, 1, 2]
    assert next_pass([(16, 1), (32, 1), (33, 1)], 1, BatchLimits(max_batch_size=8, max_batch_tokens=64)) == [0, 1]


@pytest.mark.parametrize(
    ("sizes", "windows"),
    [
        ([], []),
        ([10, 20], [2]),
        ([MOST_ENCODED_CHARS, 1], [1, 1]),
        ([MOST_ENCODED_CHARS * 2, 1, MOST_ENCODED_CHARS - 1, 1], [1, 2, 1]),
    ],
)
def test_texts_are_encoded_in_windows_of_bounded_size(sizes: list[int], windows: list[int]) -> None:
    slices = list(encode_windows(sizes))
    assert [len(sizes[each]) for each in slices] == windows
    assert [size for each in slices for size in sizes[each]] == sizes


@pytest.mark.parametrize(
    ("interactive", "batch", "expected"),
    [(9, 9, ("i" * 7 + "b") * 3), (9, 0, "i" * 24), (0, 9, "b" * 24), (1, 1, ("i" * 7 + "b") * 3)],
)
def test_one_pass_in_eight_is_for_batch_while_both_wait(interactive: int, batch: int, expected: str) -> None:
    order, since = "", 0
    for _ in expected:
        priority = next_priority(interactive, batch, since)
        since = 0 if priority is Priority.BATCH else since + 1
        order += priority[0]
    assert order == expected


def test_batch_that_comes_after_seven_others_is_next() -> None:
    assert next_priority(5, 1, 6) is Priority.INTERACTIVE
    assert next_priority(5, 1, 7) is next_priority(5, 1, 100) is next_priority(0, 1, 0) is Priority.BATCH
    assert next_priority(1, 0, 100) is Priority.INTERACTIVE


def test_a_pass_of_batch_is_an_eighth_and_never_empty() -> None:
    whole = BatchLimits(max_batch_size=32, max_batch_tokens=512, max_wait_ms=5)
    limits = limits_of_batch(whole, QUIET_PASSES - 1)
    assert (limits.max_batch_size, limits.max_batch_tokens) == (4, 64)
    assert limits_of_batch(whole, QUIET_PASSES) is whole
    assert limits_of_batch(BatchLimits(max_batch_size=31), 0).max_batch_size == 3
    least = limits_of_batch(BatchLimits(max_batch_size=1), 0)
    assert least.max_batch_size == 1 and next_pass([(1000, 1), (1000, 1)], 1, least) == [0]


def test_tokens_that_nobody_says_are_those_of_the_device() -> None:
    said, unsaid = BatchLimits(max_batch_tokens=100), BatchLimits()
    assert (said.tokens, unsaid.tokens) == (100, 512)
    assert (said.or_tokens(16_384).tokens, unsaid.or_tokens(16_384).tokens) == (100, 16_384)
    assert len(next_pass([(100, 1)] * 32, 1, unsaid)) == 5
    assert len(next_pass([(100, 1)] * 32, 1, unsaid.or_tokens(16_384))) == 32
