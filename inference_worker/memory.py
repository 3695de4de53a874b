"""The memory that a worker's versions may have together, and which of them make room for another.

A version that is unloaded is loaded again when requests wait for it. If it does not fit, those go that were used least
recently, have nothing to do, and have been loaded for a while. Memory is measured, also while a version loads: nobody
knows before how much it needs. Without a budget nothing of this happens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from inference_worker.children.device_memory import DeviceMemory
from inference_worker.engine import Engine
from inference_worker.lane import Lane
from shared.contract.errors import ConfigurationError, StoreUnavailable
from shared.contract.version_states import State, VersionState
from shared.service.backoff import wait_for_stop
from shared.service.lifecycle import cancel_until_ended
from shared.streams.known_streams import KnownStreams
from shared.telemetry.metrics import DEVICE_MEMORY, ERRORS, MODEL_MEMORY, MODEL_UNLOADS, WAITING_FOR_MEMORY

log = logging.getLogger(__name__)

STAYS_S = 30.0  # for so long a version stays loaded before it makes room
LOOK_EVERY_S = 1.0
MEASURE_EVERY_S = 0.1
MB = 1024 * 1024


class NoRoom(Exception):
    """A version does not fit beside what is loaded, and nothing may be unloaded for it: the message has figures."""


class Idle(NamedTuple):
    """A version that may be unloaded: what that frees, and when it was last used."""

    label: str
    memory_bytes: int
    last_used: float


@dataclass(eq=False, slots=True)
class _Loaded:
    """A version that is served; `leave` ends that, and `gone` is set when it has ended."""

    lane: Lane
    since: float
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


def to_unload(idle: Sequence[Idle], excess_bytes: int) -> list[str] | None:
    """Which versions to unload to free so much, the least recently used first; None if all are not enough."""
    chosen: list[str] = []
    for each in sorted(idle, key=lambda each: each.last_used):
        if excess_bytes <= 0:
            break
        chosen.append(each.label)
        excess_bytes -= each.memory_bytes
    return None if excess_bytes > 0 else chosen


class Memory:
    """The memory of one worker's versions.

    Attributes:
        turn: held by who makes room and loads; without a budget, several may.
        out: the versions that are not loaded for want of memory, by label.
        news: set when that has changed.
    """

    def __init__(self, budget_mb: int | None, cpus: int, streams: KnownStreams, news: asyncio.Event) -> None:
        self.turn = asyncio.Semaphore(cpus if budget_mb is None else 1)
        self.out: dict[str, VersionState] = {}
        self.news = news
        self._budget_mb, self._streams = budget_mb, streams
        self._loaded: dict[str, _Loaded] = {}
        self._needs: dict[str, int] = {}  # bytes, as far as that is known
        self._owed: set[str] = set()
        self._with_entries: set[str] = set()
        self._next_look = 0.0

    def owe(self, label: str) -> None:
        """A version came while the worker runs: it is loaded once, whether or not requests wait for it."""
        self._owed.add(label)

    def forget(self, label: str) -> None:
        """A version is not to be served any more."""
        self._owed.discard(label)
        self._needs.pop(label, None)
        self._tell(label, None)

    async def make_room(self, label: str) -> None:
        """Unload others for a version, as far as it is known what it needs; the turn has to be held.

        Raises:
            NoRoom: nothing, or not enough, may be unloaded.
            ConfigurationError: it alone needs more than the budget.
        """
        if self._budget_mb is not None:
            await self._fit(label, self._needs.get(label, 0))

    async def start(self, label: str, engine: Engine) -> None:
        """Start the children of a version, and see to it meanwhile that all stay within the budget.

        Raises:
            NoRoom: as above.
            ConfigurationError: as above, or a child cannot load.
        """
        if self._budget_mb is None:
            await engine.start()
            return
        self._needs[label] = 0
        starting = asyncio.create_task(engine.start(), name=f"start {label}")
        try:
            while not starting.done():
                await asyncio.wait([starting], timeout=MEASURE_EVERY_S)
                await self._keep_within(label, engine)
            starting.result()
        except BaseException:
            await cancel_until_ended([starting])
            engine.close()
            raise

    @contextmanager
    def held_by(self, lane: Lane) -> Iterator[asyncio.Event]:
        """Count a version as loaded; gives the event that tells it to make room."""
        label, names = lane.served.label, (lane.served.model, lane.served.version.version)
        loaded = self._loaded[label] = _Loaded(lane, time.monotonic())
        self._owed.discard(label)
        self._tell(label, None)
        MODEL_MEMORY.labels(*names).set_function(lane.memory_bytes)
        told = _tell_of_device(lane, names)
        try:
            yield loaded.leave
        finally:
            del self._loaded[label]
            MODEL_MEMORY.labels(*names).set_function(lambda: 0)
            for labels in told:
                DEVICE_MEMORY.remove(*labels)
            loaded.gone.set()
            if loaded.leave.is_set():
                self._tell(label, VersionState(State.UNLOADED, "unloaded to make room for another"))

    async def until_wanted(self, label: str, end: asyncio.Event) -> None:
        """Wait for a moment, and then until requests wait for a version that is out, or `end` is set."""
        while not await wait_for_stop(end, LOOK_EVERY_S):
            await self._look(LOOK_EVERY_S)
            if self._is_wanted(label):
                return
            if label in self.out and self.out[label].state is State.WAITING:
                self._tell(label, VersionState(State.UNLOADED, "nothing waits for it any more"))

    def note(self, label: str, error: NoRoom) -> None:
        """A version has found no room."""
        state = State.WAITING if self._is_wanted(label) else State.UNLOADED
        self._tell(label, VersionState(state, str(error)))

    def _is_wanted(self, label: str) -> bool:
        return label in self._owed or label in self._with_entries

    def _tell(self, label: str, state: VersionState | None) -> None:
        before = self.out.pop(label, None)
        if state is not None:
            self.out[label] = state
        if (before and before.state) is not (state and state.state):
            model, _, version = label.partition(":")
            WAITING_FOR_MEMORY.labels(model, version).set(state is not None and state.state is State.WAITING)
            self.news.set()

    async def _keep_within(self, label: str, engine: Engine) -> None:
        """Make room for what a version has taken while it loads."""
        taken = await asyncio.to_thread(engine.memory_bytes)
        self._needs[label] = max(self._needs[label], taken)
        await self._fit(label, self._needs[label])

    async def _fit(self, label: str, needs: int) -> None:
        budget = (self._budget_mb or 0) * MB
        if needs > budget:
            raise ConfigurationError(
                f"{label} needs at least {_mb(needs)} MB of memory, and WORKER_MEMORY_MB={self._budget_mb} is for all "
                f"models of a worker: raise it, or leave {label} to another worker (WORKER_MODELS)"
            )
        used = await asyncio.to_thread(self._measure)
        excess = needs + sum(used.values()) - budget
        if excess <= 0:
            return
        figures = f"at least {_mb(needs)} MB; {_mb(sum(used.values()))} of WORKER_MEMORY_MB={self._budget_mb} are taken"
        await self._look(LOOK_EVERY_S)
        if not self._is_wanted(label):
            raise NoRoom(f"it needs {figures}, and nothing waits for it")
        if not self._idle(used) or not await self._look(0):
            raise NoRoom(f"it needs {figures} by versions that have work, or were loaded less than {STAYS_S:g} s ago")
        chosen = to_unload(self._idle(used), excess)
        if chosen is None:
            raise NoRoom(f"it needs {figures}, and those that could be unloaded have too little")
        await self._unload(chosen, label)

    def _measure(self) -> dict[str, int]:
        return {label: loaded.lane.memory_bytes() for label, loaded in list(self._loaded.items())}

    def _idle(self, used: dict[str, int]) -> list[Idle]:
        """The versions that may be unloaded, by what is known now."""
        long_ago = time.monotonic() - STAYS_S
        return [
            Idle(label, used[label], loaded.lane.last_used)
            for label, loaded in self._loaded.items()
            if label in used
            and loaded.since <= long_ago
            and not loaded.lane.in_hand
            and label not in self._with_entries
        ]

    async def _unload(self, labels: Sequence[str], for_whom: str) -> None:
        leaving = [self._loaded[label] for label in labels]
        for each in leaving:  # all at once: what was found out of them holds now
            each.leave.set()
            served = each.lane.served
            MODEL_UNLOADS.labels(served.model, served.version.version).inc()
            log.info("version unloaded", extra={"model": served.label, "to_load": for_whom})
        for each in leaving:
            await each.gone.wait()

    async def _look(self, at_most_old_s: float) -> bool:
        """See which versions have entries, unless that was done just now; returns whether Redis has answered."""
        now = time.monotonic()
        if at_most_old_s and now < self._next_look:
            return True
        self._next_look = now + LOOK_EVERY_S
        try:
            self._with_entries = await self._streams.with_entries()
        except StoreUnavailable as error:
            ERRORS.labels("inference_worker", f"{error.store}_{error.reason}").inc()
            return False
        return True


def _tell_of_device(lane: Lane, names: tuple[str, str]) -> Sequence[tuple[str, ...]]:
    """Let the metric have the memory of the GPU that a version uses; returns its labels, none without a GPU."""
    if lane.device_memory() is None:
        return []
    labels = [(*names, lane.device, kind) for kind in DeviceMemory._fields]
    for each in labels:
        DEVICE_MEMORY.labels(*each).set_function(_reading(lane, each[-1]))
    return labels


def _reading(lane: Lane, kind: str) -> Callable[[], float]:
    return lambda: getattr(lane.device_memory(), kind, 0)


def _mb(memory_bytes: int) -> int:
    return -(-memory_bytes // MB)
