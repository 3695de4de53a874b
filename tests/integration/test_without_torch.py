"""A worker without torch, as in the image inference-worker-openvino: it serves what is converted, and refuses the rest
in words. Here torch is installed, and other processes are kept from importing it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import BertForSequenceClassification, BertModel

from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item
from models.artifacts import ARTIFACTS
from models.build import build_all
from models.conversions import Conversion, convert
from tests.engines import PLAN
from tests.processes import REPOSITORY
from tests.tiny_families import encoder
from tests.tiny_models import bert, save

TEXTS = ["The bridge is closed.", "A text that is longer than the other one. " * 12]
# As `predicted` below; the children of a worker are started with it too.
PREDICT = """
import json, sys
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item
for case in json.load(sys.stdin):
    try:
        task = load_task(*case["of"])
        items = [Item(each, case["options"]) for each in case["inputs"]]
        print(json.dumps([each.result for each in task.predict(task.encode(items))]))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


class Case(NamedTuple):
    """What is loaded, with the arguments of `load_task`, and asked."""

    of: tuple[Any, ...]
    inputs: list[Any] = TEXTS
    options: Mapping[str, Any] = {}


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that, as all that it starts, cannot import torch."""
    folder = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n", encoding="utf-8")
    return {**os.environ, "PYTHONPATH": f"{folder}:{REPOSITORY}", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}


def _predicted(case: Case) -> list[Any]:
    task = load_task(*case.of)
    items = [Item(each, case.options) for each in case.inputs]
    return [json.loads(json.dumps(each.result)) for each in task.predict(task.encode(items))]


def _without_torch(blocked: Mapping[str, str], *cases: Case) -> list[Any]:
    given = json.dumps([each._asdict() for each in cases])
    command = [sys.executable, "-c", PREDICT]
    done = subprocess.run(command, input=given, env=blocked, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0 and "torch" not in done.stderr.lower(), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _converted(task: str, location: str, engine: str = "openvino") -> tuple[Any, ...]:
    convert(Conversion(task, location, "float32", engine))
    return task, location, "float32", 512, engine


def test_each_task_of_encoders_answers_as_it_does_beside_torch(tmp_path: Path, blocked: Mapping[str, str]) -> None:
    torch.manual_seed(0)
    pooled = encoder(tmp_path / "pooled", "roberta", "AutoModel")
    build_all("sentiment-svd-r128")
    cases = [
        Case(("text-classification", str(ARTIFACTS / "sentiment-svd-r128"), "float32", 512, "openvino")),
        Case(_converted("feature-extraction", pooled, "onnxruntime")),
        Case(_converted("summarization", pooled), [f"{TEXTS[0]} It was bad. Nobody came."]),
        Case(_converted("zero-shot-classification", pooled), options={"labels": ["bridge", "text"]}),
        Case(_converted("token-classification", encoder(tmp_path / "a", "bert", "AutoModelForTokenClassification"))),
        Case(_converted("fill-mask", encoder(tmp_path / "b", "bert", "AutoModelForMaskedLM")), ["A [MASK] one."]),
        Case(
            _converted("text-ranking", save(tmp_path / "c", BertForSequenceClassification(bert(num_labels=1)))),
            [{"query": "the bridge", "documents": TEXTS}],
        ),
    ]
    for case, answers in zip(cases, _without_torch(blocked, *cases), strict=True):
        assert answers == _predicted(case), case.of


def test_what_needs_torch_is_refused_in_words(tmp_path: Path, blocked: Mapping[str, str]) -> None:
    location = save(tmp_path, BertModel(bert()))
    on_torch, written, fresh = _without_torch(
        blocked,
        Case(("feature-extraction", location)),
        Case(("text-generation", location)),
        Case(("feature-extraction", location, "float32", 512, "openvino")),
    )
    use = "torch, which this worker does not have: use a worker with torch, such as the image inference-worker"
    assert on_torch == f"ConfigurationError: engine torch needs {use}"
    assert written == f"ConfigurationError: task text-generation needs {use}"
    assert fresh.startswith(f"ConfigurationError: {location} is not converted for openvino") and fresh.endswith(use)


def test_a_child_of_a_worker_starts_without_torch(tmp_path: Path, blocked: Mapping[str, str]) -> None:
    """Whatever it imports on its way to a model."""
    task, location, *_ = _converted("text-classification", save(tmp_path, BertForSequenceClassification(bert())))
    plan = PLAN._replace(task=task, location=location, engine="openvino")
    code = (
        "import sys; import inference_worker.children.libraries\n"
        "from inference_worker.children import child\n"
        f"child._load(child._placed(child.LoadPlan(*{tuple(plan)!r})))\n"
        "assert not [name for name in sys.modules if name.startswith('torch.')]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=blocked, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
