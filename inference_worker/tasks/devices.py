"""Where a version is computed: on this machine's CPU, or on a GPU if torch sees one and is the engine."""

from __future__ import annotations

from inference_worker.tasks.needs_torch import require_torch
from shared.contract.catalogue import CPU_TOKENS, GPU_TOKENS
from shared.contract.errors import ConfigurationError

CPU = "cpu"


def choose(device: str = "auto", engine: str = "torch") -> str:
    """The device that a version names, as torch calls it; `auto` is a GPU if there is one, and the CPU otherwise.

    Raises:
        ConfigurationError: it, or torch, is not there; or the engine computes on a CPU only.
    """
    if engine != "torch":
        if device not in ("auto", CPU):
            raise ConfigurationError(f"engine {engine!r} computes on a CPU, not on {device!r}: choose engine 'torch'")
        return CPU
    require_torch("engine torch needs")
    if device == CPU:
        return CPU
    there = _devices()
    if device == "auto":
        return there[0]
    wanted = "cuda:0" if device == "cuda" else device
    if wanted not in there:
        raise ConfigurationError(f"device {device!r} is not there: torch sees {', '.join(there)}{_built()}")
    return wanted


def tokens_a_pass(device: str) -> int:
    """How many padded tokens a pass on it may have, if nobody says."""
    return CPU_TOKENS if device == CPU else GPU_TOKENS


def _devices() -> list[str]:
    """What torch sees here, the best first."""
    import torch

    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), CPU]


def _built() -> str:
    import torch

    return "" if torch.version.cuda else f"; this torch, {torch.__version__}, is built without CUDA"
