"""The catalogue: what it resolves, what a worker selects from it, and that each mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.contract.catalogue import Catalogue, parse_catalogue
from shared.contract.errors import ConfigurationError
from shared.contract.tasks import TASKS
from shared.service.catalogue_file import load_catalogue


def version(name: str = "1.0.0", more: str = "") -> str:
    """A version's lines."""
    return f'[[models.versions]]\nversion = "{name}"\nartifact = "here"\n{more}\n'


ONE = version(more="default = true")


def model(name: str = "m", task: str = "summarization", versions: str = ONE) -> str:
    """A model's lines."""
    return f'[[models]]\nname = "{name}"\ntask = "{task}"\ndescription = "d"\n{versions}'


TWO = version("1.0.0") + version("2.0.0", "default = true") + version("3.0.0", "active = false")


@pytest.fixture
def catalogue() -> Catalogue:
    """`a` with three versions, one of them inactive, and `b` with one."""
    return parse_catalogue(model("a", versions=TWO) + model("b"), "/models")


def labels(catalogue: Catalogue, wanted: str) -> list[str]:
    """What is selected, by label."""
    return [each.label for each in catalogue.select(wanted)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models = [", "not valid TOML"),
        ("", "models: Field required"),
        ("models = []", "models: Tuple should have at least 1 item"),
        (model() + model(), "model 'm' is listed twice"),
        (model(versions=version(more="default = true") * 2), "version '1.0.0' of model 'm' is listed twice"),
        (model(versions=version()), "exactly one version with default = true"),
        (model(versions=version("1", "default = true") + version("2", "default = true")), "exactly one version"),
        (model(versions=version(more="default = true\nactive = false")), "it must be active"),
        (model(versions=""), "models.0.versions: Field required"),
        (model(task="poetry"), "task 'poetry' is not one of text-classification"),
        (model(task="os.system"), "nor a class ('package.module:Class', 'file.py:Class')"),
        (model(name="Upper"), "models.0.name"),
        (model(name="a:b"), "models.0.name"),
        (model(name="n" * 101), "models.0.name"),
        (model(name=""), "models.0.name"),
        (model(versions=version("1" * 21, "default = true")), "models.0.versions.0.version"),
        (model(versions=version(more='default = true\ndtype = "int8"')), "models.0.versions.0.dtype"),
        (model(versions=version(more="default = true\nbatch = { max_batch_size = 0 }")), "batch.max_batch_size"),
        (model(versions=version(more="default = true\nbatch = { max_wait_ms = 1001 }")), "batch.max_wait_ms"),
        (model(versions=version(more="default = true\nbatch = { max_batch_tokens = 63 }")), "batch.max_batch_tokens"),
        (model(versions=version(more='default = true\nengine = "tensorrt"')), "models.0.versions.0.engine"),
        (model(versions=version(more='default = true\ndevice = "gpu"')), "models.0.versions.0.device"),
        (model(versions=version(more='default = true\ndevice = "cuda:"')), "models.0.versions.0.device"),
        (
            model(versions=version(more='default = true\nengine = "openvino"\ndevice = "cuda"')),
            "engine 'openvino' computes on a CPU, not on 'cuda': choose engine 'torch'",
        ),
        (
            model(versions=version(more='default = true\nengine = "openvino"\ndtype = "float16"')),
            "engine 'openvino' does not compute in float16: choose float32 or bfloat16",
        ),
        (
            model(task="m:T", versions=version(more='default = true\nengine = "openvino"')),
            "version '1.0.0': engine is for built-in tasks; 'm:T' is a class",
        ),
        (
            model(task="translation", versions=version(more='default = true\nengine = "openvino"')),
            "version '1.0.0': engine 'openvino' does not compute 'translation': choose torch",
        ),
        (
            model(
                task="fill-mask",
                versions=version(more='default = true\nengine = "onnxruntime"\ndtype = "bfloat16"'),
            ),
            "engine 'onnxruntime' does not compute in bfloat16: choose float32",
        ),
        (model(versions=version(more="default = true\ncolour = 1")), "colour: Extra inputs are not permitted"),
        (
            model(versions=version(more="default = true").replace("here", "")),
            "needs an `artifact`: task 'summarization'",
        ),
        (model(task="../own.py"), "nor a class"),
        (model(versions=version(more="default = true").replace("here", "h" * 256)), "models.0.versions.0.artifact"),
    ],
)
def test_each_mistake_is_refused_and_named(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match="the model catalogue is not valid") as caught:
        parse_catalogue(text)
    assert told in str(caught.value)


