"""`make bench`: what the pipeline costs, as ratios to a bare handler in the same run.

Everything runs on this machine: load, gateway, worker (a no-op model), persister, Redis with its append-only file,
Postgres with fsync. Every answered prediction is stored, and the run fails unless the counts are equal and no key is
left behind. The pipeline and what it is compared with take turns, and the median of the rounds counts. A second
gateway, without metrics, shows what they cost; a third what authentication and the limits of a caller cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
from redis.asyncio import Redis

from scripts.stack.ports import answers as listens
from scripts.stack.ports import free_port
from scripts.stack.redis import AppendFsync
from tests.chaos import control
from tests.e2e.conftest import PORTS
from tests.load.stores import running_stores
from tests.processes import REPOSITORY, Service, wait_until

BODY = json.dumps(
    {
        "model": "noop",
        "text": "This product is great and I love it very much, thanks a lot",
        "version": "1.0.0",
    }
)
PATH = "/api/v1/predict"
FLOOR_RATE_SHARE = 0.25
CEILING_ADDED_P50_MS = 1.5
FLOOR_METERED_SHARE = 0.95
FLOOR_LIMITED_SHARE = 0.90
ROUNDS, SECONDS = 5, 4.0
LEVELS = (1, 64, 256)


class Run(NamedTuple):
    """What the load client saw: answers/s, latencies in ms, and how many answers had which status."""

    rate: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]


class Pipeline(NamedTuple):
    """Where the running pipeline is: the ports of its gateways, and its stores."""

    port: int
    unmetered: int
    limited: int
    database_url: str
    redis_url: str


class Shares(NamedTuple):
    """What rates at 64 connections are of others, by medians."""

    metered: float  # with metrics, of that without
    limited: float  # with authentication and limits, of that without


class Row(NamedTuple):
    """One line of the report; `share` and `added_ms` compare with what took turns with it."""

    name: str
    connections: int
    rate: float
    p50_ms: float
    p99_ms: float
    share: float
    added_ms: float


def measure(port: int, connections: int, seconds: float, headers: Mapping[str, str] | None = None) -> Run:
    """Run the load client in a process of its own."""
    command = [sys.executable, "-m", "tests.load.client", str(port), PATH, BODY]
    command += [f"--connections={connections}", f"--seconds={seconds}"]
    command += [f"--header={name}: {value}" for name, value in (headers or {}).items()]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True, timeout=seconds + 60)
    return Run(**json.loads(done.stdout))


@contextmanager
def bare() -> Iterator[tuple[int, int]]:
    """The bare handler; yields its port and its process."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.load.bare", str(port)], cwd=REPOSITORY)
    try:
        wait_until(lambda: listens(port), "the bare handler listens")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def pipeline(folder: Path, appendfsync: AppendFsync) -> Iterator[Pipeline]:
    """The whole pipeline, with three gateways."""
    with ExitStack() as stack:
        postgres, redis, environment = stack.enter_context(
            running_stores(folder, "noop", appendfsync=appendfsync, maxmemory="2gb", durable=True)
        )
        limits = {name: value for name, value in control.settings(folder).items() if name != "CACHE_SECRET"}
        started = [
            _start(stack, folder / "gateway.log", "gateway", environment),
            _start(stack, folder / "unmetered.log", "tests.load.unmetered", environment),
            _start(stack, folder / "limited.log", "gateway", {**environment, **limits}),
            _start(stack, folder / "worker.log", "inference_worker", environment),
            _start(stack, folder / "persister.log", "persister", environment),
        ]
        for service in started:
            service.wait_ready()
        port, unmetered, limited = (int(service.url.rpartition(":")[2]) for service in started[:3])
        yield Pipeline(port, unmetered, limited, postgres.url, redis.url)


def _start(stack: ExitStack, log: Path, module: str, environment: Mapping[str, str]) -> Service:
    port = free_port()
    service = Service(module, port, {**environment, PORTS.get(module, PORTS["gateway"]): str(port)}, log)
    stack.callback(service.stop)
    return service


async def settle(database_url: str, redis_url: str, answered: int, cut_off: int = 0) -> None:
    """Wait until everything answered is stored.

    Args:
        cut_off: requests that may have been under way when a client hung up.

    Raises:
        SystemExit: a prediction is missing or double, or a key was left behind.
    """
    connection = await asyncpg.connect(database_url)
    redis = Redis.from_url(redis_url)
    for _ in range(600):
        stored = await connection.fetchval("SELECT count(*) FROM predictions")
        states = [key async for key in redis.scan_iter("millstream:prediction:*", count=10_000)]
        if stored >= answered and not states:
            break
        await asyncio.sleep(0.1)
    await connection.close()
    await redis.aclose()
    if not answered <= stored <= answered + cut_off or states:
        raise SystemExit(f"answered {answered}, stored {stored}, states left {len(states)}")


