"""From a catalogue entry to a task that is ready to predict.

    task = load_task("text-classification", "models/artifacts/sentiment-svd-r128", "bfloat16")

A task that is not built in is named `package.module:Class`; the class is called with the artifact's location, the dtype
and the token budget, and makes a `Task`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from inference_worker.tasks.protocol import Task
from shared.contract.errors import ConfigurationError
from shared.contract.tasks import TASKS


def load_task(
    task: str, location: str, dtype: str = "float32", token_budget: int = 8192, engine: str = "torch"
) -> Task:
    """Load one model version. Takes seconds and blocks: call it in a thread.

    Args:
        task: one of `shared.contract.tasks.TASKS`, or `package.module:Class`.
        location: the artifact, as `Catalogue.artifact_location` gives it.
        dtype: `float32` or `bfloat16`.
        token_budget: most padded tokens in one forward pass; a batch beyond it is computed in several.
        engine: what computes a built-in task's encoder: `torch` or `openvino`.

    Raises:
        ConfigurationError: the task is unknown, or the artifact is missing, unsafe or of another kind.
    """
    if ":" in task:
        made: Task = _custom(task)(location, dtype, token_budget)
        return made
    if task not in TASKS:
        raise ConfigurationError(f"task {task!r} is not one of {', '.join(TASKS)}, nor 'package.module:Class'")
    # Imported only now: torch takes seconds, and a user's own task may not need it.
    module, _, loader = TASKS[task].loader.partition(":")
    open_artifact = importlib.import_module("inference_worker.tasks.artifacts").open_artifact
    built_in = attrgetter(loader)(importlib.import_module(module))
    loaded: Task = built_in(open_artifact(location, dtype, engine), token_budget)
    return loaded


def _custom(task: str) -> Callable[[str, str, int], Any]:
    module, _, name = task.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"cannot import the task {task!r}: {error}") from error
    if not callable(made) or not all(hasattr(made, method) for method in ("encode", "predict")):
        raise ConfigurationError(f"{task!r} is not a task class: it needs encode and predict")
    return made  # type: ignore[no-any-return]
