"""Low-rank adapters: what a fine-tune changed, small enough to live in the repository.

An adapter is one safetensors file of half-precision tensors over named base weights. `x.A` (rank, inputs) and `x.B`
(outputs, rank) stand for the change `B @ A * alpha / rank` of `x.weight` (LoRA, Hu et al., ICLR 2022); a tensor under
its own name replaces the base's. Its metadata names rank, alpha and the sha256 of the base file.

A merge gives the same bits on every machine, so that its result can be pinned by hash. Each half-precision number is
a multiple of 2**-24, so each product of two is a multiple of 2**-48, and double precision adds such numbers exactly
as long as sums stay below 32, in whatever order a library adds them. What follows is one rounding an element.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.artifacts import sha256_of
from models.packages import BuildError

State = dict[str, Tensor]


def merge(base: Path, adapter: Path, prefix: str) -> State:
    """Apply an adapter to base weights.

    Args:
        base: the base `model.safetensors`.
        adapter: the adapter file.
        prefix: what the fine-tuned model puts before the base's names (`bert.`).

    Returns:
        The weights of the fine-tuned model, float32.

    Raises:
        BuildError: the base is not the file the adapter was made on.
    """
    deltas, metadata = read_adapter(adapter)
    if sha256_of(base) != metadata["base_sha256"]:
        raise BuildError(f"{base.name} is not the file that {adapter.name} was trained on (sha256 differs)")
    state = {prefix + name: tensor for name, tensor in load_file(base).items()}
    scale = float(metadata["alpha"]) / float(metadata["rank"])
    for name, tensor in deltas.items():
        if name.endswith(".A"):
            weight = name.removesuffix(".A") + ".weight"
            change = deltas[name.removesuffix("A") + "B"].double() @ tensor.double() * scale
            state[weight] = (state[weight].double() + change).float()
        elif not name.endswith(".B"):
            state[name] = tensor.float()
    return state


def compress(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], rank: int) -> tuple[State, float]:
    """Make an adapter of a full fine-tune: its changes of the encoder's matrices, cut to their largest singular values.

    Word embeddings keep the base's values; everything else that is not an encoder matrix is stored as it is.

    Returns:
        The adapter's tensors, and which share of the squared change they keep.
    """
    adapter: State = {}
    total = kept = 0.0
    for name, tensor in tuned.items():
        if "word_embeddings" in name:
            continue
        if ".encoder." in name and name.endswith(".weight") and tensor.ndim == 2:
            left, values, right = torch.linalg.svd(tensor - base[name], full_matrices=False)
            root = values[:rank].sqrt()
            stem = name.removesuffix(".weight")
            adapter[f"{stem}.A"], adapter[f"{stem}.B"] = root[:, None] * right[:rank], left[:, :rank] * root
            total, kept = total + float(values.square().sum()), kept + float(values[:rank].square().sum())
        else:
            adapter[name] = tensor
    return adapter, kept / total


def read_adapter(file: Path) -> tuple[State, dict[str, str]]:
    """The tensors and the metadata of an adapter file."""
    with safe_open(file, "pt") as handle:
        return {name: handle.get_tensor(name) for name in handle.keys()}, dict(handle.metadata())


def write_adapter(file: Path, tensors: Mapping[str, Tensor], rank: int, alpha: float, base_sha256: str) -> None:
    """Write an adapter file in half precision."""
    halves = {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}
    base = "sentence-transformers/all-MiniLM-L6-v2"
    metadata = {"rank": str(rank), "alpha": f"{alpha:g}", "base": base, "base_sha256": base_sha256}
    save_file(halves, file, metadata=metadata)
