"""What Millstream takes: `python -m tests.load.footprint` prints a line of JSON for each measurement.

The memory of Redis that a waiting request takes; the seconds from the start of each service's process until it is ready
(its files are in the page cache, as after a restart); and the rate of one gateway and of two, before one worker whose
model does nothing, with everything that is answered stored.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import redis

from shared.contract.keys import Keys
from tests.e2e.conftest import services
from tests.load.bench import settle
from tests.load.inference import MODEL
from tests.load.queue_path import BODY, PATH, WARM_UP_S
from tests.load.stores import running_stores
from tests.load.wrk import measure
from tests.processes import REPOSITORY

CONNECTIONS = (64, 256)
SERVICES = {"gateway": "a gateway", "inference_worker": "a worker with {model} {version}", "persister": "a persister"}


class Value(NamedTuple):
    """What was measured, without its round."""

    name: str
    value: float
    unit: str


class Measured(NamedTuple):
    """One measurement."""

    round: int
    name: str
    value: float
    unit: str


def queued(folder: Path, seconds: float) -> Iterator[Value]:
    """The memory of requests that wait for a worker, of which there is none."""
    with (
        running_stores(folder, "noop", maxmemory="2gb") as stores,
        services({**stores.environment, "MAX_BACKLOG": "1000000"}, folder) as start,
        redis.Redis.from_url(stores.redis.url) as client,
    ):
        port = int(start("gateway").url.rpartition(":")[2])
        stream = Keys("millstream:").requests(BODY["model"], BODY["version"])

        def taken() -> tuple[int, int]:
            measure(port, f"{PATH}?wait=0", BODY, 64, seconds)
            return int(client.info("memory")["used_memory"]), int(client.xlen(stream))

        (before, few), (after, many) = taken(), taken()  # the first makes the connections and their buffers
        yield Value("memory of Redis for a request that waits", (after - before) / (many - few), "bytes")


def started(folder: Path, _: float) -> Iterator[Value]:
    """How long each service takes until it is ready, one after another."""
    with running_stores(folder, "{model}:{version}".format(**MODEL), maxmemory="2gb") as stores:
        environment = {**stores.environment, "MODEL_CATALOGUE": str(REPOSITORY / "models/models.toml")}
        with services(environment, folder) as start:
            for module, name in SERVICES.items():
                began = time.perf_counter()
                start(module, ready=False).wait_ready(120)
                yield Value(f"from start to ready, {name.format(**MODEL)}", time.perf_counter() - began, "s")


def gateways(folder: Path, seconds: float) -> Iterator[Value]:
    """The rate of one gateway, and of two with half of the connections each.

    Raises:
        SystemExit: not all that was answered is stored.
    """
    with (
        running_stores(folder, "noop", maxmemory="2gb", durable=True) as stores,
        services(stores.environment, folder) as start,
        ThreadPoolExecutor() as threads,
    ):
        ports = [int(start("gateway").url.rpartition(":")[2]) for _ in range(2)]
        for module in ("inference_worker", "persister"):
            start(module)
        answers = sum(measure(port, PATH, BODY, 64, WARM_UP_S).answers for port in ports)
        for connections in CONNECTIONS:
            for count in (1, 2):
                ask = partial(measure, path=PATH, body=BODY, connections=connections // count, seconds=seconds)
                runs = list(threads.map(ask, ports[:count]))
                answers += sum(run.answers for run in runs)
                name = f"{connections} connections, {count} gateway{'s' if count > 1 else ''}"
                yield Value(name, sum(run.rate for run in runs), "requests/s")
        asyncio.run(settle(stores.postgres.url, stores.redis.url, answers, 2 * (64 + sum(CONNECTIONS))))


WAYS: tuple[Callable[[Path, float], Iterator[Value]], ...] = (queued, started, gateways)


def main() -> None:
    """Measure; prints a line of JSON for each measurement, and a readable one to where errors go."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.footprint", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--seconds", type=float, default=4, help="of each run under load (default: 4)")
    parsed = parser.parse_args()
    for number in range(parsed.rounds):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                for each in way(Path(folder), parsed.seconds):
                    print(json.dumps(Measured(number, *each)._asdict()), flush=True)
                    print(f"{each.name:<60}{each.value:>10.2f} {each.unit}", file=sys.stderr)


if __name__ == "__main__":
    main()
