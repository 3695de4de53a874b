"""Processes and their groups: born with a tie to their parent, ended with all that they started.

Linux ends a child by itself when its parent dies (PR_SET_PDEATHSIG), so a killed test run leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PR_SET_PDEATHSIG = 1
POLL_S = 0.02


def tied_to_parent(death_signal: signal.Signals) -> Callable[[], None]:
    """A function to run in a new child before it executes: the kernel sends it `death_signal` when we are gone.

    The signal follows the *thread* that started the child: start children from the main thread.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def tie() -> None:
        if libc is None:
            return
        libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died between the fork and the call above
            os.kill(os.getpid(), signal.SIGKILL)

    return tie


def is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _stat_field(pid, 0) != "Z"


def descendants(pid: int) -> list[int]:
    """All living processes below one, whatever their group or session (Linux; elsewhere none are seen)."""
    children: dict[int, list[int]] = {}
    for each in Path("/proc").glob("[0-9]*"):
        parent = _stat_field(int(each.name), 1)
        if parent:
            children.setdefault(int(parent), []).append(int(each.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.extend(below)
        waiting.extend(below)
    return found


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a group leader's whole group; nothing happens if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def kill_tree(pid: int, timeout_s: float = 10.0) -> bool:
    """SIGKILL a process, the group it leads, if any, and all its descendants; True when none is left in time.

    Postgres puts each backend into a session of its own, so the group alone is not enough.
    """
    below = descendants(pid)
    signal_group(pid, signal.SIGKILL)
    for each in (pid, *below):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)
    return wait_gone([pid, *below], timeout_s)


def wait_gone(pids: Iterable[int], timeout_s: float) -> bool:
    """Wait until none of the processes is alive; False when the timeout passes first."""
    left = list(pids)
    return wait_for(lambda: not any(is_alive(pid) for pid in left), timeout_s)


def wait_for(condition: Callable[[], bool], timeout_s: float, poll_s: float = POLL_S) -> bool:
    """Poll until the condition holds; False when the timeout passes first."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() >= deadline:
            return False
        pause.wait(poll_s)
    return True


def _stat_field(pid: int, index: int) -> str:
    """A field of /proc/PID/stat, counted from the state (0); empty if it can't be read."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return fields[index] if index < len(fields) else ""