def compare(name: str, connections: int, runs: list[tuple[Run, Run]]) -> Row:
    """The medians of rounds, each of them a run and the run that it is compared with."""
    return Row(
        name,
        connections,
        statistics.median(run.rate for run, _ in runs),
        statistics.median(run.p50_ms for run, _ in runs),
        statistics.median(run.p99_ms for run, _ in runs),
        statistics.median(run.rate / base.rate for run, base in runs),
        statistics.median(run.p50_ms - base.p50_ms for run, base in runs),
    )


def bench(appendfsync: AppendFsync, bare_port: int, rounds: int, seconds: float) -> tuple[list[Row], Shares]:
    """Measure one setting at all levels; the rows, and what metrics and limits leave of the rate.

    Raises:
        SystemExit: an answer was not 200, or what was answered is not what is stored.
    """
    print(f"pipeline, appendfsync {appendfsync} …", flush=True)
    with tempfile.TemporaryDirectory() as folder, pipeline(Path(folder), appendfsync) as at:
        caller = control.credentials("bench")
        ways: list[tuple[int, Mapping[str, str]]] = [(at.port, {}), (at.unmetered, {}), (at.limited, caller)]
        answers = sum((Counter(measure(port, 64, 1, headers).statuses) for port, headers in ways), Counter[str]())
        rows, shares = [], []
        for level in LEVELS:
            runs, bases = [], []
            for _ in range(rounds):
                bases.append(measure(bare_port, level, seconds / 2))
                runs.append(measure(at.port, level, seconds))
                answers.update(runs[-1].statuses)
                if level == 64:
                    others = [measure(port, level, seconds, headers) for port, headers in ways[1:]]
                    for other in others:
                        answers.update(other.statuses)
                    unmetered, limited = others
                    shares.append(Shares(runs[-1].rate / unmetered.rate, limited.rate / runs[-1].rate))
            rows += [compare("bare handler", level, list(zip(bases, bases, strict=True)))]
            rows += [compare(f"pipeline {appendfsync}", level, list(zip(runs, bases, strict=True)))]
        if set(answers) != {"200"}:
            raise SystemExit(f"not every answer was 200: {dict(answers)}")
        asyncio.run(settle(at.database_url, at.redis_url, answers.total()))
    return rows, Shares(*(statistics.median(each) for each in zip(*shares, strict=True)))


def report(rows: list[Row]) -> None:
    """Print the table."""
    print(f"\n{'run':<22}{'connections':>12}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'of bare':>9}{'+p50 ms':>9}")
    for row in rows:
        print(
            f"{row.name:<22}{row.connections:>12}{row.rate:>12.0f}{row.p50_ms:>9.2f}{row.p99_ms:>9.2f}"
            f"{row.share:>9.1%}{row.added_ms:>9.2f}"
        )


def main() -> int:
    """Measure; the exit code says whether the limits hold."""
    argparse.ArgumentParser(prog="python -m tests.load.bench", description=__doc__).parse_args()
    with bare() as (bare_port, _):
        measure(bare_port, 64, 1)
        everysec, shares = bench("everysec", bare_port, ROUNDS, SECONDS)
        always, _ = bench("always", bare_port, ROUNDS, SECONDS)
    report(everysec + always)
    found = {(row.name, row.connections): row for row in everysec}
    limits = {
        f"at least {FLOOR_RATE_SHARE:.0%} of bare at 64 connections (everysec)": (
            found["pipeline everysec", 64].share >= FLOOR_RATE_SHARE
        ),
        f"at most {CEILING_ADDED_P50_MS} ms added to p50 at one (everysec)": (
            found["pipeline everysec", 1].added_ms <= CEILING_ADDED_P50_MS
        ),
        f"with metrics at least {FLOOR_METERED_SHARE:.0%} of the rate without ({shares.metered:.1%})": (
            shares.metered >= FLOOR_METERED_SHARE
        ),
        f"with authentication and limits at least {FLOOR_LIMITED_SHARE:.0%} ({shares.limited:.1%})": (
            shares.limited >= FLOOR_LIMITED_SHARE
        ),
    }
    print("\nEvery answered prediction is stored. Required:")
    for limit, holds in limits.items():
        print(f"  {'holds' if holds else 'DOES NOT HOLD'}: {limit}")
    return 0 if all(limits.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
