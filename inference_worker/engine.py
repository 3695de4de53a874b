"""The children of one model version: gives each request to one that is free, and replaces those that end or are worn.

A child that ends leaves open which item it was: one of the batch, or one that it encoded meanwhile. Each is then tried
again by itself, in a child that does nothing else, and only if that ends too is it answered with `ChildLost`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from inference_worker.children.child import LoadPlan
from inference_worker.children.device_memory import DeviceMemory
from inference_worker.children.process import Child, ChildLost, OnProgress
from inference_worker.children.wire import Answer, Failure, Prepared
from inference_worker.tasks.protocol import Item
from shared.contract.catalogue import CPU_TOKENS, GPUS
from shared.contract.errors import ConfigurationError
from shared.contract.progress import Progress
from shared.service.backoff import Backoff
from shared.telemetry.metrics import CHILD_RESTARTS, CHILDREN

log = logging.getLogger(__name__)


class EngineDown(ConfigurationError):
    """The last child has ended and another cannot be started: the message says why."""


In = TypeVar("In")
Out = TypeVar("Out")
Step = Callable[[Sequence[In]], Awaitable[list[Out | Failure]]]


class ChildLimits(NamedTuple):
    """How long a child may take, and when it is worn: None for never.

    Attributes:
        load_s: seconds for loading.
        compute_s: seconds for one batch.
        requests: items that it computes before it is replaced.
        growth_bytes: resident memory that it gains before it is replaced.
    """

    load_s: float
    compute_s: float
    requests: int | None = None
    growth_bytes: int | None = None


class Engine:
    """The children of one version.

    Attributes:
        processes: how many there are while all are well: as many batches compute at once.
        labels: the values that the `label` of its results can have; empty if it has no such list.
        schemas: of what it takes and gives, see `inference_worker.tasks.declared`.
        device: where they compute.
        token_budget: padded tokens that they want in a pass, unless the catalogue says so.
        on_progress: called with an item that is being computed, and how far it is.

    Args:
        processes: how many there are on a CPU.
        on_a_gpu: how many on a GPU.
    """

    def __init__(self, plan: LoadPlan, processes: int, limits: ChildLimits, on_a_gpu: int | None = None) -> None:
        self.processes = processes
        self.device, self.token_budget = "cpu", CPU_TOKENS
        self.on_progress: OnProgress = lambda *_: None
        self._on_a_gpu = on_a_gpu or processes
        self.labels: Sequence[str] = ()
        self.schemas: Mapping[str, Any] = {}
        self._plan, self._limits = plan, limits
        self._children: list[Child] = []
        self._loading: set[Child] = set()
        self._free: asyncio.Queue[Child | None] = asyncio.Queue()  # None wakes who waits for a child in vain
        self._down: EngineDown | None = None
        self._next_to_encode = 0
        self._someone = asyncio.Event()  # set while there is a child at all
        self._leaving: set[Child] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._backoff = Backoff()
        self._closed = asyncio.Event()
        self._names = plan.label.split(":")
        self._gauge = CHILDREN.labels(*self._names)

    async def start(self) -> None:
        """Start all children; a version whose children cannot load cannot serve.

        Raises:
            ConfigurationError: a child cannot load.
        """
        try:
            first = await self._start_child()
            self._add(first)  # alone: what it has read from disk, the others find in memory
            self.labels, self.schemas = first.labels, first.schemas
            self.device, self.token_budget = first.device, first.token_budget
            if first.device.startswith(GPUS):
                self.processes = self._on_a_gpu
            for child in await asyncio.gather(*(self._start_child() for _ in range(self.processes - 1))):
                self._add(child)
        except BaseException:
            self.close()
            raise

    async def encode(self, items: Sequence[Item]) -> list[Prepared | Failure | ChildLost]:
        """Tokenize; the answer has each item encoded, or what it failed with.

        Raises:
            EngineDown: there is no child any more.
        """
        return await self._each(items, self._encode, self._encode_alone) if items else []

    async def predict(self, batch: Sequence[Prepared]) -> list[Answer | Failure | ChildLost]:
        """Run the model; the answer has the output of each item, or what it failed with.

        Raises:
            EngineDown: there is no child any more.
        """
        return await self._each(batch, self._predict, self._predict_alone) if batch else []

    def stop(self, item: Prepared) -> None:
        """Have an item that is being computed left as it is, if its model can."""
        for child in self._children:
            if child.stop(item):
                return

    def memory_bytes(self) -> int:
        """The memory of its children, those that still load too."""
        return sum(child.memory_bytes() for child in [*self._children, *self._loading])

    def device_memory(self) -> DeviceMemory | None:
        """What its children have taken of their GPU's memory, and what that has; None if they use none."""
        told = [child.device_memory for child in self._children if child.device_memory]
        return DeviceMemory(sum(each.used for each in told), told[0].limit) if told else None

    def close(self) -> None:
        """End all children."""
        self._closed.set()
        for task in self._background:
            task.cancel()
        for child in self._children:
            child.close()
        self._gauge.set(0)

    async def _each(
        self, batch: Sequence[In], step: Step[In, Out], alone: Step[In, Out]
    ) -> list[Out | Failure | ChildLost]:
        answers: list[Out | Failure | ChildLost] = []
        try:
            return [*await step(batch)]
        except ChildLost:
            for each in batch:
                try:
                    answers += await alone([each])
                except ChildLost as lost:
                    answers.append(lost)
        return answers

    async def _encode(self, items: Sequence[Item]) -> list[Prepared | Failure]:
        await self._someone.wait()
        if self._down:
            raise self._down
        self._next_to_encode += 1
        child = self._children[self._next_to_encode % len(self._children)]
        try:
            return await child.encode(items)
        except ChildLost as lost:
            self._replace(child, lost.reason)
            raise

    async def _encode_alone(self, items: Sequence[Item]) -> list[Prepared | Failure]:
        return await self._with_free_child(lambda child: child.encode(items))

    async def _predict(self, batch: Sequence[Prepared]) -> list[Answer | Failure]:
        return await self._with_free_child(lambda child: child.predict(batch))

    async def _predict_alone(self, batch: Sequence[Prepared]) -> list[Answer | Failure]:
        return await self._with_free_child(lambda child: child.predict_alone(batch))

    async def _with_free_child(self, step: Callable[[Child], Awaitable[list[Out]]]) -> list[Out]:
        child = await self._free_child()
        try:
            answers = await step(child)
        except ChildLost as lost:
            self._replace(child, lost.reason)
            raise
        self._backoff.succeeded()
        self._release(child)
        return answers

    async def _free_child(self) -> Child:
        while True:
            child = await self._free.get()
            if child is None:
                self._free.put_nowait(None)  # for the next who waits
                raise self._down or AssertionError("unreachable")
            if child in self._children:  # it has not ended while it was free
                return child

    def _release(self, child: Child) -> None:
        """A child has computed: it is free again, unless its successor is there."""
        self._free.put_nowait(child)
        self._let_go()
        if child not in self._leaving and child.is_worn(self._limits.requests, self._limits.growth_bytes):
            self._leaving.add(child)  # it computes until its successor is loaded
            self._count_restart(child, "worn")
            self._in_background(self._add_another())

    def _let_go(self) -> None:
        """End the children that are worn and do nothing, if their successors are there."""
        for child in [each for each in self._leaving if each.idle]:
            if len(self._children) > self.processes:
                self._remove(child)
                child.close()

    async def _start_child(self) -> Child:
        child = await Child.start(self._plan, self._limits.compute_s, self._replace, self._progressed)
        self._loading.add(child)
        try:
            await child.load(self._plan.label, self._limits.load_s)
        finally:
            self._loading.discard(child)
        return child

    def _progressed(self, item: Prepared, progress: Progress) -> None:
        self.on_progress(item, progress)

    def _add(self, child: Child) -> None:
        self._children.append(child)
        self._free.put_nowait(child)
        self._someone.set()
        self._gauge.set(len(self._children))

    def _remove(self, child: Child) -> None:
        self._children.remove(child)
        self._leaving.discard(child)
        if not self._children:
            self._someone.clear()
        self._gauge.set(len(self._children))

    def _replace(self, child: Child, reason: str) -> None:
        """A child has ended; told once by whoever notices first."""
        if child not in self._children or self._closed.is_set():
            return
        has_successor = child in self._leaving
        self._remove(child)
        self._count_restart(child, reason)
        if not has_successor:
            self._in_background(self._add_another())

    def _count_restart(self, child: Child, reason: str) -> None:
        CHILD_RESTARTS.labels(*self._names, reason).inc()
        log.warning("child replaced", extra={"model": self._plan.label, "reason": reason, "pid": child.pid})

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"replace a child of {self._plan.label}")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _add_another(self) -> None:
        while not self._closed.is_set():
            await self._backoff.pause(self._closed)
            try:
                self._add(await self._start_child())
                self._let_go()
                return
            except Exception as error:  # nobody awaits this task: whatever it is, requests must not wait for a child
                unexpected = None if isinstance(error, ConfigurationError) else error
                facts = {"model": self._plan.label, "detail": str(error)}
                log.error("child not started", extra=facts, exc_info=unexpected)
                if not self._children:
                    self._down = EngineDown(str(error))
                    self._someone.set()
                    self._free.put_nowait(None)
                    return
