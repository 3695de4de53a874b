"""A service lives until it is told to stop, or until one of its tasks fails; then all of them end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Iterator

import pytest

from shared.contract.errors import ConfigurationError
from shared.service.lifecycle import calm_garbage_collector, run_tasks, stop_on_signals
from shared.service.liveness import Liveness

GRACE_S = 20.0


async def until(stop: asyncio.Event, ended: list[str], name: str) -> None:
    """A well-behaved task."""
    await stop.wait()
    ended.append(name)


async def forever(ended: list[str]) -> None:
    """A task that does not look at the stop."""
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


async def failing() -> None:
    """A task that fails."""
    await asyncio.sleep(0)
    raise ValueError("no good")


async def test_tasks_run_until_the_stop_and_end_by_themselves() -> None:
    stop, ended = asyncio.Event(), list[str]()
    running = asyncio.create_task(
        run_tasks({"a": until(stop, ended, "a"), "b": until(stop, ended, "b")}, stop, GRACE_S, Liveness(30))
    )
    await asyncio.sleep(0)
    assert not running.done() and ended == []
    stop.set()
    await running
    assert sorted(ended) == ["a", "b"]


async def test_a_task_that_fails_ends_the_others_at_once_and_its_error_is_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop, ended = asyncio.Event(), list[str]()
    started = time.monotonic()
    with pytest.raises(ValueError, match="no good"):
        await run_tasks({"bad": failing(), "good": forever(ended)}, stop, GRACE_S, Liveness(30))
    assert stop.is_set() and ended == ["cancelled"]
    assert time.monotonic() - started < GRACE_S / 2
    (record,) = caplog.records
    assert record.getMessage() == "a loop ended" and record.exc_info is not None
    assert (vars(record)["loop"], vars(record)["how"]) == ("bad", "failed")


async def test_a_task_that_is_cancelled_from_outside_stops_the_others_too(caplog: pytest.LogCaptureFixture) -> None:
    stop, ended = asyncio.Event(), list[str]()

    async def cancelled() -> None:
        raise asyncio.CancelledError  # as a library's, or one that was meant for something inside the loop

    with pytest.raises(RuntimeError, match="the loop 'lost' was cancelled"):
        await run_tasks({"lost": cancelled(), "good": forever(ended)}, stop, GRACE_S, Liveness(30))
    assert ended == ["cancelled"]
    (record,) = caplog.records
    assert (vars(record)["loop"], vars(record)["how"]) == ("lost", "was cancelled")


async def test_a_wrong_setting_is_left_to_who_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    async def misconfigured() -> None:
        raise ConfigurationError("cannot listen")

    with pytest.raises(ConfigurationError):
        await run_tasks({"probes": misconfigured()}, asyncio.Event(), GRACE_S, Liveness(30))
    assert caplog.records == []


async def test_a_task_that_never_reports_stalls_and_one_that_has_ended_does_not() -> None:
    now, stop, ended = [0.0], asyncio.Event(), list[str]()
    liveness = Liveness(30, lambda: now[0])

    async def ends_when_told() -> None:
        await stop.wait()

    running = asyncio.create_task(
        run_tasks({"silent": forever(ended), "good": ends_when_told()}, stop, GRACE_S, liveness)
    )
    await asyncio.sleep(0)
    now[0] = 31
    assert set(liveness.stalled()) == {"silent", "good"}, "it is watched from the start, without having reported"
    stop.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert set(liveness.stalled()) == {"silent"}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert liveness.stalled() == {}


async def test_a_task_that_ends_early_stops_the_others_too() -> None:
    stop, ended = asyncio.Event(), list[str]()

    async def short() -> None:
        ended.append("short")

    with pytest.raises(RuntimeError, match="the loop 'short' ended early"):
        await run_tasks({"short": short(), "long": forever(ended)}, stop, GRACE_S, Liveness(30))
    assert ended == ["short", "cancelled"]


async def test_a_task_that_outstays_its_grace_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    stop, ended = asyncio.Event(), list[str]()
    stop.set()
    started = time.monotonic()
    await run_tasks({"stuck": forever(ended), "good": until(stop, ended, "good")}, stop, 0.05, Liveness(30))
    assert sorted(ended) == ["cancelled", "good"]
    assert time.monotonic() - started < GRACE_S
    (record,) = caplog.records
    assert record.getMessage() == "a loop did not end in time" and vars(record)["loop"] == "stuck"


async def test_a_task_that_fails_while_it_stops_is_an_error_still() -> None:
    stop = asyncio.Event()

    async def fails_late() -> None:
        await stop.wait()
        raise OSError("could not say goodbye")

    stop.set()
    with pytest.raises(OSError, match="goodbye"):
        await run_tasks({"late": fails_late()}, stop, GRACE_S, Liveness(30))


async def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same() -> None:
    stop, ended = asyncio.Event(), list[str]()

    async def stubborn() -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("swallowed")
        await asyncio.Event().wait()

    stop.set()
    async with asyncio.timeout(GRACE_S):
        await run_tasks({"stubborn": stubborn()}, stop, 0.01, Liveness(30))
    assert ended == ["swallowed"] * 2


async def test_being_cancelled_leaves_no_task_behind() -> None:
    stop, ended = asyncio.Event(), list[str]()
    running = asyncio.create_task(run_tasks({"stuck": forever(ended)}, stop, GRACE_S, Liveness(30)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == ["cancelled"]
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"stuck", "stop"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_sets_the_stop_and_nothing_else(number: signal.Signals) -> None:
    stop = stop_on_signals()
    try:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 10)
    finally:
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(each)


@pytest.fixture
def restored_collector() -> Iterator[None]:
    """The garbage collector as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_the_collector_is_calmed_but_not_switched_off(restored_collector: None) -> None:
    before = gc.get_threshold()[0]
    calm_garbage_collector()
    assert gc.isenabled() and gc.get_threshold()[0] > before and gc.get_freeze_count() > 0
