"""The supervisor over small real processes: order, restarts, draining, and nothing left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scripts.stack.errors import ProcessFailed
from scripts.stack.processes import is_alive, wait_gone
from scripts.stack.services import Service
from scripts.stack.state import ServiceStatus, StackStatus, read_status
from scripts.stack.strays import clear_strays, marked
from scripts.stack.supervisor import RestartPolicy, Supervisor
from tests.processes import wait_until

POLICY = RestartPolicy(first_s=0.05, longest_s=0.4, stable_s=60)
TIMEOUT_S = 20

# Says that it is ready by making a file, and writes into the journal when it starts and when it is asked to stop.
STAND_IN = """
import pathlib, signal, sys, threading
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def tell(what):
    with open(folder / "journal", "a") as journal:
        journal.write(f"{what} {name}\\n")
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
tell("start")
(folder / name).touch()
print("here I am", flush=True)
while not stop.wait(0.05):
    pass
tell("stop")
"""
STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[2], "child").write_text(str(child.pid))
pathlib.Path(sys.argv[2], sys.argv[1]).touch()
time.sleep(600)
"""


def stand_in(
    folder: Path,
    name: str,
    *depends_on: str,
    code: str = STAND_IN,
    stops_before: tuple[str, ...] = (),
    grace_s: float = 10,
) -> Service:
    """A service whose readiness is a file; the file is removed before every start."""
    return Service(
        name,
        [sys.executable, "-c", code, name, str(folder)],
        depends_on=depends_on,
        stops_before=stops_before,
        prepare=lambda: (folder / name).unlink(missing_ok=True),
        ready=lambda pid: (folder / name).exists(),
        grace_s=grace_s,
        start_timeout_s=TIMEOUT_S,
    )


def task(name: str, code: str, *depends_on: str) -> Service:
    return Service(name, [sys.executable, "-c", code], kind="task", depends_on=depends_on, start_timeout_s=TIMEOUT_S)


def journal(folder: Path) -> list[str]:
    return (folder / "journal").read_text(encoding="utf-8").splitlines()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition while the supervisor works on."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(folder: Path, *services: Service) -> AsyncIterator[tuple[StackStatus, dict[str, ServiceStatus]]]:
    """A supervisor that has brought everything up; it is stopped after the block."""
    status = StackStatus(os.getpid())
    folder.mkdir(exist_ok=True)
    supervisor = Supervisor(services, status, folder, folder / "logs", str(folder), POLICY)
    stop = asyncio.Event()
    work = asyncio.create_task(supervisor.run(stop))
    try:
        await eventually(lambda: status.phase == "ready" or work.done())
        yield status, {each.name: each for each in status.services}
    finally:
        stop.set()
        await work


async def test_starts_after_dependencies_and_stops_in_reverse(tmp_path: Path) -> None:
    services = (
        stand_in(tmp_path, "edge", "prepared", stops_before=("worker",)),
        task("prepared", "print('done')", "store"),
        stand_in(tmp_path, "worker", "store"),
        stand_in(tmp_path, "store"),
    )
    async with running(tmp_path, *services) as (status, by_name):
        assert by_name["prepared"].state == "done"
        assert journal(tmp_path)[0] == "start store"
        assert read_status(tmp_path) == status
    assert [line for line in journal(tmp_path) if line.startswith("stop")] == ["stop edge", "stop worker", "stop store"]
    assert status.phase == "stopped"
    assert "store                | here I am" in (tmp_path / "logs" / "store.log").read_text(encoding="utf-8")


async def test_what_is_optional_and_does_not_come_up_stops_nothing(tmp_path: Path) -> None:
    broken = dataclasses.replace(stand_in(tmp_path, "extra", code="raise SystemExit(3)"), optional=True)
    async with running(tmp_path, stand_in(tmp_path, "store"), broken) as (status, by_name):
        await eventually(lambda: by_name["extra"].state == "failed")
        assert status.phase == "ready" and by_name["store"].state == "ready"
    assert "goes on without it" in (tmp_path / "logs" / "extra.log").read_text(encoding="utf-8")


