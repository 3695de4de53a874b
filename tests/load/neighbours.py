"""What a harmful version costs its neighbour: `python -m tests.load.neighbours`. p99 of the neighbour, as a ratio.

One worker serves both. Two clients ask the good version, with a pause after each answer, so that there is CPU left
to share; meanwhile another client does one kind of harm, again and again. Alone and beside each harm take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import aiohttp

from tests.e2e.conftest import services
from tests.load.stores import running_stores
from tests.processes import REPOSITORY

HARMS = ("exit", "exit while encoding", "crash", "hold the lock", "allocate without end", "answer hugely", "leave")
CLIENTS = 2
PAUSE_S = 0.01
CEILING = 2.0


async def ask(session: aiohttp.ClientSession, model: str, text: str) -> None:
    """Send one text and wait for what becomes of it."""
    body = {"model": model, "text": text}
    async with session.post("/api/v1/predict", json=body, params={"wait": "30"}) as answer:
        await answer.read()
        if model == "good" and answer.status != 200:
            raise SystemExit(f"the neighbour was answered {answer.status}: {await answer.text()}")


async def p99_ms(url: str, seconds: float, harm: str | None) -> float:
    """The good version's p99 in ms, with one kind of harm done meanwhile."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    took: list[float] = []

    async def client(session: aiohttp.ClientSession) -> None:
        while loop.time() < until:
            since = loop.time()
            await ask(session, "good", "fine")
            took.append(loop.time() - since)
            await asyncio.sleep(PAUSE_S)

    async def harmful(session: aiohttp.ClientSession) -> None:
        while harm and loop.time() < until:
            await ask(session, "hostile", harm)

    async with aiohttp.ClientSession(url) as session:
        doing = asyncio.create_task(harmful(session))
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
        await doing
    return sorted(took)[len(took) * 99 // 100] * 1000


async def measure(url: str, seconds: float) -> bool:
    """Print a table; says whether every ratio keeps to the ceiling."""
    await p99_ms(url, 1, None)
    print(f"{'beside':<22}{'p99 ms':>8}{'alone':>8}{'ratio':>7}")
    kept = True
    for harm in HARMS:
        before, beside, after = [await p99_ms(url, seconds, each) for each in (None, harm, None)]
        ratio = 2 * beside / (before + after)
        kept = kept and ratio <= CEILING
        print(f"{harm:<22}{beside:>8.1f}{(before + after) / 2:>8.1f}{ratio:>7.2f}", flush=True)
    return kept


def main() -> int:
    """Measure; exit code 1 if a ratio is above the ceiling."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.neighbours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each run (default: 5)")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        _, _, environment = stack.enter_context(running_stores(folder, "good,hostile"))
        environment |= {"MODEL_CATALOGUE": str(REPOSITORY / "tests/fixtures/hostile.toml"), "MAX_DELIVERIES": "2"}
        start = stack.enter_context(services(environment, folder))
        gateway = start("gateway")
        start("inference_worker")
        return 0 if asyncio.run(measure(gateway.url, seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
