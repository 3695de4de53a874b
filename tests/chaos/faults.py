"""Doing what the schedule says to the running system."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence

from scripts.stack.server import DataServer
from tests.chaos.proxy import Mode
from tests.chaos.schedule import LINKS, STORES, Action, Fault, Target
from tests.chaos.slots import Slot
from tests.chaos.system import System
from tests.processes import model_processes
from tests.waiting import eventually

_MODES = {Action.REFUSE: Mode.REFUSE, Action.BLACKHOLE: Mode.BLACKHOLE}


class Injector:
    """Breaks things, and mends them where no supervisor does. One fault at a time on the same target."""

    def __init__(self, system: System) -> None:
        self.injected: Counter[str] = Counter()
        self._system = system
        self._locks: dict[str, asyncio.Lock] = {}

    async def follow(self, schedule: Sequence[Fault]) -> None:
        """Inject each fault at its time; returns when the last one is over."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in schedule:
                await asyncio.sleep(max(0.0, started + fault.at_s - time.monotonic()))
                group.create_task(self.inject(fault), name=fault.kind)

    async def inject(self, fault: Fault) -> None:
        """Inject one fault and wait until it is over."""
        if fault.target in LINKS:
            await self._link(fault)
        elif fault.target in STORES:
            await self._store(fault)
        elif fault.target is Target.CHILD:
            await self._child(fault)
        else:
            slots = self._system.slots[fault.target]
            await self._service(fault, slots[fault.pick % len(slots)])

    async def _service(self, fault: Fault, slot: Slot) -> None:
        async with self._lock(slot.name):
            await slot.listening()
            self._note(fault, slot.name)
            if fault.action is Action.KILL:
                slot.kill()
            elif fault.action is Action.STOP:
                await slot.stop()
            else:
                slot.service.pause()
                try:
                    await asyncio.sleep(fault.lasts_s)
                finally:
                    slot.service.resume()

    async def _child(self, fault: Fault) -> None:
        slots = self._system.slots[Target.WORKER]
        slot = slots[fault.pick % len(slots)]
        async with self._lock(slot.name):
            await slot.listening()
            children = await self._children(slot)
            self._note(fault, f"{slot.name}, {fault.target}")
            os.kill(children[fault.pick % len(children)], signal.SIGKILL)

    async def _children(self, slot: Slot) -> list[int]:
        """The processes of a worker's models, once there are any."""
        children: list[int] = []

        def there() -> bool:
            children[:] = model_processes(slot.service.process.pid)
            return bool(children)

        await eventually(there, f"{slot.name} has loaded a model")
        return children

    async def _store(self, fault: Fault) -> None:
        server: DataServer = self._system.redis if fault.target is Target.REDIS else self._system.postgres
        async with self._lock(fault.target):
            self._note(fault, fault.target)
            if fault.action is Action.PAUSE:
                server.pause()
                try:
                    await asyncio.sleep(fault.lasts_s)
                finally:
                    server.resume()
                return
            await asyncio.to_thread(server.kill if fault.action is Action.KILL else server.stop)
            try:
                await asyncio.sleep(fault.lasts_s)
            finally:
                await asyncio.to_thread(server.start)

    async def _link(self, fault: Fault) -> None:
        proxy = self._system.links[fault.target]
        async with self._lock(fault.target):
            self._note(fault, fault.target)
            if fault.action is Action.CUT:
                proxy.cut()
                return
            proxy.set(_MODES[fault.action])
            try:
                await asyncio.sleep(fault.lasts_s)
            finally:
                proxy.set(Mode.FORWARD)

    def _note(self, fault: Fault, name: str) -> None:
        self.injected[fault.kind] += 1
        print(f"  {time.strftime('%H:%M:%S')}  {name}: {fault.action} {fault.lasts_s} s", flush=True)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())
