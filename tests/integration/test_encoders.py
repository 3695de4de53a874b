"""Engines: what OpenVINO computes is what torch computes, and what it cannot compute is refused in words."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, BertModel

from inference_worker.tasks import encoders
from inference_worker.tasks.artifacts import Artifact, open_artifact
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item, Task
from inference_worker.tasks.tokens import TextTokenizer
from shared.contract.errors import ConfigurationError
from tests.integration.test_models_any import NLI, llama
from tests.task_outputs import check_task
from tests.tiny_models import bert, save

WORDS = ["the", "bridge", "is", "closed", "this", "example", "about", "a", "b"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    random.seed(0)


def _text() -> str:
    return " ".join(random.choices(WORDS, k=random.randint(1, 150)))


def _answers(task: Task, items: list[Item]) -> list[list[float]]:
    return [_numbers(output.result) for output in task.predict(task.encode(items))]


def _numbers(result: Mapping[str, Any]) -> list[float]:
    if "embedding" in result:
        return [float(number) for number in result["embedding"]]
    return [score for _, score in sorted(result["scores"].items())]


@pytest.mark.parametrize(
    ("task", "model", "options"),
    [
        ("text-classification", lambda: BertForSequenceClassification(bert(num_labels=3)), {}),
        ("feature-extraction", lambda: BertModel(bert()), {}),
        ("zero-shot-classification", lambda: BertModel(bert()), {"labels": ["a", "b"]}),
        (
            "zero-shot-classification",
            lambda: BertForSequenceClassification(bert(id2label=NLI)),
            {"labels": ["bridge", "b"]},
        ),
    ],
    ids=["classifier", "embeddings", "similarity", "entailment"],
)
def test_both_engines_answer_alike_whatever_the_batch(
    tmp_path: Path, task: str, model: Any, options: dict[str, Any]
) -> None:
    location = save(tmp_path, model())
    torches, openvinos = (load_task(task, location, engine=engine) for engine in ("torch", "openvino"))
    items = [Item(_text() if task != "zero-shot-classification" else "The bridge.", options) for _ in range(20)]
    wanted = _answers(torches, items)
    check_task(task, torches, *openvinos.predict(openvinos.encode(items)))
    for among_others, reference in zip(_answers(openvinos, items), wanted, strict=True):
        assert among_others == pytest.approx(reference, abs=1e-5)
    for item, reference in zip(items[:5], wanted, strict=False):
        assert _answers(openvinos, [item])[0] == pytest.approx(reference, abs=1e-5)


def _classifier(directory: Path) -> Artifact:
    return open_artifact(save(directory, BertForSequenceClassification(bert(num_labels=2))), "float32", "openvino")


def _convert(artifact: Artifact, output: str = "logits") -> Any:
    inputs = TextTokenizer.load(artifact).inputs
    return encoders.convert(AutoModelForSequenceClassification, artifact, inputs, output)


def test_a_converted_model_is_read_and_torch_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = _classifier(tmp_path)
    encoders.write_converted(_convert(artifact), artifact, halved=False)
    wanted = _answers(load_task("text-classification", str(tmp_path)), [Item("The bridge is closed.")])
    monkeypatch.setattr(encoders, "load_model", None)
    task = load_task("text-classification", str(tmp_path), engine="openvino")
    assert _answers(task, [Item("The bridge is closed.")])[0] == pytest.approx(wanted[0], abs=1e-5)


def test_a_converted_model_of_another_task_is_refused(tmp_path: Path) -> None:
    artifact = _classifier(tmp_path)
    encoders.write_converted(_convert(artifact), artifact, halved=False)
    with pytest.raises(ConfigurationError, match="needs .* and last_hidden_state: delete it"):
        load_task("feature-extraction", str(tmp_path), engine="openvino")


def test_a_model_that_answers_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    artifact = _classifier(tmp_path)
    convert = openvino.convert_model

    def spoilt(model: Any, **settings: Any) -> Any:
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.classifier.bias.add_(0.1)
        return convert(other, **settings)

    monkeypatch.setattr(openvino, "convert_model", spoilt)
    with pytest.raises(ConfigurationError, match=r"0\.1 apart from torch on 1 rows of 5 tokens.*choose engine torch"):
        _convert(artifact)


def test_what_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be converted to openvino"):
        _convert(_classifier(tmp_path), output="absent")


def test_without_the_package_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _classifier(tmp_path)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigurationError, match="needs the package openvino"):
        load_task("text-classification", str(tmp_path), engine="openvino")


def test_a_model_that_writes_its_answers_stays_on_torch(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="engine openvino cannot, torch can"):
        load_task("summarization", save(tmp_path, llama(), 128), engine="openvino")
