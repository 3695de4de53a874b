"""Calls a task's step so that nothing it raises gets further, not even `SystemExit` or a `__str__` that raises.

A step that raises for a batch is repeated item by item, so that only the item that causes the error fails. If the
memory of a GPU was too small for a batch, its halves are computed one after the other.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from inference_worker.children import device_memory
from inference_worker.children.wire import BAD_OUTPUT, DEVICE_OUT_OF_MEMORY, MODEL_ERROR, RESULT_TOO_LARGE, Failure
from inference_worker.tasks.protocol import InvalidInput, InvalidOptions
from shared.contract.inputs import INVALID_INPUT, refusal_of

In = TypeVar("In")
Out = TypeVar("Out")

MOST_ERROR_CHARS = 2000


class BadOutput(Exception):
    """The model's answer cannot be passed on; the message is ours."""


class ResultTooLarge(BadOutput):
    """The model's answer is larger than its version's may be: the message has the figure and the limit."""


class OutOfMemory(Exception):
    """There is no memory left: nothing that is computed from here on can be relied on."""


def run_step(
    call: Callable[[Sequence[In]], Sequence[object]], passed_on: Callable[[object], Out], batch: Sequence[In]
) -> list[Out | Failure]:
    """Call a step for a batch; for each item what `passed_on` makes of its output, or why it failed.

    Raises:
        OutOfMemory: the process should end.
    """
    if not batch:
        return []
    own_process = os.getpid()
    full = False
    try:
        outputs = list(call(batch))
        if len(outputs) != len(batch):
            raise BadOutput(f"the model returned {len(outputs)} outputs for {len(batch)} inputs")
    except BaseException as error:  # noqa: B036 - a model may raise anything
        _leave_if_forked(own_process)
        if _is_out_of_memory(error):
            raise OutOfMemory from error
        failed = failure(error)
        full = failed.reason == DEVICE_OUT_OF_MEMORY
    else:
        _leave_if_forked(own_process)
        return [_guarded(passed_on, output) for output in outputs]
    if full:  # the error is gone, and with it what the pass held
        device_memory.give_back()
    if len(batch) == 1:
        return [failed]
    size = (len(batch) + 1) // 2 if full else 1
    parts = [batch[start : start + size] for start in range(0, len(batch), size)]
    return [answer for part in parts for answer in run_step(call, passed_on, part)]


def _guarded(passed_on: Callable[[object], Out], output: object) -> Out | Failure:
    try:
        return passed_on(output)
    except MemoryError as error:
        raise OutOfMemory from error
    except BaseException as error:  # noqa: B036 - an output's own methods are the model's code too
        return failure(error)


def _leave_if_forked(own_process: int) -> None:
    """End a copy of this process that the model made by forking: there must be one answer, not two."""
    if os.getpid() != own_process:
        os._exit(1)


def failure(error: BaseException) -> Failure:
    """Why an item failed, from what the model raised."""
    if isinstance(error, InvalidInput):
        options = isinstance(error, InvalidOptions)
        path = ("options" if options else "input", *error.path) if options or error.path else ()
        return Failure(INVALID_INPUT, refusal_of(str(error), path)[:MOST_ERROR_CHARS])
    if isinstance(error, ResultTooLarge):
        return Failure(RESULT_TOO_LARGE, f"{RESULT_TOO_LARGE}: {error}")
    name = type(error).__name__
    try:
        text = f"{name}: {error}" if str(error) else name
    except BaseException:  # noqa: B036 - its `__str__` raises
        text = name
    if device_memory.is_full(error, text):
        told = f"the device has too little memory for this alone ({text.partition('. GPU ')[0]})"
        return Failure(DEVICE_OUT_OF_MEMORY, f"{DEVICE_OUT_OF_MEMORY}: {told}"[:MOST_ERROR_CHARS])
    return Failure(BAD_OUTPUT if isinstance(error, BadOutput) else MODEL_ERROR, text[:MOST_ERROR_CHARS])


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in failure(error).error  # torch's words
