"""The results: what is compared with what, and when nothing is said."""

from __future__ import annotations

import pytest

from gateway.control.experiments.assignment import Arm, Experiment
from gateway.control.experiments.statistics import Moments, difference
from gateway.control.experiments.summary import METRICS, Counted, Verdict, summarise

TWO = Experiment("id", "echo", (Arm("old", "1.0.0", 1), Arm("new", "2.0.0", 1)))


def rate(subjects: int, hits: int) -> Moments:
    """Of subjects with one request each."""
    return Moments(subjects, hits, subjects, hits, hits, subjects)


def counted(subjects: int, failures: int) -> Counted:
    return Counted(subjects, subjects, failures, metrics={"failure_rate": rate(subjects, failures)})


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (counted(500, 100), counted(500, 250), Verdict.HIGHER),
        (counted(500, 250), counted(500, 100), Verdict.LOWER),
        (counted(500, 100), counted(500, 105), Verdict.UNDECIDED),
        (counted(29, 0), counted(29, 29), Verdict.TOO_FEW),
        (counted(600, 100), counted(400, 300), Verdict.INVALID),
    ],
)
def test_a_verdict(old: Counted, new: Counted, verdict: Verdict) -> None:
    summary = summarise(TWO, {"old": old, "new": new})
    assert set(summary.comparisons) == {"new"} and set(summary.comparisons["new"]) == set(METRICS)
    assert summary.comparisons["new"]["failure_rate"].verdict is verdict
    assert summary.comparisons["new"]["accuracy"].verdict is Verdict.TOO_FEW
    assert summary.valid is (verdict is not Verdict.INVALID)


def test_several_arms_share_the_risk_of_a_false_winner() -> None:
    three = Experiment("id", "echo", (*TWO.arms, Arm("newer", "3.0.0", 1)))
    arms = {name: counted(400, failures) for name, failures in (("old", 40), ("new", 60), ("newer", 80))}
    found = summarise(three, arms).comparisons["newer"]["failure_rate"]
    expected = difference(rate(400, 40), rate(400, 80), 0.05 / 2)
    assert expected is not None and found[1:] == expected


def test_without_requests_nothing_is_said() -> None:
    summary = summarise(TWO, {})
    assert summary.sample_ratio_p is None and summary.valid
    assert {each.verdict for each in summary.comparisons["new"].values()} == {Verdict.TOO_FEW}


def test_an_arm_without_any_subject_is_a_mismatch() -> None:
    assert not summarise(TWO, {"old": counted(100, 3)}).valid


def test_one_arm_is_compared_with_nothing() -> None:
    alone = Experiment("id", "echo", TWO.arms[:1])
    summary = summarise(alone, {"old": counted(100, 3)})
    assert summary == (None, True, {})
