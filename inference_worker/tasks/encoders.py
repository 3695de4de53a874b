"""What computes an encoder: torch, or an engine that takes the same weights and needs less time on a CPU.

A converted model lies beside the weights it was made from: `make models` writes them for the shipped artifacts. Any
other artifact is converted whenever it is loaded, which takes torch, and seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inference_worker.tasks import devices
from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.needs_torch import conversions, torch_models
from inference_worker.tasks.onnx_engine import OnnxRuntime
from inference_worker.tasks.openvino_engine import OpenVino
from inference_worker.tasks.rows import Arrays
from inference_worker.tasks.stamps import stamped, write_stamp
from inference_worker.tasks.threads import threads
from inference_worker.tasks.vectors import Floats
from shared.contract.errors import ConfigurationError

log = logging.getLogger(__name__)


class Session(Protocol):
    """A model that is ready to compute: takes arrays of shape (rows, longest row) by name."""

    takes: frozenset[str]
    gives: frozenset[str]

    def __call__(self, inputs: Arrays, output: str) -> NDArray[Any]:
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
    dtypes: tuple[str, ...]
    needs_stamp: bool

    def computed_in(self, dtype: str) -> str:
        """What a model is computed in here if `dtype`, one of `dtypes`, is asked for."""

    def convert(self, model: Any, example: dict[str, Any], output: str) -> Any:
        """Convert a model of torch, in float32, with this one output. May raise anything."""

    def read(self, file: Path) -> Any:
        """A converted model from its file."""

    def write(self, model: Any, file: Path) -> None:
        """A converted model into its file."""

    def start(self, model: Any, dtype: str, threads: int) -> Session:
        """Make a converted model ready."""


class Computed(Protocol):
    """An encoder that is ready, whatever computes it.

    Attributes:
        config: the artifact's `config.json`.
        device: where it computes, as torch calls it.
        dtype: what it computes in.
        traced: whether it was fixed by what it was converted from, so that longer rows tell nothing new of it.
        skips_padding: whether it leaves out padding where it can.
        out_of_memory: the errors, beside MemoryError, that say that its device has no memory left.
    """

    config: Any
    device: str
    dtype: str
    traced: bool
    skips_padding: bool
    out_of_memory: tuple[type[Exception], ...]

    def takes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those inputs that the model takes."""

    def compute(self, inputs: Arrays, mask: Floats, reduce: Callable[[Any, Any], Any]) -> Any:
        """What `reduce` makes of the model's output and the mask, while both are on its device."""


_ENGINES: dict[str, type[Engine]] = {"openvino": OpenVino, "onnxruntime": OnnxRuntime}


def load_encoder(
    auto_class: str, artifact: Artifact, inputs: Sequence[str], output: str, optional: tuple[str, ...] = ()
) -> Computed:
    """Load an encoder on the artifact's engine.

    Args:
        auto_class, optional: see `load_model`.
        inputs: names of the arrays that it is given, as the tokenizer says.
        output: the one of its outputs that is read, such as `logits`.

    Raises:
        ConfigurationError: it cannot be loaded, or not on this engine.
    """
    if artifact.engine == "torch":
        torch = torch_models(artifact.location)
        encoder: Computed = torch.TorchEncoder(torch.load_model(auto_class, artifact, optional))
        return encoder
    engine = engine_of(artifact)
    file = artifact.directory / engine.converted
    if _is_good(file, artifact, engine):
        return Encoder(engine, engine.read(file), artifact, inputs, output)
    model = conversions(artifact.location, artifact.engine).convert(
        engine, auto_class, artifact, inputs, output, optional
    )
    if artifact.keep and not artifact.is_adapter:
        engine.write(model, file)
        write_stamp(file)
    return Encoder(engine, model, artifact, inputs, output)


def engine_of(artifact: Artifact) -> Engine:
    """The engine that an artifact is loaded on, if that is not torch.

    Raises:
        ConfigurationError: its packages are not installed, or it does not compute in that dtype.
    """
    kind = _ENGINES[artifact.engine]
    if artifact.dtype not in kind.dtypes:
        raise ConfigurationError(
            f"engine {artifact.engine} of {artifact.location} does not compute in {artifact.dtype}: choose "
            f"{' or '.join(kind.dtypes)}, or another engine"
        )
    try:
        return kind()
    except ImportError as error:
        needed = ", ".join(f'"{each}"' for each in kind.packages)
        raise ConfigurationError(
            f"engine {artifact.engine} of {artifact.location} needs a package that the worker does not have ({error}): "
            f"write requirements = [{needed}] into its version and run make models, or choose torch"
        ) from error


def computed_in(artifact: Artifact) -> str:
    """The dtype that it is computed in on this machine.

    Raises:
        ConfigurationError: as of `engine_of`; or torch is needed, and not there.
    """
    if artifact.engine == "torch":
        found: str = torch_models(artifact.location).computed_in(artifact)
        return found
    return engine_of(artifact).computed_in(artifact.dtype)


class Encoder:
    """An encoder that an engine computes on the CPU: see `Computed`."""

    device = devices.CPU
    traced = True
    skips_padding = False
    out_of_memory: tuple[type[Exception], ...] = ()

    def __init__(self, engine: Engine, model: Any, artifact: Artifact, inputs: Collection[str], output: str) -> None:
        self.config = artifact.config
        self.dtype = engine.computed_in(artifact.dtype)
        self._session = engine.start(model, self.dtype, threads())
        self._output = output
        if not self._session.takes <= set(inputs) or output not in self._session.gives:
            raise ConfigurationError(
                f"{engine.converted} of {artifact.location} takes {_list(self._session.takes)} and gives "
                f"{_list(self._session.gives)}; its task needs {_list(inputs)} and {output}: delete it"
            )

    def takes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those inputs that the model takes."""
        return tuple(name for name in names if name in self._session.takes)

    def compute(self, inputs: Arrays, mask: Floats, reduce: Callable[[Any, Any], Any]) -> Any:
        """What `reduce` makes of the answer, which is only good until the next call."""
        answer = self._session({name: inputs[name] for name in self._session.takes}, self._output)
        return reduce(SimpleNamespace(**{self._output: np.asarray(answer)}), mask)


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
