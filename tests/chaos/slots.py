"""Places for service processes, and the supervisor that fills them again: as systemd or Kubernetes would.

What a process logs is read from a pipe, as a container's is, so that the reader can stop. A process that ends without
being told to, or that ends badly though it was told nicely, is a finding.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

from scripts.stack.ports import answers, free_port
from tests.chaos.clock import Clock
from tests.processes import Service
from tests.waiting import eventually

_PIPE_BYTES = 4096  # the smallest: it is full soon after nobody reads it any more
_LOOK_EVERY_S = 0.05
_RESTART_AFTER_S = 0.2
_START_TIMEOUT_S = 40.0
_STOP_TIMEOUT_S = 25.0


class Slot:
    """One place: the same module, port and settings through all the lives of its process.

    Attributes:
        clock: the wall clock of its processes, if it may jump.
        starts: how many processes there have been.
        findings: ends that nothing explains.
    """

    def __init__(
        self,
        module: str,
        number: int,
        environment: Mapping[str, str],
        port_name: str,
        folder: Path,
        *,
        clock_jumps: bool = False,
    ) -> None:
        self.name = f"{module} {number}"
        self.module = module
        self.port = free_port()
        self.starts = 0
        self.findings: list[str] = []
        self.clock = Clock(folder / f"{module}-{number}-clock")
        clock = self.clock.environment if clock_jumps else {}
        self._environment = {**environment, **clock, port_name: str(self.port)}
        self._log_is_read = threading.Event()
        self._log_is_read.set()
        self._log = folder / f"{module}-{number}.log"
        self._expected: set[int] = set()
        self.service = self._start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.service.url

    def kill(self) -> None:
        """End it as a crash would."""
        self._expected = {-signal.SIGKILL}
        self.service.kill()

    async def stop(self) -> None:
        """End it as an operator would; it must end by itself, with exit code 0."""
        self._expected = {0}
        service = self.service
        service.process.terminate()
        try:
            await eventually(lambda: service.process.poll() is not None, "it ends", _STOP_TIMEOUT_S)
        except AssertionError:
            self.findings.append(f"{self.name} did not end within {_STOP_TIMEOUT_S} s of SIGTERM")
            service.kill()

    async def listening(self) -> None:
        """Wait until its process listens: it has started, though a store may be away."""
        await eventually(
            lambda: self.service.process.poll() is None and answers(self.port), f"{self.name} listens", _START_TIMEOUT_S
        )

    def read_no_log(self) -> None:
        """Leave what its processes write in the pipe, until it is full and longer."""
        self._log_is_read.clear()

    def read_log(self) -> None:
        """Read it again."""
        self._log_is_read.set()

    async def keep(self) -> None:
        """Start it again whenever it has ended, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            code = self.service.process.poll()
            if code is None:
                continue
            if code not in self._expected:
                self.findings.append(f"{self.name} ended with code {code}:\n{self.last_words()}")
            self._expected = set()
            await asyncio.sleep(_RESTART_AFTER_S)
            self.service = self._start()

    def end(self) -> None:
        """The run is over."""
        self.read_log()
        self.service.resume()
        self.service.stop()

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def tracebacks(self) -> int:
        """How many tracebacks its processes wrote; an outage is no reason for one."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return sum(line.startswith("Traceback (most recent call last)") for line in lines)

    def _start(self) -> Service:
        self.starts += 1
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        try:
            return Service(self.module, self.port, self._environment, self._log, writing)
        finally:
            os.close(writing)
            threading.Thread(target=self._read_log, args=(reading,), name=f"log of {self.name}", daemon=True).start()

    def _read_log(self, pipe: int) -> None:
        with os.fdopen(pipe, "rb", buffering=0) as reader, self._log.open("ab") as log:
            while self._log_is_read.wait() and (piece := reader.read(65_536)):
                log.write(piece)
                log.flush()
