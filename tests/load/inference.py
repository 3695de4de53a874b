"""Sentiment through the whole pipeline: `python -m tests.load.inference`. Texts a second, and how long each took.

Everything runs on this machine: load, gateway, workers with the shipped model, persister, Redis, Postgres; all that is
answered is stored. Texts have log-normal lengths. Closed loop: so many clients each send their next text when the last
is answered. Open loop (`--open`): texts are sent at random intervals at so many a second, and a latency counts from
when its text should have been sent.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.e2e.conftest import services
from tests.load.bench import settle
from tests.load.stores import running_stores
from tests.processes import REPOSITORY

WORDS = (
    "the a movie film was really great terrible plot acting of and but story with scenes I loved hated it service "
    "food slow wonderful boring"
).split()
MODEL = {"model": "sentiment-analysis", "version": "1.1.0"}
WARM_UP_S = 2.0


class Running(NamedTuple):
    """Where the pipeline is."""

    url: str
    database_url: str
    redis_url: str


def texts(seed: int) -> Iterator[str]:
    """Texts of 3 to 62 words, 22 in the median."""
    chance = random.Random(seed)
    while True:
        yield " ".join(chance.choices(WORDS, k=max(3, min(62, int(chance.lognormvariate(3.09, 0.8))))))


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
        yield Running(started[0].url, postgres.url, redis.url)


async def load(url: str, clients: int, rate: float, seconds: float) -> list[float]:
    """Send texts; returns how long each took, in seconds.

    Raises:
        SystemExit: an answer was not 200.
    """
    source, took = texts(7), []
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(since: float) -> None:
            async with session.post("/api/v1/predict", json={**MODEL, "text": next(source)}) as answer:
                await answer.read()
                if answer.status != 200:
                    raise SystemExit(f"{answer.status}: {await answer.text()}")
            took.append(loop.time() - since)

        until = loop.time() + seconds
        if not rate:

            async def client() -> None:
                while loop.time() < until:
                    await one(loop.time())

            await asyncio.gather(*(client() for _ in range(clients)))
            return took
        at, sent = loop.time(), []
        while at < until:
            at += random.expovariate(rate)
            await asyncio.sleep(max(0.0, at - loop.time()))
            sent.append(asyncio.create_task(one(at)))
        await asyncio.gather(*sent)
    return took


def run(url: str, clients: int, rate: float, seconds: float) -> list[float]:
    """Run the load in a process of its own."""
    command = [sys.executable, "-m", "tests.load.inference", "--load", url, f"{clients}", f"{rate}", f"{seconds}"]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    return [float(each) for each in done.stdout.split()]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.inference", description=__doc__)
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default: 1)")
    parser.add_argument("--worker-cpus", default="", help="WORKER_CPUS of each (default: all)")
    parser.add_argument("--clients", type=int, nargs="*", default=[8, 32, 128], help="(default: 8 32 128)")
    parser.add_argument("--open", type=float, nargs="*", default=[], help="texts a second of an open loop")
    parser.add_argument("--seconds", type=float, default=10, help="of each run (default: 10)")
    parser.add_argument("--load", nargs=4, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.load:
        url, clients, rate, seconds = parsed.load
        print(*(f"{each:.6f}" for each in asyncio.run(load(url, int(clients), float(rate), float(seconds)))))
        return
    print(f"{'load':>12}{'texts/s':>10}{'p50 ms':>9}{'p99 ms':>9}")
    with tempfile.TemporaryDirectory() as folder, pipeline(Path(folder), parsed.workers, parsed.worker_cpus) as at:
        answered = len(run(at.url, 32, 0, WARM_UP_S))
        for name, clients, rate in [
            *((f"{each} clients", each, 0.0) for each in parsed.clients),
            *((f"{each:g}/s", 0, each) for each in parsed.open),
        ]:
            started = time.monotonic()
            took = sorted(run(at.url, clients, rate, parsed.seconds))
            answered += len(took)
            elapsed = min(parsed.seconds, time.monotonic() - started)
            p50, p99 = statistics.median(took) * 1000, took[len(took) * 99 // 100] * 1000
            print(f"{name:>12}{len(took) / elapsed:>10.0f}{p50:>9.1f}{p99:>9.1f}", flush=True)
        asyncio.run(settle(at.database_url, at.redis_url, answered))


if __name__ == "__main__":
    main()
