"""Encoders that ONNX Runtime computes.

ONNX files come in many forms, and may name other files. So only one is ever read that was made here, by its stamp.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from inference_worker.tasks.rows import Arrays

_ERRORS_ONLY = 3


class OnnxRuntime:
    """The engine; a converted model is the bytes of an ONNX file, at most 2 GB.

    Raises:
        ImportError: a package of it is not installed.
    """

    packages: tuple[str, ...] = ("onnx==1.23.2", "onnxruntime==1.32.0")  # as in pyproject.toml
    converted = "onnxruntime_model.onnx"
    dtypes: tuple[str, ...] = ("float32",)
    needs_stamp = True

    def __init__(self) -> None:
        import onnx  # noqa: F401 - torch writes with it
        import onnxruntime

        self._onnxruntime = onnxruntime

    def computed_in(self, dtype: str) -> str:
        """In float32, whatever the CPU has."""
        return dtype

    def convert(self, model: Any, example: dict[str, Any], output: str) -> bytes:
        """Trace it, rows and tokens of any number."""
        from inference_worker.tasks.onnx_export import exported

        return exported(model, example, output)

    def read(self, file: Path) -> bytes:
        """The model of a file."""
        return file.read_bytes()

    def write(self, model: bytes, file: Path) -> None:
        """Write a model into a file."""
        file.write_bytes(model)

    def start(self, model: bytes, dtype: str, threads: int) -> OnnxSession:
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

    def __call__(self, inputs: Arrays, output: str) -> NDArray[Any]:
        """Compute."""
        answer: NDArray[Any]
        [answer] = self._session.run([output], inputs)
        return answer
