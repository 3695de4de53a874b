"""`make soak`: does anything grow? A steady mixed load at full speed, the memory of each process sampled each second.

After a warm-up (caches fill, the heap finds its size) the rest of the run is cut into quarters, and the medians of the
first and the last are compared. A leak of one object a request is far above the limit: at the thousands of requests a
second of a run, 100 bytes each are tens of megabytes. At the end everything must be as it was before: keys in Redis,
open files, requests in flight; and everything answered must be stored.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import aiohttp
import asyncpg
from redis.asyncio import Redis

from scripts.stack.ports import free_port
from tests.load.growth import Findings, Samples
from tests.load.stores import running_stores
from tests.processes import REPOSITORY, Service, model_processes
from tests.waiting import eventually

PREDICT = "/api/v1/predict"
ECHO = {"model": "echo", "version": "1.0.0", "text": "This product is great and I love it"}
# What each load process repeats, over how many connections: all wait, so that the queue's length stays steady.
LOADS: tuple[tuple[str, object, int], ...] = (
    (PREDICT, ECHO, 6),
    (PREDICT, {"model": "noop", "text": "hello"}, 3),
    (PREDICT, {**ECHO, "text": "raise the alarm"}, 1),
    (f"{PREDICT}/batch", {"model": "echo", "texts": [f"text {n} of a batch" for n in range(8)]}, 1),
)
COUNT = "SELECT count(*) FROM predictions"
IN_FLIGHT = re.compile(r"^millstream_http_requests_in_flight (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Pipeline:
    """What runs."""

    services: Mapping[str, Service]
    redis_pid: int
    redis_url: str
    database_url: str

    @property
    def gateway(self) -> Service:
        """The way in."""
        return self.services["gateway"]

    @property
    def port(self) -> str:
        """The gateway's."""
        return self.gateway.url.rsplit(":", 1)[1]


@contextmanager
def pipeline(folder: Path) -> Iterator[Pipeline]:
    """One of each service, and the stores."""
    with ExitStack() as stack:
        postgres, redis, environment = stack.enter_context(running_stores(folder, "echo,noop"))
        environment["LOG_LEVEL"] = "WARNING"
        ports = {"gateway": "GATEWAY_PORT", "inference_worker": "WORKER_METRICS_PORT"}
        ports["persister"] = "PERSISTER_METRICS_PORT"
        services = {}
        for name, variable in ports.items():
            port = free_port()
            services[name] = Service(name, port, {**environment, variable: str(port)}, folder / f"{name}.log")
            stack.callback(services[name].stop)
        for service in services.values():
            service.wait_ready()
        assert redis.process is not None
        yield Pipeline(services, redis.process.pid, redis.url, postgres.url)


def start_load(port: str, load: tuple[str, object, int], seconds: float) -> subprocess.Popen[str]:
    """One load process."""
    path, body, connections = load
    command = [sys.executable, "-m", "tests.load.client", port, path, json.dumps(body)]
    command += [f"--connections={connections}", f"--seconds={seconds}"]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


async def call_now_and_then(url: str, seconds: float) -> Counter[str]:
    """What the steady load does not do: ask and come back later, turn pages, go away while waiting."""
    answers: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    async with aiohttp.ClientSession(url) as session:
        while time.monotonic() < ends:
            async with session.post(PREDICT, json=ECHO, params={"wait": "0"}) as answer:
                answers[f"POST {answer.status}"] += 1
                location = answer.headers["Location"]
            async with session.get(location, params={"wait": "5"}) as answer:
                answers[f"GET {answer.status}"] += 1
            async with session.get("/api/v1/predictions", params={"limit": "5"}) as answer:
                answers[f"list {answer.status}"] += 1
            try:
                async with session.post(PREDICT, json=ECHO, timeout=aiohttp.ClientTimeout(total=0.001)) as answer:
                    answers[f"POST {answer.status}"] += 1
            except TimeoutError:
                answers["gone away"] += 1
            await asyncio.sleep(0.02)
    return answers


async def sample(processes: Sequence[Samples], seconds: float) -> None:
    """Look at each process once a second."""
    started = time.monotonic()
    while (now := time.monotonic() - started) < seconds:
        for each in processes:
            each.take(now)
        await asyncio.sleep(1)


async def keys_at_rest(redis: Redis) -> int:
    """How many keys there are once nothing is in flight."""

    async def rested() -> bool:
        states = [key async for key in redis.scan_iter("millstream:prediction:*", count=10_000)]
        return not states

    await eventually(rested, "nothing is in flight", timeout_s=60)
    return int(await redis.dbsize())


async def warm(running: Pipeline) -> None:
    """One short run, so that each stream, each connection and each pool is there before anything is compared."""
    for each in LOADS:
        await asyncio.to_thread(start_load(running.port, each, 1).communicate)


async def soak(running: Pipeline, seconds: float) -> Findings:
    """Load it, watch it, and see what is left when it has come to rest."""
    processes = [Samples(name, service.process.pid) for name, service in running.services.items()]
    processes.append(Samples("redis", running.redis_pid))
    children = model_processes(running.services["inference_worker"].process.pid)
    processes += [Samples(f"model {number}", pid) for number, pid in enumerate(children, start=1)]
    redis = Redis.from_url(running.redis_url)
    database = await asyncpg.connect(running.database_url)
    await warm(running)
    keys_before = await keys_at_rest(redis)
    rows_before = await database.fetchval(COUNT)
    for each in processes:
        each.files_before = each.open_files()
    loads = [start_load(running.port, each, seconds) for each in LOADS]
    _, callers = await asyncio.gather(sample(processes, seconds), call_now_and_then(running.gateway.url, seconds))
    figures = [json.loads((await asyncio.to_thread(load.communicate))[0]) for load in loads]
    findings = Findings(
        seconds=seconds,
        processes=processes,
        answers=sum((Counter(each["statuses"]) for each in figures), callers),
        keys=(keys_before, await keys_at_rest(redis)),
        stored=await database.fetchval(COUNT) - rows_before,
        in_flight=in_flight(running.gateway.metrics_url),
    )
    for each in processes:
        each.files_after = each.open_files()
    await database.close()
    await redis.aclose()
    return findings


def in_flight(url: str) -> int:
    """How many requests the gateway is answering."""
    with urlopen(f"{url}/metrics", timeout=10) as answer:
        found = IN_FLIGHT.search(answer.read().decode())
    assert found is not None
    return int(float(found[1]))


def main() -> int:
    """Run; the exit code says whether nothing grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=240, help="length of the load, at most 300 (default: 240)")
    seconds = min(300.0, parser.parse_args().seconds)
    with tempfile.TemporaryDirectory() as folder, pipeline(Path(folder)) as running:
        findings = asyncio.run(soak(running, seconds))
    print(findings.table())
    return 1 if findings.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
