"""What built-in tasks really take and give, held against what is said of them."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from inference_worker.tasks.protocol import Item, Output, Task
from shared.contract.task_schemas import TASK_SCHEMAS


def check_task(name: str, task: Task, *outputs: Output) -> None:
    """Outputs of a task, and that of its example, are as its schema says, without a field more."""
    said = TASK_SCHEMAS[name]
    examples = [Item(said["example"], said.get("example_options", {}))] if "example" in said else []
    for output in (*outputs, *task.predict(task.encode(examples))):
        result = json.loads(json.dumps(output.result))
        Draft202012Validator(said["output"]).validate(result)
        assert set(result) == set(said["output"]["properties"])


def takes(name: str, value: Any) -> bool:
    """Whether an input is what a task takes, as its schema says."""
    return bool(Draft202012Validator(TASK_SCHEMAS[name]["input"]).is_valid(value))
