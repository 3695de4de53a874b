"""Where torch computes: on this machine's CPU, or on a GPU if it sees one.

A model's weights are on its device; what it is given goes there right before a pass, and what is made of its answer
comes back right behind it. On a CPU both are nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from shared.contract.catalogue import CPU_TOKENS, GPU_TOKENS
from shared.contract.errors import ConfigurationError

CPU = torch.device("cpu")


def choose(device: str = "auto", engine: str = "torch") -> torch.device:
    """The device that a version names; `auto` is a GPU if there is one, and the CPU otherwise.

    Raises:
        ConfigurationError: it is not there, or the engine computes on a CPU only.
    """
    if engine != "torch":
        if device not in ("auto", "cpu"):
            raise ConfigurationError(f"engine {engine!r} computes on a CPU, not on {device!r}: choose engine 'torch'")
        return CPU
    there = _devices()
    if device == "auto":
        return torch.device(there[0])
    wanted = "cuda:0" if device == "cuda" else device
    if wanted not in there:
        built = "" if torch.version.cuda else f"; this torch, {torch.__version__}, is built without CUDA"
        raise ConfigurationError(f"device {device!r} is not there: torch sees {', '.join(there)}{built}")
    return torch.device(wanted)


def tokens_a_pass(device: torch.device) -> int:
    """How many padded tokens a pass on it may have, if nobody says."""
    return CPU_TOKENS if device.type == "cpu" else GPU_TOKENS


def placed(model: Any, device: torch.device) -> Any:
    """The model, with its weights on the device.

    Raises:
        ConfigurationError: they do not fit.
    """
    if device.type == "cpu":
        return model
    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        raise ConfigurationError(f"its weights do not fit into the memory of {device}: {error}") from None


def device_of(model: Any) -> torch.device:
    """Where a model is; what another engine computes is on the CPU."""
    found: torch.device = getattr(model, "device", CPU)
    return found


def moved(inputs: Mapping[str, Tensor], device: torch.device) -> Mapping[str, Tensor]:
    """Tensors that are on the CPU, on the device."""
    if device.type == "cpu":
        return inputs
    if device.type == "cuda":  # from pinned memory, so that the copy does not hold up what is done meanwhile
        return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in inputs.items()}
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def _devices() -> list[str]:
    """What torch sees here, the best first."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
