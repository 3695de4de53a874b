"""From a catalogue entry to a task that is ready to predict.

    task = load_task("text-classification", "models/artifacts/sentiment-svd-r128", "bfloat16")

A task that is not built in is a class of the user's own: see `inference_worker.tasks.custom`.
"""

from __future__ import annotations

import importlib
from operator import attrgetter

from inference_worker.tasks.custom import load_custom
from inference_worker.tasks.needs_torch import require_torch
from inference_worker.tasks.protocol import Task
from shared.contract.errors import ConfigurationError
from shared.contract.tasks import TASKS


def load_task(
    task: str,
    location: str,
    dtype: str = "float32",
    token_budget: int = 8192,
    engine: str = "torch",
    device: str = "auto",
) -> Task:
    """Load one model version. Takes seconds and blocks: call it in a thread.

    Args:
        task: one of `shared.contract.tasks.TASKS`, `package.module:Class`, or `file.py:Class`.
        location: the artifact, as `Catalogue.artifact_location` gives it.
        dtype: `float32`, `bfloat16` or `float16`.
        token_budget: most padded tokens in one forward pass; a batch beyond it is computed in several.
        engine: what computes a built-in task's encoder: `torch`, `openvino` or `onnxruntime`.
        device: where torch computes, see `inference_worker.tasks.devices.choose`.

    Raises:
        ConfigurationError: the task is unknown, the artifact is missing, unsafe or of another kind, or the device is
            not there.
    """
    if ":" in task:
        return load_custom(task, location, dtype, token_budget, device)
    if task not in TASKS:
        raise ConfigurationError(
            f"task {task!r} is not one of {', '.join(TASKS)}, nor 'package.module:Class' or 'file.py:Class'"
        )
    if TASKS[task].engines == ("torch",):
        require_torch(f"task {task} needs")
    # Imported only now: what a user's own task may not need takes seconds.
    module, _, loader = TASKS[task].loader.partition(":")
    open_artifact = importlib.import_module("inference_worker.tasks.artifacts").open_artifact
    built_in = attrgetter(loader)(importlib.import_module(module))
    loaded: Task = built_in(open_artifact(location, dtype, engine, device), token_budget)
    return loaded
