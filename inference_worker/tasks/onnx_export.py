"""Writing a model of torch as an ONNX file; only whoever converts one imports this."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor

_OPSET = 18


def exported(model: Any, example: dict[str, Tensor], output: str) -> bytes:
    """Trace it, rows and tokens of any number."""
    names = list(example)
    file: Any = io.BytesIO()  # which torch takes, though its types know paths only
    torch.onnx.export(
        _ByPosition(model, names, output).eval(),
        tuple(example.values()),
        file,
        input_names=names,
        output_names=[output],
        dynamic_axes={name: {0: "rows", 1: "tokens"} for name in names},
        opset_version=_OPSET,
        dynamo=False,  # the other way takes a minute, and more packages
    )
    made: bytes = file.getvalue()
    return made


class _ByPosition(torch.nn.Module):
    """A model as tracing needs it: tensors by position, and one of its outputs."""

    def __init__(self, model: Any, names: list[str], output: str) -> None:
        super().__init__()
        self._model, self._names, self._output = model, names, output

    def forward(self, *tensors: Tensor) -> Tensor:
        answer: Tensor = getattr(self._model(**dict(zip(self._names, tensors, strict=True))), self._output)
        return answer
