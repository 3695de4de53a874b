"""What a difference between two arms is worth, at whatever moment one looks. Pure.

**Unit.** Requests of one subject are alike, so they do not count as independent: the unit is the subject. A metric is a
ratio of two sums over subjects, such as failures over requests. Its variance is that of the linearised ratio (the delta
method): with y and m of each of n subjects and R = Σy / Σm,

    Var(R) ≈ n / (n - 1) · Σ(y - R·m)² / (Σm)²

**Always valid.** A confidence interval of 95 % holds for one look that was fixed beforehand. Whoever looks every day
and stops at the first difference is wrong far more often. A confidence sequence holds at all looks together. This one
is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit
theory and asymptotic confidence sequences", Annals of Statistics 52 (2024), 2613-2640, arXiv:2103.06476, Theorem 2.2:
after t observations with the standard deviation σ,

    mean ± σ · √( 2 (tρ² + 1) / (t² ρ²) · log( √(tρ² + 1) / α ) )

For a randomised experiment the paper (section 3) applies it to the difference of two arms by the influence function, of
which t counts the subjects of both arms; σ²/t is then the sum of the two variances, and the radius

    √( Var(R₁) + Var(R₂) ) · √( (x + 1) / x · log( (x + 1) / α² ) ),   x = tρ²

ρ says when the sequence is narrowest: at t* subjects if t*ρ² = -2 log α + log(-2 log α + 1) (the paper's choice of ρ).
It is asymptotic, in the number of subjects: below `FEWEST_SUBJECTS` an arm nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

ALPHA = 0.05  # the share of experiments without a difference in which one is found
FEWEST_SUBJECTS = 30
NARROWEST_AT = 1000  # subjects of both arms
MISMATCH_P = 0.001


class Moments(NamedTuple):
    """A ratio metric of an arm: sums over its subjects with m > 0, of y, m and their products."""

    subjects: int
    y: float
    m: float
    yy: float
    ym: float
    mm: float

    @property
    def ratio(self) -> float | None:
        """R; None without subjects."""
        return self.y / self.m if self.m else None

    @property
    def variance(self) -> float:
        """Of R; for two subjects or more."""
        ratio = self.y / self.m
        squares = max(0.0, self.yy - 2 * ratio * self.ym + ratio * ratio * self.mm)
        return self.subjects / (self.subjects - 1) * squares / (self.m * self.m)


class Difference(NamedTuple):
    """The difference of an arm from the control, and its confidence sequence now."""

    estimate: float
    low: float
    high: float

    @property
    def found(self) -> bool:
        """Whether there is a difference: the sequence excludes 0."""
        return not self.low <= 0 <= self.high


def difference(control: Moments, arm: Moments, alpha: float = ALPHA) -> Difference | None:
    """The difference of an arm from the control.

    None if one of them has too few subjects, or if nothing has varied: from no failure at all the normal approximation
    would conclude that there never is one.
    """
    if min(control.subjects, arm.subjects) < FEWEST_SUBJECTS:
        return None
    estimate = arm.y / arm.m - control.y / control.m
    error = math.sqrt(arm.variance + control.variance)
    if error == 0 and estimate == 0:
        return None
    radius = error * _widening(control.subjects + arm.subjects, alpha)
    return Difference(estimate, estimate - radius, estimate + radius)


def _widening(subjects: int, alpha: float) -> float:
    """How many standard errors the radius is."""
    level = -2 * math.log(alpha)
    x = subjects / NARROWEST_AT * (level + math.log(level + 1))
    return math.sqrt((x + 1) / x * (level + math.log(x + 1)))


def mismatch_p(subjects: Sequence[int], shares: Sequence[float]) -> float | None:
    """The probability of numbers of subjects at least this far from the shares, by Pearson's χ²; None without subjects.

    If it is tiny, subjects of one arm were lost (refused, or its version missing), and the arms cannot be compared.
    """
    total = sum(subjects)
    if total == 0 or len(subjects) < 2:
        return None
    statistic = sum((seen - total * share) ** 2 / (total * share) for seen, share in zip(subjects, shares, strict=True))
    return chi_squared_tail(statistic, len(subjects) - 1)


def chi_squared_tail(statistic: float, degrees: int) -> float:
    """P(χ² ≥ statistic), which is Q(degrees/2, statistic/2): NIST DLMF 8.4.6, 8.4.8 and the recurrence 8.8.6."""
    x = statistic / 2
    a, tail = (1.0, math.exp(-x)) if degrees % 2 == 0 else (0.5, math.erfc(math.sqrt(x)))
    while a < degrees / 2:
        tail += math.exp(a * math.log(x) - x - math.lgamma(a + 1)) if x > 0 else 0.0
        a += 1
    return min(1.0, tail)
