"""How the stack comes up: the stores, then migrations and models, then the services, each told when it is there.

Only this order is ours. Once a process is started, supervisord keeps it running. Whatever does not come up the first
time ends the start: something is wrong that a restart does not mend.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.stack import reports
from scripts.stack.config import StackConfig
from scripts.stack.errors import ProcessFailed, StackError
from scripts.stack.logs import Follower, begin_anew, last_lines, named, private
from scripts.stack.processes import kill_tree
from scripts.stack.reports import say
from scripts.stack.services import Service, Stack, Task, base_environment
from scripts.stack.strays import mark
from scripts.stack.supervisord import NotRunning, Process, Supervisord, launch
from scripts.stack.supervisord_conf import SUPERVISOR_LOG, write_configuration

# A look costs what starts a part of the processor: what takes long is looked at less often.
FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGER = 0.05, 0.3, 1.2
FAILURE_LINES = 20
QUIET_S = 20.0  # after this long a person wants to know what is waited for
TASK_GRACE_S = 10.0


class Startup:
    """One start of one stack; whatever an earlier one left is gone before."""

    def __init__(self, config: StackConfig, stack: Stack) -> None:
        self._config = config
        self._stack = stack
        self._supervisord = Supervisord(config.run)
        self._environment = {**base_environment(os.environ), **mark(config.home)}
        self._began = time.monotonic()
        self._next_word_s = QUIET_S
        self._starting: dict[str, Service] = {}
        self._deadlines: dict[str, float] = {}
        self._tasks: dict[str, tuple[subprocess.Popen[bytes], Follower]] = {}

    def run(self) -> None:
        """Bring everything up.

        Raises:
            StackError: something did not come up; what was started still runs.
        """
        services = self._stack.services
        begin_anew(self._config.logs)
        try:
            self._begin(each for each in self._stack.tasks if not each.needs_stores)
            self._launch()
            self._start([*self._stack.stores, *(each for each in services if each.optional)])
            self._wait(self._all_ready)
            self._begin(each for each in self._stack.tasks if each.needs_stores)
            self._wait(lambda: not self._tasks)
            self._start([each for each in services if not each.optional])
            self._wait(self._all_ready)
        finally:
            for process, output in self._tasks.values():
                _end(process)
                output.close()

    def _launch(self) -> None:
        services = self._stack.supervised
        for service in services:
            service.prepare()
        write_configuration(self._config.run, self._config.logs, services)
        environments = {each.name: each.environment for each in services}
        launch(self._config.run, self._environment, environments, self._config.root)

    def _start(self, services: Iterable[Service]) -> None:
        for service in services:
            self._starting[service.name] = service
            self._deadlines[service.name] = time.monotonic() + service.start_timeout_s
            try:
                self._supervisord.start(service.stage.group, service.name)
            except NotRunning:
                raise
            except StackError as error:
                self._give_up(service.name, str(error))

    def _begin(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            log = self._log(task.name)
            with open(log, "wb", opener=private) as output:
                process = subprocess.Popen(
                    task.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**self._environment, **task.environment},
                    cwd=task.directory,
                )
            self._tasks[task.name] = process, Follower(log)

    def _wait(self, condition: Callable[[], bool]) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            self._say_what_takes_long()
            self._look_at_tasks()
            self._look_at_services()
            if condition():
                return
            threading.Event().wait(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * LONGER)

    def _say_what_takes_long(self) -> None:
        if self._elapsed() < self._next_word_s:
            return
        self._next_word_s = self._elapsed() + QUIET_S
        for service in self._starting.values():
            say(reports.step(service.name, "waits", None, self._elapsed(), service.reason()))

    def _all_ready(self) -> bool:
        return all(each.optional for each in self._starting.values())

    def _look_at_tasks(self) -> None:
        for name, (process, output) in list(self._tasks.items()):
            code = process.poll()
            for line in output.lines():
                if line.startswith(f"{name}:"):
                    say(f"            {line}")
            if code:
                raise self._failure(name, f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}")
            if code == 0:
                del self._tasks[name]
                output.close()
                say(reports.step(name, "done", None, self._elapsed()))

    def _look_at_services(self) -> None:
        processes = self._supervisord.processes() if self._starting else {}
        with ThreadPoolExecutor() as pool:
            ready = list(pool.map(lambda each: _is_ready(each, processes[each.name]), self._starting.values()))
        for service, is_ready in zip(list(self._starting.values()), ready, strict=True):
            process = processes[service.name]
            if process.restarts or process.state in ("backoff", "exited", "fatal"):
                self._give_up(service.name, self._why_it_ended(service.name))
            elif is_ready:
                del self._starting[service.name]
                say(reports.step(service.name, "ready", service.port, self._elapsed()))
            elif time.monotonic() > self._deadlines[service.name]:
                words = ": ".join(filter(None, [f"not ready after {service.start_timeout_s:.0f} s", service.reason()]))
                self._give_up(service.name, words)

    def _give_up(self, name: str, reason: str) -> None:
        """Go on without what is optional, or fail."""
        service = self._starting.pop(name)
        if not service.optional:
            raise self._failure(name, reason)

    def _why_it_ended(self, name: str) -> str:
        """supervisord's own log has the exit code, or the signal."""
        words = f" exited: {name} ("
        lines = last_lines(self._config.logs / SUPERVISOR_LOG, FAILURE_LINES)
        found = [line.partition(words)[2].partition(";")[0] for line in lines if words in line]
        return found[-1] if found else "it could not be started"

    def _failure(self, name: str, reason: str) -> ProcessFailed:
        log = self._log(name)
        lines = [named(name, line) for line in last_lines(log, FAILURE_LINES)]
        hint = f"everything was stopped; the whole log is {log}"
        return ProcessFailed("\n".join([f"{name} did not come up: {reason}", *lines, hint]), name)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _log(self, name: str) -> Path:
        return self._config.logs / f"{name}.log"


def _is_ready(service: Service, process: Process) -> bool:
    return bool(process.pid) and service.ready(process.pid)


def _end(task: subprocess.Popen[bytes]) -> None:
    task.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        task.wait(TASK_GRACE_S)
    kill_tree(task.pid)
    task.wait()
