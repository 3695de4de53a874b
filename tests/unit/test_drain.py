"""A gateway that is told to stop: when it says so, when it stops listening, when it answers those who wait."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web

from gateway.core.waiting import Waiters
from gateway.upkeep.drain import Drain
from tests.waiting import eventually

DELAY_S, GRACE_S = 5.0, 30.0


Later = list[tuple[float, Callable[[], None]]]


@pytest.fixture
async def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """What the drain wants to be called later, and after how many seconds; nothing of it is called."""
    calls: Later = []
    loop = asyncio.get_running_loop()
    really = loop.call_later

    def note(delay_s: float, call: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        if args:  # asyncio's own
            return really(delay_s, call, *args)
        calls.append((delay_s, call))
        return really(3600, str)

    monkeypatch.setattr(loop, "call_later", note)
    return calls


@pytest.fixture
def waiters() -> Mock:
    return Mock(Waiters, closing=False)


@pytest.fixture
def abort() -> Mock:
    """What closes all connections."""
    return Mock()


@pytest.fixture
async def drain(waiters: Mock, abort: Mock) -> AsyncIterator[Drain]:
    made = Drain(waiters, abort, DELAY_S, GRACE_S)
    made.on_signals()
    yield made
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_gateway_that_is_told_to_stop_says_so_at_once_and_listens_on(
    later: Later, drain: Drain, waiters: Mock, number: signal.Signals
) -> None:
    assert not drain.begun
    os.kill(os.getpid(), number)
    await eventually(lambda: drain.begun, "it says so")
    assert not drain.over.is_set()
    waiters.close.assert_not_called()  # until the listener is closed, requests are accepted
    ((delay_s, call),) = later
    assert delay_s == DELAY_S
    call()
    assert drain.over.is_set()


async def test_a_second_signal_skips_the_pause(later: Later, drain: Drain) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await eventually(lambda: drain.begun, "the first is noticed")
    os.kill(os.getpid(), signal.SIGTERM)
    await eventually(drain.over.is_set, "the second is noticed")


async def test_who_waits_is_answered_in_time_and_who_does_not_read_is_not_waited_for(
    later: Later, drain: Drain, waiters: Mock, abort: Mock
) -> None:
    await drain.close(web.Application())
    waiters.close.assert_called_once()
    answer, (then_s, then) = later
    assert answer[0] == pytest.approx(0.8 * (GRACE_S - DELAY_S)) and then_s == pytest.approx(0.85 * (GRACE_S - DELAY_S))
    waiters.give_up.assert_not_called()
    answer[1]()
    waiters.give_up.assert_called_once()
    abort.assert_not_called()
    then()
    abort.assert_called_once()
