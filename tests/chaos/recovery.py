"""Whether everything is ready and answers again, and how long that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import aiohttp

from tests.chaos.ledger import Ledger
from tests.chaos.slots import Slot
from tests.chaos.system import System
from tests.waiting import eventually

READY_WITHIN_S = 15.0
_GIVE_UP_S = 60.0
_ANSWERS = 20  # to requests of the load, before the system counts as back
_TIMEOUT = aiohttp.ClientTimeout(total=2)


class Recovery:
    """How a system comes back from what breaks next.

    Attributes:
        seconds: from the end of what broke until clients were answered and those services were ready that had gone on
            running; how long a new process takes to start is the machine's affair.
    """

    def __init__(self, system: System, ledger: Ledger) -> None:
        self.seconds = 0.0
        self._system = system
        self._ledger = ledger
        self._processes: Mapping[str, int] = {slot.name: slot.service.process.pid for slot in system.all_slots}
        self._not_ready: dict[str, str] = {}

    async def wait(self) -> None:
        """Wait until every service is ready, also those that were started anew.

        Raises:
            AssertionError: not within a minute.
        """
        began = time.monotonic()
        answered = self._ledger.answers["POST 200"]
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:

            async def back() -> bool:
                await self._look(session)
                return (
                    not self._not_ready.keys() & self._gone_on()
                    and self._ledger.answers["POST 200"] >= answered + _ANSWERS
                )

            async def all_ready() -> bool:
                await self._look(session)
                return not self._not_ready

            try:
                await eventually(back, "it is back", _GIVE_UP_S)
                self.seconds = time.monotonic() - began
                await eventually(all_ready, "all are ready", _GIVE_UP_S)
            except AssertionError as error:
                raise AssertionError(f"{error}; {self._not_ready or 'all ready, but too few answers'}") from None

    def _gone_on(self) -> set[str]:
        """The services whose process is the one of before."""
        slots = [slot for slot in self._system.all_slots if slot.service.process.poll() is None]
        return {slot.name for slot in slots if slot.service.process.pid == self._processes[slot.name]}

    async def _look(self, session: aiohttp.ClientSession) -> None:
        slots = self._system.all_slots
        reasons = await asyncio.gather(*(_not_ready(session, slot) for slot in slots))
        self._not_ready = {slot.name: reason for slot, reason in zip(slots, reasons, strict=True) if reason}


async def _not_ready(session: aiohttp.ClientSession, slot: Slot) -> str:
    """Why a service is not ready; empty if it is."""
    try:
        async with session.get(f"{slot.url}/readyz") as answer:
            return "" if answer.status == 200 else (await answer.text())[:200]
    except (aiohttp.ClientError, OSError) as error:
        return type(error).__name__
