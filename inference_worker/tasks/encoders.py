"""What computes an encoder: torch, or OpenVINO, which takes the same weights and needs less time on a CPU.

A converted model lies beside the weights it was made from, as `openvino_model.xml` and `.bin`: `make models` writes
them for the shipped artifacts. Any other artifact is converted whenever it is loaded, which takes seconds.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from inference_worker.tasks.artifacts import Artifact, load_model
from shared.contract.errors import ConfigurationError

CONVERTED = "openvino_model.xml"
_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}
_SHAPES = ((1, 5), (3, 12), (2, 31))  # rows, longest row: no two that tracing could take for one
_TOLERANCE = 1e-3  # between float32 of both engines; seen: 1e-5


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
    try:
        openvino = _openvino()
    except ImportError as error:
        raise ConfigurationError(
            f"engine openvino of {artifact.location} needs the package openvino ({error}): install it, or choose torch"
        ) from error
    converted = artifact.directory / CONVERTED
    if converted.is_file():
        model = openvino.Core().read_model(converted)
    else:
        model = convert(auto_class, artifact, inputs, output, optional)
    return OpenVinoEncoder(model, artifact, inputs, output)


class OpenVinoEncoder:
    """An encoder that OpenVINO computes, with as many threads as torch has.

    Attributes:
        config: the artifact's `config.json`.
    """

    def __init__(self, model: Any, artifact: Artifact, inputs: Sequence[str], output: str) -> None:
        openvino = _openvino()
        given, made = [{name for port in ports for name in port.get_names()} for ports in (model.inputs, model.outputs)]
        if not given <= set(inputs) or output not in made:
            raise ConfigurationError(
                f"{CONVERTED} of {artifact.location} takes {', '.join(sorted(given))} and gives "
                f"{', '.join(sorted(made))}; its task needs {', '.join(sorted(inputs))} and {output}: delete it"
            )
        self.config = artifact.config
        self._given = given
        self._output = output
        compiled = openvino.Core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "INFERENCE_PRECISION_HINT": _PRECISIONS[artifact.dtype],
                "ENABLE_CPU_PINNING": False,  # every child would pin itself to the same CPUs
            },
        )
        self._request = compiled.create_infer_request()

    def __call__(self, **inputs: Tensor) -> SimpleNamespace:
        """Compute; the answer's tensor is only good until the next call."""
        self._request.infer({name: tensor.numpy() for name, tensor in inputs.items() if name in self._given})
        return SimpleNamespace(**{self._output: torch.from_numpy(self._request.get_tensor(self._output).data)})


def convert(
    auto_class: Any, artifact: Artifact, inputs: Sequence[str], output: str, optional: tuple[str, ...] = ()
) -> Any:
    """Convert an encoder, and compare its answers with torch's.

    Args: as of `load_encoder`.

    Returns:
        An `openvino.Model` in float32, whatever it is going to be computed in.

    Raises:
        ConfigurationError: it cannot be loaded or converted, or does not answer as it does on torch.
    """
    openvino = _openvino()
    exact = dataclasses.replace(artifact, dtype=torch.float32)
    original = load_model(auto_class, exact, optional)
    inputs = accepted(original, inputs)
    try:
        with torch.inference_mode(), warnings.catch_warnings(action="ignore"):  # what tracing fixes is compared below
            whole = openvino.convert_model(original, example_input=_example(inputs, artifact, *_SHAPES[0]))
        model = openvino.Model([whole.output(output).node], whole.get_parameters())
    except Exception as error:  # noqa: B902 - openvino raises many kinds
        raise ConfigurationError(f"{artifact.location} cannot be converted to openvino: {error}") from error
    encoder = OpenVinoEncoder(model, exact, inputs, output)
    for shape in _SHAPES:
        example = _example(inputs, artifact, *shape)
        with torch.inference_mode():
            wanted = getattr(original(**example), output)
        apart = (getattr(encoder(**example), output) - wanted).abs().max().item()
        if not apart <= _TOLERANCE:
            raise ConfigurationError(
                f"{artifact.location} on openvino is {apart:.2g} apart from torch on {shape[0]} rows of {shape[1]} "
                f"tokens, where {_TOLERANCE:g} is allowed: choose engine torch"
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


def write_converted(model: Any, artifact: Artifact, *, halved: bool) -> None:
    """Keep a converted model beside its weights; `halved`: numbers that are not quantized in float16."""
    _openvino().save_model(model, artifact.directory / CONVERTED, compress_to_fp16=halved)


def _openvino() -> Any:
    """The package without its telemetry, which would write into the home directory."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _example(inputs: Sequence[str], artifact: Artifact, rows: int, longest: int) -> dict[str, Tensor]:
    """Any ids, the first row full and each further one with more padding."""
    ids = torch.randint(artifact.config.vocab_size, (rows, longest), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(longest) < longest - 2 * torch.arange(rows)[:, None]).long()
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: tensors[name] for name in inputs}
