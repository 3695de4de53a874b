"""PEFT adapters: low-rank weights laid over those of a base model, which `adapter_config.json` names.

LoRA (Hu et al., 2021) and what its configuration can say besides: rsLoRA, DoRA, ranks and scales by layer, biases, and
modules that were trained whole, such as a classification head. The sums are done once, while the model is loaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from inference_worker.tasks.artifacts import MERGE
from inference_worker.tasks.directories import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_json
from shared.contract.errors import ConfigurationError

_PREFIX = "base_model.model."
_LOW_RANK = re.compile(r"(?P<layer>.+)\.lora_(?:embedding_)?(?P<kind>A|B|magnitude_vector)(?:\.weight)?")


@dataclass(frozen=True, slots=True)
class Adapter:
    """What is laid over a base model.

    Attributes:
        config: `adapter_config.json`.
        weights: by their names in the base model.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    location: str

    def fitted(self, config: Any) -> Any:
        """The base's configuration with as many labels as a trained head has."""
        heads = [
            weight.shape[0]
            for name, weight in self.weights.items()
            if name.endswith(("classifier.weight", "score.weight", "out_proj.weight")) and weight.dim() == 2
        ]
        if heads and heads[-1] != config.num_labels:
            config.num_labels = heads[-1]
        return config

    def apply(self, model: Any) -> tuple[str, ...]:
        """Add it to the model's weights.

        Returns:
            The names of weights that it replaced whole: the base may lack them.

        Raises:
            ConfigurationError: it does not fit the model.
        """
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        layers: dict[str, dict[str, Tensor]] = {}
        whole: dict[str, Tensor] = {}
        for name, weight in self.weights.items():
            if found := _LOW_RANK.fullmatch(name):
                layers.setdefault(found["layer"], {})[found["kind"]] = weight
            else:
                whole[name] = weight
        foreign = [name for name in whole if name not in own] + [
            layer for layer in layers if f"{layer}.weight" not in own
        ]
        if foreign:
            raise ConfigurationError(f"the adapter {self.location} does not fit its base: no {', '.join(foreign[:3])}")
        with torch.no_grad():
            for name, weight in whole.items():
                own[name].copy_(weight)
            for layer, parts in layers.items():
                self._add(model.get_submodule(layer), layer, parts)
        return tuple(whole)

    def _add(self, module: Any, layer: str, parts: dict[str, Tensor]) -> None:
        low, high = parts["A"].float(), parts["B"].float()
        embedding = isinstance(module, torch.nn.Embedding)
        delta = (high @ low).T if embedding else high @ low
        rank = low.shape[0]
        alpha = _by_layer(self.config.get("alpha_pattern"), layer, self.config["lora_alpha"])
        scale = alpha / (rank**0.5 if self.config.get("use_rslora") else rank)
        swapped = bool(self.config.get("fan_in_fan_out"))  # GPT-2 keeps its weights the other way round
        weight = module.weight.float()
        summed = weight + scale * (delta.T if swapped and not embedding else delta)
        if (magnitude := parts.get("magnitude_vector")) is not None:  # DoRA (Liu et al., 2024)
            norms = summed.norm(dim=0 if swapped or embedding else 1)
            factor = magnitude.float().flatten() / norms
            summed = summed * (factor if swapped or embedding else factor[:, None])
        module.weight.copy_(summed)


def read(root: Path, location: str) -> Adapter | None:
    """Read an adapter; None if `root` is none.

    Raises:
        ConfigurationError: its weights are missing or pickled, or it is of a kind that is not laid over weights.
    """
    config = read_json(root / ADAPTER_CONFIG)
    if config is None:
        return None
    kind = config.get("peft_type")
    if kind != "LORA" or config.get("megatron_config") or config.get("target_parameters"):
        raise ConfigurationError(f"{location} is an adapter of the kind {kind}, not plain LORA: {MERGE}")
    if not (root / ADAPTER_WEIGHTS).is_file():
        raise ConfigurationError(f"{location} is an adapter without {ADAPTER_WEIGHTS}: save it with safetensors")
    weights = load_file(root / ADAPTER_WEIGHTS)
    return Adapter(config, {_base_name(name): weight for name, weight in weights.items()}, location)


def _base_name(name: str) -> str:
    name = name.removeprefix(_PREFIX)
    for added in (".base_layer", ".modules_to_save.default", ".modules_to_save"):
        name = name.replace(added, "")
    return name


def _by_layer(pattern: dict[str, float] | None, layer: str, otherwise: float) -> float:
    """As peft matches: a key is the end of a layer's name, or a pattern of it."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", layer):
            return value
    return otherwise
