"""How many CPUs, and how much memory, this process is really given.

Torch counts the CPUs of the machine, also inside a container that may use half of one; too many threads then fight over
the quota and every pass is slower. What counts is the lowest of the CPU affinity, the CPU quota of the control group
(version 2 `cpu.max`, version 1 `cpu.cfs_quota_us`) and what the settings say. Memory likewise (`memory.max`,
`memory.limit_in_bytes`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_CGROUP_OF_PROCESS = Path("/proc/self/cgroup")


def cpus_given(cpus: float | None = None) -> int:
    """Whole CPUs that this process may keep busy, at least one.

    Args:
        cpus: CPUs this process may use, if the operator knows better than the system (one of several workers on a
            machine); None to use all it is given.
    """
    return thread_count(len(os.sched_getaffinity(0)), cgroup_cpus(), cpus)


def thread_count(affinity: int, quota: float | None, given: float | None) -> int:
    """The lowest of the three, rounded down to whole threads, at least one."""
    return max(1, int(min(cpus for cpus in (affinity, quota, given) if cpus is not None)))


def cgroup_cpus(root: Path = _CGROUP_ROOT, process: Path = _CGROUP_OF_PROCESS) -> float | None:
    """The CPU quota of this process in CPUs: the lowest on the way up from its control group; None without a quota."""
    quotas = (quota for directory in _cgroup_directories("cpu", root, process) for quota in _quotas(directory))
    return min(quotas, default=None)


def memory_given(root: Path = _CGROUP_ROOT, process: Path = _CGROUP_OF_PROCESS) -> int:
    """Bytes of memory that this process may use: the machine's, or the lowest limit of its control group."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = ("memory.max", "memory.limit_in_bytes")
    limits = (_read(each / file) for each in _cgroup_directories("memory", root, process) for file in files)
    return min([machine, *(int(limit) for limit in limits if limit and limit.strip().isdecimal())])


def parse_quota(quota: str, period: str) -> float | None:
    """CPUs from a quota and its period, both in microseconds; None if it is unlimited (`max` or -1)."""
    if quota == "max" or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _cgroup_directories(controller: str, root: Path, process: Path) -> Iterator[Path]:
    for line in (_read(process) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / controller if controller in controllers.split(",") else root if not controllers else None
        if base is not None:
            group = base / path.lstrip("/")
            yield from (directory for directory in (group, *group.parents) if directory.is_relative_to(base))


def _quotas(directory: Path) -> Iterator[float]:
    current = (_read(directory / "cpu.max") or "").split()
    legacy = [_read(directory / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    pairs = [current] if len(current) == 2 else [[part.strip() for part in legacy if part]]
    for pair in pairs:
        cpus = parse_quota(*pair) if len(pair) == 2 else None
        if cpus is not None:
            yield cpus


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except OSError:  # no such control group here (or not ours to read): then it sets no limit
        return None