async def test_a_crashed_service_comes_back_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    async with running(tmp_path, stand_in(tmp_path, "store")) as (_, by_name):
        store = by_name["store"]
        for crash in range(1, 4):
            assert store.pid is not None
            os.kill(store.pid, signal.SIGKILL)
            await eventually(lambda: len(journal(tmp_path)) == crash + 1 and store.state == "ready")  # noqa: B023
    log = (tmp_path / "logs" / "store.log").read_text(encoding="utf-8")
    assert log.count("killed by signal 9; restart in") == 3
    assert journal(tmp_path).count("start store") == 4


async def test_a_service_waits_for_its_crashed_dependency(tmp_path: Path) -> None:
    services = (stand_in(tmp_path, "store"), stand_in(tmp_path, "worker", "store"))
    async with running(tmp_path, *services) as (_, by_name):
        pids = [by_name[name].pid for name in ("worker", "store")]
        for pid in pids:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: all(each.restarts and each.state == "ready" for each in by_name.values()))
    starts = [line for line in journal(tmp_path) if line.startswith("start")]
    assert starts == ["start store", "start worker", "start store", "start worker"]


@pytest.mark.parametrize(
    "bad",
    [
        task("bad", "print('what went wrong'); raise SystemExit(3)", "store"),
        Service("bad", [sys.executable, "-c", "raise SystemExit(3)"], depends_on=("store",), ready=lambda pid: False),
        Service("bad", ["/nowhere/program"], depends_on=("store",)),
        Service(
            "bad",
            [sys.executable, "-c", "import time; time.sleep(600)"],
            depends_on=("store",),
            ready=lambda pid: False,
            start_timeout_s=0.5,
        ),
    ],
    ids=["task fails", "service ends", "no program", "never ready"],
)
async def test_what_does_not_come_up_stops_everything(tmp_path: Path, bad: Service) -> None:
    status = StackStatus(os.getpid())
    services = (stand_in(tmp_path, "store"), bad)
    supervisor = Supervisor(services, status, tmp_path, tmp_path / "logs", str(tmp_path), POLICY)
    with pytest.raises(ProcessFailed, match="bad did not come up"):
        async with asyncio.timeout(TIMEOUT_S):
            await supervisor.run(asyncio.Event())
    assert (status.phase, status.failed_service) == ("failed", "bad")
    assert journal(tmp_path)[-1] == "stop store"
    assert not marked(str(tmp_path))


async def test_a_service_that_does_not_drain_is_killed_with_its_children(tmp_path: Path) -> None:
    async with running(tmp_path, stand_in(tmp_path, "stubborn", code=STUBBORN, grace_s=0.3)) as (_, by_name):
        pids = [int((tmp_path / "child").read_text(encoding="utf-8")), by_name["stubborn"].pid or 0]
        assert all(is_alive(pid) for pid in pids)
    assert wait_gone(pids, TIMEOUT_S)
    assert "did not end within" in (tmp_path / "logs" / "stubborn.log").read_text(encoding="utf-8")


SUPERVISE = """
import asyncio, os, pathlib, sys
from scripts.stack.state import StackStatus
from scripts.stack.supervisor import Supervisor
from tests.integration.test_stack_supervisor import STUBBORN, stand_in
folder = pathlib.Path(sys.argv[1])
services = [stand_in(folder, "store"), stand_in(folder, "stubborn", "store", code=STUBBORN)]
asyncio.run(Supervisor(services, StackStatus(os.getpid()), folder, folder / "logs", str(folder)).run(asyncio.Event()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's tie between child and parent is Linux's")
def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SUPERVISE, str(tmp_path)]) as supervisor:

        def is_up() -> bool:
            status = read_status(tmp_path)
            return status is not None and status.phase == "ready"

        wait_until(is_up, "the stack is up")
        status = read_status(tmp_path)
        assert status is not None
        services = [pid for pid, _ in status.recorded_processes()]
        assert len(services) == 2
        supervisor.kill()
    assert wait_gone(services, TIMEOUT_S)
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    assert child in clear_strays(tmp_path, str(tmp_path))  # a service's own child outlives it, until the next command
    assert wait_gone([child], TIMEOUT_S)
    assert clear_strays(tmp_path, str(tmp_path)) == []
