"""What `make up`, `down`, `status`, `logs` and `clean` do to the native stack."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from scripts.stack import dotenv, reports
from scripts.stack.config import StackConfig, with_ports
from scripts.stack.daemon import stack_mark
from scripts.stack.errors import StackError
from scripts.stack.preflight import check_install, check_start
from scripts.stack.processes import kill_tree, wait_for, wait_gone
from scripts.stack.reports import say
from scripts.stack.service_log import last_lines, lines_of_last_start
from scripts.stack.services import service_environment
from scripts.stack.state import (
    STATUS_FILE,
    StackStatus,
    command_lock,
    read_status,
    supervisor_is_running,
    supervisor_pid,
)
from scripts.stack.strays import clear_strays

FAILURE_LINES = 20
POLL_S = 0.1
EXIT_S = 5.0
SUPERVISOR_LOG = "supervisor.log"
SUPERVISOR_LOG_BYTES = 2**20
STOP_MARGIN_S = 60.0  # beyond one grace period per level: the data servers write their last state


def make_env(root: Path) -> None:
    """Make `.env` where there is none."""
    if dotenv.create(root / ".env", root / ".env.example"):
        say("made .env with fresh passwords")


def up(config: StackConfig) -> None:
    """Start the stack in the background and wait until it is ready; a running one is only waited for.

    Raises:
        StackError: it can't be started; whatever was started is stopped by then.
    """
    check_install(config)
    with command_lock(config.run):
        if supervisor_is_running(config.run):
            say("Millstream is running already.")
            supervisor = None
        else:
            clear_strays(config.run, stack_mark(config))
            check_start(config)
            supervisor = _spawn_supervisor(config)
        try:
            _follow(config, supervisor)
        except KeyboardInterrupt:
            say("\ninterrupted: stopping")
            down(config)
            raise
    for line in reports.summary(as_running(config), read_status(config.run)):
        say(line)


def as_running(config: StackConfig) -> StackConfig:
    """The stack with the ports that the running one has."""
    current = read_status(config.run)
    if current is None or not supervisor_is_running(config.run):
        return config
    return with_ports(config, current.ports())


def down(config: StackConfig) -> None:
    """Drain and stop everything; harmless when nothing runs.

    Raises:
        StackError: processes are left that can't be ended.
    """
    pid = supervisor_pid(config.run)
    if supervisor_is_running(config.run) and pid is not None:
        say("stopping (services drain first) …")
        started = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        patience_s = 4 * (config.grace_s + 5) + STOP_MARGIN_S
        if not wait_for(lambda: not supervisor_is_running(config.run), patience_s, POLL_S):
            kill_tree(pid)
        wait_gone([pid], EXIT_S)  # it drops its lock a moment before it ends
        say(f"stopped in {time.monotonic() - started:.1f} s")
    else:
        say("Millstream is not running.")
    clear_strays(config.run, stack_mark(config))


def clean(config: StackConfig) -> None:
    """Stop, and remove all data and logs of the native stack."""
    down(config)
    shutil.rmtree(config.home, ignore_errors=True)
    say(f"removed {config.home}")


def status(config: StackConfig) -> bool:
    """Print the table of services; says whether the stack is up and ready."""
    current = read_status(config.run)
    if current is None or not supervisor_is_running(config.run):
        say("Millstream is not running (make up starts it).")
        return False
    say(f"Millstream: {current.phase}, supervisor {current.supervisor_pid}, data in {config.home}")
    for line in reports.table(current, time.time()):
        say(line)
    return current.phase == "ready"


def migrate(config: StackConfig, rollback_steps: int = 0) -> int:
    """Run the migrate step against the stack's database, or take back its newest steps; returns its exit code."""
    command = [sys.executable, "-m", "migrations", *(["--rollback", str(rollback_steps)] if rollback_steps else [])]
    return subprocess.run(command, env=service_environment(config), cwd=config.root, check=False).returncode


def follow_logs(config: StackConfig, lines: int) -> None:
    """Print the end of every service's log and what is added to it, until interrupted.

    Raises:
        StackError: there are no logs.
    """
    files = sorted(config.logs.glob("*.log"))
    if not files:
        raise StackError(f"no logs in {config.logs}: make up first")
    tail = ["tail", "--quiet", "-n", str(lines), "-F", *map(str, files)]
    with contextlib.suppress(KeyboardInterrupt):
        subprocess.run(tail, stderr=subprocess.DEVNULL, check=False)


def _spawn_supervisor(config: StackConfig) -> subprocess.Popen[bytes]:
    config.logs.mkdir(parents=True, exist_ok=True)
    (config.run / STATUS_FILE).unlink(missing_ok=True)
    log_file = config.logs / SUPERVISOR_LOG
    if log_file.exists() and log_file.stat().st_size > SUPERVISOR_LOG_BYTES:
        log_file.replace(log_file.with_name(f"{SUPERVISOR_LOG}.1"))
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.stack", "supervise"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=config.root,
            start_new_session=True,
        )


def _follow(config: StackConfig, supervisor: subprocess.Popen[bytes] | None) -> None:
    """Tell what becomes ready until all is.

    Raises:
        StackError: the stack failed or was stopped.
    """
    started = time.monotonic()
    told: set[str] = set()
    progress = _TaskProgress(config.logs / "models.log")
    pause = threading.Event()
    while True:
        alive = supervisor.poll() is None if supervisor else supervisor_is_running(config.run)
        current = read_status(config.run)
        progress.tell()
        if current is not None:
            if supervisor or current.phase != "ready":  # what has long been ready is no progress
                _tell_steps(current, told, time.monotonic() - started)
            if current.phase == "ready":
                return
            if current.phase == "failed" and not alive:
                raise StackError(_failure(config, current))
        if not alive:
            raise StackError(_unexpected_end(config, current))
        pause.wait(POLL_S)


def _tell_steps(status: StackStatus, told: set[str], elapsed_s: float) -> None:
    for service in status.services:
        if service.state in ("ready", "done") and service.name not in told:
            told.add(service.name)
            say(reports.step(service, elapsed_s))


def _failure(config: StackConfig, status: StackStatus) -> str:
    name = status.failed_service
    lines = lines_of_last_start(config.logs / f"{name}.log", FAILURE_LINES) if name else []
    hint = f"\neverything was stopped; the whole log is {config.logs / f'{name}.log'}" if name else ""
    return "\n".join([status.message or "the stack failed", *lines]) + hint


def _unexpected_end(config: StackConfig, status: StackStatus | None) -> str:
    if status is not None and status.phase in ("stopping", "stopped"):
        return "the stack was stopped by another command"
    return "\n".join([*last_lines(config.logs / SUPERVISOR_LOG, FAILURE_LINES), "the supervisor ended unexpectedly"])


class _TaskProgress:
    """Passes on what a long task says in its log while it runs: the lines that begin with its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marker = f"{path.stem}:"
        self._position = path.stat().st_size if path.exists() else 0

    def tell(self) -> None:
        if not self._path.exists() or self._path.stat().st_size <= self._position:
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        whole = data.rpartition(b"\n")[0]
        if not whole:
            return
        self._position += len(whole) + 1
        for line in whole.decode("utf-8", errors="replace").split("\n"):
            text = line.partition("| ")[2]
            if text.startswith(self._marker):
                say(f"            {text}")
