"""Several things at once, a bounded number of them, whose results come in their order."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def in_order(tasks: Iterable[Callable[[], T]], most: int) -> Iterator[T]:
    """Results of tasks in their order, of which at most so many run at once, each in a thread.

    The threads hold up nobody who leaves: they are daemons.
    """
    running: deque[Future[T]] = deque()
    for task in tasks:
        running.append(_started(task))
        if len(running) >= most:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _started(task: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(task())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, name="millstream-batch", daemon=True).start()
    return future


async def in_order_async(tasks: AsyncIterator[Coroutine[Any, Any, T]], most: int) -> AsyncIterator[T]:
    """Results of coroutines in their order, of which at most so many run at once; ended with whoever leaves."""
    running: deque[asyncio.Task[T]] = deque()
    try:
        async for task in tasks:
            running.append(asyncio.create_task(task))
            if len(running) >= most:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for left in running:
            left.cancel()
        await asyncio.gather(*running, return_exceptions=True)
