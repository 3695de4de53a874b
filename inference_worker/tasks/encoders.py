"""What computes an encoder: torch, or an engine that takes the same weights and needs less time on a CPU.

A converted model lies beside the weights it was made from: `make models` writes them for the shipped artifacts. Any
other artifact is converted whenever it is loaded, which takes seconds.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from torch import Tensor

from inference_worker.tasks.artifacts import Artifact, load_model
from inference_worker.tasks.hub import words
from inference_worker.tasks.onnx_engine import OnnxRuntime
from inference_worker.tasks.openvino_engine import OpenVino
from inference_worker.tasks.stamps import stamped, write_stamp
from shared.contract.errors import ConfigurationError

log = logging.getLogger(__name__)

_SHAPES = ((1, 5), (3, 12), (2, 31))  # rows, longest row: no two that tracing could take for one
_TOLERANCE = 1e-3  # between float32 of both engines; seen: 1e-5


class Session(Protocol):
    """A model that is ready to compute: takes tensors of shape (rows, longest row) by name."""

    takes: frozenset[str]
    gives: frozenset[str]

    def __call__(self, inputs: dict[str, Tensor], output: str) -> Tensor:
        """One of the outputs; it may only be good until the next call."""


class Engine(Protocol):
    """What computes models that it has converted; each has a kind of model of its own.

    Attributes:
        packages: what pip installs for it.
        converted: the file that a converted model is kept in.
        dtypes: what it computes in.
        needs_stamp: whether a file is read only if it was stamped when it was made.
    """

    packages: tuple[str, ...]
    converted: str
    dtypes: tuple[torch.dtype, ...]
    needs_stamp: bool

    def convert(self, model: Any, example: dict[str, Tensor], output: str) -> Any:
        """Convert a model of torch, in float32, with this one output. May raise anything."""

    def read(self, file: Path) -> Any:
        """A converted model from its file."""

    def write(self, model: Any, file: Path) -> None:
        """A converted model into its file."""

    def start(self, model: Any, dtype: torch.dtype, threads: int) -> Session:
        """Make a converted model ready."""


_ENGINES: dict[str, type[Engine]] = {"openvino": OpenVino, "onnxruntime": OnnxRuntime}


def load_encoder(
    auto_class: Any, artifact: Artifact, inputs: Sequence[str], output: str, optional: tuple[str, ...] = ()
) -> Any:
    """Load an encoder on the artifact's engine.

    Args:
        auto_class, optional: see `load_model`.
        inputs: names of the tensors that it is given, as the tokenizer says.
        output: the one of its outputs that is read, such as `logits`.

    Returns:
        A callable that takes tensors of shape (rows, longest row) by name; its answer has `output` as an attribute.

    Raises:
        ConfigurationError: it cannot be loaded, or not on this engine.
    """
    if artifact.engine == "torch":
        return load_model(auto_class, artifact, optional)
    engine = engine_of(artifact)
    file = artifact.directory / engine.converted
    if _is_good(file, artifact, engine):
        return Encoder(engine, engine.read(file), artifact, inputs, output)
    model = convert(engine, auto_class, artifact, inputs, output, optional)
    if artifact.keep and not artifact.is_adapter:
        engine.write(model, file)
        write_stamp(file)
    return Encoder(engine, model, artifact, inputs, output)


def engine_of(artifact: Artifact) -> Engine:
    """The engine that an artifact is loaded on.

    Raises:
        ConfigurationError: its packages are not installed, or it does not compute in that dtype.
    """
    kind = _ENGINES[artifact.engine]
    if artifact.dtype not in kind.dtypes:
        raise ConfigurationError(
            f"engine {artifact.engine} of {artifact.location} does not compute in {_name(artifact.dtype)}: choose "
            f"{' or '.join(map(_name, kind.dtypes))}, or another engine"
        )
    try:
        return kind()
    except ImportError as error:
        needed = ", ".join(f'"{each}"' for each in kind.packages)
        raise ConfigurationError(
            f"engine {artifact.engine} of {artifact.location} needs a package that the worker does not have ({error}): "
            f"write requirements = [{needed}] into its version and run make models, or choose torch"
        ) from error


class Encoder:
    """An encoder that an engine computes, with as many threads as torch has.

    Attributes:
        config: the artifact's `config.json`.
    """

    def __init__(self, engine: Engine, model: Any, artifact: Artifact, inputs: Collection[str], output: str) -> None:
        session = engine.start(model, artifact.dtype, torch.get_num_threads())
        if not session.takes <= set(inputs) or output not in session.gives:
            raise ConfigurationError(
                f"{engine.converted} of {artifact.location} takes {_list(session.takes)} and gives "
                f"{_list(session.gives)}; its task needs {_list(inputs)} and {output}: delete it"
            )
        self.config = artifact.config
        self._session = session
        self._output = output

    def __call__(self, **inputs: Tensor) -> SimpleNamespace:
        """Compute; the answer's tensor is only good until the next call."""
        taken = {name: tensor for name, tensor in inputs.items() if name in self._session.takes}
        return SimpleNamespace(**{self._output: self._session(taken, self._output)})


