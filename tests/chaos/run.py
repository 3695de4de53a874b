"""One run from start to verdict."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from scripts.stack.redis import AppendFsync
from tests import pgbouncer
from tests.chaos.clock import library
from tests.chaos.control import credentials, start_experiment
from tests.chaos.faults import Injector
from tests.chaos.ledger import Ledger
from tests.chaos.load import PREDICTIONS, Client, told
from tests.chaos.memory import MemoryWatch
from tests.chaos.report import Outcome
from tests.chaos.schedule import KINDS, Action, Target, plan, without
from tests.chaos.survey import at_rest, left_behind, stored
from tests.chaos.system import VISIBILITY_S, System, running_system
from tests.chaos.verdict import judge
from tests.waiting import eventually

_REST_TIMEOUT_S = 60.0
_SAMPLE = 1000


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    Attributes:
        requests: least number of accepted predictions.
        redis: its program; None for the one of the local stack.
        load_timeout_s: how long after the last fault the load may take to reach `requests`.
    """

    seed: int
    requests: int = 10_000
    faults: int = len(KINDS)
    clients: int = 32
    workers: int = 3
    appendfsync: AppendFsync = "always"
    redis: Path | None = None
    load_timeout_s: float = 60.0


async def run(plan_: Plan, folder: Path) -> Outcome:
    """Start everything, break it under load, let it come to rest, judge.

    Raises:
        AssertionError: the system did not start, or accepted too few requests in the time it had.
    """
    schedule = plan(plan_.seed, plan_.faults, VISIBILITY_S * 1.2)
    for impossible, package in _lacking(plan_):
        print(f"  not without Debian's package {package}: {impossible}", flush=True)
        schedule = without(impossible, schedule)
    ledger = Ledger()
    async with running_system(folder, plan_.workers, plan_.appendfsync, plan_.redis) as system:
        injector, memory = Injector(system, ledger), MemoryWatch(system.all_slots)
        watching = asyncio.create_task(memory.run(), name="memory")
        await start_experiment(system.gateways[0], "echo")
        started = time.monotonic()
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(plan_.clients):
                group.create_task(Client(number, plan_.seed, system.gateways, ledger).run(stop))
            await injector.follow(schedule)
            await eventually(lambda: len(ledger.accepted) >= plan_.requests, "enough is accepted", plan_.load_timeout_s)
            stop.set()
        loaded = time.monotonic()
        for slot in system.all_slots:
            await slot.listening()
        await at_rest(system, _REST_TIMEOUT_S)
        rested = time.monotonic()
        await _read_again(system, ledger, plan_.seed)
        left = await left_behind(system)
        rows = await stored(system)
        watching.cancel()
        ledger.surprises += memory.violations()
        restarts = sum(slot.starts - 1 for slot in system.all_slots)
        ledger.surprises += [finding for slot in system.all_slots for finding in slot.findings]
        ledger.surprises += [
            f"{slot.name} wrote {slot.tracebacks()} tracebacks" for slot in system.all_slots if slot.tracebacks()
        ]
    verdict = judge(ledger, rows, left)
    return Outcome(
        plan_.seed,
        injector.injected,
        ledger,
        verdict,
        left,
        restarts,
        loaded - started,
        rested - loaded,
        injector.recoveries,
        memory.peaks,
    )


def _lacking(plan_: Plan) -> list[tuple[Action | Target, str]]:
    """What cannot be done on this machine, and the package that it needs."""
    clock = library() if plan_.redis is None else None  # libfaketime and the jemalloc of other builds do not agree
    needs = ((Action.CLOCK, "libfaketime", clock), (Target.POOLER, "pgbouncer", pgbouncer.PROGRAM))
    return [(impossible, package) for impossible, package, there in needs if there is None]


async def _read_again(system: System, ledger: Ledger, seed: int) -> None:
    """With nothing broken any more, every id must be found: ask for many of them over HTTP."""
    ids = random.Random(seed).sample(sorted(ledger.accepted), min(_SAMPLE, len(ledger.accepted)))
    async with aiohttp.ClientSession(headers=credentials("auditor", "read:all")) as session:
        for number, each in enumerate(ids):
            url = system.gateways[number % len(system.gateways)]
            async with session.get(f"{url}{PREDICTIONS}/{each}") as answer:
                if answer.status == 200:
                    ledger.tell(each, told(await answer.json()))
                elif answer.status == 404:
                    ledger.not_found.append(each)
                else:
                    ledger.surprises.append(f"at rest, GET {each} was answered {answer.status}")
