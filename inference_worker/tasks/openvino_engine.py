"""Encoders that OpenVINO computes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from inference_worker.tasks.rows import Arrays

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVino:
    """The engine; a converted model is an `openvino.Model`.

    Raises:
        ImportError: its package is not installed.
    """

    packages: tuple[str, ...] = ("openvino",)
    converted = "openvino_model.xml"
    dtypes: tuple[str, ...] = tuple(_PRECISIONS)
    needs_stamp = False  # it may have been quantized, which takes texts, by whoever made the artifact

    def __init__(self) -> None:
        # Without its telemetry, which would write into the home directory.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        self._openvino = openvino

    def computed_in(self, dtype: str) -> str:
        """In float32 on a CPU without bfloat16."""
        wanting = dtype == "bfloat16" and "BF16" not in self._openvino.Core().get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        )
        return "float32" if wanting else dtype

    def convert(self, model: Any, example: dict[str, Any], output: str) -> Any:
        """In float32, whatever it is going to be computed in."""
        whole = self._openvino.convert_model(model, example_input=example)
        return self._openvino.Model([whole.output(output).node], whole.get_parameters())

    def read(self, file: Path) -> Any:
        """The model of a file."""
        return self._openvino.Core().read_model(file)

    def write(self, model: Any, file: Path, *, halved: bool = False) -> None:
        """Write a model into a file; `halved`: numbers that are not quantized in float16."""
        self._openvino.save_model(model, file, compress_to_fp16=halved)

    def start(self, model: Any, dtype: str, threads: int) -> OpenVinoSession:
        """Compile a model for this CPU."""
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[dtype],
            "ENABLE_CPU_PINNING": False,  # every child would pin itself to the same CPUs
        }
        return OpenVinoSession(self._openvino.Core().compile_model(model, "CPU", settings))


class OpenVinoSession:
    """A model that is ready to compute."""

    def __init__(self, compiled: Any) -> None:
        self.takes, self.gives = (
            frozenset(name for port in ports for name in port.get_names())
            for ports in (compiled.inputs, compiled.outputs)
        )
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: Arrays, output: str) -> NDArray[Any]:
        """Compute; the array is only good until the next call."""
        self._request.infer(inputs)
        answer: NDArray[Any] = self._request.get_tensor(output).data
        return answer
