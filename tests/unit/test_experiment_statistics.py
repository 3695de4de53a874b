"""What a difference is worth: known values, and simulated experiments in which there is none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy
import pytest

from gateway.control.experiments import statistics
from gateway.control.experiments.statistics import (
    FEWEST_SUBJECTS,
    Moments,
    chi_squared_tail,
    difference,
    mismatch_p,
)

TESTS, LOOKS, REQUESTS_A_LOOK, SUBJECTS = 2000, 50, 100, 400
Array = Any


def moments(pairs: list[tuple[float, float]]) -> Moments:
    """Of subjects, each with its y and m."""
    return Moments(
        len(pairs),
        sum(y for y, _ in pairs),
        sum(m for _, m in pairs),
        sum(y * y for y, _ in pairs),
        sum(y * m for y, m in pairs),
        sum(m * m for _, m in pairs),
    )


@pytest.mark.parametrize(
    ("statistic", "degrees", "p"),  # the critical values of every table of χ²
    [(3.841459, 1, 0.05), (10.827566, 1, 0.001), (5.991465, 2, 0.05), (7.814728, 3, 0.05), (9.487729, 4, 0.05)]
    + [(16.918978, 9, 0.05), (27.877165, 9, 0.001), (0.0, 1, 1.0), (0.0, 9, 1.0)],
)
def test_the_tail_of_chi_squared(statistic: float, degrees: int, p: float) -> None:
    assert chi_squared_tail(statistic, degrees) == pytest.approx(p, rel=1e-5)


def test_too_many_in_one_arm_are_a_mismatch() -> None:
    assert mismatch_p([5000, 5000], [0.5, 0.5]) == 1
    assert mismatch_p([5100, 4900], [0.5, 0.5]) == pytest.approx(0.0455, abs=1e-4)
    assert (mismatch_p([5200, 4800], [0.5, 0.5]) or 0) < statistics.MISMATCH_P
    assert mismatch_p([0, 0], [0.5, 0.5]) is None and mismatch_p([7], [1.0]) is None


def test_the_variance_of_a_mean_is_the_usual_one() -> None:
    """With one request a subject a ratio is a mean."""
    values = [1.0, 2.0, 4.0, 9.0, 4.0]
    found = moments([(value, 1) for value in values])
    assert found.ratio == 4
    assert found.variance == pytest.approx(numpy.var(values, ddof=1) / len(values))


def test_the_variance_of_a_ratio_is_that_of_resampled_subjects() -> None:
    chance = numpy.random.default_rng(5)
    m = chance.geometric(0.2, 400).astype(float)
    y = chance.binomial(m.astype(int), chance.beta(1, 3, 400)).astype(float)
    found = moments(list(zip(y.tolist(), m.tolist(), strict=True)))
    drawn = chance.integers(0, 400, (4000, 400))
    resampled = y[drawn].sum(1) / m[drawn].sum(1)
    assert found.variance == pytest.approx(resampled.var(), rel=0.1)


def test_the_sequence_is_that_of_the_paper() -> None:
    """Theorem 2.2 as it is printed, with t = subjects of both arms and σ²/t = the variance of the difference."""
    one, other = moments([(0, 1), (1, 1)] * 150), moments([(0, 1), (1, 1), (1, 1)] * 100)
    t, alpha = 600, 0.05
    sigma = math.sqrt(t * (one.variance + other.variance))
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / statistics.NARROWEST_AT
    radius = sigma * math.sqrt(2 * (t * rho2 + 1) / (t * t * rho2) * math.log(math.sqrt(t * rho2 + 1) / alpha))
    found = difference(one, other, alpha)
    assert found is not None
    assert found.estimate == pytest.approx(1 / 6)
    assert (found.estimate - found.low, found.high - found.estimate) == pytest.approx((radius, radius))
    assert difference(one, other, alpha / 9) != found


def test_it_is_narrowest_where_it_is_meant_to_be() -> None:
    """How many standard errors it is wide is least there, up to the paper's approximation of Lambert's W."""
    wide = {subjects: statistics._widening(subjects, 0.05) for subjects in (100, 900, 1000, 1100, 100_000)}
    assert wide[100] > wide[1000] < wide[100_000]
    assert abs(wide[900] - wide[1100]) < 0.02


def test_below_30_subjects_an_arm_nothing_is_said() -> None:
    enough, few = moments([(0, 1), (1, 1)] * 15), moments([(1, 1)] * 29)
    assert enough.subjects == FEWEST_SUBJECTS == 30
    assert difference(enough, enough) is not None
    assert difference(enough, few) is None and difference(few, enough) is None


def test_a_difference_is_found() -> None:
    found = difference(moments([(0, 1), (1, 1)] * 300), moments([(0, 1), (0, 1), (1, 1)] * 200))
    assert found is not None and found.found and found.high < 0
    same = difference(moments([(0, 1), (1, 1)] * 300), moments([(0, 1), (1, 1)] * 300))
    assert same is not None and not same.found
    assert difference(moments([(0, 1)] * 30), moments([(1, 1)] * 30)) == (1, 1, 1)


def test_from_what_has_never_varied_nothing_is_concluded() -> None:
    assert difference(moments([(0, 1)] * 300), moments([(0, 2)] * 300)) is None


# --- simulated A/A tests: no difference, requests of a subject alike, looked at again and again ----------------------


def looks(chance: numpy.random.Generator) -> Iterator[tuple[Array, Array]]:
    """After each look, y and m of every subject of every test (tests × subjects)."""
    rates = chance.beta(0.4, 1.6, (TESTS, SUBJECTS))  # each subject has a rate of its own
    activity = chance.lognormal(0, 1, SUBJECTS)  # some send many requests, most send few
    y, m = numpy.zeros((2, TESTS, SUBJECTS))
    first = numpy.arange(TESTS)[:, None] * SUBJECTS
    for _ in range(LOOKS):
        subjects = chance.choice(SUBJECTS, (TESTS, REQUESTS_A_LOOK), p=activity / activity.sum())
        hits = chance.random((TESTS, REQUESTS_A_LOOK)) < numpy.take_along_axis(rates, subjects, 1)
        at = (first + subjects).ravel()
        m += numpy.bincount(at, minlength=m.size).reshape(m.shape)
        y += numpy.bincount(at, weights=hits.ravel(), minlength=y.size).reshape(y.shape)
        yield y, m


def sums(y: Array, m: Array, arm: Array) -> Array:
    """The moments of one arm of every test."""
    y, m = y * arm, m * arm
    return numpy.stack([(m > 0).sum(1), y.sum(1), m.sum(1), (y * y).sum(1), (y * m).sum(1), (m * m).sum(1)], 1)


def test_of_2000_tests_without_a_difference_looked_at_50_times_at_most_5_percent_have_a_winner() -> None:
    chance = numpy.random.default_rng(20241227)
    arm = chance.random((TESTS, SUBJECTS)) < 0.5
    ours, z_once, z_ever = numpy.zeros((3, TESTS), dtype=bool)
    for y, m in looks(chance):
        one, other = sums(y, m, arm), sums(y, m, ~arm)
        for test, (a, b) in enumerate(zip(one.tolist(), other.tolist(), strict=True)):
            found = difference(Moments(int(a[0]), *a[1:]), Moments(int(b[0]), *b[1:]))
            ours[test] |= found is not None and found.found
        p, q = one[:, 1] / one[:, 2], other[:, 1] / other[:, 2]
        z_once = abs(p - q) > 1.96 * numpy.sqrt(p * (1 - p) / one[:, 2] + q * (1 - q) / other[:, 2])
        z_ever |= z_once
    assert ours.mean() <= 0.05
    assert z_once.mean() > 0.4 and z_ever.mean() > 0.6  # what is usual, each request for itself, is no good here
