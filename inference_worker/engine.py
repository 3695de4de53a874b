"""The children of one model version: gives each request to one that is free, and replaces those that end.

A child that ends over a batch leaves open which item it was. Each is then tried alone, so that only an item that ends a
child by itself is answered with `ChildLost`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from inference_worker.children.child import LoadPlan
from inference_worker.children.process import Child, ChildLost
from inference_worker.children.wire import Answer, Failure, Prepared
from inference_worker.tasks.protocol import Item
from shared.contract.errors import ConfigurationError
from shared.service.backoff import Backoff
from shared.telemetry.metrics import CHILD_RESTARTS, CHILDREN

log = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")


class Engine:
    """The children of one version.

    Attributes:
        processes: how many there are while all are well: as many batches compute at once.
        labels: the values that the `label` of its results can have; empty if it has no such list.
    """

    def __init__(self, plan: LoadPlan, processes: int, load_timeout_s: float, compute_timeout_s: float) -> None:
        self.processes = processes
        self.labels: Sequence[str] = ()
        self._plan = plan
        self._load_timeout_s, self._compute_timeout_s = load_timeout_s, compute_timeout_s
        self._children: list[Child] = []
        self._free: asyncio.Queue[Child] = asyncio.Queue()
        self._next_to_encode = 0
        self._someone = asyncio.Event()  # set while there is a child at all
        self._replacing: set[asyncio.Task[None]] = set()
        self._backoff = Backoff()
        self._closed = asyncio.Event()
        self._names = plan.label.split(":")
        self._gauge = CHILDREN.labels(*self._names)

    async def start(self) -> None:
        """Start all children; a version whose children cannot load cannot serve.

        Raises:
            ConfigurationError: a child cannot load.
        """
        first = await self._start_child()
        self._add(first)  # one after another: what the first has read from disk, the others find in memory
        self.labels = first.labels
        for child in await asyncio.gather(*(self._start_child() for _ in range(self.processes - 1))):
            self._add(child)

    async def encode(self, items: Sequence[Item]) -> list[Prepared | Failure | ChildLost]:
        """Tokenize; the answer has each item encoded, or what it failed with."""
        return await self._each(items, self._encode) if items else []

    async def predict(self, batch: Sequence[Prepared]) -> list[Answer | Failure | ChildLost]:
        """Run the model; the answer has the output of each item, or what it failed with."""
        return await self._each(batch, self._predict) if batch else []

    def close(self) -> None:
        """End all children."""
        self._closed.set()
        for task in self._replacing:
            task.cancel()
        for child in self._children:
            child.close()

    async def _each(
        self, batch: Sequence[In], step: Callable[[Sequence[In]], Awaitable[list[Out | Failure]]]
    ) -> list[Out | Failure | ChildLost]:
        try:
            return [*await step(batch)]
        except ChildLost as lost:
            if len(batch) == 1:
                return [lost]
        return [answer for each in batch for answer in await self._each([each], step)]

    async def _encode(self, items: Sequence[Item]) -> list[Prepared | Failure]:
        await self._someone.wait()
        self._next_to_encode += 1
        child = self._children[self._next_to_encode % len(self._children)]
        try:
            return await child.encode(items)
        except ChildLost as lost:
            self._replace(child, lost.reason)
            raise

    async def _predict(self, batch: Sequence[Prepared]) -> list[Answer | Failure]:
        while (child := await self._free.get()) not in self._children:
            pass  # it ended while it was free
        try:
            answers = await child.predict(batch)
        except ChildLost as lost:
            self._replace(child, lost.reason)
            raise
        self._free.put_nowait(child)
        self._backoff.succeeded()
        return answers

    async def _start_child(self) -> Child:
        return await Child.start(
            self._plan, self._load_timeout_s, self._compute_timeout_s, lambda child: self._replace(child, "child_died")
        )

    def _add(self, child: Child) -> None:
        self._children.append(child)
        self._free.put_nowait(child)
        self._someone.set()
        self._gauge.set(len(self._children))

    def _replace(self, child: Child, reason: str) -> None:
        if child not in self._children or self._closed.is_set():
            return
        self._children.remove(child)
        self._gauge.set(len(self._children))
        if not self._children:
            self._someone.clear()
        CHILD_RESTARTS.labels(*self._names, reason).inc()
        log.warning("child lost", extra={"model": self._plan.label, "reason": reason, "pid": child.pid})
        task = asyncio.create_task(self._add_another(), name=f"replace a child of {self._plan.label}")
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _add_another(self) -> None:
        while not self._closed.is_set():
            await self._backoff.pause(self._closed)
            try:
                self._add(await self._start_child())
                return
            except ConfigurationError as error:
                log.error("child not started", extra={"model": self._plan.label, "detail": str(error)})
