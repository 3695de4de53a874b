"""What harm to one version costs its neighbour: `python -m tests.load.neighbours`. p99 of the neighbour, as a ratio.

One worker serves both. Two clients ask the good version, with a pause after each answer, so that there is CPU left
to share; meanwhile another client does one kind of harm, again and again. Alone and beside each harm take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from tests.e2e.conftest import services
from tests.load.stores import running_stores
from tests.processes import REPOSITORY

CLIENTS = 2
PAUSE_S = 0.01

Body = Mapping[str, Any]


class Scene(NamedTuple):
    """What is served, who asks it, who does harm.

    Attributes:
        good: the body that the neighbour is asked with.
        harms: the body of each kind of harm.
        ceiling: the highest ratio of the neighbour's p99 beside a harm to that alone.
    """

    catalogue: str
    models: str
    good: Body
    harms: Mapping[str, Body]
    ceiling: float


KINDS = ("exit", "exit while encoding", "crash", "hold the lock", "allocate without end", "answer hugely", "leave")
SCENES = {
    "models": Scene(
        "tests/fixtures/hostile.toml",
        "good,hostile",
        {"model": "good", "text": "fine"},
        {kind: {"model": "hostile", "text": kind} for kind in KINDS},
        ceiling=2,
    ),
    "texts": Scene(
        "models/models.toml",
        "sentiment-analysis:1.1.0,text-summarization:1.0.0,embeddings",
        {"model": "sentiment-analysis", "text": "A fine film, and well played."},
        {
            "50,000 dots": {"model": "text-summarization", "text": "." * 50_000},
            "sentences of a letter": {"model": "text-summarization", "text": "a. " * 16_666},
            "jamo": {"model": "embeddings", "text": "각" * 50_000},
            "660,000 empty texts": {"model": "text-summarization", "texts": [""] * 660_000},
        },
        ceiling=3,
    ),
}


class Request(NamedTuple):
    """A request, ready to be sent: making a long one takes time that would be its neighbour's."""

    path: str
    body: bytes


def prepared(body: Body) -> Request:
    """The request with this body."""
    path = "predict/batch" if "texts" in body else "predict"
    return Request(f"/api/v1/{path}", json.dumps(body).encode())


async def ask(session: aiohttp.ClientSession, request: Request, answered: int | None = None) -> None:
    """Send one request and wait for what becomes of it.

    Raises:
        SystemExit: it is not answered as it must be.
    """
    headers = {"Content-Type": "application/json"}
    async with session.post(request.path, data=request.body, headers=headers, params={"wait": "30"}) as answer:
        text = await answer.text()
        if answered is not None and answer.status != answered:
            raise SystemExit(f"the neighbour was answered {answer.status}: {text}")


async def p99_ms(url: str, seconds: float, good: Request, harm: Request | None) -> float:
    """The good version's p99 in ms, with one kind of harm done meanwhile."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    took: list[float] = []

    async def client(session: aiohttp.ClientSession) -> None:
        while loop.time() < until:
            since = loop.time()
            await ask(session, good, 200)
            took.append(loop.time() - since)
            await asyncio.sleep(PAUSE_S)

    async def harmful(session: aiohttp.ClientSession) -> None:
        while harm and loop.time() < until:
            await ask(session, harm)

    async with aiohttp.ClientSession(url) as session:
        doing = asyncio.create_task(harmful(session))
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
        await doing
    return sorted(took)[len(took) * 99 // 100] * 1000


async def measure(url: str, seconds: float, scene: Scene) -> bool:
    """Print a table; says whether every ratio keeps to the ceiling."""
    good = prepared(scene.good)
    await p99_ms(url, 1, good, None)
    print(f"{'beside':<24}{'p99 ms':>8}{'alone':>8}{'ratio':>7}  at most {scene.ceiling:g}")
    kept = True
    for name, body in scene.harms.items():
        before, beside, after = [await p99_ms(url, seconds, good, each) for each in (None, prepared(body), None)]
        ratio = 2 * beside / (before + after)
        kept = kept and ratio <= scene.ceiling
        print(f"{name:<24}{beside:>8.1f}{(before + after) / 2:>8.1f}{ratio:>7.2f}", flush=True)
    return kept


def run(scene: Scene, seconds: float) -> bool:
    """Start what a scene needs, and measure."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        _, _, environment = stack.enter_context(running_stores(folder, scene.models))
        environment |= {"MODEL_CATALOGUE": str(REPOSITORY / scene.catalogue), "MAX_DELIVERIES": "2"}
        start = stack.enter_context(services(environment, folder))
        gateway = start("gateway")
        start("inference_worker")
        return asyncio.run(measure(gateway.url, seconds, scene))


def main() -> int:
    """Measure; exit code 1 if a ratio is above the ceiling."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.neighbours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each run (default: 5)")
    parser.add_argument("--scenes", nargs="*", choices=list(SCENES), default=list(SCENES), help="(default: all)")
    parsed = parser.parse_args()
    return 0 if all([run(SCENES[name], parsed.seconds) for name in parsed.scenes]) else 1


if __name__ == "__main__":
    sys.exit(main())
