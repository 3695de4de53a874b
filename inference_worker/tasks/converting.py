"""Converting an encoder from torch to another engine, and comparing the two."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference_worker.tasks import torch_models
from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.encoders import Encoder, Engine
from inference_worker.tasks.hub import words
from shared.contract.errors import ConfigurationError

_SHAPES = ((1, 5), (3, 12), (2, 31))  # rows, longest row: no two that tracing could take for one
_TOLERANCE = 1e-3  # between float32 of both engines; seen: 1e-5


def convert(
    engine: Engine,
    auto_class: str,
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
    exact = dataclasses.replace(artifact, dtype="float32")
    original = torch_models.load_model(auto_class, exact, optional)
    inputs = torch_models.takes(original, inputs)
    try:
        with torch.inference_mode(), warnings.catch_warnings(action="ignore"):  # what tracing fixes is compared below
            model = engine.convert(original, _example(inputs, artifact, *_SHAPES[0]), output)
        encoder = Encoder(engine, model, exact, inputs, output)
    except Exception as error:  # noqa: B902 - engines raise many kinds
        raise ConfigurationError(
            f"{artifact.location} cannot be converted to {artifact.engine}: {words(error)}"
        ) from error
    for shape in _SHAPES:
        apart = _apart(original, encoder, _example(inputs, artifact, *shape), output)
        if not apart <= _TOLERANCE:
            raise ConfigurationError(
                f"{artifact.location} on {artifact.engine} is {apart:.2g} apart from torch on {shape[0]} rows of "
                f"{shape[1]} tokens, where {_TOLERANCE:g} is allowed: choose engine torch"
            )
    return model


def _apart(original: Any, encoder: Encoder, example: dict[str, Tensor], output: str) -> float:
    with torch.inference_mode():
        wanted = getattr(original(**example), output).numpy()
    arrays = {name: tensor.numpy() for name, tensor in example.items()}
    answer = encoder.compute(arrays, np.empty(0, np.float32), lambda answer, _: getattr(answer, output))
    return float(np.abs(answer - wanted).max())


def _example(inputs: Sequence[str], artifact: Artifact, rows: int, longest: int) -> dict[str, Tensor]:
    """Any ids, the first row full and each further one with more padding."""
    ids = torch.randint(artifact.config.vocab_size, (rows, longest), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(longest) < longest - 2 * torch.arange(rows)[:, None]).long()
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: tensors[name] for name in inputs}
