"""One supervised process: started, watched until ready, its output logged, ended with its whole group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable

from scripts.stack.processes import signal_group, start_ticks, tied_to_parent
from scripts.stack.service_log import STARTING, ServiceLog
from scripts.stack.services import Service
from scripts.stack.state import ServiceStatus

POLL_S = 0.1
READ_BYTES = 2**16
DRAIN_OUTPUT_S = 1.0


class Unit:
    """The process of one service, and what is known about it.

    Attributes:
        ready: set while the process is ready, or for good once a task is done.
        was_ready: it has been ready once since the supervisor began.
    """

    def __init__(self, service: Service, log: ServiceLog, changed: Callable[[], None], mark: str) -> None:
        self.service = service
        self.status = ServiceStatus(service.name, service.kind, service.port)
        self.ready = asyncio.Event()
        self.was_ready = False
        self._log = log
        self._changed = changed
        self._mark = mark
        self._process: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[None] | None = None

    def set_state(self, state: str) -> None:
        """Change the state for all to see."""
        self.status.state = state
        self._changed()

    async def start(self) -> None:
        """Prepare and start the process.

        Raises:
            StackError: the preparation failed.
            OSError: the program can't be executed.
        """
        self._log.note(STARTING)
        self.set_state("preparing")
        self.status.started_at = time.time()
        await asyncio.to_thread(self.service.prepare)
        process = await asyncio.create_subprocess_exec(
            *self.service.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**(self.service.environment or os.environ), MARK: self._mark},
            cwd=self.service.directory,
            start_new_session=True,
            preexec_fn=tied_to_parent(self.service.death_signal),
        )
        self._process = process
        self._output = asyncio.create_task(self._copy_output(process), name=f"output of {self.service.name}")
        self.status.pid = process.pid
        self.status.ticks = start_ticks(process.pid)
        self.status.exit_code = None
        self.set_state("starting")

    async def come_up(self) -> bool:
        """Wait until the service is ready, or the task done; False when it ended before, or took too long."""
        process = self._running()
        try:
            async with asyncio.timeout(self.service.start_timeout_s):
                came_up = await (self._finished() if self.service.kind == "task" else self._answered(process))
        except TimeoutError:
            self._log.note(f"not ready after {self.service.start_timeout_s:.0f} s")
            came_up = False
        if not came_up:
            await self._end(process)
            return False
        self.was_ready = True
        self.ready.set()
        self.status.took_s = round(time.time() - (self.status.started_at or 0), 2)
        self.set_state("done" if self.service.kind == "task" else "ready")
        return True

    async def wait_exit(self) -> None:
        """Wait until the process ends by itself, and clear away what it started."""
        process = self._running()
        await process.wait()
        self.ready.clear()
        await self._end(process)

    async def stop(self) -> None:
        """Ask it to drain, and kill it when its grace is over; harmless where nothing runs."""
        process = self._process
        if process is None:
            if self.status.state != "done":
                self.set_state("stopped")
            return
        self.ready.clear()
        self.set_state("stopping")
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self.service.stop_signal)
        try:
            async with asyncio.timeout(self.service.grace_s):
                await process.wait()
        except TimeoutError:
            self._log.note(f"did not end within {self.service.grace_s:.0f} s: killed")
        await self._end(process)
        self.set_state("stopped")

    def note(self, text: str) -> None:
        """A line of the supervisor's own in the service's log."""
        self._log.note(text)

    def close(self) -> None:
        self._log.close()

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.service.name} was not started")
        return self._process

    async def _answered(self, process: asyncio.subprocess.Process) -> bool:
        while process.returncode is None:
            if await asyncio.to_thread(self.service.ready, process.pid) and process.returncode is None:
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def _finished(self) -> bool:
        process = self._running()
        code = await process.wait()
        await self._end(process)
        return code == 0

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Kill what is left of the group, collect the exit code and the last output."""
        signal_group(process.pid, signal.SIGKILL)
        self.status.exit_code = await process.wait()
        self.status.pid = self.status.ticks = None
        self._process = None
        if self._output is not None:
            await asyncio.wait([self._output], timeout=DRAIN_OUTPUT_S)
            self._output.cancel()
            self._output = None
        self._log.finish_line()

    async def _copy_output(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(READ_BYTES):
            self._log.feed(data)


MARK = "MILLSTREAM_STACK"
