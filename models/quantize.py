"""Quantizing an encoder to 8 bits: weights and what its layers compute, after looking at what flows through them.

The library is NNCF (post-training quantization with SmoothQuant): https://github.com/openvinotoolkit/nncf
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = Sequence[dict[str, npt.NDArray[np.int64]]]  # the inputs of one text by name, each of shape (1, tokens)


def quantized(model: Any, rows: Rows) -> Any:
    """An `openvino.Model` in 8 bits, made from one in float32.

    Args:
        rows: texts like those that it will be asked, a few hundred.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it draws bars of its progress
        import nncf

        nncf.set_log_level(logging.ERROR)
        calibration = nncf.Dataset(rows)
        return nncf.quantize(
            model,
            calibration,
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(rows),
            model_type=nncf.ModelType.TRANSFORMER,
        )
