"""What the files of a sentence-transformers repository say, as that library reads them.

`modules.json` lists what happens to the encoder's token vectors: how they are pooled (Reimers & Gurevych,
Sentence-BERT, EMNLP 2019), then dense layers, layer norms, normalizing. `config_sentence_transformers.json` has
prompts, and how many numbers are kept; `sentence_bert_config.json` how much is read. A plain encoder, without any of
them, is mean-pooled; a language model gives its last token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.directories import read_json
from inference_worker.tasks.needs_torch import require_torch
from inference_worker.tasks.vectors import Floats, floats, sigmoid, unit
from shared.contract.errors import ConfigurationError

Layer = Callable[[Floats], Floats]

_KINDS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_LAYER_NORM_EPSILON = 1e-5  # torch's own
_BEYOND = 1e30  # what is not counted in a maximum is below everything by so much
_LEAST = 1e-9

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

    def pooled(self, hidden: Any, mask: Any) -> Any:
        """Token vectors, shape (rows, tokens, size), and what of them counts, to one vector a row: (rows, anything)."""
        hidden = hidden.float() if hasattr(hidden, "float") else hidden
        parts = [POOLINGS[mode](hidden, mask) for mode in self.modes]
        return parts[0] if len(parts) == 1 else np.concatenate([floats(each) for each in parts], axis=1)

    def finished(self, pooled: Floats) -> Floats:
        """Pooled vectors, through all layers: shape (rows, anything)."""
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
    layers = [_LAYERS[kind](folder) for kind, folder in behind if kind in _LAYERS]
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


def _dense(folder: Path) -> Layer:
    config, weights = _module(folder)
    activate = _activation(folder, str(config.get("activation_function", "torch.nn.modules.activation.Tanh")))
    weight, bias = weights["linear.weight"], weights.get("linear.bias", np.float32(0))
    if not config.get("use_residual"):
        return lambda vectors: activate(vectors @ weight.T + bias)
    around = weights.get("residual.weight")
    return lambda vectors: activate(vectors @ weight.T + bias) + (vectors if around is None else vectors @ around.T)


def _activation(folder: Path, name: str) -> Layer:
    if name.startswith("torch.nn."):
        short = name.rsplit(".", 1)[-1]
        if short in _ACTIVATIONS:
            return _ACTIVATIONS[short]
        require_torch(f"the dense layer in {folder} has the activation {short}, which needs")
        found: Layer | None = import_module("inference_worker.tasks.torch_models").activation(short)
        if found is not None:
            return found
    raise ConfigurationError(f"the dense layer in {folder} has an activation that is not torch's own: {name}")


def _layer_norm(folder: Path) -> Layer:
    _, weights = _module(folder)
    weight, bias = weights["norm.weight"], weights["norm.bias"]

    def normed(vectors: Floats) -> Floats:
        apart = vectors - vectors.mean(-1, keepdims=True)
        scaled: Floats = apart / np.sqrt(np.square(apart).mean(-1, keepdims=True) + _LAYER_NORM_EPSILON)
        return scaled * weight + bias

    return normed


def _normalize(folder: Path) -> Layer:
    return unit


_ACTIVATIONS: dict[str, Layer] = {  # the others are torch's
    "Identity": lambda vectors: vectors,
    "Tanh": np.tanh,
    "Sigmoid": sigmoid,
    "ReLU": lambda vectors: np.maximum(vectors, 0),
}
_LAYERS: dict[str, Callable[[Path], Layer]] = {"Dense": _dense, "LayerNorm": _layer_norm, "Normalize": _normalize}


def _module(folder: Path) -> tuple[dict[str, Any], dict[str, Floats]]:
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
    stored: Any = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    return config, {name: _weight(each) for name, each in stored}


def _weight(stored: dict[str, Any]) -> Floats:
    """A weight as safetensors has it, in float32; bfloat16, which NumPy does not know, is the upper half of that."""
    kind, data = stored["dtype"], stored["data"]
    if kind == "BF16":
        halves = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        return halves.view(np.float32).reshape(stored["shape"])
    return np.frombuffer(data, _KINDS[kind]).astype(np.float32).reshape(stored["shape"])


# Ways to pool: token vectors, shape (rows, tokens, size), and a mask of those that count, to a vector a row. Both are
# arrays of NumPy or tensors of torch, on whatever device: only what both know is used.


def _cls(hidden: Any, mask: Any) -> Any:
    return hidden[[*range(len(hidden))], mask.argmax(1)]


def _max(hidden: Any, mask: Any) -> Any:
    counted = hidden + (mask[:, :, None] - 1) * _BEYOND
    return counted.amax(1) if hasattr(counted, "amax") else counted.max(1)


def _mean(hidden: Any, mask: Any) -> Any:
    return (hidden * mask[:, :, None]).sum(1) / mask.sum(1)[:, None].clip(min=_LEAST)


def _mean_sqrt_len(hidden: Any, mask: Any) -> Any:
    return (hidden * mask[:, :, None]).sum(1) / mask.sum(1)[:, None].clip(min=_LEAST) ** 0.5


def _weighted_mean(hidden: Any, mask: Any) -> Any:
    return _mean(hidden, mask * (mask * 0 + 1).cumsum(1))


def _last_token(hidden: Any, mask: Any) -> Any:
    return hidden[[*range(len(hidden))], (mask * mask.cumsum(1)).argmax(1)]


POOLINGS: Mapping[str, Callable[[Any, Any], Any]] = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": _last_token,
}
