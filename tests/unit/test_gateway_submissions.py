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
from shared.contract.errors import StoreUnavailable
from shared.contract.queues import Priority
from shared.streams.publishing import Group, NewRequest, Published, Publisher, Verdict
from tests.waiting import eventually

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


def test_of_what_fails_together_nothing_is_left() -> None:
    collection, waiting = Collection(), [collected(2), collected(3)]
    for each in waiting:
        collection.add(each)
    assert (collection.requests, collection.bytes) == (5, 8)
    assert collection.take_all() == waiting
    assert (collection.requests, collection.bytes) == (0, 0) and collection.take() == []


class HandPublisher:
    """A publisher whose calls end by hand: with an error, or accepted."""

    def __init__(self) -> None:
        self.calls: list[Future[None]] = []
        self.sizes: list[int] = []

    async def publish(self, model: str, version: str, groups: Sequence[Group], priority: Priority) -> list[Published]:
        assert (model, version, priority) == ("m", "1", Priority.INTERACTIVE)
        self.sizes.append(len(groups))
        self.calls.append(asyncio.get_running_loop().create_future())
        await self.calls[-1]
        return [Published(Verdict.ACCEPTED)] * len(groups)

    async def ends(self, error: Exception | None = None) -> None:
        """The call that is under way ends."""
        await eventually(lambda: self.calls and not self.calls[-1].done(), "a call is under way")
        if error is None:
            self.calls[-1].set_result(None)
        else:
            self.calls[-1].set_exception(error)


async def submit(submissions: Submissions, *sizes: tuple[int, int]) -> list[asyncio.Task[Published]]:
    """Submit groups of one request: of so many bytes of input and of options each."""
    groups = [Group([NewRequest("id", b"x" * size, b"x" * options, 1000)]) for size, options in sizes]
    tasks = [asyncio.create_task(submissions.submit("m", "1", each)) for each in groups]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def verdicts(tasks: Sequence[asyncio.Task[Published]]) -> list[Verdict]:
    return [each.verdict for each in await asyncio.wait_for(asyncio.gather(*tasks), 20)]


async def test_what_waits_is_bounded_to_the_last_request_and_byte() -> None:
    publisher = HandPublisher()
    submissions = Submissions(cast(Publisher, publisher), 3, 100)
    first = await submit(submissions, (1, 1))
    inside = await submit(submissions, (50, 10), (20, 20))
    assert not any(each.done() for each in inside)
    too_long = await submit(submissions, (0, 1))
    assert await verdicts(too_long) == [Verdict.BACKLOG_BYTES]
    await publisher.ends()
    await publisher.ends()
    assert await verdicts([*first, *inside]) == [Verdict.ACCEPTED] * 3
    first = await submit(submissions, (1, 1))
    inside = await submit(submissions, (1, 1), (1, 1), (1, 1))
    assert not any(each.done() for each in inside)
    assert await verdicts(await submit(submissions, (1, 1))) == [Verdict.BACKLOG]
    await publisher.ends()
    await publisher.ends()
    assert await verdicts([*first, *inside]) == [Verdict.ACCEPTED] * 4
    assert publisher.sizes == [1, 2, 1, 3]


async def test_a_call_that_fails_for_its_own_reason_takes_nobody_else_with_it() -> None:
    publisher = HandPublisher()
    submissions = Submissions(cast(Publisher, publisher), 10, 1000)
    first = await submit(submissions, (1, 1))
    others = await submit(submissions, (1, 1), (1, 1))
    await publisher.ends(ValueError("of this call alone"))
    with pytest.raises(ValueError, match="of this call alone"):
        await verdicts(first)
    await publisher.ends()
    assert await verdicts(others) == [Verdict.ACCEPTED] * 2


async def test_who_waits_behind_a_store_that_is_unavailable_fails_with_it() -> None:
    publisher = HandPublisher()
    submissions = Submissions(cast(Publisher, publisher), 10, 1000)
    tasks = [*await submit(submissions, (1, 1)), *await submit(submissions, (1, 1), (1, 1))]
    await publisher.ends(StoreUnavailable("redis", "it is silent"))
    ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
    assert {str(each) for each in ended} == {"redis cannot be reached: it is silent"}
    (again,) = await submit(submissions, (1, 1))
    await publisher.ends()
    assert await verdicts([again]) == [Verdict.ACCEPTED] and publisher.sizes == [1, 1]


async def test_an_answer_that_makes_no_sense_leaves_nobody_waiting() -> None:
    class Wrong:
        async def publish(self, *_: object) -> list[object]:
            return []

    submissions = Submissions(cast(Publisher, Wrong()), 10, 1000)
    with pytest.raises(ValueError):
        await asyncio.wait_for(submissions.submit("m", "1", Group([REQUEST])), 10)
