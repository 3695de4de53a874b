"""Finding what a stack left behind when its supervisord was killed: every process of a stack carries a mark.

The mark is in the environment, which children inherit, so a service's own children are found too. Linux only: elsewhere
nobody can read another process's environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from scripts.stack.processes import kill_tree, wait_gone

MARK = "MILLSTREAM_STACK"
PATIENCE_S = 3.0
LONGEST_COMMAND = 60


def mark(home: Path) -> dict[str, str]:
    """What the processes of the stack in that folder carry in their environment."""
    return {MARK: str(home)}


def marked(home: Path) -> list[int]:
    """Living processes of the stack in that folder, this one excepted."""
    wanted = f"{MARK}={home}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
        except OSError:  # gone meanwhile, or another user's
            continue
    return sorted(pid for pid in found if pid != os.getpid())


def described(pid: int) -> str:
    """A process for a person who may want to end it: its pid, its command, and the stack that it is a part of."""
    proc = Path("/proc") / str(pid)
    try:
        program, *words = proc.joinpath("cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        variables = proc.joinpath("environ").read_bytes().split(b"\0")
    except OSError:
        return f"pid {pid}"
    stack = next((each.partition(b"=")[2] for each in variables if each.startswith(f"{MARK}=".encode())), b"")
    of_stack = f", of the stack in {os.fsdecode(stack)}" if stack else ""
    command = " ".join([Path(program).name, *words])[:LONGEST_COMMAND]
    return f"pid {pid} ({command}){of_stack}"


def clear_strays(home: Path) -> list[int]:
    """End whatever is left of a stack whose supervisord is gone or hangs; returns what was found."""
    found = marked(home)
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    if not wait_gone(found, PATIENCE_S):
        for pid in found:
            kill_tree(pid)
    return found
