"""What the cache is worth: `python -m tests.load.cache`. Texts a second with it and without, in turn in one run.

Everything runs on this machine, with the shipped sentiment model. A share of the texts (`--repeats`, in percent) comes
from a hundred that are asked for again and again; the others are new. Without the cache is the same load with
`Cache-Control: no-store`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp

from tests.load.inference import MODEL, pipeline, texts
from tests.processes import REPOSITORY

POPULAR = 100
ROUNDS = 3


async def load(url: str, header: str, repeats: int, clients: int, seconds: float, seed: int) -> float:
    """Texts a second; each client sends its next when the last is answered.

    Raises:
        SystemExit: an answer was not 200.
    """
    chance = random.Random(seed)
    source = texts(seed)  # new in each round
    again = texts(0)
    popular = [next(again) for _ in range(POPULAR)]
    answered = 0
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    headers = {"Cache-Control": header}
    async with aiohttp.ClientSession(url, headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client() -> None:
            nonlocal answered
            while loop.time() < until:
                text = chance.choice(popular) if chance.random() * 100 < repeats else f"{answered} {next(source)}"
                async with session.post("/api/v1/predict", json={**MODEL, "text": text}) as answer:
                    if answer.status != 200:
                        raise SystemExit(f"{answer.status}: {await answer.text()}")
                    await answer.read()
                answered += 1

        await asyncio.gather(*(client() for _ in range(clients)))
    return answered / seconds


def run(url: str, header: str, parsed: argparse.Namespace, seed: int) -> float:
    """Run the load in a process of its own."""
    each = [url, header, f"{parsed.repeats}", f"{parsed.clients}", f"{parsed.seconds}", f"{seed}"]
    command = [sys.executable, "-m", "tests.load.cache", "--load", *each]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.cache", description=__doc__)
    parser.add_argument(
        "--repeats", type=int, default=50, help="percent of texts that are asked for again (default: 50)"
    )
    parser.add_argument("--clients", type=int, default=32, help="(default: 32)")
    parser.add_argument("--seconds", type=float, default=8, help="of each round (default: 8)")
    parser.add_argument("--load", nargs=6, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.load:
        url, header, repeats, clients, seconds, seed = parsed.load
        print(asyncio.run(load(url, header, int(repeats), int(clients), float(seconds), int(seed))))
        return
    settings = {"CACHE_SECRET": "a secret for a measurement, of some length"}
    with tempfile.TemporaryDirectory() as folder, pipeline(Path(folder), 1, "", **settings) as at:
        for seed in (1, 2):  # the second time, the popular ones are kept
            run(at.url, "max-age=60", parsed, seed)
        with_cache, without = [], []
        for number in range(ROUNDS):
            without.append(run(at.url, "no-store", parsed, 10 + number))
            with_cache.append(run(at.url, "max-age=60", parsed, 20 + number))
            print(f"without {without[-1]:7.0f} texts/s   with {with_cache[-1]:7.0f} texts/s", flush=True)
    ratio = statistics.median(with_cache) / statistics.median(without)
    print(f"with the cache {ratio:.2f} times as many, {parsed.repeats} % of the texts repeated")


if __name__ == "__main__":
    main()
