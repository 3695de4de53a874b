"""From a catalogue's artifact to a model in memory: standard transformers directories, safetensors only.

A hub address is fetched into the hub's own cache first (a pinned revision that is there already needs no network), so
that everything behind it reads one local directory and never reaches out. Code from a repository is never run and
pickled weights are never read: either could execute anything on this machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

from shared.contract.catalogue import HUB_PREFIX
from shared.contract.errors import ConfigurationError

_WANTED = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors"]
_UNWANTED = ["onnx/*", "openvino/*", "flax/*", "coreml/*", ".eval_results/*"]
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_LOGGING: Any = logging  # its functions carry no types
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model directory that may be loaded.

    Attributes:
        directory: where it is on this machine.
        config: its `config.json`, as transformers reads it.
        dtype: what the weights are computed in.
        location: what the catalogue calls it, for messages.
        engine: what computes it, `torch` or `openvino`.
    """

    directory: Path
    config: Any
    dtype: torch.dtype
    location: str
    engine: str = "torch"

    @property
    def architecture(self) -> str:
        """The class the weights were saved from, such as `BertForSequenceClassification`; else empty."""
        return str((getattr(self.config, "architectures", None) or [""])[0])


def open_artifact(location: str, dtype: str, engine: str = "torch") -> Artifact:
    """Find an artifact and read its configuration; nothing is loaded yet.

    Args:
        location: a directory, or `hf://owner/name[@revision]`.
        dtype: `float32` or `bfloat16`.
        engine: `torch` or `openvino`.

    Raises:
        ConfigurationError: it is missing, cannot be fetched, is not a transformers directory or has no safetensors.
    """
    if dtype not in _DTYPES:
        raise ConfigurationError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
    directory = _fetch(location) if location.startswith(HUB_PREFIX) else Path(location)
    check_directory(directory, location)
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read config.json of {location}: {_first_line(error)}") from error
    return Artifact(directory, config, _DTYPES[dtype], location, engine)


def check_directory(directory: Path, location: str) -> None:
    """Refuse what is not a directory with a configuration and safetensors weights.

    Raises:
        ConfigurationError: with what is missing and what to do.
    """
    if not directory.is_dir():
        raise ConfigurationError(f"the model directory {location} is missing; run: make models")
    if not (directory / "config.json").is_file():
        raise ConfigurationError(f"{location} has no config.json: it is not a transformers model directory")
    files = list(directory.iterdir())
    if any(file.suffix == ".safetensors" for file in files):
        return
    if any(file.suffix in _PICKLES for file in files):
        raise ConfigurationError(
            f"{location} has pickled weights only, which could run code when read; convert it once with "
            "save_pretrained(directory, safe_serialization=True), or choose a revision that has model.safetensors"
        )
    raise ConfigurationError(f"{location} has no model.safetensors")


def load_model(auto_class: Any, artifact: Artifact, optional: tuple[str, ...] = ()) -> Any:
    """Load the weights with one of transformers' Auto classes, in evaluation mode.

    Args:
        auto_class: such as `AutoModelForSequenceClassification`.
        artifact: what to load.
        optional: prefixes of weights this task does not use and the artifact may lack.

    Raises:
        ConfigurationError: the architecture does not fit the task, or weights are missing. Transformers would fill
            those with random numbers and serve noise.
    """
    wanted = auto_class.__name__.replace("AutoModel", "a model ", 1)
    try:
        with _quiet():
            model, report = auto_class.from_pretrained(
                artifact.directory,
                config=artifact.config,
                dtype=artifact.dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigurationError(f"cannot load {artifact.location} as {wanted}: {_first_line(error)}") from error
    missing = [key for key in sorted(report["missing_keys"]) if not key.startswith(optional)]
    if missing or report["mismatched_keys"]:
        raise ConfigurationError(
            f"{artifact.location} does not fit its task: as {wanted} it lacks trained weights "
            f"({', '.join(missing[:3]) or 'wrong shapes'}); its architecture is {artifact.architecture or 'unknown'}"
        )
    return model.eval()


def load_tokenizer(artifact: Artifact, fast: bool = True) -> Any:
    """Load the artifact's tokenizer.

    Args:
        fast: it must be one that knows where in a text its tokens are, as chunking by tokens needs.

    Raises:
        ConfigurationError: there is none, or not a fast one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(artifact.directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ConfigurationError(f"cannot load the tokenizer of {artifact.location}: {_first_line(error)}") from error
    if fast and not tokenizer.is_fast:
        raise ConfigurationError(f"{artifact.location} has no fast tokenizer (tokenizer.json)")
    return tokenizer


def _fetch(location: str) -> Path:
    name, _, revision = location.removeprefix(HUB_PREFIX).partition("@")
    try:
        return Path(
            snapshot_download(name, revision=revision or None, allow_patterns=_WANTED, ignore_patterns=_UNWANTED)
        )
    except (OSError, ValueError, HFValidationError) as error:
        raise ConfigurationError(f"cannot fetch {location} from the model hub: {_first_line(error)}") from error


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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
