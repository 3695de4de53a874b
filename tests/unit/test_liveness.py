"""A loop that has stopped moving is noticed; one that ended on purpose is not."""

from __future__ import annotations

import asyncio

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


async def test_waiting_moves_and_ends_with_the_stop(liveness: Liveness, clock: Clock) -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(liveness.wait("read", stop, 1000))
    await asyncio.sleep(0)
    clock.now += 1000
    assert list(liveness.stalled()) == ["read"]
    async with asyncio.timeout(20):
        while liveness.stalled():
            await asyncio.sleep(0.05)
    stop.set()
    assert await waiting


async def test_a_wait_that_is_over_reports_no_more(clock: Clock) -> None:
    liveness = Liveness(0.03, clock)
    assert not await liveness.wait("read", asyncio.Event(), 0.05)
    clock.now += 10
    await asyncio.sleep(0.1)
    assert liveness.stalled() == {"read": 10.0}
    assert liveness.turns == {"read": 1}
