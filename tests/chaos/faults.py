"""Doing what the schedule says to the running system, and seeing that it comes back by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.chaos.clock import JUMP_S
from tests.chaos.ledger import Ledger
from tests.chaos.postgres_faults import broken_postgres
from tests.chaos.proxy import Mode
from tests.chaos.recovery import READY_WITHIN_S, Recovery
from tests.chaos.redis_faults import broken_redis
from tests.chaos.schedule import ALL_LINKS, LINKS, STORES, Action, Fault, Round, Target
from tests.chaos.slots import Slot
from tests.chaos.system import System
from tests.processes import model_processes
from tests.waiting import eventually

_MODES = {
    Action.REFUSE: Mode.REFUSE,
    Action.BLACKHOLE: Mode.BLACKHOLE,
    Action.MUTE_UP: Mode.MUTE_UP,
    Action.MUTE_DOWN: Mode.MUTE_DOWN,
    Action.MUTE_HINTS: Mode.MUTE_HINTS,
    Action.STALL: Mode.STALL,
    Action.SLOW: Mode.SLOW,
}
_OF_SERVERS = (Action.KILL, Action.STOP, Action.PAUSE)  # done to a server's process; all else is done by its commands


class Injector:
    """Breaks things, and mends them where no supervisor does.

    Attributes:
        injected: how often each kind of fault was.
        recoveries: seconds until the system was back from a round (see `Recovery`), the longest of each.
    """

    def __init__(self, system: System, ledger: Ledger) -> None:
        self.injected: Counter[str] = Counter()
        self.recoveries: dict[str, float] = {}
        self._system = system
        self._ledger = ledger

    async def follow(self, schedule: Sequence[Round]) -> None:
        """Inject one round after the other, each once the system has come back from the one before."""
        for faults in schedule:
            recovery = Recovery(self._system, self._ledger)
            async with asyncio.TaskGroup() as group:
                for fault in faults:
                    group.create_task(self.inject(fault), name=fault.kind)
            await recovery.wait()
            name, seconds = " + ".join(fault.kind for fault in faults), recovery.seconds
            print(f"  {time.strftime('%H:%M:%S')}  back after {seconds:.1f} s", flush=True)
            self.recoveries[name] = max(seconds, self.recoveries.get(name, 0))
            if seconds > READY_WITHIN_S:
                self._ledger.surprises.append(f"{name}: back only after {seconds:.1f} s")

    async def inject(self, fault: Fault) -> None:
        """Inject one fault and wait until it is over."""
        if fault.target in ALL_LINKS:
            await self._links(fault)
        elif fault.target in self._system.servers and fault.action in _OF_SERVERS:
            await self._server(fault)
        elif fault.target in STORES:
            await self._store(fault)
        elif fault.target is Target.CHILD:
            await self._child(fault)
        else:
            slots = self._system.slots[fault.target]
            await self._service(fault, slots[fault.pick % len(slots)])

    async def _service(self, fault: Fault, slot: Slot) -> None:
        await slot.listening()
        self._note(fault, slot.name)
        if fault.action is Action.KILL:
            slot.kill()
        elif fault.action is Action.STOP:
            await slot.stop()
        elif fault.action is Action.CLOCK:
            await self._for_a_while(fault, lambda: slot.clock.jump(JUMP_S), lambda: slot.clock.jump(0))
        elif fault.action is Action.UNREAD_LOG:
            await self._for_a_while(fault, slot.read_no_log, slot.read_log)
        else:
            await self._for_a_while(fault, slot.service.pause, slot.service.resume)

    async def _child(self, fault: Fault) -> None:
        slots = self._system.slots[Target.WORKER]
        slot = slots[fault.pick % len(slots)]
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

    async def _server(self, fault: Fault) -> None:
        server = self._system.servers[fault.target]
        self._note(fault, fault.target)
        if fault.action is Action.PAUSE:
            await self._for_a_while(fault, server.pause, server.resume)
            return
        await asyncio.to_thread(server.kill if fault.action is Action.KILL else server.stop)
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            await asyncio.to_thread(server.start)

    async def _store(self, fault: Fault) -> None:
        self._note(fault, fault.target)
        if fault.target is Target.REDIS:
            breaking = broken_redis(self._system.redis, fault.action)
        else:
            breaking = broken_postgres(self._system.postgres.url, fault.action)
        async with breaking:
            await asyncio.sleep(fault.lasts_s)

    async def _links(self, fault: Fault) -> None:
        proxies = [proxy for each in LINKS.get(fault.target, (fault.target,)) for proxy in self._system.links[each]]
        self._note(fault, fault.target)
        for proxy in proxies:
            if fault.action is Action.CUT:
                proxy.cut()
            else:
                proxy.set(_MODES[fault.action])
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            for proxy in proxies:
                proxy.set(Mode.FORWARD)

    async def _for_a_while(self, fault: Fault, begin: Callable[[], None], end: Callable[[], None]) -> None:
        begin()
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            end()

    def _note(self, fault: Fault, name: str) -> None:
        self.injected[fault.kind] += 1
        print(f"  {time.strftime('%H:%M:%S')}  {name}: {fault.action}, {fault.lasts_s} s", flush=True)
