"""Encoders that ONNX Runtime computes.

ONNX files come in many forms, and may name other files. So only one that was made here is ever read: a stamp beside it
has its digest, and those of the configuration and the weights that it was made from.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.directories import read_json

log = logging.getLogger(__name__)

STAMP = "onnxruntime_model.json"
_OPSET = 18
_ERRORS_ONLY = 3


class OnnxRuntime:
    """The engine; a converted model is the bytes of an ONNX file, at most 2 GB.

    Raises:
        ImportError: a package of it is not installed.
    """

    packages = ("onnx==1.23.2", "onnxruntime==1.32.0")  # as in pyproject.toml
    converted = "onnxruntime_model.onnx"
    dtypes = (torch.float32,)

    def __init__(self) -> None:
        import onnxruntime

        import onnx  # noqa: F401 - torch writes with it

        self._onnxruntime = onnxruntime

    def convert(self, model: Any, example: dict[str, Tensor], output: str) -> bytes:
        """Trace it, rows and tokens of any number."""
        names = list(example)
        file = io.BytesIO()
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
        return file.getvalue()

    def read(self, artifact: Artifact) -> bytes | None:
        """The model that lies beside the weights, if it was made here from these weights; else None."""
        file = artifact.directory / self.converted
        if not file.is_file():
            return None
        model = file.read_bytes()
        if read_json(artifact.directory / STAMP) == _stamp(model, artifact.directory):
            return model
        log.warning("an ONNX file was not made here from these weights: it is not read", extra={"file": str(file)})
        return None

    def write(self, model: bytes, directory: Path) -> None:
        """Keep a model beside its weights, with its stamp."""
        (directory / self.converted).write_bytes(model)
        (directory / STAMP).write_text(json.dumps(_stamp(model, directory), indent=2) + "\n", encoding="utf-8")

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


def _stamp(model: bytes, directory: Path) -> dict[str, Any]:
    made_from = sorted([directory / "config.json", *directory.glob("*.safetensors")])
    return {"sha256": hashlib.sha256(model).hexdigest(), "made_from": {file.name: _sha256(file) for file in made_from}}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
