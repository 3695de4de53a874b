"""Doing something to a store again and again, for the length of a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def again_and_again(step: Callable[[], Awaitable[object]], every_s: float) -> AsyncIterator[None]:
    """Do it, pause for so many seconds, and do it again.

    Raises:
        Exception: what a step failed with: the fault was not there all the time.
    """

    async def repeat() -> None:
        while True:
            await step()
            await asyncio.sleep(every_s)

    repeating = asyncio.create_task(repeat())
    try:
        yield
    finally:
        repeating.cancel()
        await asyncio.wait({repeating})
    if not repeating.cancelled():
        repeating.result()
