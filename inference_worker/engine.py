"""Runs a task's two steps in threads of their own, and finds the bad item when a step fails.

`encode` and `predict` each have one thread: the next batch is tokenized while the current one computes. A step that
raises is repeated item by item, so that only the item that causes an error fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from inference_worker.outcomes import check_count
from inference_worker.tasks.protocol import Encoded, Item, Output, Task

In = TypeVar("In")
Out = TypeVar("Out")


class _Step(Generic[In, Out]):
    def __init__(self, name: str, call: Callable[[Sequence[In]], Sequence[Out]]) -> None:
        self._call = call
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, batch: Sequence[In]) -> list[Out | Exception]:
        try:
            return list(await self._once(batch))
        except Exception as error:
            if len(batch) == 1:
                return [error]
            alone = [await self.run([each]) for each in batch]
            return [answer for (answer,) in alone]

    async def _once(self, batch: Sequence[In]) -> Sequence[Out]:
        outputs = await asyncio.get_running_loop().run_in_executor(self._thread, self._call, batch)
        check_count(outputs, len(batch))
        return outputs

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class Engine:
    """One loaded task and its threads.

    Attributes:
        labels: the values that the `label` of its results can have; empty if it has no such list.
    """

    def __init__(self, task: Task, label: str) -> None:
        self._task = task
        self.labels: Sequence[str] = tuple(getattr(task, "labels", ()))
        self._encode: _Step[Item, Encoded] = _Step(f"encode {label}", task.encode)
        self._predict: _Step[Encoded, Output] = _Step(f"predict {label}", task.predict)

    async def encode(self, items: Sequence[Item]) -> list[Encoded | Exception]:
        """Tokenize; the answer has each item encoded, or what it failed with."""
        return await self._encode.run(items)

    async def predict(self, batch: Sequence[Encoded]) -> list[Output | Exception]:
        """Run the model; the answer has the output of each item, or what it failed with."""
        return await self._predict.run(batch)

    async def warm_up(self) -> None:
        """Run the task's sample through both steps, so that no request waits for what is set up lazily.

        Raises:
            Exception: the sample fails: this version cannot serve.
        """
        for _ in range(2):
            (encoded,) = await self.encode([self._task.sample])
            if isinstance(encoded, Exception):
                raise encoded
            (output,) = await self.predict([encoded])
            if isinstance(output, Exception):
                raise output

    def close(self) -> None:
        """Release the threads; a step that is still running comes to its own end."""
        self._encode.close()
        self._predict.close()
