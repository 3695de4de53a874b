"""The batching policy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.batching import DEEP_READ_BATCHES, plan_batches, read_size
from shared.contract.catalogue import BatchLimits

costs = st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 5)), max_size=100)
limits = st.builds(BatchLimits, max_batch_size=st.integers(1, 32), max_batch_tokens=st.integers(64, 8192))


@given(costs, limits)
def test_every_item_is_in_exactly_one_batch(items: list[tuple[int, int]], bounds: BatchLimits) -> None:
    planned = [index for batch in plan_batches(items, bounds) for index in batch]
    assert sorted(planned) == list(range(len(items)))


@given(costs, limits)
def test_no_batch_exceeds_its_limits(items: list[tuple[int, int]], bounds: BatchLimits) -> None:
    for batch in plan_batches(items, bounds):
        assert 1 <= len(batch) <= bounds.max_batch_size
        padded = max(items[index][0] for index in batch) * sum(items[index][1] for index in batch)
        assert padded <= bounds.max_batch_tokens or len(batch) == 1


@given(costs, limits)
def test_batches_go_from_short_to_long(items: list[tuple[int, int]], bounds: BatchLimits) -> None:
    lengths = [[items[index][0] for index in batch] for batch in plan_batches(items, bounds)]
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat)


def test_sorting_by_length_saves_padding() -> None:
    mixed = [(10, 1), (500, 1)] * 8
    bounds = BatchLimits(max_batch_size=8, max_batch_tokens=100_000)
    padded = sum(max(mixed[i][0] for i in batch) * len(batch) for batch in plan_batches(mixed, bounds))
    in_order = 500 * 16
    assert padded == 10 * 8 + 500 * 8 < in_order


def test_a_deep_queue_is_read_several_batches_at_a_time() -> None:
    bounds = BatchLimits(max_batch_size=8)
    assert read_size(0, bounds) == 8
    assert read_size(7, bounds) == 8
    assert read_size(8, bounds) == 8 * DEEP_READ_BATCHES
    assert read_size(32, bounds) == 8 * DEEP_READ_BATCHES
