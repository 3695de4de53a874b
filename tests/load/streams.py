"""What open streams of events cost a gateway and Redis: `python -m tests.load.streams`.

A real gateway over a real Redis, in processes of their own; nothing happens to the predictions that are watched.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector
from redis.asyncio import Redis

from scripts.stack.ports import free_port
from scripts.stack.redis import running_redis
from tests.processes import REPOSITORY, Service

CEILING_MB = 20.0  # of a thousand streams
_TICKS_A_SECOND = 100
_BATCH, _FIRST = 100, 10


class Usage:
    """What two processes have used since the last reading."""

    def __init__(self, pid: int, redis: Redis, seconds: float) -> None:
        self._pid, self._redis, self._seconds = pid, redis, seconds

    def resident_mb(self) -> float:
        """The memory of the gateway."""
        return int(Path(f"/proc/{self._pid}/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6

    async def measured(self) -> dict[str, float]:
        """For a while: CPU of both in percent, and what Redis is asked each second."""
        before = await self._read()
        await asyncio.sleep(self._seconds)
        after = await self._read()
        return {name: round((after[name] - before[name]) / self._seconds, 2) for name in before}

    async def _read(self) -> dict[str, float]:
        ticks = Path(f"/proc/{self._pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
        told = await self._redis.info("all")
        return {
            "gateway_cpu_percent": sum(map(int, ticks)) * 100 / _TICKS_A_SECOND,
            "redis_cpu_percent": (told["used_cpu_user"] + told["used_cpu_sys"]) * 100,
            "redis_commands": float(told["total_commands_processed"]),
            "redis_looks_at_states": float(told.get("cmdstat_evalsha", {}).get("calls", 0)),
            "redis_input_bytes": float(told["total_net_input_bytes"]),
        }


async def submitted(session: ClientSession, count: int) -> list[str]:
    """So many predictions that wait."""
    ids: list[str] = []
    while len(ids) < count:
        body = {"model": "echo", "texts": ["hello"] * min(_BATCH, count - len(ids))}
        async with session.post("/api/v1/predict/batch?wait=0", json=body) as answer:
            ids += [each["prediction_id"] for each in (await answer.json())["items"]]
    return ids


async def measure(gateway: Service, redis_url: str, streams: int, consoles: int, seconds: float) -> dict[str, Any]:
    """Before any stream is open, and with all of them."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(Redis.from_url(redis_url))
        connector, timeout = TCPConnector(limit=0), ClientTimeout(None)
        session = await stack.enter_async_context(ClientSession(gateway.url, connector=connector, timeout=timeout))
        paths = [f"/api/v1/predictions/{each}/events" for each in await submitted(session, streams)]
        for path in [*paths[:_FIRST], *["/api/v1/events"] * min(consoles, 1)]:  # what the first set up is not theirs
            async with session.get(path) as answer:
                await answer.content.readline()
        usage = Usage(gateway.process.pid, redis, seconds)
        idle, before_mb = await usage.measured(), usage.resident_mb()
        for path in [*paths, *["/api/v1/events"] * consoles]:
            answer = await stack.enter_async_context(session.get(path))
            assert (await answer.content.readline()).startswith(b"event: "), path
        await asyncio.sleep(2)
        used = await usage.measured()
        return {"idle": idle, "with streams": used, "memory_mb": round(usage.resident_mb() - before_mb, 1)}


def run(measuring: Callable[[Service, str], Any]) -> dict[str, Any]:
    """A gateway over a Redis."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(running_redis(folder / "redis"))
        port = free_port()
        environment = {
            "REDIS_URL": redis.url,
            "DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/nothing",
            "MODEL_CATALOGUE": str(REPOSITORY / "tests" / "fixtures" / "models.toml"),
            "GATEWAY_PORT": str(port),
            "LOG_LEVEL": "ERROR",
        }
        gateway = Service("gateway", port, environment, folder / "gateway.log")
        stack.callback(gateway.stop)
        gateway.wait_ready()
        found: dict[str, Any] = asyncio.run(measuring(gateway, redis.url))
        return found


def main() -> int:
    """Print the figures; the exit code says whether a thousand streams cost less memory than they may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--consoles", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10)
    asked = parser.parse_args()
    found = run(lambda gateway, url: measure(gateway, url, asked.streams, asked.consoles, asked.seconds))
    print(json.dumps(found, indent=1))
    return 0 if found["memory_mb"] * 1000 / (asked.streams + asked.consoles) < CEILING_MB else 1


if __name__ == "__main__":
    sys.exit(main())
