"""What must not be loaded is refused with a message that says what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification

from inference_worker.tasks.artifacts import open_artifact
from inference_worker.tasks.encoders import computed_in
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Encoded, Item, Output
from shared.contract.errors import ConfigurationError
from tests.tiny_models import bert, save


class Echo:
    """A user's own task class."""

    sample = Item("hello")

    def __init__(self, location: str, dtype: str, token_budget: int) -> None:
        self.settings = (location, dtype, token_budget)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        return [Encoded(1, item.text) for item in items]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        return [Output({"echo": each.data}) for each in batch]


def _directory(path: Path, *files: str) -> str:
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for file in files:
        (path / file).write_bytes(b"")
    return str(path)


def test_a_missing_directory_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="make models"):
        load_task("text-classification", str(tmp_path / "absent"))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pickled weights only"):
        load_task("text-classification", _directory(tmp_path, "pytorch_model.bin"))


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no model.safetensors"):
        load_task("text-classification", _directory(tmp_path))


def test_a_directory_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no config.json"):
        load_task("text-classification", str(tmp_path))


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    location = save(tmp_path, BertForSequenceClassification(bert(num_labels=2)))
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigurationError, match="cannot load"):
        load_task("text-classification", location)


def test_an_unknown_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="dtype 'float64' is not one of float32, bfloat16, float16"):
        load_task("text-classification", str(tmp_path), "float64")


def test_a_broken_hub_address_is_refused_without_asking_the_hub() -> None:
    with pytest.raises(ConfigurationError, match="cannot fetch hf://a/b/c"):
        load_task("text-classification", "hf://a/b/c")


@pytest.mark.parametrize("task", ["translation", "no_such_module:Task", f"{__name__}:Absent", "json:dumps"])
def test_an_unknown_task_is_refused(task: str) -> None:
    with pytest.raises(ConfigurationError):
        load_task(task, "anywhere")


def test_a_class_of_the_user_is_a_task() -> None:
    task = load_task(f"{__name__}:Echo", "anywhere", "bfloat16", 64)
    assert isinstance(task, Echo) and task.settings == ("anywhere", "bfloat16", 64)
    assert task.predict(task.encode([Item("hi")])) == [Output({"echo": "hi"})]


@pytest.mark.parametrize(("has_bfloat16", "computed"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_computed_in_what_the_cpu_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, computed: str
) -> None:
    save(tmp_path, BertForSequenceClassification(bert()))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_bfloat16)
    assert computed_in(open_artifact(str(tmp_path), "bfloat16")) == computed
    assert computed_in(open_artifact(str(tmp_path), "float32")) == "float32"
