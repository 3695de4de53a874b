"""What an image for some models of the catalogue holds, and what is refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import image
from models.image import stage
from shared.contract.catalogue import parse_catalogue
from shared.contract.errors import ConfigurationError

ENTRY = """
[[models]]
name = "{name}"
task = "{task}"
description = "one of several"
  [[models.versions]]
  version = "1"
  artifact = "{artifact}"
  default = true
"""


def entry(name: str, task: str, artifact: str = "") -> str:
    return ENTRY.format(name=name, task=task, artifact=artifact)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where services are started: with a catalogue in `models/`, code and artifacts."""
    for file in (
        "my_models/iris.py",
        "my_models/iris.json",
        "my_models/__pycache__/iris.pyc",
        "my_models/.env",
        "alone.py",
        "models/beside.py",
        "models/artifacts/one/model.safetensors",
        "models/artifacts/two/model.safetensors",
    ):
        path = tmp_path / "root" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file, encoding="utf-8")
    return tmp_path / "root"


def staged(root: Path, text: str, wanted: str = "*") -> set[str]:
    """The files of the image."""
    folder = root.parent / "image"
    stage(parse_catalogue(text, str(root / "models")), text, wanted, folder, root)
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


def test_it_holds_the_catalogue_the_code_and_the_artifacts_of_what_it_serves(root: Path) -> None:
    text = (
        entry("iris", "my_models/iris.py:Iris")
        + entry("alone", "alone.py:Alone")
        + entry("beside", "beside.py:Beside")
        + entry("one", "text-classification", "artifacts/one")
        + entry("two", "text-classification", "artifacts/two")
        + entry("hub", "text-classification", "hf://owner/name@main")
    )
    assert staged(root, text, "*,!two") == {
        "models/models.toml",
        "my_models/iris.py",
        "my_models/iris.json",
        "alone.py",
        "models/beside.py",
        "models/artifacts/one/model.safetensors",
    }
    assert (root.parent / "image/models/models.toml").read_text(encoding="utf-8") == text


def test_a_package_is_taken_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("flowers/__init__.py", "flowers/iris/__init__.py", "flowers/rose.py"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    monkeypatch.syspath_prepend(root)
    files = {"flowers/__init__.py", "flowers/iris/__init__.py", "flowers/rose.py", "models/models.toml"}
    assert staged(root, entry("iris", "flowers.iris:Iris")) == files


@pytest.mark.parametrize(
    ("text", "wanted", "told"),
    [
        (entry("iris", "nowhere.py:Iris"), "*", "iris:1: there is no file nowhere.py"),
        (entry("iris", "no_such_package.iris:Iris"), "*", "there is no package no_such_package"),
        (entry("iris", "json:JSONEncoder"), "*", "is neither below"),
        (entry("one", "text-classification", "artifacts/gone"), "*", "artifacts/gone is not there"),
        (entry("one", "text-classification", "../../elsewhere"), "*", "is neither below"),
        (entry("iris", "alone.py:Iris"), "rose", "rose"),
    ],
)
def test_what_cannot_be_in_an_image_is_told(root: Path, text: str, wanted: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        staged(root, text, wanted)


def test_the_command_empties_its_folder_and_says_what_is_served(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "models/models.toml").write_text(entry("alone", "alone.py:Alone"), encoding="utf-8")
    monkeypatch.setenv("MODEL_CATALOGUE", str(root / "models/models.toml"))
    monkeypatch.chdir(root)
    old = root / "image/old"
    old.parent.mkdir()
    old.touch()
    assert image.main(["alone", str(root / "image")]) == 0
    assert capsys.readouterr().out == "with alone:1\n" and not old.exists()
    assert image.main(["rose", str(root / "image")]) == 1
    assert "rose" in capsys.readouterr().err
