"""What each engine makes of the shipped encoders: `python -m models.engines`, behind `make engines`.

Prints a table for docs/MODELS.md. Each row is measured in a process of its own with one thread, by the worker's own
code: how often it is right, or how far its numbers are from those of torch in float32; CPU time; the start of a
converted model; memory at its highest; and what the engine's packages take on disk.
"""

from __future__ import annotations

import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from models.artifacts import ROOT
from models.build import build_all
from models.conversions import Conversion, convert, in_a_process
from models.data import load_split
from shared.contract.catalogue import ServedVersion
from shared.contract.errors import ConfigurationError
from shared.service.catalogue_file import load_catalogue

PACKAGES = {
    "torch": ("torch",),
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnx", "ml-dtypes", "flatbuffers"),
}
SHIPPED = "as shipped"
_KINDS = (
    *(("torch", "float32"), ("torch", "bfloat16"), ("openvino", "float32"), ("openvino", "bfloat16")),
    *(("onnxruntime", "float32"), ("openvino", SHIPPED)),
)
_LABELS = ("positive", "negative")
_CLEAR = 0.5  # a text rated nearer to 0 is not counted
_TEXTS, _ROUNDS, _BATCH, _TOKENS_A_PASS = 256, 3, 64, 512
_COLUMNS = (
    *("model", "engine", "computed in", "right", "apart from torch float32"),
    *("CPU ms a text", "CPU s to start", "memory", "packages"),
)


class Job(NamedTuple):
    """What one process measures: a directory's model, and the texts that are timed and judged."""

    task: str
    directory: str
    dtype: str
    engine: str
    texts: Sequence[str]


class Measured(NamedTuple):
    """What was seen: the numbers for each text, CPU seconds a text, CPU seconds to load, highest memory in MB."""

    numbers: list[list[float]]
    cpu_s: float
    load_s: float
    memory_mb: float


def measure(job: Job) -> Measured:
    """Load a model and compute all texts, those that are timed several times over. For a fresh process."""
    from inference_worker.tasks.loading import load_task
    from inference_worker.tasks.protocol import Item
    from inference_worker.tasks.threads import use_threads

    use_threads(1)
    started = time.process_time()
    task = load_task(job.task, job.directory, job.dtype, _TOKENS_A_PASS, job.engine, "cpu")
    load_s = time.process_time() - started
    encoded = task.encode([Item(text, {"labels": _LABELS}) for text in job.texts])
    batches = [encoded[start : start + _BATCH] for start in range(0, len(encoded), _BATCH)]
    outputs = [output for batch in batches for output in task.predict(batch)]
    timed = batches[: max(1, _TEXTS // _BATCH)]
    cpu_s = min(_cpu_s(task, timed) for _ in range(_ROUNDS)) / sum(map(len, timed))
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured([numbers_of(output.result) for output in outputs], cpu_s, load_s, memory_mb)


def numbers_of(result: Mapping[str, Any]) -> list[float]:
    """What a task answers, as numbers: an embedding, or the scores of labels in the order of their names."""
    if "embedding" in result:
        return [float(number) for number in result["embedding"]]
    return [float(score) for _, score in sorted(result["scores"].items())]


def right(numbers: Sequence[Sequence[float]], ratings: Sequence[float]) -> float:
    """How often the higher of two scores, negative and positive, agrees with the rating's sign."""
    agree = [
        (positive > negative) == (rating > 0) for (negative, positive), rating in zip(numbers, ratings, strict=True)
    ]
    return sum(agree) / len(agree)


def apart(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """The largest difference of two numbers in the same place."""
    return max(abs(a - b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def packages_mb(engine: str) -> float:
    """What the packages of an engine take on disk."""
    files = [file for name in PACKAGES[engine] for file in distribution(name).files or ()]
    return sum(Path(str(file.locate())).stat().st_size for file in files if Path(str(file.locate())).is_file()) / 1e6


def _cpu_s(task: Any, batches: Sequence[Sequence[Any]]) -> float:
    started = time.process_time()
    for batch in batches:
        task.predict(batch)
    return time.process_time() - started


def _shipped() -> Iterator[tuple[ServedVersion, str]]:
    """The versions whose numbers can be compared, each artifact once for a task, with its directory."""
    catalogue = load_catalogue(ROOT / "models.toml")
    for served in catalogue.served():
        if served.version.engine != "torch" and served.task != "summarization":
            yield served, catalogue.artifact_location(served.version)


def _copy(directory: Path, to: Path) -> Path:
    """The same artifact without what it was converted to."""
    to.mkdir()
    for each in directory.iterdir():
        if not each.name.startswith(("openvino_", "onnxruntime_")):
            (to / each.name).symlink_to(each.resolve())
    return to


def rows(served: ServedVersion, directory: str, texts: Sequence[str], ratings: Sequence[float]) -> Iterator[str]:
    """The lines of the table for one version, one engine after the other."""
    version, exact = served.version, None
    with tempfile.TemporaryDirectory() as scratch:
        copy = str(_copy(Path(directory), Path(scratch, "artifact")))
        for engine, dtype in _KINDS:
            if dtype == SHIPPED:
                job = Job(served.task, directory, version.dtype, version.engine, texts)
            else:
                job = Job(served.task, copy, dtype, engine, texts)
                if in_a_process(convert, Conversion(*job[:4])) != dtype:
                    continue  # this CPU has no such numbers, and would compute in others
            seen = in_a_process(measure, job)
            exact = exact or seen
            yield _row(served.label, engine, dtype, seen, apart(seen.numbers, exact.numbers), ratings)


def _row(label: str, engine: str, dtype: str, seen: Measured, far: float, ratings: Sequence[float]) -> str:
    share = f"{right(seen.numbers, ratings):.2%}" if len(seen.numbers[0]) == len(_LABELS) else ""
    return (
        f"| `{label}` | {engine} | {dtype} | {share} | {far:.1g} | {seen.cpu_s * 1000:.2f} | {seen.load_s:.1f} "
        f"| {seen.memory_mb:.0f} MB | {packages_mb(engine):.0f} MB |"
    )


def main() -> int:
    """The command; returns its exit code."""
    try:
        build_all()
        clear = [rated for rated in load_split()["test"] if abs(rated.rating) >= _CLEAR]
        print(f"{platform.processor() or platform.machine()}, {len(clear)} texts, {_TEXTS} of them timed")
        print(f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|", sep="\n", flush=True)
        for served, directory in _shipped():
            for row in rows(served, directory, [each.text for each in clear], [each.rating for each in clear]):
                print(row, flush=True)
    except (ConfigurationError, PackageNotFoundError) as error:
        print(f"engines: error: {error}; are the packages of the extra onnxruntime installed?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
