"""What another's queue costs a caller: `python -m tests.load.fairness`. Its p99 beside it, as a ratio to that alone.

A caller sends one request every tenth of a second and waits for the answer: while nothing else waits; while another has
always as many interactive ones waiting as a limit of `queued = 4` lets it; and while another has 50,000 requests of
`batch` queued. The model is a stand-in that takes 20 ms a pass and 4 ms an item, each more or less.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.conftest import services
from tests.load.stores import running_stores
from tests.processes import REPOSITORY

QUEUED, AT_ONCE, CAP = 50_000, 100, 4
EVERY_S = 0.1
CEILING = 3.0
SETTINGS = {"MODEL_CATALOGUE": str(REPOSITORY / "tests/preview/models.toml"), "MAX_BACKLOG": str(QUEUED + 1000)}
BODY = {"model": "sentiment", "version": "1.0.0"}


async def ask(session: aiohttp.ClientSession) -> float:
    """Send a request and wait for its answer; returns how many ms that took.

    Raises:
        SystemExit: it is not answered as it must be.
    """
    clock = asyncio.get_running_loop().time
    since = clock()
    async with session.post("/api/v1/predict?wait=30", json={**BODY, "text": "a fine film"}) as answer:
        text = await answer.text()
        if answer.status != 200:
            raise SystemExit(f"answered {answer.status}: {text}")
    return (clock() - since) * 1000


async def p99_ms(session: aiohttp.ClientSession, seconds: float) -> float:
    """The p99 of a request every tenth of a second."""
    asking = []
    for _ in range(round(seconds / EVERY_S)):
        asking.append(asyncio.create_task(ask(session)))
        await asyncio.sleep(EVERY_S)
    took = sorted(await asyncio.gather(*asking))
    return took[len(took) * 99 // 100]


async def fill(session: aiohttp.ClientSession) -> None:
    """Queue many requests of `batch`."""
    body: Mapping[str, Any] = {**BODY, "texts": ["a long night"] * AT_ONCE, "priority": "batch"}
    for _ in range(QUEUED // AT_ONCE):
        async with session.post("/api/v1/predict/batch?wait=0&timeout=3600", json=body) as answer:
            if answer.status != 202:
                raise SystemExit(f"not queued, {answer.status}: {await answer.text()}")


async def keep_asking(session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
    """Have always one request waiting."""
    while not stop.is_set():
        await ask(session)


async def measure(url: str, seconds: float) -> bool:
    """Print a table; says whether every ratio keeps to the ceiling."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        await p99_ms(session, 2)
        alone = await p99_ms(session, seconds)
        print(f"alone: p99 {alone:.1f} ms", flush=True)
        stop = asyncio.Event()
        others = [asyncio.create_task(keep_asking(session, stop)) for _ in range(CAP)]
        capped = await p99_ms(session, seconds)
        stop.set()
        await asyncio.gather(*others)
        print(f"beside {CAP} interactive: p99 {capped:.1f} ms, {capped / alone:.2f} times", flush=True)
        await fill(session)
        beside = await p99_ms(session, seconds)
        print(f"beside {QUEUED} of batch: p99 {beside:.1f} ms, {beside / alone:.2f} times", flush=True)
    return max(capped, beside) <= CEILING * alone


def main() -> int:
    """Measure; exit code 1 if a ratio is above the ceiling."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.fairness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="of each scene (default: 30)")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        _, _, environment = stack.enter_context(running_stores(folder, "sentiment:1.0.0"))
        start = stack.enter_context(services(environment | SETTINGS, folder))
        gateway = start("gateway")
        start("inference_worker")
        return 0 if asyncio.run(measure(gateway.url, parsed.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
