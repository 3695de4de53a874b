"""Pauses between tries: bounded, growing, jittered, and cut short by a stop."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.service.backoff import Backoff, wait_for_stop


@given(
    first=st.floats(0.001, 10),
    longest=st.floats(0.001, 100),
    chances=st.lists(st.floats(0, 1), min_size=1, max_size=100),
)
def test_a_pause_is_between_half_of_its_ceiling_and_its_ceiling(
    first: float, longest: float, chances: list[float]
) -> None:
    backoff = Backoff(first, longest)
    for number, chance in enumerate(chances):
        ceiling = min(longest, first * 2.0 ** min(number, 30))
        assert ceiling / 2 <= backoff.next_pause(chance) <= ceiling <= longest
        assert backoff.failures == number + 1


@given(failures=st.integers(0, 5000))
def test_many_failures_in_a_row_overflow_nothing(failures: int) -> None:
    backoff = Backoff(0.1, 5)
    for _ in range(failures):
        backoff.next_pause(1)
    assert backoff.next_pause(1) <= 5


def test_pauses_grow_with_each_failure_and_start_anew_after_a_success() -> None:
    backoff = Backoff(0.1, 1)
    assert [round(backoff.next_pause(1), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1, 1]
    backoff.succeeded()
    assert backoff.failures == 0 and round(backoff.next_pause(1), 3) == 0.1


def test_two_clients_do_not_pause_alike() -> None:
    assert Backoff().next_pause(0.1) != Backoff().next_pause(0.9)


async def test_a_stop_cuts_a_pause_short() -> None:
    stop = asyncio.Event()
    pausing = asyncio.create_task(Backoff(60, 60).pause(stop))
    await asyncio.sleep(0)
    started = time.monotonic()
    stop.set()
    await pausing
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_wait_says_whether_the_stop_came(stopped: bool) -> None:
    stop = asyncio.Event()
    if stopped:
        stop.set()
    assert await wait_for_stop(stop, 0.001) is stopped
