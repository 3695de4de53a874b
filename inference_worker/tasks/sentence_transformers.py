"""What the files of a sentence-transformers repository say, as that library reads them.

`modules.json` lists what happens to the encoder's token vectors: how they are pooled (Reimers & Gurevych,
Sentence-BERT, EMNLP 2019), then dense layers, layer norms, normalizing. `config_sentence_transformers.json` has
prompts, and how many numbers are kept; `sentence_bert_config.json` how much is read. A plain encoder, without any of
them, is mean-pooled; a language model gives its last token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import layer_norm, linear, normalize

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.directories import read_json
from shared.contract.errors import ConfigurationError

Layer = Callable[[Tensor], Tensor]

_SETTINGS = [
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]
_SPARSE = {"SpladePooling", "MLMTransformer", "SparseAutoEncoder", "SparseStaticEmbedding"}
_NOT_TEXT = {"CLIPModel"}
_LEGACY = {  # what older repositories switch on and off, in the order in which several are joined
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class Settings(NamedTuple):
    """How texts are read, and what is kept.

    Attributes:
        limit: most tokens read; None if only the encoder limits it.
        lower_case: whether texts are put in lower case first.
        prompts: what is written before a text, by name.
        default_prompt: the name of the one that is used unless another is asked for; empty for none.
        dimensions: how many numbers are kept; None for all.
    """

    limit: int | None = None
    lower_case: bool = False
    prompts: Mapping[str, str] = {}
    default_prompt: str = ""
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What makes a text's vector from its token vectors.

    Attributes:
        modes: ways to pool, joined in this order.
        with_prompt: whether the tokens of the prompt count.
        layers: applied to the pooled vectors, in order.
    """

    modes: Sequence[str]
    with_prompt: bool
    layers: Sequence[Layer]

    @property
    def normalizes(self) -> bool:
        """Whether its vectors have length 1."""
        return bool(self.layers) and self.layers[-1] is unit

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Token vectors, shape (rows, tokens, size), and what of them counts, to one vector a row: (rows, anything)."""
        pooled = torch.cat([POOLINGS[mode](hidden.float(), mask) for mode in self.modes], dim=1)
        for layer in self.layers:
            pooled = layer(pooled)
        return pooled


def read_settings(artifact: Artifact) -> Settings:
    """Read them; an empty one if the repository is not of sentence-transformers.

    Raises:
        ConfigurationError: a file is not as it should be.
    """
    files = (read_json(artifact.directory / name) for name in _SETTINGS)
    reading: dict[str, Any] = next((each for each in files if each), {})
    whole = read_json(artifact.home / "config_sentence_transformers.json") or {}
    prompts = {str(name): str(prompt or "") for name, prompt in (whole.get("prompts") or {}).items()}
    default = str(whole.get("default_prompt_name") or "")
    if default and default not in prompts:
        raise ConfigurationError(f"{artifact.location} names the default prompt {default!r}, which it does not have")
    dimensions = whole.get("truncate_dim")
    return Settings(
        reading.get("max_seq_length") or None,
        bool(reading.get("do_lower_case")),
        prompts,
        default,
        int(dimensions) if dimensions else None,
    )


def read_head(artifact: Artifact) -> Head:
    """Read the modules behind the encoder.

    Raises:
        ConfigurationError: one is of a kind that is not supported, or its weights are missing.
    """
    modules = read_json(artifact.home / "modules.json") or []
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    _check_kinds(kinds, artifact)
    folders = [artifact.home / str(module["path"]) for module in modules]
    pooled = kinds.index("Pooling") if "Pooling" in kinds else -1
    folder = folders[pooled] if pooled >= 0 else artifact.home / "1_Pooling"
    modes, with_prompt = _pooling(folder, artifact)
    behind = zip(kinds[pooled + 1 :], folders[pooled + 1 :], strict=True)
    layers = [_LAYERS[kind](folder, artifact.device) for kind, folder in behind if kind in _LAYERS]
    return Head(modes, with_prompt, layers)


def _check_kinds(kinds: Sequence[str], artifact: Artifact) -> None:
    if found := _SPARSE & {*kinds}:
        raise ConfigurationError(
            f"{artifact.location} makes sparse embeddings ({', '.join(sorted(found))}): only dense ones are served; "
            "take a dense model, or serve it by a class of your own"
        )
    if found := {*kinds} - {"Transformer", "Pooling", "Dropout", *_LAYERS}:
        what = "reads more than texts" if found & _NOT_TEXT else "has modules that are not supported"
        raise ConfigurationError(f"{artifact.location} {what}: {', '.join(sorted(found))}")
    before = kinds[1 : kinds.index("Pooling")] if "Pooling" in kinds else kinds[1:]
    if kinds and (kinds[0] != "Transformer" or "Pooling" not in kinds or {*before} - {"Dropout"}):
        raise ConfigurationError(
            f"{artifact.location} has its modules in the order {', '.join(kinds)}: supported is one Transformer, then "
            "Pooling, then what changes whole vectors"
        )


def _pooling(folder: Path, artifact: Artifact) -> tuple[list[str], bool]:
    config = read_json(folder / "config.json") or {}
    modes = config.get("pooling_mode") or [mode for key, mode in _LEGACY.items() if config.get(key)]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if not modes:
        modes = ["lasttoken" if artifact.architecture.endswith("ForCausalLM") and not config else "mean"]
    unknown = [mode for mode in modes if mode not in POOLINGS]
    if unknown:
        raise ConfigurationError(
            f"{artifact.location} pools by {', '.join(map(str, unknown))}; supported: {', '.join(POOLINGS)}"
        )
    return modes, bool(config.get("include_prompt", True))


def _dense(folder: Path, device: torch.device) -> Layer:
    config, weights = _module(folder, device)
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    kind = getattr(torch.nn, name.rsplit(".", 1)[-1], None)
    if not (name.startswith("torch.nn.") and isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        raise ConfigurationError(f"the dense layer in {folder} has an activation that is not torch's own: {name}")
    activation, weight, bias = kind().to(device), weights["linear.weight"], weights.get("linear.bias")
    if not config.get("use_residual"):
        return lambda vectors: activation(linear(vectors, weight, bias))
    around = weights.get("residual.weight")
    return lambda vectors: activation(linear(vectors, weight, bias)) + (
        vectors if around is None else linear(vectors, around)
    )


def _layer_norm(folder: Path, device: torch.device) -> Layer:
    _, weights = _module(folder, device)
    weight, bias = weights["norm.weight"], weights["norm.bias"]
    return lambda vectors: layer_norm(vectors, weight.shape, weight, bias)


def _normalize(folder: Path, device: torch.device) -> Layer:
    return unit


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1 in the directions of these, shape (rows, size)."""
    return normalize(vectors, dim=-1)


