"""How collected requests are cut into script calls."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Sequence
from typing import cast
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.submissions import MAX_BYTES_A_CALL, MAX_REQUESTS_A_CALL, Collected, Collection, Submissions
from shared.streams.publishing import Group, NewRequest, Publisher

REQUEST = NewRequest("id", b"{}", b"{}", 1000)


def collected(requests: int, size: int = 4, gone: bool = False) -> Collected:
    return Collected(Group([REQUEST] * requests), size, Mock(Future, done=lambda: gone))


def calls(waiting: Sequence[Collected]) -> list[list[Collected]]:
    """What is collected, call by call."""
    collection = Collection()
    for each in waiting:
        collection.add(each)
    found = list(iter(collection.take, []))
    assert (collection.requests, collection.bytes) == (0, 0)
    return found


@given(sizes=st.lists(st.integers(1, MAX_REQUESTS_A_CALL * 2), min_size=1, max_size=60))
def test_calls_keep_order_and_groups_whole_and_none_is_needlessly_small_or_long(sizes: list[int]) -> None:
    waiting = [collected(size) for size in sizes]
    found = calls(waiting)
    assert [each for call in found for each in call] == waiting
    lengths = [[len(each.group.requests) for each in call] for call in found]
    assert all(sum(call) <= MAX_REQUESTS_A_CALL or len(call) == 1 for call in lengths)
    for one, following in zip(lengths, lengths[1:], strict=False):
        assert sum(one) + following[0] > MAX_REQUESTS_A_CALL


def test_a_group_longer_than_a_call_goes_alone() -> None:
    assert [len(call) for call in calls([collected(size) for size in (1, MAX_REQUESTS_A_CALL + 1, 1)])] == [1, 1, 1]


def test_a_call_is_bounded_in_bytes_too() -> None:
    sizes = (1, MAX_BYTES_A_CALL - 1, 1, MAX_BYTES_A_CALL + 1, 1)
    assert [len(call) for call in calls([collected(1, size) for size in sizes])] == [2, 1, 1, 1]


def test_who_has_gone_is_left_out() -> None:
    waiting = [collected(1, gone=True), collected(1), collected(1, gone=True)]
    assert calls(waiting) == [[waiting[1]]]
    assert calls([collected(1, gone=True)]) == []


async def test_an_answer_that_makes_no_sense_leaves_nobody_waiting() -> None:
    class Wrong:
        async def publish(self, *_: object) -> list[object]:
            return []

    submissions = Submissions(cast(Publisher, Wrong()), 10, 1000)
    with pytest.raises(ValueError):
        await asyncio.wait_for(submissions.submit("m", "1", Group([REQUEST])), 10)
