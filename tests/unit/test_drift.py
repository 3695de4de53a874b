"""The population stability index."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persister.database import Distribution
from persister.drift import signals
from persister.psi import psi

counts = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 1000)).filter(lambda each: sum(each.values()) > 0)


def test_a_published_example() -> None:
    """Income bands of 2020 and 2021 in "Population Stability Index", geeksforgeeks.org, 2025; worked out by hand."""
    expected = {"low": 0.4, "medium": 0.3, "high": 0.3}
    actual = {"low": 0.35, "medium": 0.25, "high": 0.4}
    low, medium, high = -0.05 * math.log(0.875), -0.05 * math.log(5 / 6), 0.1 * math.log(4 / 3)
    assert psi(expected, actual) == pytest.approx(low + medium + high) == pytest.approx(0.04456, abs=1e-5)


@given(counts, counts)
def test_it_is_symmetric_finite_and_never_negative(one: dict[str, int], other: dict[str, int]) -> None:
    index = psi(one, other)
    assert 0 <= index < math.inf
    assert index == pytest.approx(psi(other, one))


@given(counts, st.integers(1, 1000))
def test_the_same_distribution_has_none_however_many_there_are(one: dict[str, int], times: int) -> None:
    assert psi(one, {each: number * times for each, number in one.items()}) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("bad", [{}, {"a": 0}, {"a": -1, "b": 2}])
def test_a_distribution_of_nothing_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a distribution needs counts"):
        psi(bad, {"a": 1})


def test_signals_wait_for_two_windows_and_leave_out_what_a_task_lacks() -> None:
    few = Distribution(Counter({5: 9}), Counter({"A": 9}))
    full = Distribution(Counter({5: 10}), Counter({"A": 10}))
    moved = Distribution(Counter({9: 10}), Counter({"B": 10}))
    assert signals(few, few, 10) == {}
    assert signals(full, full, 10) == {"confidence": 0, "label": 0}
    assert all(index > 1 for index in signals(full, moved, 10).values())
    summaries = Distribution(Counter({0: 10}), Counter({"": 10}))
    assert signals(summaries, summaries, 10) == {}
