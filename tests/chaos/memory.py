"""The memory of each service while things break, against the limit of its container."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.chaos.slots import Slot
from tests.processes import REPOSITORY, descendants

_EVERY_S = 1.0
_SERVICES = {"gateway": "gateway", "inference_worker": "worker-sentiment", "persister": "persister"}
_UNITS = {"m": 2**20, "g": 2**30}


def limits() -> dict[str, int]:
    """The memory that compose.yaml gives each service, in bytes, by module."""
    services = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return {module: _bytes(str(services[service]["mem_limit"])) for module, service in _SERVICES.items()}


def _bytes(limit: str) -> int:
    """Of a limit such as `512m` or `${NAME:-2g}`."""
    found = re.search(r"(\d+)([mg])\}?$", limit)
    assert found, f"no limit: {limit}"
    return int(found[1]) * _UNITS[found[2]]


class MemoryWatch:
    """Looks at each service again and again.

    Attributes:
        peaks: the most bytes that a process of each module had, with those below it, shared pages counted in parts.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.peaks: dict[str, int] = {}
        self._slots = slots

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            for slot in self._slots:
                used = await asyncio.to_thread(memory_of, slot.service.process.pid)
                self.peaks[slot.module] = max(used, self.peaks.get(slot.module, 0))
            await asyncio.sleep(_EVERY_S)

    def violations(self) -> list[str]:
        """What was over its limit."""
        return [
            f"{module} used {self.peaks[module]} bytes of {limit}"
            for module, limit in limits().items()
            if self.peaks.get(module, 0) > limit
        ]


def memory_of(pid: int) -> int:
    return sum(_pss(each) for each in (pid, *descendants(pid)))


def _pss(pid: int) -> int:
    """The proportional set size of a process; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
