"""From a catalogue's artifact to a model in memory: standard transformers directories, safetensors only.

A hub address is fetched into the hub's own cache first, so that everything behind it reads one local directory and
never reaches out. Code from a repository is never run and pickled weights are never read: either could execute
anything on this machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.utils import logging

from inference_worker.tasks import adapters, devices, hub
from inference_worker.tasks.directories import ADAPTER_CONFIG, check_directory, check_quantised, model_folder
from inference_worker.tasks.hub import words
from shared.contract.catalogue import HUB_PREFIX
from shared.contract.errors import ConfigurationError

_LOGGING: Any = logging  # its functions carry no types
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_OWN_CODE = "trust_remote_code"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model directory that may be loaded.

    Attributes:
        directory: where its configuration and weights are on this machine.
        config: its `config.json`, as transformers reads it.
        dtype: what the weights are computed in.
        location: what the catalogue calls it, for messages.
        engine: what computes it, `torch`, `openvino` or `onnxruntime`.
        root: the directory that the catalogue names, if that is another one: of a sentence-transformers repository
            whose model is in a subfolder, or of an adapter, whose weights are laid over those of `directory`.
        device: where torch computes it.
        keep: whether what is converted for the engine is written beside the weights.
    """

    directory: Path
    config: Any
    dtype: torch.dtype
    location: str
    engine: str = "torch"
    root: Path | None = None
    device: torch.device = devices.CPU
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
        dtype: `float32`, `float16` or `bfloat16`; on a CPU without bfloat16 that is float32 too.
        engine: `torch`, `openvino` or `onnxruntime`.
        device: see `devices.choose`.

    Raises:
        ConfigurationError: it is missing, cannot be fetched, is not a transformers directory or has no safetensors; or
            the device is not there.
    """
    if dtype not in _DTYPES:
        raise ConfigurationError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
    chosen = devices.choose(device, engine)
    root = hub.fetch(location) if location.startswith(HUB_PREFIX) else Path(location)
    base = adapters.base_of(root, location)
    directory = model_folder(root if base is None else base)
    check_directory(directory, location)
    config = _read_config(directory, location)
    check_quantised(config, location)
    named = None if root == directory else root
    return Artifact(directory, config, _computed(dtype, chosen), location, engine, named, chosen)


def _computed(dtype: str, device: torch.device) -> torch.dtype:
    """What is computed in: a CPU without bfloat16 would convert at each step, which takes four times as long."""
    wanting = dtype == "bfloat16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.float32 if wanting else _DTYPES[dtype]


def load_model(auto_class: Any, artifact: Artifact, optional: tuple[str, ...] = ()) -> Any:
    """Load the weights with one of transformers' Auto classes, in evaluation mode, on the artifact's device.

    Args:
        auto_class: such as `AutoModelForSequenceClassification`.
        artifact: what to load.
        optional: prefixes of weights this task does not use and the artifact may lack.

    Raises:
        ConfigurationError: the architecture does not fit the task, or the device; or weights are missing. Transformers
            would fill those with random numbers and serve noise.
    """
    wanted = auto_class.__name__.replace("AutoModel", "a model ", 1)
    adapter = adapters.read(artifact.home, artifact.location)
    config = artifact.config if adapter is None else adapter.fitted(artifact.config)
    try:
        with _quiet():
            model, report = auto_class.from_pretrained(
                artifact.directory,
                config=config,
                dtype=artifact.dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=adapter is not None,
            )
    except MemoryError:
        raise
    except SafetensorError as error:
        raise ConfigurationError(
            f"cannot load {artifact.location}: its weights (*.safetensors) are torn or cut short, so copy or fetch "
            f"them again: {words(error)}"
        ) from error
    except Exception as error:  # noqa: B902 - each architecture, file format and quantisation raises its own
        raise ConfigurationError(f"cannot load {artifact.location} as {wanted}: {words(error)}") from error
    replaced = () if adapter is None else adapter.apply(model)
    missing = [key for key in sorted(report["missing_keys"]) if not key.startswith((*optional, *replaced))]
    mismatched = [key for key in report["mismatched_keys"] if not str(key[0]).startswith(tuple(replaced))]
    if missing or mismatched:
        raise ConfigurationError(
            f"{artifact.location} does not fit its task: as {wanted} it lacks trained weights "
            f"({', '.join(missing[:3]) or 'wrong shapes'}); its architecture is {artifact.architecture or 'unknown'}"
        )
    return devices.placed(model.eval(), artifact.device)


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the progress bar and the load report: what is wrong in it becomes an error of our own."""
    verbosity, bar = _LOGGING.get_verbosity(), _LOGGING.is_progress_bar_enabled()
    _LOGGING.set_verbosity_error()
    _LOGGING.disable_progress_bar()
    try:
        yield
    finally:
        _LOGGING.set_verbosity(verbosity)
        if bar:
            _LOGGING.enable_progress_bar()
