"""Keeps a set of services running: started in dependency order, restarted when they crash, drained in reverse order.

Each service has a keeper task. A keeper waits until all that its service depends on is ready, starts it, watches it,
and when it crashes waits (longer each time) and begins again with the dependencies: so when Postgres goes down and
takes others with it, they come back after it. A service that ends before it was ever ready, or a task that fails, ends
the whole stack: something is wrong that a restart does not mend.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack.errors import ProcessFailed, StackError
from scripts.stack.service_log import ServiceLog
from scripts.stack.services import Service, stop_levels
from scripts.stack.state import StackStatus, write_status
from scripts.stack.unit import Unit
from shared.service.backoff import Backoff


@dataclass(frozen=True)
class RestartPolicy:
    """Pauses before restarts, in seconds: the first, the longest; ready for `stable_s` makes them start anew."""

    first_s: float = 0.5
    longest_s: float = 30.0
    stable_s: float = 60.0


class Supervisor:
    """Runs services until told to stop.

    Args:
        run: folder of the status file.
        mark: the value of the environment variable by which stray processes of this stack are known.
    """

    def __init__(
        self,
        services: Sequence[Service],
        status: StackStatus,
        run: Path,
        logs: Path,
        mark: str,
        policy: RestartPolicy | None = None,
    ) -> None:
        self._stop_levels = stop_levels(services)
        self._run = run
        self._policy = policy or RestartPolicy()
        self._status = status
        self._failure: ProcessFailed | None = None
        self._units = {
            each.name: Unit(each, ServiceLog(logs, each.name), self._write_status, mark) for each in services
        }
        status.services = [unit.status for unit in self._units.values()]

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, keep it running until `stop` is set, then drain it all.

        Raises:
            ProcessFailed: a service did not come up; everything is stopped by then.
        """
        self._write_status()
        keepers = [asyncio.create_task(self._keep(unit, stop), name=name) for name, unit in self._units.items()]
        progress = asyncio.create_task(self._tell_when_ready(), name="progress")
        try:
            await self._until_stop(keepers, stop)
        finally:
            await _cancel([*keepers, progress])
            self._set_phase("failed" if self._failure else "stopping")
            await self._stop_all()
        if self._failure:
            raise self._failure
        self._set_phase("stopped")

    async def _until_stop(self, keepers: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait(), name="stop")
        pending = set(keepers)
        try:
            while not stopping.done() and self._failure is None:
                await asyncio.wait({stopping, *pending}, return_when=asyncio.FIRST_COMPLETED)
                ended = {task for task in pending if task.done()}
                pending -= ended
                for task in ended:
                    self._note_end(task)
        finally:
            await _cancel([stopping])

    def _note_end(self, task: asyncio.Task[None]) -> None:
        error = task.exception()
        if isinstance(error, ProcessFailed):
            self._failure = self._failure or error
            self._status.failed_service = self._failure.service
            self._status.message = str(self._failure)
        elif error is not None:
            raise error

    async def _keep(self, unit: Unit, stop: asyncio.Event) -> None:
        """Be the keeper of one service.

        Raises:
            ProcessFailed: it did not come up the first time, and the stack needs it.
        """
        backoff = Backoff(self._policy.first_s, self._policy.longest_s)
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            await self._dependencies(unit)
            reason = await self._try_start(unit)
            if reason is None:
                if unit.service.kind == "task":
                    return
                began = loop.time()
                await unit.wait_exit()
                reason = _exit_reason(unit.status.exit_code)
                if loop.time() - began >= self._policy.stable_s:
                    backoff.succeeded()
            if stop.is_set():
                return
            if not unit.was_ready:
                unit.set_state("failed")
                if unit.service.optional:
                    unit.note(f"{reason}; the stack goes on without it")
                    return
                raise ProcessFailed(f"{unit.service.name} did not come up: {reason}", unit.service.name)
            await self._pause(unit, backoff, reason)

    async def _dependencies(self, unit: Unit) -> None:
        """Wait until all that a service depends on is ready at once."""
        needed = [self._units[name].ready for name in unit.service.depends_on]
        while not all(ready.is_set() for ready in needed):
            for ready in needed:
                await ready.wait()

    async def _try_start(self, unit: Unit) -> str | None:
        """Start and wait until ready; the answer is None, or why it did not work."""
        try:
            await unit.start()
        except (StackError, OSError) as error:
            return str(error)
        if await unit.come_up():
            return None
        return _exit_reason(unit.status.exit_code)

    async def _pause(self, unit: Unit, backoff: Backoff, reason: str) -> None:
        pause_s = backoff.next_pause(random.random())
        unit.note(f"{reason}; restart in {pause_s:.1f} s")
        unit.status.restarts += 1
        unit.set_state("backoff")
        await asyncio.sleep(pause_s)

    async def _tell_when_ready(self) -> None:
        for unit in self._units.values():
            if not unit.service.optional:
                await unit.ready.wait()
        self._set_phase("ready")

    async def _stop_all(self) -> None:
        for level in self._stop_levels:
            await asyncio.gather(*(self._units[name].stop() for name in level))
        for unit in self._units.values():
            unit.close()

    def _set_phase(self, phase: str) -> None:
        self._status.phase = phase
        self._write_status()

    def _write_status(self) -> None:
        # A full disk must not bring down what runs: the status is only told.
        with contextlib.suppress(OSError):
            write_status(self._run, self._status)


def _exit_reason(code: int | None) -> str:
    if code is None:
        return "ended"
    return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
