"""What `make up`, `down`, `status`, `logs` and `clean` do to the native stack."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.stack import dotenv, logs, prometheus, reports
from scripts.stack.config import StackConfig, with_ports
from scripts.stack.errors import StackError
from scripts.stack.preflight import check_install, check_start
from scripts.stack.processes import wait_for
from scripts.stack.record import Entry, Record, command_lock, read_record, write_record
from scripts.stack.reports import say
from scripts.stack.services import Stack, Stage, gateway_environment, migrate_environment, native_stack
from scripts.stack.startup import Startup
from scripts.stack.strays import clear_strays
from scripts.stack.supervisord import NotRunning, Supervisord, is_running

POLL_S = 0.05
READY_PATIENCE_S = 60.0
STOP_MARGIN_S = 60.0  # beyond one grace period a stage: the data servers write their last state
PORT_SETTINGS = {
    "gateway": "GATEWAY_PORT",
    "postgres": "POSTGRES_PORT",
    "redis": "REDIS_PORT",
    "worker": "WORKER_METRICS_PORT",
    "persister": "PERSISTER_METRICS_PORT",
    "prometheus": "PROMETHEUS_PORT",
}


def make_env(root: Path) -> None:
    """Make `.env` if there is none; one of an earlier version gets what it lacks."""
    if dotenv.create(root / ".env", root / ".env.example"):
        say("made .env with fresh passwords")
    elif added := dotenv.complete(root / ".env"):
        say(f"added to .env: {', '.join(added)}")


def up(config: StackConfig) -> None:
    """Start the stack in the background and wait until it is ready; a running one is only looked at.

    Raises:
        StackError: it can't be started, and whatever was started is stopped by then; or it runs and is not ready.
    """
    check_install(config)
    # A terminal that is closed, or a service manager that gives up, is an interrupt too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with command_lock(config.run, reports.say_waiting):
        record = read_record(config.run)
        if record is not None and record.complete and is_running(config.run):
            say("Millstream is running already.")
            _wait_ready(config, record)
        else:
            if is_running(config.run):
                say("stopping what an earlier start left unfinished …")
            stop(config)
            check_start(config)
            start(config, native_stack(config))
    beside = Supervisord(config.run).processes().get(prometheus.NAME)
    for line in reports.summary(
        as_running(config), None if beside is None else beside.state in ("starting", "running")
    ):
        say(line)


def start(config: StackConfig, stack: Stack) -> None:
    """Bring a stack up, or leave nothing of it running.

    Raises:
        StackError: it did not come up.
    """
    record = _recorded(stack)
    write_record(config.run, record)
    try:
        Startup(config, stack).run()
    except NotRunning as error:
        stop(config)
        raise StackError(f"{error}: was the stack stopped by another command?") from error
    except KeyboardInterrupt:
        say("\ninterrupted: stopping")
        stop(config)
        raise
    except BaseException:
        stop(config)
        raise
    write_record(config.run, dataclasses.replace(record, complete=True))


def as_running(config: StackConfig) -> StackConfig:
    """The stack with the ports that the running one has."""
    record = read_record(config.run)
    if record is None or not is_running(config.run):
        return config
    return with_ports(config, record.ports)


def down(config: StackConfig) -> None:
    """Drain and stop everything; harmless if nothing runs."""
    if not is_running(config.run):
        say("Millstream is not running.")
        stop(config)
        return
    say("stopping (services drain first) …")
    began = time.monotonic()
    stop(config)
    say(f"stopped in {time.monotonic() - began:.1f} s")


def stop(config: StackConfig) -> None:
    """Stop everything without a word; what is still there when its time is up is killed."""
    with contextlib.suppress(NotRunning):
        Supervisord(config.run).shut_down()
    # Each look also wakes supervisord, which otherwise may notice the end of a process a second late.
    wait_for(lambda: not is_running(config.run), len(Stage) * (config.grace_s + 5) + STOP_MARGIN_S, POLL_S)
    clear_strays(config.home)


def clean(config: StackConfig) -> None:
    """Stop, and remove all data and logs of the native stack."""
    down(config)
    shutil.rmtree(config.home, ignore_errors=True)
    say(f"removed {config.home}")


def status(config: StackConfig) -> bool:
    """Print the table of services; says whether the stack is up and ready."""
    record = read_record(config.run)
    if record is None or not is_running(config.run):
        say("Millstream is not running (make up starts it).")
        return False
    supervisord = Supervisord(config.run)
    try:
        pid, processes = supervisord.pid(), supervisord.processes()
    except NotRunning:
        say("Millstream: stopping")
        return False
    ready = reports.readiness(record, processes)
    is_ready = record.complete and not reports.failing(record, ready)
    phase = "ready" if is_ready else "not ready" if record.complete else "starting"
    say(f"Millstream: {phase}, supervisor {pid}, data in {config.home}")
    for line in reports.table(record, processes, ready, time.time()):
        say(line)
    return is_ready


def migrate(config: StackConfig, rollback_steps: int = 0) -> int:
    """Run the migrate step against the stack's database, or take back its newest steps; returns its exit code."""
    command = [sys.executable, "-m", "migrations", *(["--rollback", str(rollback_steps)] if rollback_steps else [])]
    environment = migrate_environment(config)
    return subprocess.run(command, env=environment, cwd=config.root, check=False).returncode


def gateway_tool(config: StackConfig, module: str, arguments: Sequence[str]) -> int:
    """Run a tool of the gateway's, told what the gateway is; returns its exit code."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env=gateway_environment(config), cwd=config.root, check=False).returncode


def follow_logs(config: StackConfig, lines: int) -> None:
    """Print the end of every service's log and what is added to it, until interrupted.

    Raises:
        StackError: there are no logs.
    """
    files = sorted(config.logs.glob("*.log"))
    if not files:
        raise StackError(f"no logs in {config.logs}: make up first")
    with contextlib.suppress(KeyboardInterrupt):
        logs.follow(files, lines)


def _wait_ready(config: StackConfig, record: Record) -> None:
    supervisord = Supervisord(config.run)

    def missing() -> list[str]:
        return reports.failing(record, reports.readiness(record, supervisord.processes()))

    if not wait_for(lambda: not missing(), READY_PATIENCE_S, POLL_S):
        raise StackError(f"not ready: {', '.join(missing())}; see make status and make logs")


def _recorded(stack: Stack) -> Record:
    tasks = tuple(Entry(each.name, "task") for each in stack.tasks)
    stores, services = (
        tuple(Entry(each.name, "service", each.port, each.optional) for each in some)
        for some in (stack.stores, stack.services)
    )
    entries = (*stores, *tasks, *services)
    ports = {PORT_SETTINGS[each.name]: each.port for each in entries if each.port and each.name in PORT_SETTINGS}
    return Record(ports, entries)
