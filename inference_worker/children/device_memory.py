"""The memory of the GPU that a child computes on, if there is one; torch is not imported for this."""

from __future__ import annotations

import gc
import sys
from typing import Any, NamedTuple

# What torch raises beside its `OutOfMemoryError`: of CUDA's libraries, and of Apple's GPUs.
_FULL = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "MPS backend out of memory")


class DeviceMemory(NamedTuple):
    """Bytes that this process has taken, and that the device has."""

    used: int
    limit: int


def is_full(error: BaseException, text: str) -> bool:
    """Whether an error, with this text, says that there was no memory left for what was being computed."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _FULL)


def give_back() -> None:
    """Give back what torch keeps for later, so that smaller parts find room; call it once nothing holds it any more."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.accelerator.is_available():
        gc.collect()
        torch.accelerator.empty_cache()


def device_memory(device: str) -> DeviceMemory | None:
    """The memory of a device of CUDA, by default the one that is used; None if none is."""
    used = used_bytes(device)
    if used is None:
        return None
    torch: Any = sys.modules["torch"]
    return DeviceMemory(used, int(torch.cuda.mem_get_info(_named(device))[1]))


def used_bytes(device: str) -> int | None:
    """What this process has taken of it, what torch keeps for later included; None if no device of CUDA is used."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.memory_reserved(_named(device)))


def _named(device: str) -> str | None:
    return device if device.startswith("cuda") else None
