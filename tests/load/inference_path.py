"""The inference path: sentiment, on each server in turn. `python -m tests.load.inference_path`.

The same weights, the same texts (of log-normal length), the same labels: each server is asked for the labels of some
texts first, and a run fails if they differ from the model's own. The peers are tuned as `tests/load/peers/models` says.
Millstream runs as it is shipped, with one worker that has all cores; what it answers is stored in Postgres.

Closed loop of so many clients; then an open loop at shares of the best peer's peak in the same round. What the model
itself does with all cores, without any server, is the ceiling: texts as they come, and of like length together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tests.load.bench import settle
from tests.load.cpu import cpu_seconds
from tests.load.inference import BODY, PATH, pipeline
from tests.load.peers import running
from tests.load.peers.models.sentiment import ARTIFACT, WORKERS, Sentiment
from tests.load.peers.packages import MODEL_SERVERS
from tests.load.text_client import measure, texts
from tests.processes import REPOSITORY

CLIENTS = (1, 8, 32, 128)
SHARES = (0.5, 0.7, 0.9)
WARM_UP_S = 3.0
OURS, SHIPPED = "Millstream", "as shipped"
ENGINES = ("torch", SHIPPED)
RAW, RAW_SORTED = "the model", "the model, sorted"
ON_TORCH = """
[[models]]
name = "sentiment-analysis"
task = "text-classification"
description = "on the engine that the peers have"

[[models.versions]]
version = "1.1.0"
artifact = "{artifact}"
default = true
dtype = "bfloat16"
batch = {{ max_batch_size = 64 }}
"""


class Server(NamedTuple):
    """What is measured: how it is asked, and the processes whose CPU time counts."""

    name: str
    port: int
    path: str
    body: dict[str, Any]
    pids: list[int]
    settle: Callable[[int], None]


Start = Callable[[Path], AbstractContextManager[Server]]


class Measured(NamedTuple):
    """One run: of so many clients, or of so many texts a second at a share of the best peer's peak."""

    round: int
    name: str
    clients: int
    share: float
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float


@contextmanager
def millstream(folder: Path, engine: str) -> Iterator[Server]:
    """The whole pipeline: as it is shipped, or on the engine that the peers have."""
    catalogue = folder / "models.toml"
    catalogue.write_text(ON_TORCH.format(artifact=REPOSITORY / "models" / ARTIFACT), encoding="utf-8")
    with pipeline(folder, 1, "", **({} if engine == SHIPPED else {"MODEL_CATALOGUE": str(catalogue)})) as at:

        def stored(answers: int) -> None:
            asyncio.run(settle(at.database_url, at.redis_url, answers))

        yield Server(f"{OURS}, {engine}", at.port, PATH, BODY, at.pids, stored)


@contextmanager
def peer(folder: Path, name: str) -> Iterator[Server]:
    """A model server."""
    body: dict[str, Any] = {"text": ["TEXT"] if name == "bentoml" else "TEXT"}  # whose batches are made of batches
    with running.model_server(name, body, folder / "log") as at:
        yield Server(name, at.port, "/predict", body, at.pids, lambda answers: None)


def label_of(answer: Any) -> str:
    """In what a server answers."""
    answer = answer.get("result", answer) if isinstance(answer, dict) else {"label": answer[0]}
    return str(answer["label"])


def check(server: Server, known: dict[str, str]) -> int:
    """Ask for some labels; returns how many.

    Raises:
        SystemExit: one is another than the model's own.
    """
    for text, label in known.items():
        answer = running.answer(server.port, server.path, json.loads(json.dumps(server.body).replace("TEXT", text)))
        if answer is None or label_of(answer) != label:
            raise SystemExit(f"{server.name} answers {answer} where the model says {label}: {text}")
    return len(known)


def loads(
    server: Server, number: int, seconds: float, runs: Sequence[tuple[int, float, float]], answers: int
) -> Iterator[Measured]:
    """One server in one round, under loads: so many clients, or a share of a peak and the rate that it is.

    Args:
        answers: that it gave before.
    """
    ask = partial(measure, server.port, server.path, server.body, seed=number)
    answers += len(ask(clients=32, seconds=WARM_UP_S).latencies)
    for clients, share, rate in runs:
        before = sum(map(cpu_seconds, server.pids))
        seen = ask(clients=clients, rate=rate, seconds=seconds)
        cpu_s = sum(map(cpu_seconds, server.pids)) - before
        took, count = seen.latencies, len(seen.latencies)
        answers += count
        p50, p99 = statistics.median(took) * 1000, took[count * 99 // 100] * 1000
        rest = count / seen.seconds, p50, p99, cpu_s / count * 1000
        yield Measured(number, server.name, clients, share, *rest)
    server.settle(answers)


def raw(count: int, *, sort: bool) -> float:
    """Texts a second of the model alone: a process for each core, passes of 16 texts as they come or of like length."""
    command = [sys.executable, "-m", "tests.load.peers.models.sentiment", str(count), *(["--sort"] if sort else [])]
    alone = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(WORKERS)]
    return sum(float(process.communicate()[0]) for process in alone)


def one_round(number: int, names: Sequence[str], seconds: float) -> Iterator[Measured]:
    """The model alone, then all in closed loops, then all in open loops at rates that follow from the peers' peaks."""
    for sort in (False, True):
        yield Measured(number, RAW_SORTED if sort else RAW, 0, 0, raw(500, sort=sort), 0, 0, 0)
    sample = list(islice(texts(99), 20))
    known = dict(zip(sample, Sentiment().labels(sample), strict=True))
    starts: list[Start] = [partial(millstream, engine=each) for each in ENGINES]
    starts += [partial(peer, name=name) for name in names]
    peak = 0.0

    def all_under(runs: Sequence[tuple[int, float, float]]) -> Iterator[Measured]:
        for start in starts:
            with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as server:
                yield from loads(server, number, seconds, runs, check(server, known))

    for each in all_under([(clients, 0, 0) for clients in CLIENTS]):
        peak = max(peak, each.rate) if each.name in names else peak
        yield each
    if names:
        yield from all_under([(0, share, share * peak) for share in SHARES])


def main() -> None:
    """Measure; prints a line of JSON for each run, and a readable one to where errors go."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.inference_path", description=__doc__)
    choices = list(MODEL_SERVERS)
    parser.add_argument("--peers", nargs="*", default=choices, choices=choices, metavar="PEER")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--seconds", type=float, default=10, help="of each run (default: 10)")
    parsed = parser.parse_args()
    for number in range(parsed.rounds):
        for each in one_round(number, parsed.peers, parsed.seconds):
            print(json.dumps(each._asdict()), flush=True)
            load = f"{each.clients} clients" if each.clients else f"{each.share:.0%} of the peak" if each.share else ""
            line = f"{each.name:<24}{load:>20}{each.rate:>9.0f}/s  p50 {each.p50_ms:>7.1f} ms  p99 {each.p99_ms:>7.1f}"
            print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
