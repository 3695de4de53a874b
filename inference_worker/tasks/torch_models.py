"""Models that torch computes: loading their weights, onto the device that they are for, and running encoders.

A model's weights are on its device; what it is given goes there right before a pass, and what is made of its answer
comes back right behind it. On a CPU both are nothing. Where there is no torch, this module is not imported.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from transformers.utils import logging

from inference_worker.tasks import adapters
from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.devices import CPU
from inference_worker.tasks.hub import words
from inference_worker.tasks.rows import Arrays
from inference_worker.tasks.threads import threads
from inference_worker.tasks.unpadded import Unpadded
from inference_worker.tasks.vectors import Floats
from shared.contract.errors import ConfigurationError

_LOGGING: Any = logging  # its functions carry no types
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(auto_class: str, artifact: Artifact, optional: tuple[str, ...] = ()) -> Any:
    """Load the weights with one of transformers' classes, in evaluation mode, on the artifact's device.

    Args:
        auto_class: such as `AutoModelForSequenceClassification`.
        artifact: what to load.
        optional: prefixes of weights this task does not use and the artifact may lack.

    Raises:
        ConfigurationError: the architecture does not fit the task, or the device; or weights are missing. Transformers
            would fill those with random numbers and serve noise.
    """
    set_threads()
    wanted = auto_class.replace("AutoModel", "a model ", 1)
    adapter = adapters.read(artifact.home, artifact.location)
    config = artifact.config if adapter is None else adapter.fitted(artifact.config)
    try:
        with _quiet():
            model, report = getattr(transformers, auto_class).from_pretrained(
                artifact.directory,
                config=config,
                dtype=DTYPES[computed_in(artifact)],
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
    return placed(model.eval(), artifact.device)


def set_threads() -> None:
    """Let torch compute with as many threads as were chosen."""
    torch.set_num_threads(threads())
    try:
        torch.set_num_interop_threads(1)  # one pass at a time: a second pool would only compete with the first
    except RuntimeError:  # torch allows this once, and only before its first parallel work; a second call is harmless
        pass


def computed_in(artifact: Artifact) -> str:
    """The dtype: a CPU without bfloat16 would convert at each step, which takes four times as long."""
    wanting = artifact.dtype == "bfloat16" and artifact.device == CPU
    return "float32" if wanting and not torch.ops.mkldnn._is_mkldnn_bf16_supported() else artifact.dtype


def placed(model: Any, device: str) -> Any:
    """The model, with its weights on the device.

    Raises:
        ConfigurationError: they do not fit.
    """
    if device == CPU:
        return model
    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        raise ConfigurationError(f"its weights do not fit into the memory of {device}: {error}") from None


def moved(inputs: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """Arrays, or tensors that are on the CPU, as tensors on the device."""
    tensors = {name: torch.as_tensor(values) for name, values in inputs.items()}
    if device.type == "cpu":
        return tensors
    if device.type == "cuda":  # from pinned memory, so that the copy does not hold up what is done meanwhile
        return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()}
    return {name: tensor.to(device) for name, tensor in tensors.items()}


class TorchEncoder:
    """An encoder that torch computes: see `encoders.Computed`.

    Attributes:
        skips_padding: whether its linear layers leave out padding, see `unpadded`; on a CPU. It is False again once
            that has turned out to be impossible.
    """

    traced = False
    out_of_memory: tuple[type[Exception], ...] = (torch.OutOfMemoryError,)

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config
        self.device = str(model.device)
        self.dtype = str(model.dtype).removeprefix("torch.")
        self.skips_padding = False
        self._unpadded = Unpadded(model) if self.device == CPU else None
        self._fixed = dict.fromkeys(takes(model, ("use_cache",), sure=True), False)

    def takes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those inputs that the model takes."""
        return takes(self.model, names)

    def compute(self, inputs: Arrays, mask: Floats, reduce: Callable[[Any, Any], Tensor]) -> Tensor:
        """What `reduce` makes of the answer, on the model's device."""
        tensors = moved({**inputs, "": mask}, self.model.device)
        counted, padding = tensors.pop(""), tensors.get("attention_mask")
        with torch.inference_mode(), self._without(padding):
            answer = reduce(self.model(**tensors, **self._fixed), counted)
        if self._unpadded is not None and self._unpadded.turned:
            self.skips_padding = False
        return answer

    def _without(self, mask: Tensor | None) -> contextlib.AbstractContextManager[None]:
        if mask is None or self._unpadded is None or not self.skips_padding:
            return contextlib.nullcontext()
        return self._unpadded.without(mask)


def takes(model: Any, names: Sequence[str], *, sure: bool = False) -> tuple[str, ...]:
    """Those inputs that a model takes: a tokenizer may name others, such as BERT's own beside a DistilBERT.

    Args:
        sure: only what it names, also if it does not name its inputs at all.
    """
    named = inspect.signature(model.forward).parameters
    if "input_ids" not in named and not sure:
        return tuple(names)
    return tuple(name for name in names if name in named)


def activation(name: str) -> Callable[[Floats], Floats] | None:
    """A function of `torch.nn`, such as `GELU`, over arrays; None if there is none of that name."""
    kind = getattr(torch.nn, name, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        return None
    function = kind()
    return lambda vectors: function(torch.from_numpy(vectors)).numpy()


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
