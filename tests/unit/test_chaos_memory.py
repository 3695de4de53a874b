"""The memory that chaos holds services to is their containers'."""

from __future__ import annotations

import os
from pathlib import Path

from tests.chaos.clock import Clock
from tests.chaos.memory import MemoryWatch, limits, memory_of


def test_the_limits_are_those_of_compose() -> None:
    assert limits() == {"gateway": 512 * 2**20, "inference_worker": 2 * 2**30, "persister": 512 * 2**20}


def test_a_process_over_its_limit_is_a_violation() -> None:
    watch = MemoryWatch([])
    watch.peaks = {"gateway": 513 * 2**20, "persister": 2**20}
    assert watch.violations() == [f"gateway used {513 * 2**20} bytes of {512 * 2**20}"]


def test_memory_is_looked_at() -> None:
    assert memory_of(os.getpid()) > 2**20
    assert memory_of(2**22 + 1) == 0


def test_a_clock_jumps_by_a_file(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    clock.jump(-20)
    assert (tmp_path / "clock").read_text(encoding="ascii") == "-20s\n"
