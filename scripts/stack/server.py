"""One data server (Postgres or Redis) as a process of ours, for tests: started, stopped, killed and started again."""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import subprocess
from pathlib import Path

from scripts.stack.errors import ProcessFailed
from scripts.stack.processes import is_alive, kill_tree, signal_group, tied_to_parent, wait_for

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
LAST_LINES = 15


class DataServer(abc.ABC):
    """A server over one folder and one port; the same folder and port serve every start."""

    name: str
    stop_signal: signal.Signals

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where clients connect to."""

    @property
    def log_file(self) -> Path:
        """What the server wrote, all starts together."""
        return self.directory.with_name(f"{self.directory.name}.log")

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make the data folder if it is missing."""

    @abc.abstractmethod
    def command(self) -> list[str]:
        """The command line; it stays in the foreground."""

    @abc.abstractmethod
    def is_ready(self, pid: int) -> bool:
        """Whether the server that runs as `pid` answers clients."""

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start and wait until ready.

        Raises:
            ProcessFailed: it ended or was not ready within the timeout; nothing is left running.
        """
        if self.process is not None and self.process.poll() is None:
            return
        self.prepare()
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=tied_to_parent(self.stop_signal),
            )
        self.process = process
        wait_for(lambda: process.poll() is not None or self.is_ready(process.pid), timeout_s)
        if process.poll() is not None or not self.is_ready(process.pid):
            self.kill()
            raise ProcessFailed(f"{self.name} did not become ready:\n{self.last_lines()}", self.name)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop in an orderly way; by force when the timeout passes. Harmless when not running."""
        process = self.process
        if process is None:
            return
        signal_group(process.pid, self.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """SIGKILL it with all its children and wait until they are gone, as a power cut would."""
        process = self.process
        if process is None:
            return
        kill_tree(process.pid)
        process.wait()
        self.process = None

    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and is_alive(self.process.pid)

    def pause(self) -> None:
        """SIGSTOP: the server keeps its connections and answers nothing."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGCONT)

    def last_lines(self, count: int = LAST_LINES) -> str:
        """The end of the log."""
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
