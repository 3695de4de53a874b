"""The way to the modules that import torch, which the image `inference-worker-openvino` does not have.

They are imported only if a version needs them: torch takes seconds and hundreds of megabytes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from shared.contract.errors import ConfigurationError

_IMAGE = "use a worker with torch, such as the image inference-worker"


def require_torch(what: str) -> None:
    """Make sure that torch is there.

    Args:
        what: what needs it, with the verb, for the message.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        import_module("torch")
    except ImportError as error:
        raise ConfigurationError(f"{what} torch, which this worker does not have: {_IMAGE}") from error


def torch_models(location: str) -> Any:
    """The module that loads an artifact for torch.

    Raises:
        ConfigurationError: there is no torch.
    """
    require_torch(f"engine torch of {location} needs")
    return import_module("inference_worker.tasks.torch_models")


def conversions(location: str, engine: str) -> Any:
    """The module that converts an artifact for another engine.

    Raises:
        ConfigurationError: there is no torch.
    """
    require_torch(f"{location} is not converted for {engine} yet, which `make models` does once and takes")
    return import_module("inference_worker.tasks.converting")