_LAYERS: dict[str, Callable[[Path, torch.device], Layer]] = {
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Normalize": _normalize,
}


def _module(folder: Path, device: torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ConfigurationError(
            f"{folder} has no model.safetensors: weights that are pickled (pytorch_model.bin) are never read; load the "
            "model once with sentence-transformers and save it with save_pretrained(directory)"
        )
    config = read_json(folder / "config.json") or {}
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise ConfigurationError(f"the module in {folder} changes single tokens ({key}): that is not supported")
    return config, {name: weight.float().to(device) for name, weight in load_file(path).items()}


def _cls(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.int().argmax(1)]


def _max(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill((mask == 0).unsqueeze(-1), -torch.inf).amax(1)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    inside = mask.unsqueeze(-1).float()
    return (hidden * inside).sum(1) / inside.sum(1).clamp(min=1e-9)


def _mean_sqrt_len(hidden: Tensor, mask: Tensor) -> Tensor:
    inside = mask.unsqueeze(-1).float()
    return (hidden * inside).sum(1) / inside.sum(1).clamp(min=1e-9).sqrt()


def _weighted_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    places = torch.arange(1, hidden.shape[1] + 1, dtype=hidden.dtype, device=hidden.device)
    inside = (mask * places).unsqueeze(-1)
    return (hidden * inside).sum(1) / inside.sum(1).clamp(min=1e-9)


def _last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    places = torch.arange(1, hidden.shape[1] + 1, device=hidden.device)
    return hidden[torch.arange(len(hidden), device=hidden.device), (mask * places).argmax(1)]


POOLINGS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": _last_token,
}
