"""`make bench`: what the pipeline costs, as ratios to a bare handler in the same run.

Everything runs on this machine: load, gateway, worker (a no-op model), persister, Redis with its append-only file,
Postgres with fsync. Every answered prediction is stored, and the run fails unless the counts are equal and no key is
left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from scripts.stack.ports import answers, free_port
from scripts.stack.postgres import running_postgres
from scripts.stack.redis import AppendFsync, running_redis
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


def measure(port: int, connections: int, seconds: float) -> dict[str, Any]:
    """Run the load client in a process of its own."""
    command = [sys.executable, "-m", "tests.load.client", str(port), PATH, BODY]
    command += [f"--connections={connections}", f"--seconds={seconds}"]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True, timeout=seconds + 60)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@contextmanager
def bare() -> Iterator[int]:
    """The bare handler; yields its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.load.bare", str(port)], cwd=REPOSITORY)
    try:
        wait_until(lambda: answers(port), "the bare handler listens")
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def pipeline(folder: Path, appendfsync: AppendFsync) -> Iterator[tuple[int, str, str]]:
    """The whole pipeline; yields the gateway's port and the addresses of the stores."""
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres(folder / "postgres", durable=True))
        redis = stack.enter_context(running_redis(folder / "redis", appendfsync=appendfsync, maxmemory="2gb"))
        environment = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "MODEL_CATALOGUE": str(REPOSITORY / "tests/fixtures/models.toml"),
            "WORKER_MODELS": "noop",
        }
        subprocess.run(
            [sys.executable, "-m", "migrations"],
            cwd=REPOSITORY,
            env={**os.environ, **environment, "LOG_LEVEL": "WARNING"},
            check=True,
        )
        ports = {name: free_port() for name in ("gateway", "inference_worker", "persister")}
        names = ("GATEWAY_PORT", "WORKER_METRICS_PORT", "PERSISTER_METRICS_PORT")
        environment |= dict(zip(names, map(str, ports.values()), strict=True))
        services = [Service(name, port, environment, folder / f"{name}.log") for name, port in ports.items()]
        for service in services:
            stack.callback(service.stop)
        for service in services:
            service.wait_ready()
        yield ports["gateway"], postgres.url, redis.url


async def settle(database_url: str, redis_url: str, answered: int) -> None:
    """Wait until everything answered is stored.

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
    if stored != answered or states:
        raise SystemExit(f"answered {answered}, stored {stored}, states left {len(states)}")


def report(rows: list[tuple[str, int, dict[str, Any], dict[str, Any]]]) -> bool:
    """Print the table; the answer says whether the limits hold."""
    print(f"\n{'run':<22}{'connections':>12}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'of bare':>9}{'+p50 ms':>9}")
    fine = True
    for name, connections, figures, base in rows:
        share = figures["rate"] / base["rate"]
        added = figures["p50_ms"] - base["p50_ms"]
        print(
            f"{name:<22}{connections:>12}{figures['rate']:>12.0f}{figures['p50_ms']:>9.2f}{figures['p99_ms']:>9.2f}"
            f"{share:>9.1%}{added:>9.2f}"
        )
        if name == "pipeline everysec":
            fine &= share >= FLOOR_RATE_SHARE if connections == 64 else True
            fine &= added <= CEILING_ADDED_P50_MS if connections == 1 else True
    return fine


def main() -> int:
    """Measure; the exit code says whether the limits hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs: a look, not a figure")
    seconds = 2.0 if parser.parse_args().quick else 8.0
    levels = (1, 64, 256)
    rows: list[tuple[str, int, dict[str, Any], dict[str, Any]]] = []
    print("bare handler …", flush=True)
    with bare() as port:
        measure(port, 64, 1)
        base = {level: measure(port, level, seconds) for level in levels}
    rows += [("bare handler", level, base[level], base[level]) for level in levels]
    for appendfsync in ("everysec", "always"):
        print(f"pipeline, appendfsync {appendfsync} …", flush=True)
        with tempfile.TemporaryDirectory() as folder, pipeline(Path(folder), appendfsync) as (port, database, redis):
            runs = [measure(port, 64, 1)]
            for level in levels:
                runs.append(measure(port, level, seconds))
                rows.append((f"pipeline {appendfsync}", level, runs[-1], base[level]))
            answered = sum(sum(run["statuses"].values()) for run in runs)
            bad = [run["statuses"] for run in runs if set(run["statuses"]) != {"200"}]
            if bad:
                print(f"not every answer was 200: {bad}", file=sys.stderr)
                return 1
            asyncio.run(settle(database, redis, answered))
    fine = report(rows)
    print(
        f"\nevery answered prediction is stored; required: at least {FLOOR_RATE_SHARE:.0%} of bare at 64 connections, "
        f"at most {CEILING_ADDED_P50_MS} ms added to p50 at one: {'holds' if fine else 'DOES NOT HOLD'}"
    )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
