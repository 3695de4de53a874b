"""How collected requests are cut into script calls."""

from __future__ import annotations

from asyncio import Future
from unittest.mock import Mock

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.submissions import MAX_REQUESTS_A_CALL, _parts
from shared.streams.publishing import Group, NewRequest

REQUEST = NewRequest("id", b"{}", b"{}", 1000)


@given(sizes=st.lists(st.integers(1, MAX_REQUESTS_A_CALL * 2), min_size=1, max_size=60))
def test_parts_keep_order_and_groups_whole_and_no_call_is_needlessly_small_or_long(sizes: list[int]) -> None:
    waiting = [(Group([REQUEST] * size), Mock(Future)) for size in sizes]
    parts = _parts(waiting)
    assert [each for part in parts for each in part] == waiting
    lengths = [[len(group.requests) for group, _ in part] for part in parts]
    assert all(part for part in parts)
    assert all(sum(part) <= MAX_REQUESTS_A_CALL or len(part) == 1 for part in lengths)
    for one, following in zip(lengths, lengths[1:], strict=False):
        assert sum(one) + following[0] > MAX_REQUESTS_A_CALL


def test_a_group_longer_than_a_call_goes_alone() -> None:
    groups = [Group([REQUEST] * size) for size in (1, MAX_REQUESTS_A_CALL + 1, 1)]
    assert [len(part) for part in _parts([(group, Mock(Future)) for group in groups])] == [1, 1, 1]
