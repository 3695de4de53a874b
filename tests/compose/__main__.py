"""`make chaos-compose`: kill, stop and scale the services in turn under load, then count."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp

from scripts.stack.address import NOTHING_RUNS, published
from tests.compose import containers
from tests.compose.load import Clients, Ledger, problems
from tests.deployed.api import Api
from tests.waiting import eventually

OURS = ("gateway", "worker-sentiment", "worker-summarization", "worker-embeddings", "persister")
STORES = ("redis", "postgres")
WATCHING = ("prometheus", "alertmanager", "grafana")
SCALED = "worker-sentiment"
CLIENTS = 8
STORED_WITHIN_S = 90.0
SEEN_WITHIN_S = 60.0
WORK = 'millstream_predictions_total{job="worker",model="sentiment-analysis",status="succeeded"} > 0'
BETWEEN_S = 3.0


async def kill(services: list[str], _: str) -> None:
    """SIGKILL; whether docker restarts it is part of the test."""
    for service in services:
        container = containers.of(service)[0]
        before, started = containers.state(container), time.monotonic()
        await asyncio.to_thread(containers.kill, container)
        await asyncio.to_thread(containers.wait_restarted, container, before)
        say(f"killed {service:<21} healthy again after {time.monotonic() - started:5.1f} s")
        await asyncio.sleep(BETWEEN_S)


async def stop(services: list[str], _: str) -> None:
    """SIGTERM; it must end by itself, with 0, in the grace that it has."""
    for service in services:
        if service in OURS:
            started = time.monotonic()
            ended = await asyncio.to_thread(containers.stop, service)
            took = time.monotonic() - started
            assert [each.exit_code for each in ended] == [0] * len(ended), f"{service} ended as {ended}"
            await asyncio.to_thread(containers.start, service)
            say(f"stopped {service:<20} drained in {took:5.1f} s, exit code 0")
            await asyncio.sleep(BETWEEN_S)


async def scale(_: list[str], prometheus: str) -> None:
    """Two workers; each must get work, and Prometheus must see both without being told."""
    await asyncio.to_thread(containers.scale, SCALED, 2)
    instances: set[str] = set()

    async def both_work() -> bool:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{prometheus}/api/v1/query", params={"query": WORK}) as answer,
        ):
            instances.clear()
            instances.update(each["metric"]["instance"] for each in (await answer.json())["data"]["result"])
        return len(instances) == 2

    await eventually(both_work, "Prometheus sees two workers, and both have worked", SEEN_WITHIN_S)
    say(f"scaled {SCALED} to 2: Prometheus sees both at work: {', '.join(sorted(instances))}")
    await asyncio.to_thread(containers.scale, SCALED, 1)
    say(f"scaled {SCALED} to 1")


def say(text: str) -> None:
    """Print at once: progress is watched."""
    print(text, flush=True)


STEPS: dict[str, Callable[[list[str], str], Coroutine[Any, Any, None]]] = {"kill": kill, "stop": stop, "scale": scale}


async def break_under_load(clients: Clients, phases: list[str], services: list[str], prometheus: str) -> None:
    """Each phase, while the clients run; then let the clients find out how all ended."""
    running = asyncio.create_task(clients.run())
    try:
        for phase in phases:
            step = asyncio.create_task(STEPS[phase](services, prometheus))
            await asyncio.wait({step, running}, return_when=asyncio.FIRST_COMPLETED)
            (step if step.done() else running).result()
    finally:
        clients.stop()
    await running


async def stored_once(ledger: Ledger, url: str) -> list[str]:
    """Compare the history with the ledger; what is wrong."""
    oldest = min(ledger.accepted)
    models = sorted({asked.model for asked in ledger.accepted.values()})
    found: Counter[str] = Counter()
    async with aiohttp.ClientSession(url) as session:

        async def all_there() -> bool:
            found.clear()
            for model in models:
                found.update(await Api(session).history(model, oldest))
            return ledger.accepted.keys() <= found.keys()

        try:
            await eventually(all_there, "all is in the history", STORED_WITHIN_S)
        except AssertionError:
            pass  # what is missing is named below
    return problems(ledger.accepted, found)


def report(ledger: Ledger, wrong: list[str]) -> int:
    """Print what was found; the exit code."""
    say(f"accepted {len(ledger.accepted)}; answers: {dict(sorted(ledger.answers.items()))}")
    for each in wrong[:20]:
        say(f"  {each}")
    say(f"{len(wrong)} wrong" if wrong else "nothing lost, nothing double, nothing wrong")
    return 1 if wrong else 0


def main() -> int:
    """Run; the exit code says whether everything held."""
    services = [each for each in (*OURS, *STORES, *WATCHING) if containers.of(each)]
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    parser.add_argument("--url", default=published("gateway", 8000), help="the gateway (default: %(default)s)")
    parser.add_argument("--prometheus", default=published("prometheus", 9090), help="default: %(default)s")
    parser.add_argument("--phases", nargs="+", choices=list(STEPS), default=list(STEPS), help="default: all")
    parser.add_argument("--services", nargs="+", choices=services, default=services, help="default: all that run")
    given = parser.parse_args()
    if not given.url:
        parser.error(NOTHING_RUNS)
    clients = Clients(given.url, CLIENTS)
    asyncio.run(break_under_load(clients, given.phases, given.services, given.prometheus))
    wrong = clients.ledger.wrong + asyncio.run(stored_once(clients.ledger, given.url))
    return report(clients.ledger, wrong)


if __name__ == "__main__":
    sys.exit(main())
