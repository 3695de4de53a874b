"""How far one Redis goes: `python -m tests.load.redis_limit`, behind `make redis-limit`.

The whole life of a prediction in Redis, by the pipeline's own code and scripts, from several client processes at once:
published in groups, read, completed with a hint to a waiting gateway, read as a result, forgotten with its state.
Nothing else is done: no HTTP, no model, no Postgres. What is measured is the server: its CPU time a prediction, and the
rate that these clients reach beside it. On a machine of few cores the clients slow the server, so the CPU time is the
figure to go by: 1 s divided by it is what one core can do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

import tests.streams
from scripts.stack.redis import AppendFsync, running_redis
from shared.contract.ids import uuid7
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status, decode_request
from shared.service.settings import Settings
from shared.streams.publishing import Group, NewRequest, Publisher
from shared.streams.redis_client import connect
from shared.streams.request_stream import Completed, RequestStream
from shared.streams.result_stream import Persisted, ResultStream
from shared.streams.shard import Shard
from tests.load.cpu import cpu_seconds
from tests.processes import REPOSITORY

TEXT = "This product is great and I love it very much, thanks a lot"
RESULT = b'{"label":"POSITIVE","scores":{"POSITIVE":0.962108,"NEGATIVE":0.037892}}'
LIMITS = replace(
    tests.streams.LIMITS,
    max_backlog=1_000_000,
    max_backlog_bytes=1_000_000_000,
    max_results=1_000_000,
    max_memory_percent=70,
)
NO_REWRITE = {"auto-aof-rewrite-percentage": "0"}  # the file is to show what was written; at rest there is little in it
PIPELINED = 4  # batches of one process under way at once


async def predict(url: str, name: str, batch: int, until: float) -> int:
    """Take batches through, one after another, on a version of one's own; the answer counts predictions."""
    redis = connect(Settings(redis_url=url))
    keys = Keys("millstream:")
    publisher = Publisher(Shard(redis, keys), f"gateway-{name}", LIMITS)
    stream = RequestStream(Shard(redis, keys), "noop", name, "worker")
    results = ResultStream(Shard(redis, keys), f"persister-{name}")
    await stream.join()
    await results.join()
    outcome = Outcome(Status.SUCCEEDED, RESULT, 0.962108, 12, 3, "", "worker", False)
    done = 0
    while time.monotonic() < until:
        now_ms = time.time_ns() // 1_000_000
        groups = [Group([_request(now_ms)]) for _ in range(batch)]
        await publisher.publish("noop", name, groups)
        read = await stream.read(batch, 0)
        finished = [Completed(each, decode_request(each.fields), outcome) for each in read.deliveries]
        done += sum(await stream.complete(finished))
        stored = await results.read(batch, 0)
        await results.forget([Persisted(each.entry, each.fields[b"id"].decode(), 0) for each in stored])
    while rest := await results.read(1000, 0):
        await results.forget([Persisted(each.entry, each.fields[b"id"].decode(), 0) for each in rest])
    await redis.aclose()
    return done


def _request(now_ms: int) -> NewRequest:
    body = json.dumps({"text": TEXT}).encode()
    return NewRequest(uuid7(now_ms, random.getrandbits(80)), body, b"{}", 3_600_000, wait=True)


async def client(url: str, number: int, batch: int, seconds: float) -> int:
    """One client process: several batches under way, so that the server never waits for it."""
    until = time.monotonic() + seconds
    return sum(await asyncio.gather(*(predict(url, f"{number}.{lane}", batch, until) for lane in range(PIPELINED))))


def run(appendfsync: AppendFsync, batch: int, clients: int, seconds: float) -> dict[str, Any]:
    """Measure one Redis; nothing may be left in it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_redis(Path(folder) / "redis", appendfsync=appendfsync, maxmemory="2gb", settings=NO_REWRITE) as server,
    ):
        assert server.process is not None
        before, started = cpu_seconds(server.process.pid), time.monotonic()
        processes = [_start(server.url, number, batch, seconds) for number in range(clients)]
        done = sum(int(process.communicate(timeout=seconds + 60)[0]) for process in processes)
        took = time.monotonic() - started
        cpu = cpu_seconds(server.process.pid) - before
        written = sum(path.stat().st_size for path in Path(folder, "redis").rglob("*") if path.is_file())
        if any(process.returncode for process in processes) or not done:
            raise SystemExit("a client failed")
    return {
        "appendfsync": appendfsync,
        "batch": batch,
        "rate": done / took,
        "cpu_us": cpu / done * 1e6,
        "busy": cpu / took,
        "bytes": written / done,
    }


def _start(url: str, number: int, batch: int, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.load.redis_limit", "--client", url, str(number), str(batch), str(seconds)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def report(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    names = f"{'predictions/s':>15}{'CPU us each':>13}{'busy':>7}{'1 core/s':>10}{'AOF B each':>12}"
    print(f"{'appendfsync':<13}{'batch':>6}{names}")
    for row in rows:
        print(
            f"{row['appendfsync']:<13}{row['batch']:>6}{row['rate']:>15.0f}{row['cpu_us']:>13.1f}{row['busy']:>7.0%}"
            f"{1e6 / row['cpu_us']:>10.0f}{row['bytes']:>12.0f}"
        )


def main() -> None:
    """Measure with both ways to sync, for batches of several sizes."""
    if sys.argv[1:2] == ["--client"]:
        url, number, batch, seconds = sys.argv[2:]
        print(uvloop.run(client(url, int(number), int(batch), float(seconds))))
        return
    parser = argparse.ArgumentParser(prog="python -m tests.load.redis_limit", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6, help="of each run (default: 6)")
    parser.add_argument("--clients", type=int, default=3, help="client processes (default: 3)")
    parsed = parser.parse_args()
    ways: tuple[AppendFsync, ...] = ("everysec", "always")
    report([run(way, batch, parsed.clients, parsed.seconds) for way in ways for batch in (1, 16, 64, 256)])


if __name__ == "__main__":
    main()
