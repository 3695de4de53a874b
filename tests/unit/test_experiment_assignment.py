"""Who gets which version: in the shares of the weights, always the same, and nothing to be told from another draw."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.experiments.assignment import (
    BUCKETS,
    MAX_ARMS,
    MAX_WEIGHT,
    Arm,
    Experiment,
    Shadow,
    bucket_of,
    subject_id,
)
from gateway.control.experiments.statistics import mismatch_p

ID = "0193a5b0-7c00-7abc-8def-0123456789ab"


def experiment(*weights: int, share: float = 0.0, experiment_id: str = ID) -> Experiment:
    arms = tuple(Arm(f"arm-{number}", f"{number}.0.0", weight) for number, weight in enumerate(weights))
    return Experiment(experiment_id, "echo", arms, shadow=Shadow("9.0.0", share) if share else None)


def test_a_bucket_is_what_the_documentation_says() -> None:
    digest = hashlib.sha256(ID.encode() + b"\x1f" + "Grüße".encode()).digest()
    assert bucket_of(ID, "Grüße") == int.from_bytes(digest[:8], "big") % 10_000
    assert bucket_of(ID, "user-1") == 600  # for ever: a release must not move subjects to another arm


@pytest.mark.parametrize("weights", [(1, 1), (90, 10), (1, 2, 3, 4), (50, 30, 15, 4, 1)])
def test_10000_draws_match_the_weights(weights: tuple[int, ...]) -> None:
    drawn = experiment(*weights)
    seen = Counter(drawn.arm_of(f"user-{number}").name for number in range(10_000))
    p = mismatch_p([seen[arm.name] for arm in drawn.arms], drawn.shares)
    assert p is not None and p > 0.01
    assert drawn.shares == pytest.approx([weight / sum(weights) for weight in weights], abs=1 / BUCKETS)


def test_another_experiment_draws_anew() -> None:
    first, second = experiment(1, 1), experiment(1, 1, experiment_id=ID.replace("0", "1"))
    both = Counter(
        (first.arm_of(f"user-{number}").name, second.arm_of(f"user-{number}").name) for number in range(10_000)
    )
    p = mismatch_p(list(both.values()), [0.25] * 4)
    assert p is not None and p > 0.01


@given(st.lists(st.integers(1, MAX_WEIGHT), min_size=1, max_size=MAX_ARMS), st.text(max_size=20))
def test_every_arm_has_its_share_and_every_subject_an_arm(weights: list[int], subject: str) -> None:
    drawn = experiment(*weights)
    assert drawn.arm_of(subject) in drawn.arms
    assert sum(drawn.shares) == pytest.approx(1)
    for share, weight in zip(drawn.shares, weights, strict=True):
        assert share > 0 and abs(share - weight / sum(weights)) < 1.001 / BUCKETS


def test_the_shadow_is_drawn_in_its_share_apart_from_the_arms() -> None:
    drawn = experiment(1, 1, share=0.2)
    both = Counter((drawn.arm_of(str(number)).name, drawn.copies(str(number))) for number in range(10_000))
    keys = [("arm-0", False), ("arm-0", True), ("arm-1", False), ("arm-1", True)]
    p = mismatch_p([both[key] for key in keys], [0.4, 0.1, 0.4, 0.1])
    assert p is not None and p > 0.01
    assert not any(experiment(1, 1).copies(str(number)) for number in range(100))
    assert all(experiment(1, 1, share=1.0).copies(str(number)) for number in range(1000))


def test_what_is_stored_of_a_subject_does_not_show_it() -> None:
    stored = subject_id("someone@example.com")
    assert stored == subject_id("someone@example.com") != subject_id("someone@example.org")
    assert stored.startswith("s_") and len(stored) == 28 and "someone" not in stored