@pytest.mark.parametrize("task", [*TASKS, "my_package.my_module:MyTask", "module:Task"])
def test_built_in_tasks_and_classes_are_taken(task: str) -> None:
    assert parse_catalogue(model(task=task)).models[0].task == task


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the model catalogue .*nothing.toml: No such file"):
        load_catalogue(tmp_path / "nothing.toml")


def test_artifacts_are_found_beside_the_file_or_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(model(), encoding="utf-8")
    catalogue = load_catalogue(tmp_path / "models.toml")
    (served,) = catalogue.served()
    assert catalogue.artifact_location(served.version) == str(tmp_path.resolve() / "here")
    hub = served.version.model_copy(update={"artifact": "hf://owner/name@main"})
    assert catalogue.artifact_location(hub) == "hf://owner/name@main"


@pytest.mark.parametrize(
    ("name", "wanted", "resolved"),
    [
        ("a", None, "a:2.0.0"),
        ("a", "1.0.0", "a:1.0.0"),
        ("a", "3.0.0", None),
        ("a", "9.9.9", None),
        ("b", None, "b:1.0.0"),
        ("c", None, None),
    ],
)
def test_a_request_gets_the_version_it_names_or_the_default_if_active(
    catalogue: Catalogue, name: str, wanted: str | None, resolved: str | None
) -> None:
    served = catalogue.resolve(name, wanted)
    assert (served and served.label) == resolved


def test_models_and_versions_are_found_by_name(catalogue: Catalogue) -> None:
    found = catalogue.find("a")
    assert found is not None and found.default_version is not None and found.default_version.version == "2.0.0"
    inactive = found.find("3.0.0")
    assert inactive is not None and not inactive.active
    assert found.find("9") is None and catalogue.find("c") is None


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("*", ["a:1.0.0", "a:2.0.0", "b:1.0.0"]),
        ("a", ["a:1.0.0", "a:2.0.0"]),
        ("b,a:1.0.0", ["a:1.0.0", "b:1.0.0"]),
        (" a:2.0.0 , ", ["a:2.0.0"]),
        ("a,a", ["a:1.0.0", "a:2.0.0"]),
        ("*,!a", ["b:1.0.0"]),
        ("!a:1.0.0", ["a:2.0.0", "b:1.0.0"]),
        ("a,!a:2.0.0", ["a:1.0.0"]),
    ],
)
def test_a_worker_serves_what_it_is_told_to(catalogue: Catalogue, wanted: str, chosen: list[str]) -> None:
    assert labels(catalogue, wanted) == chosen


@pytest.mark.parametrize("wanted", ["c", "a:9.9.9", "a:3.0.0", "!c"])
def test_a_name_that_is_not_served_is_refused_with_those_that_are(catalogue: Catalogue, wanted: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\(known: a, a:1.0.0, a:2.0.0, b, b:1.0.0\)"):
        catalogue.select(wanted)


@pytest.mark.parametrize("wanted", ["a,!a", "*,!a,!b", "a:1.0.0,!a"])
def test_a_selection_of_nothing_is_refused(catalogue: Catalogue, wanted: str) -> None:
    with pytest.raises(ConfigurationError, match="selects no model version to serve"):
        catalogue.select(wanted)


GROUPED = model("sentiment-en", versions=TWO).replace("description", 'group = "nlp"\ndescription') + model("b")


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("sentiment-*", ["sentiment-en:1.0.0", "sentiment-en:2.0.0"]),
        ("*-en:2.*", ["sentiment-en:2.0.0"]),
        ("group:nlp", ["sentiment-en:1.0.0", "sentiment-en:2.0.0"]),
        ("*,!group:nlp", ["b:1.0.0"]),
        ("b,sentiment-*,!*:1.*", ["sentiment-en:2.0.0"]),
        ("group:none", []),
        ("nothing-*", []),
    ],
)
def test_a_worker_may_select_by_pattern_and_by_group(wanted: str, chosen: list[str]) -> None:
    assert labels(parse_catalogue(GROUPED), wanted) == chosen


def test_a_model_cannot_be_named_as_groups_are_selected() -> None:
    with pytest.raises(ConfigurationError, match="no model can be named 'group'"):
        parse_catalogue(model("group"))
