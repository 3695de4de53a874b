"""The Idempotency-Key header and the drain rate: pure parts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.schemas import PredictRequest
from gateway.http.idempotency import PATTERN, fingerprint, key_of
from gateway.http.problems import ProblemError
from gateway.upkeep.throughput import LONGEST_S, SHORTEST_S, UNKNOWN_S, Sample, drained_per_s, retry_after_s
from shared.streams.queue_depth import Flow


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (None, ""),
        ("8e03978e-40d5", "8e03978e-40d5"),
        ('"8e03978e-40d5"', "8e03978e-40d5"),
        (r'"a\"b\\c"', 'a"b\\c'),
        (" spaced ", "spaced"),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_key_is_read_quoted_or_bare(header: str | None, key: str) -> None:
    assert key_of(header) == key


@pytest.mark.parametrize("header", ["", '""', " ", "a b", "schlüssel", "x" * 256, "tab\tkey"])
def test_a_key_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(ProblemError, match="Idempotency-Key: must have 1 to 255") as error:
        key_of(header)
    assert error.value.status == 422


@given(header=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=5))
def test_the_documented_pattern_takes_what_is_taken(header: str) -> None:
    try:
        taken = bool(key_of(header))
    except ProblemError:
        taken = False
    documented = re.search(PATTERN, header.strip()) is not None
    assert taken or not documented
    assert documented or not taken or '"' in header  # quotes and spaces within: taken, and not needed


def test_a_fingerprint_tells_requests_apart_by_what_they_ask() -> None:
    body = PredictRequest(model="m", text="hello")
    same = PredictRequest.model_validate_json(b'{ "text": "hello", "model": "m" }')
    assert fingerprint("/p", body) == fingerprint("/p", same)
    others = [
        fingerprint("/q", body),
        fingerprint("/p", PredictRequest(model="m", text="hello!")),
        fingerprint("/p", PredictRequest(model="m", text="hello", version="1")),
    ]
    assert len({fingerprint("/p", body), *others}) == 4


def test_what_was_added_and_is_gone_was_drained() -> None:
    before, after = Sample(10, Flow(length=100, added=1000)), Sample(12, Flow(length=60, added=1060))
    assert drained_per_s(before, after) == 50


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Sample(0, Flow(5, None)), Sample(1, Flow(5, None))),  # Redis 6.2 does not count
        (Sample(0, Flow(5, 100)), Sample(1, Flow(5, 10))),  # flushed between
        (Sample(1, Flow(5, 10)), Sample(1, Flow(5, 10))),
    ],
)
def test_a_rate_that_cannot_be_known_is_not_guessed(before: Sample, after: Sample) -> None:
    assert drained_per_s(before, after) is None


@given(st.integers(1, 10**6), st.none() | st.floats(0, 10**6))
def test_retry_after_is_bounded_and_longer_for_slower_streams(limit: int, rate: float | None) -> None:
    seconds = retry_after_s(limit, rate)
    assert SHORTEST_S <= seconds <= LONGEST_S
    if rate:
        assert seconds >= retry_after_s(limit, rate * 2)


def test_a_stream_that_does_not_drain_says_come_late() -> None:
    assert retry_after_s(1000, 0) == LONGEST_S
    assert retry_after_s(1000, None) == UNKNOWN_S
    assert retry_after_s(1000, 20) == 5
