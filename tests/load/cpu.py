"""The CPU time of processes, from /proc (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """What a process and all its descendants have used since they started, those that ended included.

    By parentage, not by process group: Postgres's backends leave theirs.
    """
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        except OSError:
            continue  # ended meanwhile
        each = int(stat.parent.name)
        parents[each] = int(fields[1])
        ticks[each] = sum(map(int, fields[11:15]))  # user and system, its own and of children that ended
    return sum(used for each, used in ticks.items() if _descends(each, pid, parents)) / _TICKS


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid != ancestor and pid in parents:
        pid = parents[pid]
    return pid == ancestor
