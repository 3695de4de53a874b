"""Loading the model and serving it; and again, if that is wanted, whenever its code has changed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from inference_worker.dev.memory import Memory
from inference_worker.dev.stand_ins import LocalStreams, NoRedis, OneWorker
from inference_worker.engine import Engine
from inference_worker.lane import Lane
from inference_worker.placement import child_limits, load_plan
from inference_worker.settings import WorkerSettings
from shared.contract.catalogue import ServedVersion
from shared.contract.errors import ConfigurationError
from shared.service.lifecycle import cancel_until_ended
from shared.service.liveness import Liveness

LOOK_EVERY_S = 0.5
MOST_FILES = 2000  # of code that are looked at
_NO_CODE = ("__pycache__", "node_modules", "site-packages")


class Development:
    """Serves one version from memory.

    Args:
        location: of its artifact; may be empty.
        code: the directory whose Python files are its code: it is loaded again when one changes. None: it never is.
        say: tells who develops it what happens.
        on_load: is called with each lane that serves.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        served: ServedVersion,
        location: str,
        code: Path | None,
        memory: Memory,
        worker: OneWorker,
        say: Callable[[str], None],
        on_load: Callable[[Lane], None],
    ) -> None:
        self._settings, self._served, self._location, self._code = settings, served, location, code
        self._memory, self._worker, self._say, self._on_load = memory, worker, say, on_load
        self._liveness = Liveness(settings.stall_timeout_s)
        self._end, self._serving = asyncio.Event(), asyncio.create_task(asyncio.sleep(0))

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. While the code cannot be loaded, what it was before serves.

        Raises:
            ConfigurationError: it cannot be loaded, or not any more, and its code is not looked at.
        """
        while not stop.is_set():
            seen = _stamps(self._code)
            try:
                lane = await self._load()
            except ConfigurationError as error:
                self._note_failure(error)
            else:
                await self._replace(lane)
                self._on_load(lane)
            await _first_of(stop.wait(), self._change(seen), self._failure())
        await self._replace(None)

    async def _load(self) -> Lane:
        plan, processes = load_plan(self._location, self._served, 1)
        engine = Engine(plan, processes, child_limits(self._served.version, self._settings.load_timeout_s))
        began = time.monotonic()
        await engine.start()
        self._say(f"loaded in {time.monotonic() - began:.1f} s: {plan.task}")
        streams = LocalStreams(self._memory)
        return Lane(self._settings, self._served, streams, engine, self._liveness, "dev", NoRedis())

    async def _replace(self, lane: Lane | None) -> None:
        """Let a lane serve in the place of the one before, which finishes what it computes."""
        self._end.set()
        await asyncio.wait({self._serving})
        self._worker.lane, self._worker.failure = lane, ""
        if lane is not None:
            self._end = asyncio.Event()
            self._serving = asyncio.create_task(lane.run(self._end), name="lane")

    async def _change(self, seen: dict[Path, int]) -> None:
        """Wait until the code is not what it was."""
        while self._code is None or _stamps(self._code) == seen:
            await asyncio.sleep(LOOK_EVERY_S)

    async def _failure(self) -> None:
        """Wait until the lane has ended by itself: its processes end, and cannot be started again."""
        await asyncio.wait({self._serving})
        error = None if self._worker.lane is None else self._serving.exception()
        if error is not None:
            self._worker.lane = None
            self._note_failure(error)
        await asyncio.Event().wait()

    def _note_failure(self, error: BaseException) -> None:
        if self._code is None:
            raise error
        self._worker.failure = str(error)
        self._say(f"NOT LOADED: {error}")


def _stamps(code: Path | None) -> dict[Path, int]:
    """When each file of the code was changed."""
    return {} if code is None else dict(islice(_changes(code), MOST_FILES))


def _changes(code: Path) -> Iterator[tuple[Path, int]]:
    for folder, below, files in os.walk(code):
        below[:] = [each for each in below if not each.startswith(".") and each not in _NO_CODE]  # not gone into at all
        for file in (Path(folder, name) for name in files if name.endswith(".py")):
            try:
                yield file, file.stat().st_mtime_ns
            except OSError:  # it was deleted
                continue


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one has ended, and end the others; raises what it raises."""
    tasks = [asyncio.create_task(each) for each in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_until_ended(tasks)
    for each in done:
        each.result()
