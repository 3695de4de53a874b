"""From what the catalogue names to a model's directory and configuration: standard transformers, safetensors only.

A hub address is fetched into the hub's own cache first, so that everything behind it reads one local directory and
never reaches out. Code from a repository is never run and pickled weights are never read: either could execute
anything on this machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from inference_worker.tasks import devices, hub
from inference_worker.tasks.directories import (
    ADAPTER_CONFIG,
    check_directory,
    check_quantised,
    model_folder,
    read_json,
)
from inference_worker.tasks.hub import words
from shared.contract.catalogue import HUB_PREFIX
from shared.contract.errors import ConfigurationError

DTYPES = ("float32", "bfloat16", "float16")
MERGE = "merge it once with peft (merge_and_unload) and save_pretrained(directory)"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_OWN_CODE = "trust_remote_code"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model directory that may be loaded.

    Attributes:
        directory: where its configuration and weights are on this machine.
        config: its `config.json`, as transformers reads it.
        dtype: what it is to be computed in; where a CPU has no `bfloat16`, that is `float32`.
        location: what the catalogue calls it, for messages.
        engine: what computes it, `torch`, `openvino` or `onnxruntime`.
        root: the directory that the catalogue names, if that is another one: of a sentence-transformers repository
            whose model is in a subfolder, or of an adapter, whose weights are laid over those of `directory`.
        device: where torch computes it.
        keep: whether what is converted for the engine is written beside the weights.
    """

    directory: Path
    config: Any
    dtype: str
    location: str
    engine: str = "torch"
    root: Path | None = None
    device: str = devices.CPU
    keep: bool = False

    @property
    def architecture(self) -> str:
        """The class the weights were saved from, such as `BertForSequenceClassification`; else empty."""
        return str((getattr(self.config, "architectures", None) or [""])[0])

    @property
    def home(self) -> Path:
        """The directory that the catalogue names."""
        return self.root or self.directory

    @property
    def is_adapter(self) -> bool:
        """Whether `directory` has the base model's weights alone."""
        return (self.home / ADAPTER_CONFIG).is_file()

    @property
    def is_causal(self) -> bool:
        """Whether it reads from left to right only, as language models that write do."""
        kind = self.config.model_type
        return not self.config.is_encoder_decoder and (
            kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        )


def open_artifact(location: str, dtype: str, engine: str = "torch", device: str = "auto") -> Artifact:
    """Find an artifact and read its configuration; no weights are loaded yet.

    Args:
        location: a directory, or `hf://owner/name[@revision]`.
        dtype: `float32`, `float16` or `bfloat16`.
        engine: `torch`, `openvino` or `onnxruntime`.
        device: see `devices.choose`.

    Raises:
        ConfigurationError: it is missing, cannot be fetched, is not a transformers directory or has no safetensors; or
            the device is not there.
    """
    if dtype not in DTYPES:
        raise ConfigurationError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    chosen = devices.choose(device, engine)
    root = hub.fetch(location) if location.startswith(HUB_PREFIX) else Path(location)
    base = base_of(root, location)
    directory = model_folder(root if base is None else base)
    check_directory(directory, location)
    config = _read_config(directory, location)
    check_quantised(config, location)
    named = None if root == directory else root
    return Artifact(directory, config, dtype, location, engine, named, chosen)


def base_of(root: Path, location: str) -> Path | None:
    """The directory of the model that an adapter is laid over; None if `root` is no adapter.

    A name that is no directory, here or beside the adapter, is that of a model of the hub.

    Raises:
        ConfigurationError: it names none, or one that is not there.
    """
    if not (root / ADAPTER_CONFIG).is_file():
        return None
    config = read_json(root / ADAPTER_CONFIG)
    name = str(config.get("base_model_name_or_path") or "")
    for directory in () if location.startswith(HUB_PREFIX) else (Path(name), root / name):
        if name and directory.is_dir() and directory.resolve() != root.resolve():
            return directory
    if not _HUB_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{location} is an adapter of {name or 'a model that it does not name'}, which is no directory here: put "
            f"the directory of its base model, or the base's name on the hub, into base_model_name_or_path of "
            f"{ADAPTER_CONFIG}; or {MERGE}"
        )
    return hub.fetch(f"{HUB_PREFIX}{name}@{config.get('revision') or 'main'}")


def _read_config(directory: Path, location: str) -> Any:
    try:
        config: Any = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # noqa: B902 - what does not fit is told in many ways
        if _OWN_CODE in str(error):
            raise ConfigurationError(
                f"{location} brings code of its own, which is never run here: take a model that transformers knows, or "
                "serve it by a class of your own (task = 'package.module:Class')"
            ) from error
        raise ConfigurationError(f"cannot read config.json of {location}: {words(error)}") from error
    if config._attn_implementation not in (None, "eager", "sdpa"):
        config._attn_implementation = None  # what its trainers had, such as flash_attention_2: the numbers are the same
    return config
