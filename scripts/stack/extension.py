"""What the stack adds inside supervisord, by supervisord's own way of being extended: an RPC interface.

supervisord 4.3 lacks four things that a stack needs. Environments reach it on standard input, so no password is in a
file, on a command line, or in a process that doesn't need it. Restarts are counted. The pauses between them grow to
half a minute and no further. And a log that can't be written costs its lines and nothing else: supervisord would
write a traceback into its own log for each of them, without end.

Loaded by supervisord from the line that supervisord_conf.py writes; nothing else imports this.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from typing import Any

from supervisor import events, loggers
from supervisor.states import ProcessStates, getProcessStateDescription

LONGEST_PAUSE_S = 30


class Interface:
    """What `millstream.*` calls reach."""

    def __init__(self, processes: dict[str, Any]) -> None:
        self._processes = processes
        self._restarts: Counter[str] = Counter()
        events.subscribe(events.ProcessStateStartingEvent, self._starting)
        events.subscribe(events.ProcessStateBackoffEvent, self._pausing)

    def processes(self) -> list[dict[str, Any]]:
        """Every process in the form of supervisord.py's Process."""
        return [
            {
                "name": name,
                "state": getProcessStateDescription(each.get_state()).lower(),
                "pid": each.pid,
                "started_at": float(each.laststart),
                "restarts": self._restarts[name],
            }
            for name, each in self._processes.items()
        ]

    def _starting(self, event: Any) -> None:
        if event.from_state in (ProcessStates.EXITED, ProcessStates.BACKOFF):
            self._restarts[event.process.config.name] += 1

    def _pausing(self, event: Any) -> None:
        # Each pause is a second longer than the last; supervisord adds that second before it says so.
        event.process.backoff = min(event.process.backoff, LONGEST_PAUSE_S - 1)


class PatientLog(loggers.RotatingFileHandler):  # type: ignore[misc]
    """A log file that may become unwritable: what can't be written is lost, and every line tries again."""

    stream: Any

    def __init__(self, filename: str, *arguments: Any) -> None:
        try:
            super().__init__(filename, *arguments)
        except OSError:
            super().__init__(os.devnull, *arguments)
            self.close()
            self.baseFilename = filename

    def doRollover(self) -> None:
        """Called after each line; unlike its parent's, it never raises for the sake of a log."""
        try:
            if self.stream.closed:  # the file could not be opened, or not be put aside
                self.stream = open(self.baseFilename, "ab")
            super().doRollover()
        except OSError:
            return


def make_interface(supervisord: Any) -> Interface:
    """What supervisord calls once, when it has read its configuration and before it starts anything."""
    loggers.RotatingFileHandler = PatientLog
    processes = {name: each for group in supervisord.process_groups.values() for name, each in group.processes.items()}
    for name, environment in json.loads(sys.stdin.read() or "{}").items():
        processes[name].config.environment.update(environment)
    return Interface(processes)
