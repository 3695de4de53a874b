"""A gateway whose Redis vanishes without a word: does it answer its probes, keep its memory, and come back?

    python -m tests.chaos.silence --seconds 70

drops every packet between the two in a network namespace of its own, so nothing else on the machine is touched (Linux;
needs `unshare` and `iptables`). Ends with code 1 if a bound is broken. `make test` has a shorter silence, by a proxy.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp

from scripts.stack.ports import free_port
from scripts.stack.redis import running_redis
from tests.processes import Service
from tests.waiting import eventually

PROBE_WITHIN_S = 1.0
MOST_GROWTH_BYTES = 50_000_000
BACK_WITHIN_S = 5.0

_CLIENTS = 50
_PREDICT = "/api/v1/predict"
_BODY = {"model": "echo", "text": "a"}
_MODELS = Path(__file__).parents[1] / "fixtures" / "models.toml"


class Figures(NamedTuple):
    """What was seen.

    Attributes:
        answers: of probes while nothing came from Redis.
        slowest_s: the slowest of them.
        growth_bytes: of the gateway's resident memory, at its most.
        back_s: from the end of the silence until a request was accepted and the gateway was ready.
    """

    answers: int
    slowest_s: float
    growth_bytes: int
    back_s: float

    @property
    def good(self) -> bool:
        """Whether every bound was kept."""
        within = self.slowest_s < PROBE_WITHIN_S and self.back_s <= BACK_WITHIN_S
        return within and self.answers > 0 and self.growth_bytes < MOST_GROWTH_BYTES


async def measure(gateway: Service, silent: Callable[[bool], None], seconds: float) -> Figures:
    """Keep a gateway busy through a silence of so many seconds.

    Args:
        silent: begins the silence, and ends it.
    """
    slowest, growth, answers = 0.0, 0, 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        clients = [asyncio.create_task(_ask(session, gateway.url)) for _ in range(_CLIENTS)]
        before = _resident_bytes(gateway)
        silent(True)
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            for url in (f"{gateway.metrics_url}/livez", f"{gateway.metrics_url}/readyz", f"{gateway.url}/livez"):
                asked = time.monotonic()
                async with session.get(url) as answer:
                    assert answer.status == 200 or url.endswith("readyz"), await answer.text()
                slowest, answers = max(slowest, time.monotonic() - asked), answers + 1
            growth = max(growth, _resident_bytes(gateway) - before)
            await asyncio.sleep(0.1)
        silent(False)
        healed = time.monotonic()
        await eventually(lambda: _accepts(session, gateway), "requests are accepted again", timeout_s=60)
        back_s = time.monotonic() - healed
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    return Figures(answers, slowest, growth, back_s)


async def _ask(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            timeout = aiohttp.ClientTimeout(10)
            async with session.post(f"{url}{_PREDICT}?wait=2", json=_BODY, timeout=timeout) as answer:
                await answer.read()
        await asyncio.sleep(0.1)


async def _accepts(session: aiohttp.ClientSession, gateway: Service) -> bool:
    async with session.post(f"{gateway.url}{_PREDICT}?wait=0", json=_BODY) as answer:
        accepted = answer.status == 202
    async with session.get(f"{gateway.url}/readyz") as answer:
        return accepted and answer.status == 200


def _resident_bytes(service: Service) -> int:
    pages = Path(f"/proc/{service.process.pid}/statm").read_text("utf-8").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _drop_packets(port: int) -> Callable[[bool], None]:
    def silent(begins: bool) -> None:
        for side in ("--dport", "--sport"):
            rule = ["OUTPUT", "-p", "tcp", side, str(port), "-j", "DROP"]
            subprocess.run(["iptables", "-A" if begins else "-D", *rule], check=True)

    return silent


def _here(seconds: float) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as name, running_redis(Path(name) / "redis") as redis:
        port = free_port()
        settings = {"REDIS_URL": redis.url, "MODEL_CATALOGUE": str(_MODELS), "GATEWAY_PORT": str(port)}
        gateway = Service("gateway", port, settings, Path(name) / "gateway.log")
        try:
            gateway.wait_ready()
            figures = asyncio.run(measure(gateway, _drop_packets(redis.port), seconds))
        finally:
            gateway.stop()
    print(
        f"{seconds:g} s without packets: {figures.answers} probes, the slowest after {figures.slowest_s:.2f} s; "
        f"memory +{figures.growth_bytes / 1e6:.1f} MB; answering again after {figures.back_s:.1f} s"
    )
    return 0 if figures.good else 1


def main() -> int:
    """Run in a network namespace of our own; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.silence", description=__doc__)
    parser.add_argument("--seconds", type=float, default=70, help="how long the silence lasts")
    parser.add_argument("--in-namespace", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_namespace:
        return _here(arguments.seconds)
    own_network = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    again = [sys.executable, "-m", "tests.chaos.silence", "--in-namespace", "--seconds", str(arguments.seconds)]
    return subprocess.run([*own_network, *again], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
