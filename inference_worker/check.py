"""Is a model fit to be served? `python -m inference_worker.check my_models/iris.py:Iris`

Loads it in this process, without a stack, tries it with its sample (or `--input`), alone and eight at a time, and
prints what it saw. The exit code is 1 if something is wrong.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import orjson

from inference_worker.artifact_store.trying import fetch_at_once
from inference_worker.placement import task_at
from inference_worker.testing import Failed, Model, load
from shared.contract.errors import ConfigurationError

BATCH = 8
ROUNDING = 1e-5  # of float32
Result = TypeVar("Result")


def findings(task: str, artifact: str, dtype: str, device: str, given: Any = None) -> Iterator[tuple[str, str]]:
    """What is found, one after the other: a name and what was seen.

    Raises:
        ConfigurationError: it cannot be loaded.
        Failed: it fails for the input.
    """
    located = task_at(task, ".")
    with ExitStack() as held:
        directory, seconds = _timed(lambda: fetch_at_once(artifact, task, held))
        if directory != artifact:
            yield "fetched", f"in {seconds:.2f} s, and compared: {directory}"
        yield from _seen(located, directory, dtype, device, given)


def _seen(task: str, artifact: str, dtype: str, device: str, given: Any) -> Iterator[tuple[str, str]]:
    before = _memory_mb()
    model, seconds = _timed(lambda: load(task, artifact, dtype, device=device))
    yield "loaded", f"in {seconds:.2f} s, {_memory_mb() - before:.0f} MB"
    yield "declares", ", ".join(name for name in ("input", "options", "output") if name in model.schemas) or "nothing"
    if given is None and model.sample is None:
        yield "not tried", "it has no `sample`, and its Input no example: give one with --input"
        return
    yield "input", _short(model.sample if given is None else given)
    _predict(model, given, 1)  # what is set up lazily
    alone, one_s = _timed(lambda: [_predict(model, given, 1)[0] for _ in range(BATCH)])
    together, batch_s = _timed(lambda: _predict(model, given, BATCH))
    yield "result", _short(alone[0])
    yield "bytes", f"{len(orjson.dumps(alone[0]))} of JSON"
    yield "alone", f"{one_s / BATCH * 1000:.2f} ms each"
    yield f"{BATCH} together", f"{batch_s / BATCH * 1000:.2f} ms each"
    for one, other in zip(alone, together, strict=True):
        if not _alike(one, other):
            yield "differs", f"in a batch it answers {_short(other)}"
            return


def _alike(one: Any, other: Any) -> bool:
    """Whether two results are the same, numbers but for the rounding that the size of a batch decides."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return bool(one == other)


def _predict(model: Model, given: Any, times: int) -> list[Any]:
    return model.predict_sample(times) if given is None else model.predict([given] * times)


def _timed(call: Callable[[], Result]) -> tuple[Result, float]:
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 200 else f"{text[:197]}…"


def add_model(parser: argparse.ArgumentParser) -> None:
    """The arguments of a command that say which model it is about."""
    parser.add_argument("task", help="my_models/iris.py:Iris, package.module:Class, or a built-in task")
    parser.add_argument(
        "--artifact", default="", help="its directory, hf://owner/name@revision, or s3://bucket/path@sha256:…"
    )
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 or mps; by default a GPU if there is one")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m inference_worker.check", description=__doc__)
    add_model(parser)
    parser.add_argument("--input", type=orjson.loads, metavar="JSON", help="in place of its sample")
    given = parser.parse_args(arguments)
    names = []
    try:
        for name, seen in findings(given.task, given.artifact, given.dtype, given.device, given.input):
            names.append(name)
            print(f"{name:>10}  {seen}", flush=True)
    except (ConfigurationError, Failed) as error:
        print(f"{'FAILED':>10}  {error}", file=sys.stderr)
        return 1
    return 1 if "differs" in names else 0


if __name__ == "__main__":
    sys.exit(main())
