"""Whether everything is ready and answers again, and how long that took."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from tests.chaos.ledger import Ledger
from tests.chaos.slots import Slot
from tests.chaos.system import System
from tests.waiting import eventually

READY_WITHIN_S = 15.0
_GIVE_UP_S = 60.0
_ANSWERS = 20  # to requests of the load, before the system counts as back
_TIMEOUT = aiohttp.ClientTimeout(total=2)


async def recovered(system: System, ledger: Ledger, after: str) -> float:
    """Wait until every service is ready and clients are answered; returns the seconds.

    Raises:
        AssertionError: not within a minute.
    """
    began = time.monotonic()
    answered = ledger.answers["POST 200"]
    not_ready: list[str] = []
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:

        async def back() -> bool:
            reasons = await asyncio.gather(*(_not_ready(session, slot) for slot in system.all_slots))
            not_ready[:] = [each for each in reasons if each]
            return not not_ready and ledger.answers["POST 200"] >= answered + _ANSWERS

        try:
            await eventually(back, f"back after {after}", _GIVE_UP_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; {'; '.join(not_ready) or 'all ready, but no answers'}") from None
    return time.monotonic() - began


async def _not_ready(session: aiohttp.ClientSession, slot: Slot) -> str:
    """Why a service is not ready; empty if it is."""
    try:
        async with session.get(f"{slot.url}/readyz") as answer:
            return "" if answer.status == 200 else f"{slot.name}: {(await answer.text())[:200]}"
    except (aiohttp.ClientError, OSError) as error:
        return f"{slot.name}: {type(error).__name__}"
