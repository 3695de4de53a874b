"""Encoders that ONNX Runtime computes.

ONNX files come in many forms, and may name other files. So only one is ever read that was made here, by its stamp.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_OPSET = 18
_ERRORS_ONLY = 3


class OnnxRuntime:
    """The engine; a converted model is the bytes of an ONNX file, at most 2 GB.

    Raises:
        ImportError: a package of it is not installed.
    """

    packages: tuple[str, ...] = ("onnx==1.23.2", "onnxruntime==1.32.0")  # as in pyproject.toml
    converted = "onnxruntime_model.onnx"
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    needs_stamp = True

    def __init__(self) -> None:
        import onnx  # noqa: F401 - torch writes with it
        import onnxruntime

        self._onnxruntime = onnxruntime

    def convert(self, model: Any, example: dict[str, Tensor], output: str) -> bytes:
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

    def read(self, file: Path) -> bytes:
        """The model of a file."""
        return file.read_bytes()

    def write(self, model: bytes, file: Path) -> None:
        """Write a model into a file."""
        file.write_bytes(model)

    def start(self, model: bytes, dtype: torch.dtype, threads: int) -> OnnxSession:
        """Make a session on this CPU."""
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other children need the CPU
        return OnnxSession(self._onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))


class OnnxSession:
    """A model that is ready to compute."""

    def __init__(self, session: Any) -> None:
        self.takes = frozenset(each.name for each in session.get_inputs())
        self.gives = frozenset(each.name for each in session.get_outputs())
        self._session = session

    def __call__(self, inputs: dict[str, Tensor], output: str) -> Tensor:
        """Compute."""
        [answer] = self._session.run([output], {name: tensor.numpy() for name, tensor in inputs.items()})
        return torch.from_numpy(answer)


class _ByPosition(torch.nn.Module):
    """A model as tracing needs it: tensors by position, and one of its outputs."""

    def __init__(self, model: Any, names: list[str], output: str) -> None:
        super().__init__()
        self._model, self._names, self._output = model, names, output

    def forward(self, *tensors: Tensor) -> Tensor:
        answer: Tensor = getattr(self._model(**dict(zip(self._names, tensors, strict=True))), self._output)
        return answer
