"""Many inputs as batches, and what a refused batch says of its inputs. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

from millstream_client.calls import encode
from millstream_client.errors import InvalidRequest

MOST_INPUTS = 64
MOST_BYTES = 1_000_000  # of JSON in a batch: half of what a server takes by default


def batches(
    inputs: Iterable[Any], most: int = MOST_INPUTS, most_bytes: int = MOST_BYTES, size: Any = None
) -> Iterator[list[Any]]:
    """Inputs in their order, so many and of so many bytes at once at most; one that is larger is alone.

    Args:
        size: how many bytes an input is; default: as JSON.
    """
    size = size or size_of
    batch: list[Any] = []
    total = 0
    for each in inputs:
        added = size(each) + 1
        if batch and (len(batch) == most or total + added > most_bytes):
            yield batch
            batch, total = [], 0
        batch.append(each)
        total += added
    if batch:
        yield batch


async def batches_async(inputs: Iterable[Any] | AsyncIterable[Any], most: int) -> AsyncIterator[list[Any]]:
    """The same of inputs that may come asynchronously."""
    if not isinstance(inputs, AsyncIterable):
        for batch in batches(inputs, most):
            yield batch
        return
    waiting: list[Any] = []
    async for each in inputs:
        waiting.append(each)
        if len(waiting) == most:
            for batch in batches(waiting, most):
                yield batch
            waiting = []
    for batch in batches(waiting, most):
        yield batch


def size_of(value: Any) -> int:
    """Bytes of an input as JSON.

    Raises:
        ValueError, TypeError: it cannot be JSON.
    """
    return len(encode(value))


def inputs_field(inputs: Sequence[Any]) -> dict[str, Any]:
    """The field of a batch request that holds these inputs."""
    return {"texts" if all(isinstance(each, str) for each in inputs) else "inputs": list(inputs)}


def input_field(value: Any) -> dict[str, Any]:
    """The field of a request for one input that holds it."""
    return {"text" if isinstance(value, str) else "input": value}


def refused_inputs(error: InvalidRequest) -> dict[int, str]:
    """Which inputs of a batch were refused, by index, and why."""
    found: dict[int, str] = {}
    for each in error.errors:
        body, name, index, *rest = (*each.place, None, None, None)
        if body == "body" and name in ("texts", "inputs") and isinstance(index, int):
            place = ".".join(str(part) for part in rest if part is not None)
            found.setdefault(index, f"{place}: {each.message}" if place else each.message)
    return found


def too_much(error: InvalidRequest) -> bool:
    """Whether fewer inputs at once might be taken."""
    return error.status == 413 or any(each.place in (("body", "texts"), ("body", "inputs")) for each in error.errors)


def part_key(key: str, indexes: Sequence[int], whole: int) -> str:
    """The idempotency key of a part of a batch: always the same for the same part of the same batch."""
    if len(indexes) == whole:
        return key
    return f"{key}-{hashlib.sha256(repr(list(indexes)).encode()).hexdigest()[:16]}"
