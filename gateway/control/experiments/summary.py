"""The results of an experiment, from what was counted of each arm. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from gateway.control.experiments.assignment import Experiment
from gateway.control.experiments.statistics import ALPHA, MISMATCH_P, Moments, difference, mismatch_p

METRICS = ("failure_rate", "latency_ms", "confidence", "accuracy")
_NOTHING = Moments(0, 0, 0, 0, 0, 0)


class Counted(NamedTuple):
    """What was counted of an arm.

    Attributes:
        failures: requests that did not succeed.
        latency_ms: of successes, the 50th, 95th and 99th percentile; empty without any.
        labels: successes by label, the most frequent ones; the rest is `labelled` minus their sum.
        feedback: requests about which there is feedback.
        metrics: by their names in `METRICS`.
    """

    subjects: int = 0
    requests: int = 0
    failures: int = 0
    latency_ms: Sequence[float] = ()
    labelled: int = 0
    labels: Mapping[str, int] = {}
    feedback: int = 0
    metrics: Mapping[str, Moments] = {}


class Verdict(StrEnum):
    """What a comparison with the control says."""

    HIGHER = "higher"
    LOWER = "lower"
    UNDECIDED = "undecided"
    TOO_FEW = "too_few"  # subjects in one of the two arms, or to see anything vary
    INVALID = "invalid"  # subjects of one arm were lost


class Comparison(NamedTuple):
    """A metric of an arm minus that of the control, and its confidence sequence; unknown if `TOO_FEW`."""

    verdict: Verdict
    estimate: float | None = None
    low: float | None = None
    high: float | None = None


class Summary(NamedTuple):
    """What the arms have shown.

    Attributes:
        sample_ratio_p: how likely these numbers of subjects are; None without subjects, or for one arm.
        valid: whether that is likely enough for arms to be compared.
        comparisons: for each arm but the control, by metric.
    """

    sample_ratio_p: float | None
    valid: bool
    comparisons: Mapping[str, Mapping[str, Comparison]]


def summarise(experiment: Experiment, counted: Mapping[str, Counted]) -> Summary:
    """Compare the arms of an experiment with its control.

    Each of several arms is compared at its part of `ALPHA`, so that one of them is wrongly found to differ no more
    often than the single one of two arms.

    Args:
        counted: by the name of the arm; an arm without requests may be missing.
    """
    arms = [counted.get(arm.name, Counted()) for arm in experiment.arms]
    p = mismatch_p([arm.subjects for arm in arms], experiment.shares)
    valid = p is None or p >= MISMATCH_P
    control, *others = arms
    alpha = ALPHA / max(1, len(others))
    comparisons = {
        arm.name: {metric: _compare(control, each, metric, alpha, valid) for metric in METRICS}
        for arm, each in zip(experiment.arms[1:], others, strict=True)
    }
    return Summary(p, valid, comparisons)


def _compare(control: Counted, arm: Counted, metric: str, alpha: float, valid: bool) -> Comparison:
    found = difference(control.metrics.get(metric, _NOTHING), arm.metrics.get(metric, _NOTHING), alpha)
    if found is None:
        return Comparison(Verdict.TOO_FEW)
    if not valid:
        verdict = Verdict.INVALID
    elif not found.found:
        verdict = Verdict.UNDECIDED
    else:
        verdict = Verdict.HIGHER if found.estimate > 0 else Verdict.LOWER
    return Comparison(verdict, *found)
