"""The lifecycle of a process: named tasks, one stop event, a drain with a deadline.

Signals only set the event. Each task checks it and ends by itself. A task that fails, or ends before the stop, ends the
whole service at once, since a process without one of its loops looks healthy but does not do its work: what it held is
taken over by another. (The gateway handles its signals in `gateway.upkeep.drain`, since it drains in two steps.)
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Collection, Coroutine, Mapping
from typing import Any

log = logging.getLogger(__name__)

_CANCEL_AGAIN_S = 0.1


def calm_garbage_collector() -> None:
    """For speed: collect cycles less often, since a service creates many short-lived objects and hardly any cycles.

    What is alive now (modules, settings) is excluded from all later collections.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def run_tasks(tasks: Mapping[str, Coroutine[Any, Any, None]], stop: asyncio.Event, grace_s: float) -> None:
    """Run tasks until `stop` is set, then give them `grace_s` seconds to end before they are cancelled.

    Raises:
        Exception: the exception of a failed task; the other tasks are cancelled first.
        RuntimeError: a task ended before the stop, without an exception.
    """
    early: list[str] = []
    running: set[asyncio.Task[Any]] = {asyncio.create_task(task, name=name) for name, task in tasks.items()}
    stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            early = sorted(each.get_name() for each in running if each.done())
            log.error("a task ended early", extra={"tasks": early})
            stop.set()
        else:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for task in late:
                log.warning("a task did not end in time", extra={"task_name": task.get_name(), "grace_s": grace_s})
    finally:
        results = await cancel_until_ended([*running, stopping])
    for result in results:
        if isinstance(result, Exception):
            raise result
    if early:
        raise RuntimeError(f"ended early: {', '.join(early)}")


async def cancel_until_ended(tasks: Collection[asyncio.Task[Any]]) -> list[Any]:
    """Cancel tasks and wait for them; returns what they returned or raised.

    They are cancelled again until they end: redis-py swallows a cancellation that arrives while it connects, and the
    process would never exit.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)
    return await asyncio.gather(*tasks, return_exceptions=True)
