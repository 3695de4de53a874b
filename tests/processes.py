"""Running the services as processes, as a user would: an environment in, HTTP out. Imports nothing of the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.stack.ports import free_port

REPOSITORY = Path(__file__).parent.parent
_TRACES = "COVERAGE_PROCESS_CONFIG"  # by which coverage.py finds processes


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it does not come true in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        threading.Event().wait(0.02)


def descendants(pid: int) -> list[int]:
    """The processes below one."""
    try:
        by_thread = [each.read_text(encoding="ascii") for each in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return []
    children = [int(each) for each in " ".join(by_thread).split()]
    return [*children, *(below for child in children for below in descendants(child))]


def model_processes(worker: int) -> list[int]:
    """The processes in which a worker's models compute: forked by the server that it has started."""
    servers = [pid for pid in descendants(worker) if _parent(pid) == worker]
    return [pid for pid in descendants(worker) if _parent(pid) in servers]


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except FileNotFoundError:
        return None


class Service:
    """One service process with a port for its probes; a gateway asks nobody who they are unless it is told to.

    Attributes:
        metrics_url: where its metrics are; the gateway has a port of its own for them.
        log: what it writes; with `output`, a file descriptor that it writes to instead, whoever reads that fills it.

    Args:
        traced: whether its lines count as covered where coverage is measured, which costs it a quarter of its speed.
    """

    def __init__(
        self,
        module: str,
        port: int,
        environment: Mapping[str, str],
        log: Path,
        output: int | None = None,
        *,
        traced: bool = False,
    ) -> None:
        self.module = module
        self.url = self.metrics_url = f"http://127.0.0.1:{port}"
        if module not in ("inference_worker", "persister"):
            environment = {"ADMIN_PORT": str(free_port()), **environment}
            self.metrics_url = f"http://127.0.0.1:{environment['ADMIN_PORT']}"
        self.log = log
        outer = {name: value for name, value in os.environ.items() if traced or name != _TRACES}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=log.parent,  # a developer's .env is not there
                env={**outer, "PYTHONPATH": str(REPOSITORY), "AUTH": "off", **environment},
                stdout=file if output is None else output,
                stderr=file if output is None else output,
            )

    @property
    def ready(self) -> bool:
        """Whether `/readyz` says so."""
        assert self.process.poll() is None, f"{self.module} ended early:\n{self.log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until it is ready."""
        wait_until(lambda: self.ready, f"{self.module} ready; its log:\n{self.log}", timeout_s)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Freeze it."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw it."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self, timeout_s: float = 30) -> int:
        """End it as an operator would; the answer is its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self.process.returncode)
