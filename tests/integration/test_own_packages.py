"""Packages of a version's own: installed by pip into a folder, imported by the children of that version alone."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from inference_worker.engine import ChildLimits, Engine
from inference_worker.placement import load_plan
from inference_worker.tasks.protocol import Item
from models import own_packages
from models.own_packages import install_all
from scripts.requirements import normal, requirements
from shared.contract.catalogue import Catalogue, parse_catalogue
from shared.contract.errors import ConfigurationError
from shared.service.own_packages import folder_of
from tests.processes import REPOSITORY
from tests.wheels import write_wheel

TASK = """
from inference_worker.tasks.protocol import Encoded, Item, Output
import tool

class Task:
    sample = Item("sample")
    def __init__(self, *about): pass
    def encode(self, items): return [Encoded(1, item.text) for item in items]
    def predict(self, batch): return [Output({"said": tool.say(each.data)}) for each in batch]
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All packages that pip finds: a task of each of two users, and a tool in the two versions that they need."""
    folder = tmp_path / "index"
    folder.mkdir()
    for version in ("1.0", "2.0"):
        write_wheel(folder, "tool", version, f"def say(text): return '{version} ' + text")
    write_wheel(folder, "anns", source=TASK, requires=["tool==1.0"])
    write_wheel(folder, "bobs", source=TASK, requires=["tool>=1"])
    write_wheel(folder, "numpy", "1.0")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def catalogue(folder: Path, **requirements: list[str]) -> Catalogue:
    """A model for each task's module, with one version."""
    models = [
        f'[[models]]\nname = "{name}"\ntask = "{name}:Task"\ndescription = "d"\n'
        f'[[models.versions]]\nversion = "1"\nartifact = "none"\ndefault = true\nrequirements = {wanted}\n'
        for name, wanted in requirements.items()
    ]
    return parse_catalogue("".join(models), str(folder))


async def said(catalogue: Catalogue, model: str) -> object:
    """What a child of the model's version answers."""
    served = catalogue.resolve(model, None)
    assert served is not None
    plan, _ = load_plan("none", served, 1, catalogue.directory)
    engine = Engine(plan, 1, ChildLimits(60, 60))
    await engine.start()
    try:
        [encoded] = await engine.encode([Item("hello")])
        [answer] = await engine.predict([encoded])  # type: ignore[list-item]
        return answer.result  # type: ignore[union-attr]
    finally:
        engine.close()


async def test_each_version_imports_what_it_requires_though_another_needs_something_else(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = catalogue(tmp_path, anns=["anns"], bobs=["bobs", "tool>1"])
    assert install_all(both) == []
    told = capsys.readouterr().out
    assert "installing anns for anns:1" in told and "installed 2 packages" in told
    assert await said(both, "anns") == b'{"said":"1.0 hello"}'
    assert await said(both, "bobs") == b'{"said":"2.0 hello"}'
    assert install_all(both) == [] and capsys.readouterr().out == ""  # they are there


async def test_what_cannot_be_installed_is_said_and_holds_up_nobody(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    all_of_them = catalogue(tmp_path, clash=["numpy<2"], absent=["nothing-of-that-name"], anns=["anns"])
    assert install_all(all_of_them) == ["clash:1", "absent:1"]
    told = capsys.readouterr().out
    assert "NOT INSTALLED for clash:1: they do not fit what Millstream has" in told and "numpy<2" in told
    assert "NOT INSTALLED for absent:1: " in told and "nothing-of-that-name" in told
    assert await said(all_of_them, "anns") == b'{"said":"1.0 hello"}'
    with pytest.raises(ConfigurationError, match=r"what it requires \(numpy<2\) is not installed: `make models`"):
        await said(all_of_them, "clash")


async def test_what_is_installed_here_for_another_purpose_is_not_relied_on(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of the worker has less than this environment."""
    elsewhere = tmp_path / "elsewhere"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(elsewhere), "anns"]
    subprocess.run(command, check=True)
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    monkeypatch.syspath_prepend(str(elsewhere))
    here = catalogue(tmp_path, anns=["anns"])
    assert install_all(here) == []
    folder = folder_of(["anns"], str(tmp_path))
    assert {"anns.py", "tool.py"} <= {each.name for each in folder.iterdir()}


def test_a_file_may_be_named_instead_of_a_version(index: Path, tmp_path: Path) -> None:
    named = f"tool @ {(index / 'tool-2.0-py3-none-any.whl').as_uri()}"
    assert install_all(catalogue(tmp_path, anns=[named])) == []
    assert "2.0" in (folder_of([named], str(tmp_path)) / "tool.py").read_text("utf-8")


def test_an_interrupted_installation_leaves_nothing_that_looks_complete(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(own_packages, "_pip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        install_all(catalogue(tmp_path, anns=["anns"]))
    assert list((tmp_path / "artifacts" / "packages").iterdir()) == []


def test_what_its_image_does_without_is_known_here_too() -> None:
    script = (REPOSITORY / "scripts/image/install.sh").read_text("utf-8")
    without = " ".join(re.findall(r'unused="([^"]*)"', script)).replace("$unused", "").split()
    modules = {"_distutils_hack", "pkg_resources", "openvino_telemetry"}  # of setuptools; none that others need
    assert {normal(each) for each in set(without) - modules} == own_packages._TAKEN_OUT


def test_what_a_worker_has_is_known_here_too() -> None:
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    assert set(own_packages.OF_THE_WORKER) == {normal(each) for each in requirements(pyproject, ["worker", "torch"])}


@pytest.mark.parametrize("requirement", ["--index-url=https://elsewhere.example", "", "-r more.txt", "./folder"])
def test_a_requirement_is_no_option_of_pip(requirement: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="requirements"):
        catalogue(tmp_path, anns=[requirement])
