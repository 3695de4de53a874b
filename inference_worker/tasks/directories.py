"""What lies in a model directory: which folder is read, and what one that cannot be read is, with the way on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.contract.errors import ConfigurationError

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What is fetched of a model directory elsewhere.
WANTED = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.spm", "*.safetensors"]
UNWANTED = ["onnx/*", "openvino/*", "flax/*", "coreml/*", "original/*", ".eval_results/*"]
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_POINTER = b"version https://git-lfs"
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_CONVERT = "with transformers, and save it with save_pretrained(directory)"
# What else people have, by the ending of its files: its name, and how it becomes what is read here.
_OTHERS = {
    ".gguf": ("GGUF", f"load it once as from_pretrained(directory, gguf_file=…) {_CONVERT}"),
    ".onnx": ("ONNX", "take the model that it was exported from"),
    ".h5": ("TensorFlow", "convert it once with transformers 4 (from_tf=True), or choose a revision with safetensors"),
    ".msgpack": ("Flax", "convert it once with transformers 4 (from_flax=True), or choose a revision with safetensors"),
    ".tflite": ("TensorFlow Lite", "take the model that it was exported from"),
    ".mlmodel": ("Core ML", "take the model that it was exported from"),
}
# The package that a quantised model needs, by `quant_method`; transformers itself says which others do.
_QUANTISED_WITH = {
    "bitsandbytes": "bitsandbytes",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "compressed-tensors": "compressed_tensors",
    "torchao": "torchao",
    "hqq": "hqq",
    "quanto": "optimum",
    "aqlm": "aqlm",
    "auto-round": "auto_round",
    "eetq": "kernels",
    "higgs": "flute",
    "mxfp4": "kernels",
    "quark": "quark",
    "spqr": "spqr_quant",
    "vptq": "vptq",
}


def read_json(path: Path) -> Any:
    """A JSON file's content; None if there is no such file.

    Raises:
        ConfigurationError: it is not JSON.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path.name} in {path.parent} is not JSON: {error}") from error


def model_folder(root: Path) -> Path:
    """Where `config.json` and the weights are: old repositories of sentence-transformers have them in a subfolder."""
    if not (root / "config.json").is_file():
        for module in read_json(root / "modules.json") or []:
            if (
                str(module.get("type", "")).endswith("Transformer")
                and (root / module["path"] / "config.json").is_file()
            ):
                return root / str(module["path"])
    return root


def check_directory(directory: Path, location: str) -> None:
    """Refuse what is not a directory with a configuration and safetensors weights.

    Raises:
        ConfigurationError: with what it is instead, or lacks, and what to do.
    """
    if not directory.is_dir():
        raise ConfigurationError(f"the model directory {location} is missing; run: make models")
    weights = [directory / name for name in WEIGHTS if (directory / name).is_file()]
    if (directory / "config.json").is_file() and weights:
        _check_fetched(weights[0], location)
        return
    raise ConfigurationError(f"{location} {_what_is_wrong(directory)}")


def check_quantised(config: Any, location: str) -> None:
    """Refuse a quantised model whose package is not installed.

    Raises:
        ConfigurationError: with the package.
    """
    settings = getattr(config, "quantization_config", None) or {}
    method = str(settings.get("quant_method", "") if isinstance(settings, dict) else settings.quant_method)
    package = _QUANTISED_WITH.get(method, "")
    if package and find_spec(package) is None:
        raise ConfigurationError(
            f"{location} is quantised by {method}, which needs the package {package.replace('_', '-')}: install it "
            "beside the worker, or take the model that is not quantised"
        )


def _check_fetched(weights: Path, location: str) -> None:
    with weights.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ConfigurationError(f"{weights.name} of {location} is a pointer of Git LFS; run there: git lfs pull")


def _what_is_wrong(directory: Path) -> str:
    files = list(_files(directory))
    endings, names = {file.suffix for file in files}, {file.name for file in files}
    if "model_index.json" in names:
        return "is a diffusers pipeline (model_index.json): no task here makes images"
    for ending, (name, way) in _OTHERS.items():
        if ending in endings and not names & set(WEIGHTS):
            return f"has {name} weights only ({_first(files, {ending})}): {way}"
    if not (directory / "config.json").is_file():
        return "has no config.json: it is not a transformers model directory"
    if endings & _PICKLES:
        return (
            f"has pickled weights only ({_first(files, _PICKLES)}), which could run code when read; convert it once "
            "with save_pretrained(directory), or choose a revision that has model.safetensors"
        )
    if ".safetensors" in endings:
        return f"has no model.safetensors, only {_first(files, {'.safetensors'})}: load it once {_CONVERT}"
    return "has no model.safetensors"


def _files(directory: Path) -> Iterator[Path]:
    """The files of a directory and of its folders, not of theirs."""
    for each in sorted(directory.iterdir()):
        if each.is_dir():
            yield from (file for file in sorted(each.iterdir()) if file.is_file())
        else:
            yield each


def _first(files: list[Path], endings: set[str]) -> str:
    return next(file.name for file in files if file.suffix in endings)
