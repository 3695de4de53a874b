"""The soak test's judgement: growth is seen, and a warm-up is not taken for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.load.growth import MB, Findings, Samples, growth

TIMES = [float(second) for second in range(100)]
FLAT = [50 * MB + (second % 3) * MB // 10 for second in range(100)]


def samples(resident: list[int], files_after: int = 10) -> Samples:
    return Samples("gateway", 1, TIMES, resident, files_before=10, files_after=files_after)


FINE = Findings(100, [samples(FLAT)], Counter({"200": 5000}), keys=(5, 5), stored=5000, in_flight=0)


def test_a_flat_run_with_a_warm_up_is_fine() -> None:
    warming = [min(50, 20 + second) * MB for second in range(100)]
    assert replace(FINE, processes=[samples(warming)]).problems() == []
    assert growth(TIMES, warming).share == 0
    assert "nothing grows" in FINE.table()


def test_a_tenth_of_next_to_nothing_is_noise() -> None:
    assert replace(FINE, processes=[samples([8 * MB + second * MB // 50 for second in range(100)])]).problems() == []


def test_the_slope_is_that_of_the_samples() -> None:
    grown = growth(TIMES, [50 * MB + second * MB for second in range(100)])
    assert grown.slope == pytest.approx(MB)
    assert grown.last > grown.first


@pytest.mark.parametrize(
    ("findings", "problem"),
    [
        (replace(FINE, processes=[samples([(50 + second) * MB for second in range(100)])]), "memory grew by"),
        (replace(FINE, processes=[samples(FLAT, files_after=40)]), "10 open files became 40"),
        (replace(FINE, keys=(5, 6)), "5 keys in Redis became 6"),
        (replace(FINE, in_flight=2), "2 requests are in flight"),
    ],
)
def test_what_grows_is_a_problem(findings: Findings, problem: str) -> None:
    (found,) = findings.problems()
    assert problem in found and found in findings.table()
