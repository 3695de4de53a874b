"""How many CPUs a process is given, from control groups written to a directory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inference_worker.cpus import cgroup_cpus, cpus_given, memory_given, parse_quota, thread_count
from inference_worker.tasks import threads
from inference_worker.tasks.torch_models import set_threads


@pytest.mark.parametrize(
    ("affinity", "quota", "given", "threads"),
    [(8, None, None, 8), (8, 2.5, None, 2), (8, 0.5, None, 1), (8, 4.0, 1.0, 1), (2, 4.0, 16.0, 2)],
)
def test_the_least_counts(affinity: int, quota: float | None, given: float | None, threads: int) -> None:
    assert thread_count(affinity, quota, given) == threads


@pytest.mark.parametrize(("quota", "cpus"), [("150000", 1.5), ("max", None), ("-1", None)])
def test_quotas(quota: str, cpus: float | None) -> None:
    assert parse_quota(quota, "100000") == cpus


def _write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="ascii")


def test_version_2_takes_the_least_on_the_way_up(tmp_path: Path) -> None:
    _write(tmp_path / "proc", "0::/pod/container\n")
    _write(tmp_path / "root/pod/container/cpu.max", "max 100000\n")
    _write(tmp_path / "root/pod/cpu.max", "200000 100000\n")
    assert cgroup_cpus(tmp_path / "root", tmp_path / "proc") == 2.0


def test_version_1(tmp_path: Path) -> None:
    _write(tmp_path / "proc", "5:memory:/box\n4:cpu,cpuacct:/box\n")
    _write(tmp_path / "root/cpu/box/cpu.cfs_quota_us", "50000\n")
    _write(tmp_path / "root/cpu/box/cpu.cfs_period_us", "100000\n")
    assert cgroup_cpus(tmp_path / "root", tmp_path / "proc") == 0.5


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cgroup_cpus(tmp_path / "root", tmp_path / "proc") is None


@pytest.mark.parametrize(
    ("group", "file"), [("0::/pod", "root/pod/memory.max"), ("9:memory:/pod", "root/memory/pod/memory.limit_in_bytes")]
)
def test_memory_is_the_limit_of_the_control_group(tmp_path: Path, group: str, file: str) -> None:
    _write(tmp_path / "proc", f"{group}\n")
    machine = memory_given(tmp_path / "root", tmp_path / "proc")
    assert machine > 100_000_000
    _write(tmp_path / file, "max\n")
    assert memory_given(tmp_path / "root", tmp_path / "proc") == machine
    _write(tmp_path / file, "50000000\n")
    assert memory_given(tmp_path / "root", tmp_path / "proc") == 50_000_000


def test_torch_computes_with_what_was_chosen_and_may_be_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "_chosen", [])
    assert threads.threads() == cpus_given()
    try:
        for _ in range(2):
            threads.use_threads(1)
            set_threads()
        assert torch.get_num_threads() == threads.threads() == 1
    finally:
        torch.set_num_threads(before)
