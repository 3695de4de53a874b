"""What a scrape of `/metrics` costs with many model versions: `python -m tests.load.scrape`.

A real gateway over a real Redis, in processes of their own: every version has a stream, a group, three live workers and
a backlog, and every model has been asked for at every endpoint that predicts. Beside it, what a worker pays that serves
all of them: the same registry, rendered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import aiohttp
from prometheus_client import generate_latest

from scripts.stack.ports import free_port
from scripts.stack.redis import running_redis
from shared.contract.keys import Keys
from shared.contract.queues import Priority
from shared.service.catalogue_file import load_catalogue
from shared.service.settings import Settings
from shared.streams.redis_client import connect
from shared.streams.request_stream import RequestStream
from shared.streams.shard import Shard
from shared.streams.workers import Heartbeat
from shared.telemetry import metrics
from tests.processes import Service

MODELS, WORKERS = 10, 3
CEILING_MS = {"gateway": 20.0, "worker": 40.0}  # a worker that serves 50 versions is rare: few serve more than 5


def catalogue_of(versions: int) -> str:
    """A catalogue of so many versions, spread over ten models."""
    lines = []
    for model in range(MODELS):
        lines.append(f'[[models]]\nname = "model-{model}"\ntask = "tests.fixtures.tasks:NoOp"\ndescription = "none"\n')
        for version in range(versions // MODELS):
            default = "default = true\n" if version == 0 else ""
            lines.append(f'[[models.versions]]\nversion = "{version}.0.0"\nartifact = "none"\n{default}')
    return "\n".join(lines)


async def populate(redis_url: str, catalogue: Path) -> None:
    """Streams, groups, consumers and heartbeats of a busy system."""
    keys = Keys("millstream:")
    redis = connect(Settings(redis_url=redis_url))
    for number in range(WORKERS):
        served = load_catalogue(catalogue).served()
        await Heartbeat(Shard(redis, keys), f"worker-{number}", 600).beat([each.label for each in served])
        for each in served:
            stream = RequestStream(Shard(redis, keys), each.model, each.version.version, f"worker-{number}")
            await stream.join()
            await redis.xadd(stream.key, {"a": "b"})
            await stream.read(1, 0)
    await redis.aclose()


async def scrape(url: str, metrics_url: str, times: int) -> tuple[list[float], int]:
    """Ask for each model at each endpoint, then scrape: milliseconds of each scrape, and the number of samples."""
    took = []
    async with aiohttp.ClientSession(url) as session:
        for model in range(MODELS):
            for path, text in (("predict", {"text": "x"}), ("predict/batch", {"texts": ["x"]})):
                async with session.post(f"/api/v1/{path}?wait=0", json={"model": f"model-{model}", **text}) as answer:
                    assert answer.status == 202, await answer.text()
        for _ in range(times):
            started = time.perf_counter()
            async with session.get(f"{metrics_url}/metrics") as answer:
                body = await answer.text()
            took.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.02)
    return took, sum(1 for line in body.splitlines() if not line.startswith("#"))


def worker_cost(versions: int, times: int) -> tuple[list[float], int]:
    """What rendering costs a worker that serves all versions."""
    for number in range(versions):
        labels = (f"model-{number % MODELS}", f"{number // MODELS}.0.0")
        for histogram in (metrics.CONFIDENCE, metrics.BATCH_SIZE, metrics.INFERENCE_DURATION):
            histogram.labels(*labels).observe(0.5)
        for priority in Priority:
            metrics.QUEUE_WAIT.labels(*labels, priority.value).observe(0.5)
        metrics.PREDICTIONS.labels(*labels, "succeeded").inc()
    took = []
    for _ in range(times):
        started = time.perf_counter()
        body = generate_latest()
        took.append((time.perf_counter() - started) * 1000)
    return took, sum(1 for line in body.decode().splitlines() if not line.startswith("#"))


def figures(took: list[float], samples: int) -> dict[str, float]:
    """Median, 95th percentile, number of samples."""
    ordered = sorted(took)
    return {
        "p50_ms": round(statistics.median(ordered), 2),
        "p95_ms": round(ordered[int(len(ordered) * 0.95)], 2),
        "samples": samples,
    }


def run(versions: int, times: int) -> dict[str, dict[str, float]]:
    """Measure both."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        catalogue = folder / "models.toml"
        catalogue.write_text(catalogue_of(versions), encoding="utf-8")
        redis = stack.enter_context(running_redis(folder / "redis"))
        asyncio.run(populate(redis.url, catalogue))
        environment = {
            "REDIS_URL": redis.url,
            "DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/nothing",
            "MODEL_CATALOGUE": str(catalogue),
            "LOG_LEVEL": "ERROR",
        }
        port = free_port()
        gateway = Service("gateway", port, {**environment, "GATEWAY_PORT": str(port)}, folder / "gateway.log")
        stack.callback(gateway.stop)
        gateway.wait_ready()
        took, samples = asyncio.run(scrape(gateway.url, gateway.metrics_url, times))
    return {"gateway": figures(took, samples), "worker": figures(*worker_cost(versions, times))}


def main() -> int:
    """Print the figures; the exit code says whether both are below the ceiling, 19 times of 20."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=50)
    parser.add_argument("--times", type=int, default=100)
    parsed = parser.parse_args()
    measured = run(parsed.versions, parsed.times)
    print(json.dumps(measured, indent=1))
    return 0 if all(each["p95_ms"] < CEILING_MS[name] for name, each in measured.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