def convert(
    engine: Engine,
    auto_class: Any,
    artifact: Artifact,
    inputs: Sequence[str],
    output: str,
    optional: tuple[str, ...] = (),
) -> Any:
    """Convert an encoder, and compare its answers with torch's.

    Args: as of `load_encoder`.

    Returns:
        The engine's own kind of model, in float32, whatever it is going to be computed in.

    Raises:
        ConfigurationError: it cannot be loaded or converted, or does not answer as it does on torch.
    """
    exact = dataclasses.replace(artifact, dtype=torch.float32)
    original = load_model(auto_class, exact, optional)
    inputs = accepted(original, inputs)
    try:
        with torch.inference_mode(), warnings.catch_warnings(action="ignore"):  # what tracing fixes is compared below
            model = engine.convert(original, _example(inputs, artifact, *_SHAPES[0]), output)
        encoder = Encoder(engine, model, exact, inputs, output)
    except Exception as error:  # noqa: B902 - engines raise many kinds
        raise ConfigurationError(
            f"{artifact.location} cannot be converted to {artifact.engine}: {words(error)}"
        ) from error
    for shape in _SHAPES:
        example = _example(inputs, artifact, *shape)
        with torch.inference_mode():
            wanted = getattr(original(**example), output)
        apart = (getattr(encoder(**example), output) - wanted).abs().max().item()
        if not apart <= _TOLERANCE:
            raise ConfigurationError(
                f"{artifact.location} on {artifact.engine} is {apart:.2g} apart from torch on {shape[0]} rows of "
                f"{shape[1]} tokens, where {_TOLERANCE:g} is allowed: choose engine torch"
            )
    return model


def accepted(model: Any, names: Sequence[str], *, sure: bool = False) -> tuple[str, ...]:
    """Those inputs that the model takes: a tokenizer may name others, such as BERT's own beside a DistilBERT.

    Args:
        sure: only what it names, also if it does not name its inputs at all.
    """
    takes = inspect.signature(getattr(model, "forward", model)).parameters
    if "input_ids" not in takes and not sure:
        return tuple(names)
    return tuple(name for name in names if name in takes)


def _is_good(file: Path, artifact: Artifact, engine: Engine) -> bool:
    """Whether a converted model may be read: it is there, and stands for this artifact."""
    if not file.is_file() or artifact.is_adapter:  # what lies beside a base is the base without the adapter
        return False
    stamp = stamped(file)
    if stamp or (stamp is None and not engine.needs_stamp):
        return True
    log.warning("a converted model was not made here from these weights: it is not read", extra={"file": str(file)})
    return False


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _example(inputs: Sequence[str], artifact: Artifact, rows: int, longest: int) -> dict[str, Tensor]:
    """Any ids, the first row full and each further one with more padding."""
    ids = torch.randint(artifact.config.vocab_size, (rows, longest), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(longest) < longest - 2 * torch.arange(rows)[:, None]).long()
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: tensors[name] for name in inputs}
