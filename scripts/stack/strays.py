"""Finding processes that a stack left behind: by what its status file names, and by a mark in their environment.

Nearly always there are none: the kernel ends a service with its supervisor. What is left are children of services that
were killed hard, and systems other than Linux.
"""

from __future__ import annotations

import os
from pathlib import Path

from scripts.stack.processes import kill_tree, wait_gone
from scripts.stack.state import read_status, still_running
from scripts.stack.unit import MARK


def marked(mark: str) -> list[int]:
    """Living processes whose environment carries the mark of a stack, this process excepted."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
        except OSError:  # gone meanwhile, or another user's
            continue
    return [pid for pid in found if pid != os.getpid()]


def clear_strays(run: Path, mark: str) -> list[int]:
    """End whatever is left of a stack whose supervisor is gone; returns what was found."""
    status = read_status(run)
    recorded = still_running(status.recorded_processes()) if status else []
    found = sorted({*recorded, *marked(mark)})
    if found and not wait_gone(found, 3.0):  # data servers may be on their way out already
        for pid in found:
            kill_tree(pid)
    return found
