"""Engines: what each computes is what torch computes, and what it cannot compute is refused in words."""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertForSequenceClassification, BertModel

from inference_worker.tasks import converting, encoders, torch_models
from inference_worker.tasks.artifacts import Artifact, open_artifact
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.onnx_engine import OnnxRuntime
from inference_worker.tasks.openvino_engine import OpenVino
from inference_worker.tasks.protocol import Item, Task
from inference_worker.tasks.stamps import write_stamp
from inference_worker.tasks.tokens import TextTokenizer
from inference_worker.tasks.torch_models import load_model
from models import conversions
from models.conversions import CONVERTED, convert_all, missing
from models.engines import Job, apart, measure, packages_mb, right
from shared.contract.catalogue import Catalogue, parse_catalogue
from shared.contract.errors import ConfigurationError
from tests.integration.test_models_any import NLI, llama
from tests.processes import REPOSITORY
from tests.task_outputs import check_task
from tests.tiny_families import ENCODERS, encoder, texts
from tests.tiny_models import bert, save

WORDS = ["the", "bridge", "is", "closed", "this", "example", "about", "a", "b"]
ENGINES = ["openvino", "onnxruntime"]
TEXT = [Item("The bridge is closed.")]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    random.seed(0)


@pytest.fixture
def loaded_by_torch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The artifacts whose weights torch has loaded."""
    locations: list[str] = []

    def load(auto_class: str, artifact: Artifact, *more: Any) -> Any:
        locations.append(artifact.location)
        return load_model(auto_class, artifact, *more)

    monkeypatch.setattr(torch_models, "load_model", load)
    return locations


def _text() -> str:
    return " ".join(random.choices(WORDS, k=random.randint(1, 150)))


def _answers(task: Task, items: list[Item]) -> list[list[float]]:
    return [_numbers(output.result) for output in task.predict(task.encode(items))]


def _numbers(result: Mapping[str, Any]) -> list[float]:
    if "embedding" in result:
        return [float(number) for number in result["embedding"]]
    return [score for _, score in sorted(result["scores"].items())]


@pytest.mark.parametrize("engine", ENGINES)
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
def test_engines_answer_as_torch_does_whatever_the_batch(
    tmp_path: Path, task: str, model: Any, options: dict[str, Any], engine: str
) -> None:
    location = save(tmp_path, model())
    torches, others = (load_task(task, location, engine=each) for each in ("torch", engine))
    items = [Item(_text() if task != "zero-shot-classification" else "The bridge.", options) for _ in range(20)]
    wanted = _answers(torches, items)
    check_task(task, torches, *others.predict(others.encode(items)))
    for among_others, reference in zip(_answers(others, items), wanted, strict=True):
        assert among_others == pytest.approx(reference, abs=1e-5)
    for item, reference in zip(items[:5], wanted, strict=False):
        assert _answers(others, [item])[0] == pytest.approx(reference, abs=1e-5)


@pytest.mark.parametrize("family", ENCODERS)
def test_onnxruntime_computes_each_family_as_torch_does_whatever_the_batch(tmp_path: Path, family: str) -> None:
    location = encoder(tmp_path, family, "AutoModel")
    torches, others = (load_task("feature-extraction", location, engine=each) for each in ("torch", "onnxruntime"))
    items = [Item(text) for text in texts()]
    together = _answers(others, items)
    for item, mine, reference in zip(items, together, _answers(torches, items), strict=True):
        assert mine == pytest.approx(reference, abs=1e-4)
        assert _answers(others, [item])[0] == pytest.approx(mine, abs=1e-5)


def _classifier(directory: Path, engine: str = "openvino") -> Artifact:
    return open_artifact(save(directory, BertForSequenceClassification(bert(num_labels=2))), "float32", engine)


def _convert(artifact: Artifact, output: str = "logits") -> Any:
    inputs = TextTokenizer.load(artifact).inputs
    engine = encoders.engine_of(artifact)
    return converting.convert(engine, "AutoModelForSequenceClassification", artifact, inputs, output)


def _converted(directory: Path, engine: str) -> Artifact:
    artifact = _classifier(directory, engine)
    file = directory / CONVERTED[engine]
    encoders.engine_of(artifact).write(_convert(artifact), file)
    write_stamp(file)
    return artifact


@pytest.mark.parametrize("engine", ENGINES)
def test_a_converted_model_is_read_and_torch_is_not_asked(
    tmp_path: Path, engine: str, loaded_by_torch: list[str]
) -> None:
    _converted(tmp_path, engine)
    [wanted] = _answers(load_task("text-classification", str(tmp_path)), TEXT)
    loaded_by_torch.clear()
    task = load_task("text-classification", str(tmp_path), engine=engine)
    assert _answers(task, TEXT)[0] == pytest.approx(wanted, abs=1e-5) and not loaded_by_torch


@pytest.mark.parametrize("engine", ENGINES)
def test_a_converted_model_of_another_task_is_refused(tmp_path: Path, engine: str) -> None:
    _converted(tmp_path, engine)
    with pytest.raises(ConfigurationError, match="needs .* and last_hidden_state: delete it"):
        load_task("feature-extraction", str(tmp_path), engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("other", ["file", "stamp", "weights"])
def test_what_was_not_made_from_these_weights_is_not_read(
    tmp_path: Path, other: str, engine: str, loaded_by_torch: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    _converted(tmp_path / "one", engine)
    _converted(tmp_path / "two", engine)
    file = CONVERTED[engine]
    name = {"file": file.replace(".xml", ".bin"), "stamp": f"{file}.json", "weights": "model.safetensors"}[other]
    shutil.copy(tmp_path / "two" / name, tmp_path / "one" / name)
    loaded_by_torch.clear()
    task = load_task("text-classification", str(tmp_path / "one"), engine=engine)
    assert loaded_by_torch == [str(tmp_path / "one")] and "not made here" in caplog.text
    [wanted] = _answers(load_task("text-classification", str(tmp_path / "one")), TEXT)
    assert _answers(task, TEXT)[0] == pytest.approx(wanted, abs=1e-5)


def test_an_onnx_file_without_a_stamp_is_not_read(tmp_path: Path, loaded_by_torch: list[str]) -> None:
    _classifier(tmp_path)
    (tmp_path / "onnxruntime_model.onnx").write_bytes(b"anything")
    load_task("text-classification", str(tmp_path), engine="onnxruntime")
    assert loaded_by_torch == [str(tmp_path)]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_converted_of_a_base_does_not_stand_for_an_adapter_of_it(
    tmp_path: Path, engine: str, loaded_by_torch: list[str]
) -> None:
    artifact = _converted(tmp_path / "base", engine)
    shutil.copytree(tmp_path / "base", tmp_path / "adapter", ignore=lambda *_: ["config.json", "model.safetensors"])
    rank = torch.randn(2, artifact.config.hidden_size)
    layer = "base_model.model.bert.encoder.layer.0.attention.self.value"
    weights = {f"{layer}.lora_A.weight": rank, f"{layer}.lora_B.weight": rank.T.contiguous()}
    save_file(weights, tmp_path / "adapter" / "adapter_model.safetensors")
    about = {"base_model_name_or_path": str(tmp_path / "base"), "peft_type": "LORA", "r": 2, "lora_alpha": 2}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({**about, "target_modules": ["value"]}))
    loaded_by_torch.clear()
    location = str(tmp_path / "adapter")
    task = load_task("text-classification", location, engine=engine)
    [wanted] = _answers(load_task("text-classification", location), TEXT)
    assert loaded_by_torch and _answers(task, TEXT)[0] == pytest.approx(wanted, abs=1e-5)
    assert _answers(load_task("text-classification", str(tmp_path / "base")), TEXT)[0] != pytest.approx(
        wanted, abs=1e-5
    )


@pytest.mark.parametrize("kind", [OpenVino, OnnxRuntime])
def test_a_model_that_answers_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[encoders.Engine]
) -> None:
    convert: Any = kind.convert

    def spoilt(self: Any, model: Any, *more: Any) -> Any:
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.classifier.bias.add_(0.1)
        return convert(self, other, *more)

    artifact = _classifier(tmp_path, kind.__name__.lower())
    monkeypatch.setattr(kind, "convert", spoilt)
    with pytest.raises(ConfigurationError, match=r"0\.1 apart from torch on 1 rows of 5 tokens.*choose engine torch"):
        _convert(artifact)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_cannot_be_converted_is_refused(tmp_path: Path, engine: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot be converted to {engine}"):
        _convert(_classifier(tmp_path, engine), output="absent")


@pytest.mark.parametrize(
    ("engine", "package", "what"),
    [
        ("openvino", "openvino", r'requirements = \["openvino"\]'),
        ("onnxruntime", "onnxruntime", r'requirements = \["onnx==[\d.]+", "onnxruntime==[\d.]+"\] into its version'),
        ("onnxruntime", "onnx", r'requirements = \["onnx==[\d.]+", "onnxruntime==[\d.]+"\] into its version'),
    ],
)
def test_without_a_package_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, package: str, what: str
) -> None:
    _classifier(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=f"needs a package that the worker does not have .*{package}.*{what}"):
        load_task("text-classification", str(tmp_path), engine=engine)


def test_the_packages_to_install_are_those_of_the_extra() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert list(OnnxRuntime.packages) == extras["onnxruntime"]
    assert 20 < packages_mb("onnxruntime") < 200


def test_onnxruntime_does_not_compute_in_bfloat16(tmp_path: Path) -> None:
    _classifier(tmp_path)
    with pytest.raises(ConfigurationError, match="does not compute in bfloat16: choose float32, or another engine"):
        load_task("text-classification", str(tmp_path), "bfloat16", engine="onnxruntime")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_writes_its_answers_stays_on_torch(tmp_path: Path, engine: str) -> None:
    with pytest.raises(ConfigurationError, match=f"engine {engine} cannot, torch can"):
        load_task("summarization", save(tmp_path, llama(), 128), engine=engine)


def _catalogue(directory: Path, task: str, **engines: str) -> Catalogue:
    """A version for each artifact, by the name of its directory."""
    versions = "".join(
        f'[[models.versions]]\nversion = "{name}"\nartifact = "{name}"\nengine = "{engine}"\n'
        f"default = {str(not index).lower()}\n"
        for index, (name, engine) in enumerate(engines.items())
    )
    about = f'[[models]]\nname = "m"\ntask = "{task}"\ndescription = "d"\n'
    return parse_catalogue(about + versions, str(directory))


def test_what_the_catalogue_names_is_converted_once(
    tmp_path: Path, loaded_by_torch: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert conversions.in_a_process(len, "four") == 4
    monkeypatch.setattr(conversions, "in_a_process", lambda work, given: work(given))  # torch takes seconds to import
    _classifier(tmp_path / "a")
    save(tmp_path / "b", BertModel(bert()))  # no classifier: its head would be random
    _classifier(tmp_path / "c")
    catalogue = _catalogue(
        tmp_path, "text-classification", a="onnxruntime", b="onnxruntime", c="torch", gone="openvino"
    )
    assert convert_all(catalogue) == ["m:b"]
    assert "NOT CONVERTED: m:b:" in capsys.readouterr().out
    assert sorted(each.parent.name for each in tmp_path.rglob("*.onnx")) == ["a"]
    a, b, *others = [missing(each, catalogue.artifact_location(each.version)) for each in catalogue.served()]
    assert (a, others) == (None, [None, None]) and b is not None
    loaded_by_torch.clear()
    load_task("text-classification", str(tmp_path / "a"), engine="onnxruntime")
    assert not loaded_by_torch
    shutil.copy(tmp_path / "c" / "model.safetensors", tmp_path / "a")  # trained anew
    assert missing(next(iter(catalogue.served())), str(tmp_path / "a")) == tmp_path / "a" / CONVERTED["onnxruntime"]
    assert {"openvino": OpenVino.converted, "onnxruntime": OnnxRuntime.converted} == CONVERTED


def test_engines_are_measured_by_what_they_answer(tmp_path: Path) -> None:
    location = encoder(tmp_path, "bert", "AutoModel")
    one, other = (
        measure(Job("zero-shot-classification", location, "float32", engine, texts()[:2]))
        for engine in ("torch", "openvino")
    )
    assert 0 < apart(one.numbers, [[0.5, 0.5]] * 2) and apart(one.numbers, other.numbers) < 1e-5
    assert one.cpu_s > 0 and one.load_s > 0 and one.memory_mb > 100
    signs = [1 if positive > negative else -1 for negative, positive in one.numbers]
    assert right(one.numbers, signs) == 1.0 and right(one.numbers, [-signs[0], signs[1]]) == 0.5
