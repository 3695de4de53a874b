"""When a refused caller is told to come back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.retry_after import (
    LONGEST_S,
    SHORTEST_S,
    UNKNOWN_S,
    RetryAfter,
    Sample,
    departure_rate,
    until_room_s,
)
from shared.contract.keys import Keys
from shared.contract.queues import Queue
from shared.streams.publishing import Verdict
from shared.streams.queue_depth import Flow
from tests.streams import LIMITS


def test_what_was_added_and_is_gone_has_left() -> None:
    before, after = Sample(10, Flow(length=100, added=1000)), Sample(12, Flow(length=60, added=1060))
    assert departure_rate(before, after) == 50


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Sample(0, Flow(5, None)), Sample(1, Flow(5, None))),  # Redis 6.2 does not count
        (Sample(0, Flow(5, 100)), Sample(1, Flow(5, 10))),  # flushed between
        (Sample(1, Flow(5, 10)), Sample(1, Flow(5, 10))),
    ],
)
def test_a_rate_that_cannot_be_known_is_not_guessed(before: Sample, after: Sample) -> None:
    assert departure_rate(before, after) is None


@given(st.integers(1, 10**6), st.none() | st.floats(0, 10**6))
def test_retry_after_is_bounded_and_longer_for_slower_streams(limit: int, rate: float | None) -> None:
    seconds = until_room_s(limit, rate)
    assert SHORTEST_S <= seconds <= LONGEST_S
    if rate:
        assert seconds >= until_room_s(limit, rate * 2)


def test_a_stream_that_nothing_leaves_says_come_late() -> None:
    assert until_room_s(1000, 0) == LONGEST_S
    assert until_room_s(1000, None) == UNKNOWN_S
    assert until_room_s(1000, 20) == 5


def test_each_limit_is_measured_by_the_stream_that_frees_it() -> None:
    keys = Keys("p:")
    retry_after = RetryAfter(keys, replace(LIMITS, max_backlog=100, max_results=1000))
    assert retry_after.refused_s(Queue("m", "1"), Verdict.BACKLOG) == UNKNOWN_S
    for at_s, left in ((0.0, 0), (1.0, 5)):  # 5 requests a second leave the one stream, 50 results the other
        flows = {keys.requests("m", "1"): Flow(100 - left, 100), keys.results: Flow(1000 - 10 * left, 1000)}
        retry_after.learn(at_s, flows)
    assert retry_after.refused_s(Queue("m", "1"), Verdict.BACKLOG) == 2
    assert (
        retry_after.refused_s(Queue("m", "1"), Verdict.RESULTS)
        == retry_after.refused_s(Queue("m", "1"), Verdict.MEMORY)
        == 2
    )
    assert retry_after.refused_s(Queue("m", "1"), Verdict.BACKLOG_BYTES) == 2
    assert retry_after.refused_s(Queue("m", "1"), Verdict.IDEMPOTENCY) == LONGEST_S
    assert retry_after.refused_s(Queue("other", "1"), Verdict.BACKLOG) == UNKNOWN_S
    assert retry_after.refused_s(Queue("other", "1"), Verdict.BACKLOG_BYTES) == UNKNOWN_S


def test_each_stream_has_a_rate_of_its_own() -> None:
    keys = Keys("p:")
    retry_after = RetryAfter(keys, replace(LIMITS, max_backlog=1000, max_results=1000))
    streams = {keys.requests("m", "1"): 50, keys.requests("m", "2"): 10, keys.results: 5}
    for at_s in (0, 1):
        retry_after.learn(at_s, {name: Flow(1000 - rate * at_s, 1000) for name, rate in streams.items()})
    assert retry_after.refused_s(Queue("m", "1"), Verdict.BACKLOG) == 2
    assert retry_after.refused_s(Queue("m", "2"), Verdict.BACKLOG) == 10
    assert (
        retry_after.refused_s(Queue("m", "2"), Verdict.BACKLOG_BYTES) == 10
    )  # a tenth of the 990 that wait, rounded up
    assert retry_after.refused_s(Queue("m", "1"), Verdict.RESULTS) == 20


def test_a_rate_is_smoothed_and_forgotten_when_it_cannot_be_known() -> None:
    keys = Keys("p:")
    retry_after = RetryAfter(keys, replace(LIMITS, max_backlog=1000))

    def told(at_s: float, length: int, added: int) -> int:
        retry_after.learn(at_s, {keys.requests("m", "1"): Flow(length, added)})
        return retry_after.refused_s(Queue("m", "1"), Verdict.BACKLOG)

    assert told(0, 1000, 1000) == UNKNOWN_S
    assert told(1, 900, 1000) == 1  # 100 a second
    assert told(2, 900, 1000) == 2  # none this time: 70
    assert told(3, 900, 1000) == 3  # 49
    assert told(4, 900, 1000) == 3  # 34.3
    assert told(5, 900, 1000) == 5  # 24
    assert told(6, 0, 0) == UNKNOWN_S  # emptied
    assert told(7, 1000, 1010) == 10
