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
    assert retry_after.refused_s("m", "1", Verdict.BACKLOG) == UNKNOWN_S
    for at_s, left in ((0.0, 0), (1.0, 5)):  # 5 requests a second leave the one stream, 50 results the other
        flows = {keys.requests("m", "1"): Flow(100 - left, 100), keys.results: Flow(1000 - 10 * left, 1000)}
        retry_after.learn(at_s, flows)
    assert retry_after.refused_s("m", "1", Verdict.BACKLOG) == 2
    assert retry_after.refused_s("m", "1", Verdict.RESULTS) == retry_after.refused_s("m", "1", Verdict.MEMORY) == 2
    assert retry_after.refused_s("m", "1", Verdict.BACKLOG_BYTES) == 2
    assert retry_after.refused_s("m", "1", Verdict.IDEMPOTENCY) == LONGEST_S
    assert retry_after.refused_s("other", "1", Verdict.BACKLOG) == UNKNOWN_S
    assert retry_after.refused_s("other", "1", Verdict.BACKLOG_BYTES) == UNKNOWN_S
