"""An engine without child processes, for tests of the lane that watch a task at work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import orjson

from inference_worker.children.answers import answering, preparing, unpacked
from inference_worker.children.child import LoadPlan
from inference_worker.children.guard import run_step
from inference_worker.children.process import ChildLost
from inference_worker.children.wire import Answer, Failure, Lone, Prepared
from inference_worker.engine import ChildLimits, Engine
from inference_worker.tasks.protocol import Item, Task

PLAN = LoadPlan("m:1", "tests:Task", "none", "float32", "torch", "auto", 512, 1, 1 << 30, 1_000_000, 32_768, 2048)


async def computed_alone(engine: Engine, lone: Lone) -> list[Answer | Failure | ChildLost]:
    """Encode and compute a lone item by the two steps of an engine."""
    input_, options = orjson.loads(lone.data)
    (encoded,) = await engine.encode([Item(input_, options)])
    if not isinstance(encoded, Prepared):
        return [encoded]
    (answer,) = await engine.predict([encoded])
    return [answer if isinstance(answer, ChildLost) else answer._replace(tokens=encoded.tokens)]


class ThreadEngine(Engine):
    """Runs a task in threads of this process, each step as a child would."""

    def __init__(self, task: Task, processes: int = 1) -> None:
        super().__init__(PLAN, processes, ChildLimits(10, 60))
        self._task = task
        self.labels = tuple(getattr(task, "labels", ()))
        self._answer = answering(PLAN.most_output_bytes, bool(self.labels))
        self._prepare = preparing(PLAN.most_tokens, PLAN.most_chunks)
        self._encoding = ThreadPoolExecutor(1)
        self._computing = ThreadPoolExecutor(processes)

    async def encode(self, items: Sequence[Item]) -> list[Prepared | Failure | ChildLost]:
        """Encode as a child does."""
        loop = asyncio.get_running_loop()
        return [*await loop.run_in_executor(self._encoding, run_step, self._task.encode, self._prepare, items)]

    async def predict(self, batch: Sequence[Prepared]) -> list[Answer | Failure | ChildLost]:
        """Compute as a child does."""
        if isinstance(batch[0], Lone):
            return await computed_alone(self, batch[0])
        items = [unpacked(each) for each in batch]
        loop = asyncio.get_running_loop()
        return [*await loop.run_in_executor(self._computing, run_step, self._task.predict, self._answer, items)]

    def close(self) -> None:
        """Release the threads."""
        self._encoding.shutdown(wait=False)
        self._computing.shutdown(wait=False)
