"""Which device is chosen, and how tensors get there: by what torch says of a machine that this one is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from inference_worker.children import device_memory
from inference_worker.tasks import devices, torch_models
from shared.contract.catalogue import CPU_TOKENS, GPU_TOKENS
from shared.contract.errors import ConfigurationError

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    def has(cuda: int = 0, mps: bool = False, built: str | None = "13.0") -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.version, "cuda", built)

    return has


@pytest.mark.parametrize(
    ("cuda", "mps", "named", "chosen"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (2, False, "auto", "cuda:0"),
        (1, True, "auto", "cuda:0"),
        (2, False, "cpu", "cpu"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "cuda:1", "cuda:1"),
        (0, True, "mps", "mps"),
    ],
)
def test_the_device_is_the_one_that_is_named_or_the_best(
    machine: Machine, cuda: int, mps: bool, named: str, chosen: str
) -> None:
    machine(cuda, mps)
    found = devices.choose(named)
    assert str(found) == chosen
    assert devices.tokens_a_pass(found) == (CPU_TOKENS if chosen == "cpu" else GPU_TOKENS)


@pytest.mark.parametrize(
    ("machine_has", "named", "told"),
    [
        ({"cuda": 2}, "cuda:2", "device 'cuda:2' is not there: torch sees cuda:0, cuda:1, cpu$"),
        ({"cuda": 1}, "mps", "device 'mps' is not there: torch sees cuda:0, cpu$"),
        ({"built": None}, "cuda", "torch sees cpu; this torch, .*, is built without CUDA$"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    machine: Machine, machine_has: dict[str, Any], named: str, told: str
) -> None:
    machine(**machine_has)
    with pytest.raises(ConfigurationError, match=told):
        devices.choose(named)


def test_another_engine_computes_on_the_cpu_and_nowhere_else(machine: Machine) -> None:
    machine(1)
    assert devices.choose("auto", "openvino") == devices.choose("cpu", "openvino") == devices.CPU
    with pytest.raises(ConfigurationError, match="'openvino' computes on a CPU, not on 'cuda': choose engine 'torch'"):
        devices.choose("cuda", "openvino")


def test_on_the_cpu_nothing_is_copied() -> None:
    inputs, model = {"input_ids": torch.ones(2, 3)}, torch.nn.Linear(2, 2)
    assert torch_models.moved(inputs, torch.device("cpu"))["input_ids"] is inputs["input_ids"]
    array = np.ones((2, 3), np.int64)
    assert torch_models.moved({"input_ids": array}, torch.device("cpu"))["input_ids"].data_ptr() == array.ctypes.data
    assert torch_models.placed(model, devices.CPU) is model


def test_tensors_go_to_cuda_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[tuple[str, bool]] = []
    pinned: list[torch.Tensor] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor.clone())
        return pinned[-1]

    def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        assert tensor is pinned[-1]
        moved.append((str(device), non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    inputs = {"input_ids": torch.ones(2, 3), "attention_mask": torch.zeros(2, 3)}
    assert set(torch_models.moved(inputs, torch.device("cuda:1"))) == set(inputs)
    assert moved == [("cuda:1", True)] * 2


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18.10 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), False),
        (ValueError("CUDA error: out of memory"), False),
        (MemoryError(), False),
    ],
)
def test_that_a_device_is_full_is_told_from_other_errors(error: BaseException, full: bool) -> None:
    assert device_memory.is_full(error, str(error)) is full


def test_the_memory_of_a_device_is_known_only_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_memory.device_memory("cpu") is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda which: {"cuda:1": 5, None: 3}[which])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda which: (1, {"cuda:1": 9, None: 8}[which]))
    assert device_memory.device_memory("cuda:1") == (5, 9)
    assert device_memory.device_memory("auto") == (3, 8)  # of a class of the user's own, which uses it by itself
