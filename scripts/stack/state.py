"""What a running stack says about itself on disk: a lock that proves the supervisor lives, and a status file.

The kernel drops the lock with its holder, so a stale pid file can't be mistaken for a running stack. A process is named
by pid and start time, so a reused pid is never signalled.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from scripts.stack.processes import start_ticks, wait_for

SUPERVISOR_LOCK = "supervisor.lock"
COMMAND_LOCK = "command.lock"
STATUS_FILE = "status.json"
PORT_SETTINGS = {
    "GATEWAY_PORT": "gateway",
    "POSTGRES_PORT": "postgres",
    "REDIS_PORT": "redis",
    "WORKER_METRICS_PORT": "worker",
    "PERSISTER_METRICS_PORT": "persister",
    "PROMETHEUS_PORT": "prometheus",
}
LOCK_PATIENCE_S = 0.5  # somebody who only looks whether the lock is held holds it for a moment


@dataclass
class ServiceStatus:
    """One service as the supervisor sees it.

    Attributes:
        state: waiting, preparing, starting, ready, done (a task), backoff, stopping, stopped or failed.
        started_at: seconds since the epoch, of the present process.
        took_s: seconds from its start until it was ready (or, for a task, done).
        exit_code: of the last process that ended; negative is a signal.
    """

    name: str
    kind: str
    port: int | None = None
    state: str = "waiting"
    pid: int | None = None
    ticks: int | None = None
    started_at: float | None = None
    took_s: float | None = None
    restarts: int = 0
    exit_code: int | None = None


@dataclass
class StackStatus:
    """The whole stack; `phase` is starting, ready, stopping, stopped or failed."""

    supervisor_pid: int
    phase: str = "starting"
    failed_service: str | None = None
    message: str | None = None
    services: list[ServiceStatus] = field(default_factory=list)

    def ports(self) -> dict[str, int]:
        """Port numbers by the setting that chooses each."""
        ports = {each.name: each.port for each in self.services if each.port is not None}
        return {setting: ports[name] for setting, name in PORT_SETTINGS.items() if name in ports}

    def recorded_processes(self) -> list[tuple[int, int]]:
        """Pid and start time of every service process, as far as known."""
        return [(each.pid, each.ticks) for each in self.services if each.pid is not None and each.ticks is not None]


def write_status(run: Path, status: StackStatus) -> None:
    """Replace the status file in one step, so that no reader sees half of it."""
    target = run / STATUS_FILE
    scratch = target.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(status), indent=1) + "\n", encoding="utf-8")
    scratch.replace(target)


def read_status(run: Path) -> StackStatus | None:
    """The last status written; None where there is none, or one of another form."""
    try:
        data: dict[str, Any] = json.loads((run / STATUS_FILE).read_text(encoding="utf-8"))
        services = [ServiceStatus(**each) for each in data.pop("services")]
        return StackStatus(**data, services=services)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def supervisor_is_running(run: Path) -> bool:
    """Whether somebody holds the supervisor's lock."""
    path = run / SUPERVISOR_LOCK
    if not path.exists():
        return False
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def supervisor_lock(run: Path) -> Iterator[bool]:
    """Hold the supervisor's lock, with our pid in the file, for the block; False where another holds it."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / SUPERVISOR_LOCK).open("a+", encoding="utf-8") as file:
        if not wait_for(lambda: _try_lock(file), LOCK_PATIENCE_S):
            yield False
            return
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield True


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def command_lock(run: Path) -> Iterator[None]:
    """One `up`, `down` or `clean` at a time: the second waits for the first."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / COMMAND_LOCK).open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def supervisor_pid(run: Path) -> int | None:
    """The pid in the lock file; it means something only while the lock is held."""
    try:
        return int((run / SUPERVISOR_LOCK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def still_running(recorded: list[tuple[int, int]]) -> list[int]:
    """Those of the recorded processes that still run: the same pid with the same start time."""
    return [pid for pid, ticks in recorded if start_ticks(pid) == ticks]
