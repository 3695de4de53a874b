"""What inference costs: `python -m tests.load.model_rates`. Texts a second of each version in the catalogue on one CPU.

Where others use the CPU too, the rate falls and the CPU time of a text hardly does: that is the figure to go by.

A deep queue is what is measured: windows of several batches, cut into passes as the worker cuts them, with the
worker's own code. Short texts are the held-out ones of `make eval` (a sentence or two), summaries are made of the
fixture articles. Tokenizing counts, Redis does not.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from inference_worker.batching import DEEP_READ_BATCHES, next_pass
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item, Task
from inference_worker.tasks.threads import use_threads
from models.articles import load_articles
from models.artifacts import ROOT
from models.data import load_split
from shared.contract.catalogue import BatchLimits
from shared.service.catalogue_file import load_catalogue

LABELS = ("sport", "politics", "business", "science")


@dataclass(frozen=True)
class Rate:
    """What one version did."""

    name: str
    texts: int
    seconds: float
    cpu_seconds: float
    mean_chars: float

    def line(self) -> str:
        """A row of the table."""
        return (
            f"{self.name:<34}{self.texts:>7}{self.mean_chars:>8.0f}{self.texts / self.seconds:>10.1f}"
            f"{self.cpu_seconds / self.texts * 1000:>13.2f}{self.texts / self.cpu_seconds:>12.1f}"
        )


def measure(name: str, task: Task, limits: BatchLimits, texts: Sequence[str], seconds: float) -> Rate:
    """Compute windows of texts until the time is over; the first is not counted."""
    window = limits.max_batch_size * DEEP_READ_BATCHES
    source = cycle(texts)
    done, started, cpu, chars = 0, 0.0, 0.0, 0
    while not started or time.perf_counter() - started < seconds:
        items = [
            Item(text, {"labels": LABELS}) for text in islice(source, window if started else limits.max_batch_size)
        ]
        _compute(task, limits, items)
        if started:
            done += len(items)
            chars += sum(len(item.text) for item in items)
        else:
            started, cpu = time.perf_counter(), time.process_time()
    return Rate(name, done, time.perf_counter() - started, time.process_time() - cpu, chars / done)


def _compute(task: Task, limits: BatchLimits, items: Sequence[Item]) -> None:
    waiting = list(task.encode(items))
    while waiting:
        chosen = next_pass([(each.tokens, each.rows) for each in waiting], 1, limits)
        task.predict([waiting[index] for index in chosen])
        for index in reversed(chosen):
            del waiting[index]


def main() -> None:
    """Measure each version that is served, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.model_rates", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="of each version (default: 8)")
    parser.add_argument("--cpus", type=int, default=1, help="threads for torch, and CPUs to run on (default: 1)")
    parsed = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: parsed.cpus])
    use_threads(parsed.cpus)
    sentences = [rated.text for rated in load_split()["test"]]
    articles = [article.text for article in load_articles()]
    catalogue = load_catalogue(Path(ROOT, "models.toml"))
    print(f"{parsed.cpus} CPU")
    print(f"{'version':<34}{'texts':>7}{'chars':>8}{'texts/s':>10}{'CPU ms/text':>13}{'texts/CPU s':>12}")
    for each in catalogue.served():
        model = catalogue.find(each.model)
        assert model is not None
        limits = each.version.batch
        location = catalogue.artifact_location(each.version)
        task = load_task(model.task, location, each.version.dtype, limits.tokens, each.version.engine)
        texts = articles if model.task == "summarization" else sentences
        name = f"{each.model} {each.version.version}"
        print(measure(name, task, limits, texts, parsed.seconds).line(), flush=True)


if __name__ == "__main__":
    main()
