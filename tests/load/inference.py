"""Sentiment through the whole pipeline: `python -m tests.load.inference`. Texts a second, and how long each took.

Everything runs on this machine: load, gateway, workers with the shipped model, persister, Redis, Postgres; all that is
answered is stored. Texts have log-normal lengths. Closed loop: so many clients each send their next text when the last
is answered. Open loop (`--open`): texts are sent at random intervals at so many a second, and a latency counts from
when its text should have been sent.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.conftest import services
from tests.load.bench import settle
from tests.load.stores import pid_of, running_stores
from tests.load.text_client import measure
from tests.processes import REPOSITORY

MODEL = {"model": "sentiment-analysis", "version": "1.1.0"}
PATH, BODY = "/api/v1/predict", {**MODEL, "text": "TEXT"}
WARM_UP_S = 2.0


class Running(NamedTuple):
    """Where the pipeline is, and the processes that it is made of, its stores included."""

    url: str
    database_url: str
    redis_url: str
    pids: list[int]

    @property
    def port(self) -> int:
        """Of the gateway."""
        return int(self.url.rpartition(":")[2])


@contextmanager
def pipeline(folder: Path, workers: int, cpus: str, **settings: str) -> Iterator[Running]:
    """The pipeline, with so many workers of so many CPUs each (empty: all), and further settings."""
    with ExitStack() as stack:
        postgres, redis, environment = stack.enter_context(
            running_stores(folder, f"{MODEL['model']}:{MODEL['version']}", maxmemory="2gb", durable=True)
        )
        environment |= {"MODEL_CATALOGUE": str(REPOSITORY / "models/models.toml"), "WORKER_CPUS": cpus, **settings}
        start = stack.enter_context(services(environment, folder))
        started = [start(each, ready=False) for each in ("gateway", "persister", *["inference_worker"] * workers)]
        for service in started:
            service.wait_ready(120)
        pids = [*(service.process.pid for service in started), pid_of(postgres), pid_of(redis)]
        yield Running(started[0].url, postgres.url, redis.url, pids)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.inference", description=__doc__)
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default: 1)")
    parser.add_argument("--worker-cpus", default="", help="WORKER_CPUS of each (default: all)")
    parser.add_argument("--clients", type=int, nargs="*", default=[8, 32, 128], help="(default: 8 32 128)")
    parser.add_argument("--open", type=float, nargs="*", default=[], help="texts a second of an open loop")
    parser.add_argument("--seconds", type=float, default=10, help="of each run (default: 10)")
    parsed = parser.parse_args()
    print(f"{'load':>12}{'texts/s':>10}{'p50 ms':>9}{'p99 ms':>9}")
    with tempfile.TemporaryDirectory() as folder, pipeline(Path(folder), parsed.workers, parsed.worker_cpus) as at:
        answered = len(measure(at.port, PATH, BODY, clients=32, seconds=WARM_UP_S, seed=1).latencies)
        for name, clients, rate in [
            *((f"{each} clients", each, 0.0) for each in parsed.clients),
            *((f"{each:g}/s", 0, each) for each in parsed.open),
        ]:
            elapsed, took = measure(at.port, PATH, BODY, clients=clients, rate=rate, seconds=parsed.seconds, seed=7)
            answered += len(took)
            p50, p99 = statistics.median(took) * 1000, took[len(took) * 99 // 100] * 1000
            print(f"{name:>12}{len(took) / elapsed:>10.0f}{p50:>9.1f}{p99:>9.1f}", flush=True)
        asyncio.run(settle(at.database_url, at.redis_url, answered))


if __name__ == "__main__":
    main()
