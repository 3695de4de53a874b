"""Waiting in asynchronous tests for a condition, with a deadline; never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], Awaitable[object] | object], what: str, timeout_s: float = 20) -> None:
    """Wait until the condition, plain or awaitable, is true.

    Raises:
        AssertionError: it does not come true in time.
    """
    never = asyncio.Event()
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return
        assert asyncio.get_running_loop().time() < deadline, f"not within {timeout_s} s: {what}"
        try:
            await asyncio.wait_for(never.wait(), 0.01)
        except TimeoutError:
            continue
