"""Load for the preview: steady traffic, and a fault for every panel that shows one. Bounded, on this machine."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
from redis.asyncio import Redis

from tests.preview.system import PREFIX, System, credentials

SECONDS = 110
RATE = 22.0  # requests a second, all together
BURST = 700


async def run(system: System) -> None:
    """Traffic and faults, side by side, for `SECONDS`."""
    async with aiohttp.ClientSession(system.gateway_url, headers=credentials("ann")) as session:
        arms = {"arms": [{"version": "1.0.0"}, {"version": "1.1.0"}]}
        await _send(session, "PUT", "/api/v1/models/sentiment/experiment", arms)
        redis = Redis.from_url(system.environment["REDIS_URL"])
        faults = asyncio.create_task(_faults(system, session, redis))
        await _traffic(session)
        await faults
        await redis.aclose()


async def _traffic(session: aiohttp.ClientSession) -> None:
    until = time.monotonic() + SECONDS
    asked: set[asyncio.Task[None]] = set()
    while time.monotonic() < until:
        await asyncio.sleep(random.expovariate(RATE))
        task = asyncio.create_task(_ask(session))
        asked.add(task)
        task.add_done_callback(asked.discard)
    await asyncio.gather(*asked)


async def _ask(session: aiohttp.ClientSession) -> None:
    draw = random.random()
    text = f"text {draw}"
    if draw < 0.03:
        await _send(session, "GET", "/api/v1/predictions?limit=20")
    elif draw < 0.05:
        await _send(session, "POST", "/api/v1/predict", {"model": "no-such-model", "text": text})
    elif draw < 0.07:
        await _send(session, "POST", "/api/v1/predict", {"model": "sentiment", "text": ""})
    elif draw < 0.09:
        await _send(session, "POST", "/api/v1/predict", {"model": "sentiment", "text": f"raise {text}"})
    elif draw < 0.13:
        await _send(session, "POST", "/api/v1/predict?wait=0", {"model": "topics", "text": text})
    elif draw < 0.15:
        await _send(session, "POST", "/api/v1/predict", {"model": "sentiment", "text": text}, credentials("greedy"))
    elif draw < 0.16:
        await _send(session, "GET", "/api/v1/models", headers={"Authorization": "Bearer msk_revoked"})
    elif draw < 0.17:
        await _send(session, "GET", "/api/v1/predictions/00000000-0000-7000-8000-000000000000")
    elif draw < 0.25:
        body = {"model": "sentiment", "text": f"asked again and again {random.randrange(5)}"}
        await _send(session, "POST", "/api/v1/predict", body)
    elif draw < 0.3:
        await _send(session, "POST", "/api/v1/predict", {"model": "summary", "text": text})
    elif draw < 0.35:
        await _send(session, "POST", "/api/v1/predict/batch", {"model": "sentiment", "texts": [text] * 8})
    else:
        version = {"version": "1.0.0"} if draw < 0.5 else {"version": "1.1.0"} if draw < 0.8 else {}
        await _send(session, "POST", "/api/v1/predict", {"model": "sentiment", "text": text} | version)


async def _send(
    session: aiohttp.ClientSession,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    try:
        async with session.request(method, path, json=body, headers=headers) as answer:
            await answer.read()
    except aiohttp.ClientError:
        return


async def _faults(system: System, session: aiohttp.ClientSession, redis: Redis) -> None:
    started = time.monotonic()
    plan: tuple[tuple[float, Callable[[], Awaitable[object]]], ...] = (
        (22, lambda: _kill_busy(system, session)),
        (30, lambda: _unreadable(redis)),
        (36, lambda: _start(system, "second-worker")),
        (48, lambda: asyncio.to_thread(system.postgres.stop)),
        (53, lambda: _kill(system, "persister")),
        (56, lambda: asyncio.to_thread(system.postgres.start)),
        (57, lambda: _start(system, "persister")),
        (66, lambda: _unreadable(redis)),
        (70, lambda: _burst(session)),
    )
    for at_s, fault in plan:
        await asyncio.sleep(max(0.0, started + at_s - time.monotonic()))
        await fault()


async def _kill(system: System, name: str) -> None:
    system.services[name].kill()


async def _kill_busy(system: System, session: aiohttp.ClientSession) -> None:
    body = {"model": "sentiment", "version": "1.0.0", "texts": ["text"] * 100}
    await _send(session, "POST", "/api/v1/predict/batch?wait=0", body)
    await asyncio.sleep(0.05)
    await _kill(system, "second-worker")


async def _start(system: System, name: str) -> None:
    system.start(name)


async def _unreadable(redis: Redis) -> None:
    for stream in ("requests:sentiment:1.1.0", "results", "results"):
        await redis.xadd(f"{PREFIX}{stream}", {"schema": "1", "id": "unreadable"})


async def _burst(session: aiohttp.ClientSession) -> None:
    """More than a version's backlog may be: some are refused."""
    for _ in range(BURST // 50):
        body = {"model": "summary", "texts": ["text"] * 50}
        await _send(session, "POST", "/api/v1/predict/batch?wait=0", body)
        await asyncio.sleep(0.1)
