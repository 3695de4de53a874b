"""The queue path: a request that waits for its answer, with a model that does nothing.

`python -m tests.load.queue_path` measures it in Millstream, which stores what it answers in Postgres (a run fails if
something is missing), in job queues over Redis, and in a bare handler with the same validation. They take turns, one
alive at a time, each with a Redis of its own; medians of the rounds count, and a share is that of the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from scripts.stack.redis import AppendFsync, running_redis
from tests.e2e.conftest import services
from tests.load.bench import bare, settle
from tests.load.cpu import cpu_seconds
from tests.load.peers import running
from tests.load.peers.packages import QUEUES
from tests.load.stores import pid_of, running_stores
from tests.load.wrk import measure

PATH = "/api/v1/predict"
BODY = {"model": "noop", "text": "This product is great and I love it very much, thanks a lot", "version": "1.0.0"}
LEVELS = (1, 8, 64, 256)
WARM_UP_S = 1.0


@dataclass
class Subject:
    """What is measured: where it answers, and the processes whose CPU time counts."""

    name: str
    port: int
    pids: list[int]
    settle: Callable[[int], None] = field(default=lambda answers: None)


class Measured(NamedTuple):
    """One run: what the client saw, and the CPU seconds of all processes for 1,000 requests."""

    round: int
    name: str
    connections: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float


@contextmanager
def echo(_: Path) -> Iterator[Subject]:
    """The bare handler."""
    with bare() as (port, pid):
        yield Subject("bare handler", port, [pid])


@contextmanager
def millstream(folder: Path, *, appendfsync: AppendFsync) -> Iterator[Subject]:
    """The whole pipeline, one process of each."""
    with ExitStack() as stack:
        postgres, redis, environment = stack.enter_context(
            running_stores(folder, "noop", appendfsync=appendfsync, maxmemory="2gb", durable=True)
        )
        start = stack.enter_context(services(environment, folder))
        started = [start(each) for each in ("gateway", "inference_worker", "persister")]
        pids = [*(service.process.pid for service in started), pid_of(postgres), pid_of(redis)]
        port = int(started[0].url.rpartition(":")[2])

        def stored(answers: int) -> None:
            asyncio.run(settle(postgres.url, redis.url, answers, sum(LEVELS) + 64))

        yield Subject(f"Millstream, {appendfsync}", port, pids, settle=stored)


@contextmanager
def peer(name: str, folder: Path) -> Iterator[Subject]:
    """A job queue, with a Redis of its own."""
    with (
        running_redis(folder / "redis", appendfsync="everysec", maxmemory="2gb") as redis,
        running.queue(name, redis.url, BODY, folder / "log") as at,
    ):
        yield Subject(name, at.port, [*at.pids, pid_of(redis)])


def subjects(names: list[str]) -> list[Callable[[Path], AbstractContextManager[Subject]]]:
    """What starts each of those that are measured."""
    ours = [partial(millstream, appendfsync=each) for each in ("everysec", "always")]
    return [echo, *ours, *(partial(peer, name) for name in names)]


def measured(subject: Subject, number: int, seconds: float, levels: Sequence[int] = LEVELS) -> Iterator[Measured]:
    """One subject at all levels, in one round.

    Raises:
        SystemExit: not all that was answered is stored.
    """
    answers = measure(subject.port, PATH, BODY, 64, WARM_UP_S).answers
    for connections in levels:
        before = sum(map(cpu_seconds, subject.pids))
        seen = measure(subject.port, PATH, BODY, connections, seconds)
        cpu_s = sum(map(cpu_seconds, subject.pids)) - before
        answers += seen.answers
        rest = seen.rate, seen.p50_ms, seen.p99_ms, cpu_s / seen.answers * 1000
        yield Measured(number, subject.name, connections, *rest)
    subject.settle(answers)


def main() -> None:
    """Measure; prints a line of JSON for each run, and a readable one to where errors go."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.queue_path", description=__doc__)
    parser.add_argument("--peers", nargs="*", default=list(QUEUES), choices=list(QUEUES), metavar="PEER")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--seconds", type=float, default=4, help="of each run (default: 4)")
    parsed = parser.parse_args()
    for number in range(parsed.rounds):
        for start in subjects(parsed.peers):
            with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as subject:
                for each in measured(subject, number, parsed.seconds):
                    print(json.dumps(each._asdict()), flush=True)
                    print(f"{each.name:<22}{each.connections:>4} connections {each.rate:>9.0f}/s", file=sys.stderr)


if __name__ == "__main__":
    main()
