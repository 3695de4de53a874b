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
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from shared.contract.errors import ConfigurationError
from shared.service.liveness import Liveness

log = logging.getLogger(__name__)

_CANCEL_AGAIN_S = 0.1


def calm_garbage_collector() -> None:
    """For speed: collect cycles less often, since a service creates many short-lived objects and hardly any cycles.

    What is alive now (modules, settings) is excluded from all later collections.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def exit_code(service: str, run: Callable[[], None]) -> int:
    """Run a whole service; returns 0 if it was told to stop, 2 if a setting is wrong, 1 for any other error.

    A wrong setting is one line on stderr, everything else is logged with its traceback.
    """
    try:
        run()
    except ConfigurationError as error:
        print(f"{service}: {error}", file=sys.stderr)
        return 2
    except Exception:
        log.critical("ended by an error", exc_info=True)
        return 1
    return 0


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def run_tasks(
    tasks: Mapping[str, Coroutine[Any, Any, None]], stop: asyncio.Event, grace_s: float, liveness: Liveness
) -> None:
    """Run tasks until `stop` is set, then give them `grace_s` seconds to end before they are cancelled.

    Each of them has to report to `liveness`, under its name.

    Raises:
        Exception: the exception of a failed task; the other tasks are cancelled first.
        RuntimeError: a task ended before the stop, without an exception.
    """
    early: list[str] = []
    running = {_watched(name, task, liveness) for name, task in tasks.items()}
    stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            early = sorted(_how_it_ended(each) for each in running if each.done())
            stop.set()
        else:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for task in late:
                log.warning("a loop did not end in time", extra={"loop": task.get_name(), "grace_s": grace_s})
    finally:
        results = await cancel_until_ended([*running, stopping])
    for result in results:
        if isinstance(result, Exception):
            raise result
    if early:
        raise RuntimeError(", ".join(early))


def _watched(name: str, task: Coroutine[Any, Any, None], liveness: Liveness) -> asyncio.Task[Any]:
    running = asyncio.create_task(task, name=name)
    liveness.moved(name)
    running.add_done_callback(lambda _: liveness.ended(name))
    return running


def _how_it_ended(task: asyncio.Task[Any]) -> str:
    """Say, in the log too, how a task ended before the stop; a wrong setting is told by who ends the process."""
    name = task.get_name()
    error = None if task.cancelled() else task.exception()
    how = "was cancelled" if task.cancelled() else "failed" if error else "ended early"
    if not isinstance(error, ConfigurationError):
        log.error("a loop ended", extra={"loop": name, "how": how}, exc_info=error)
    return f"the loop {name!r} {how}"


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
