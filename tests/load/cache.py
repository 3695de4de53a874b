"""What the cache is worth: `python -m tests.load.cache`. Texts a second with it and without, in turn in one run.

Everything runs on this machine, with the shipped sentiment model. A share of the texts (`--repeats`, in percent) comes
from a hundred that are asked for again and again; the others are new. Without the cache is the same load with
`Cache-Control: no-store`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from tests.load.client import Connection
from tests.load.inference import MODEL, pipeline
from tests.load.text_client import texts
from tests.processes import REPOSITORY

POPULAR = 100
ROUNDS = 3


class Caller(Connection):
    """A client that asks for another text each time."""

    def __init__(self, texts: Iterator[str], header: str, *rest: Any) -> None:
        super().__init__(b"", *rest)
        self._texts = texts
        self._head = f"POST /api/v1/predict HTTP/1.1\r\nHost: localhost\r\nCache-Control: {header}\r\n"

    def _send(self) -> None:
        body = json.dumps({**MODEL, "text": next(self._texts)})
        head = f"{self._head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._request = (head + body).encode()
        super()._send()


def asked(repeats: int, seed: int) -> Iterator[str]:
    """Texts of which so many percent are asked for again and again."""
    chance = random.Random(seed)
    popular = list(islice(texts(0), POPULAR))
    for number, new in enumerate(texts(seed)):  # new in each round
        yield chance.choice(popular) if chance.random() * 100 < repeats else f"{number} {new}"


async def load(url: str, header: str, repeats: int, clients: int, seconds: float, seed: int) -> float:
    """Texts a second; each client sends its next when the last is answered.

    Raises:
        SystemExit: an answer was not 200.
    """
    each, statuses, took = asked(repeats, seed), Counter[bytes](), list[float]()
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + seconds
    host, port = "127.0.0.1", urlsplit(url).port or 80
    callers = [
        (await loop.create_connection(lambda: Caller(each, header, until, took, statuses), host, port))[1]
        for _ in range(clients)
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    if set(statuses) != {b"200"}:
        raise SystemExit(f"answers by status: {dict(statuses)}")
    return len(took) / seconds


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
        print(uvloop.run(load(url, header, int(repeats), int(clients), float(seconds), int(seed))))
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
