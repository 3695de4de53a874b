"""`make costs`: what hostile texts cost each shipped version: CPU seconds, memory and bytes of output.

Each text is encoded and computed in a process of its own, as a worker's child does it, and compared with what its
version declares. CPU time is counted, not timed, so that a busy machine changes little. Exit code 1: a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any, NamedTuple

from inference_worker.children.answers import answering, preparing, unpacked
from inference_worker.children.guard import run_step
from inference_worker.children.wire import Failure
from inference_worker.placement import load_plan
from inference_worker.tasks.protocol import Item
from shared.contract.catalogue import Catalogue, ServedVersion
from shared.service.catalogue_file import load_catalogue
from tests.processes import REPOSITORY

CHARS = 50_000  # MAX_TEXT_CHARS
MOST_ENCODE_CPU_S = 2.0
MOST_CPU_S = 60.0  # of a text that is accepted, on one CPU
MOST_GROWTH_MB = 700
OPTIONS = {"zero-shot-classification": {"labels": [f"label {number}" for number in range(64)]}}
TEXTS = {
    "prose": "The bridge was closed on Monday. Engineers had found cracks in two beams, the council said. ",
    "dots": ".",
    "sentences of a letter": "a. ",
    "blank lines": "a\n\n",
    "one word": "a",
    "jamo": "각",
    "han": "漢",
    "emoji": "👩‍👩‍👧‍👦",
    "combining": "e\u0301\u0302\u0303",
    "control": "\u0001\u200b\ufeff",
    "quotes": '."',
    "numbers": "1 2 3.4 5,6 ",
}


class Cost(NamedTuple):
    """What one text cost one version; `refused` says why it was not computed, '' if it was."""

    encode_cpu_s: float
    cpu_s: float
    growth_mb: float
    output_bytes: int
    refused: str


def measure(catalogue: Catalogue, served: ServedVersion, text: str) -> Cost:
    """Compute one text in this process."""
    from inference_worker.tasks.loading import load_task
    from inference_worker.tasks.threads import use_threads

    plan, _ = load_plan(catalogue.artifact_location(served.version), served, 1)
    use_threads(1)
    task = load_task(plan.task, plan.location, plan.dtype, served.version.batch.tokens, plan.engine)
    prepare, answer = preparing(plan.most_tokens, plan.most_chunks), answering(plan.most_output_bytes, False)
    task.predict(task.encode([task.sample]))  # what is set up lazily is not the text's cost
    memory = _peak_mb()
    began = time.process_time()
    (encoded,) = run_step(task.encode, prepare, [Item(text, OPTIONS.get(served.task, {}))])
    encode_s = time.process_time() - began
    if isinstance(encoded, Failure):
        return Cost(encode_s, encode_s, _peak_mb() - memory, 0, encoded.error)
    (output,) = run_step(task.predict, answer, [unpacked(encoded)])
    took = time.process_time() - began
    if isinstance(output, Failure):
        return Cost(encode_s, took, _peak_mb() - memory, 0, output.error)
    return Cost(encode_s, took, _peak_mb() - memory, len(output.result), "")


def faults(cost: Cost, served: ServedVersion) -> list[str]:
    """Which bounds a cost breaks."""
    bounds = {
        "encoding": (cost.encode_cpu_s, MOST_ENCODE_CPU_S),
        "CPU": (cost.cpu_s, min(MOST_CPU_S, served.version.compute_timeout_s)),
        "memory": (cost.growth_mb, MOST_GROWTH_MB),
        "output": (cost.output_bytes, served.version.max_output_bytes),
    }
    return [f"{name}: {value:.1f} > {most:g}" for name, (value, most) in bounds.items() if value > most]


def hostile(name: str) -> str:
    """A text of the greatest length that a gateway accepts."""
    return (TEXTS[name] * CHARS)[:CHARS]


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_own_process(label: str, name: str) -> Cost:
    command = [sys.executable, "-m", "tests.load.costs", "--case", label, name]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    fields: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Cost(**fields)


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.costs", description=__doc__)
    parser.add_argument("--only", default="", help="versions to measure, as in WORKER_MODELS (default: all)")
    parser.add_argument("--texts", nargs="*", default=list(TEXTS), choices=list(TEXTS), help="(default: all)")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    catalogue = load_catalogue(REPOSITORY / "models/models.toml")
    if parsed.case:
        (served,) = catalogue.select(parsed.case[0])
        print(json.dumps(measure(catalogue, served, hostile(parsed.case[1]))._asdict()))
        return 0
    print(f"{'version':<32}{'text of 50,000 characters':<27}{'encode s':>9}{'CPU s':>8}{'MB':>6}{'bytes':>8}  ")
    broken = 0
    for served in catalogue.select(parsed.only):
        for name in parsed.texts:
            cost = _in_own_process(served.label, name)
            wrong = faults(cost, served)
            broken += bool(wrong)
            said = "; ".join(wrong) or cost.refused
            columns = f"{cost.encode_cpu_s:>9.2f}{cost.cpu_s:>8.2f}{cost.growth_mb:>6.0f}{cost.output_bytes:>8}"
            print(f"{served.label:<32}{name:<27}{columns}  {'BROKEN ' if wrong else ''}{said}"[:200], flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
