"""A loop that has stopped moving is noticed; one that ended on purpose is not."""

from __future__ import annotations

import pytest

from shared.service.liveness import Liveness


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def liveness(clock: Clock) -> Liveness:
    """Loops may take 30 seconds."""
    return Liveness(30, clock)


def test_nothing_stalls_before_it_has_begun(liveness: Liveness, clock: Clock) -> None:
    clock.now += 1000
    assert liveness.stalled() == {}


def test_a_loop_stalls_after_the_timeout_and_not_at_it(liveness: Liveness, clock: Clock) -> None:
    liveness.moved("read")
    clock.now += 30
    assert liveness.stalled() == {}
    clock.now += 0.26
    assert liveness.stalled() == {"read": 30.3}


def test_moving_again_is_recovery(liveness: Liveness, clock: Clock) -> None:
    liveness.moved("read")
    clock.now += 40
    assert liveness.stalled()
    liveness.moved("read")
    assert liveness.stalled() == {}


def test_each_loop_counts_for_itself(liveness: Liveness, clock: Clock) -> None:
    liveness.moved("b")
    liveness.moved("a")
    clock.now += 20
    liveness.moved("a")
    clock.now += 20
    assert liveness.stalled() == {"b": 40.0}
    clock.now += 20
    assert list(liveness.stalled()) == ["a", "b"]


def test_a_loop_that_ended_on_purpose_does_not_stall(liveness: Liveness, clock: Clock) -> None:
    liveness.moved("read")
    liveness.ended("read")
    liveness.ended("never begun")
    clock.now += 1000
    assert liveness.stalled() == {}
