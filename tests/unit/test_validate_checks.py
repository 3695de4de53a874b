"""What the checks of `make validate` give to their tools, with something in place of these."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from scripts.tools.kit import ROOT
from scripts.validate import check as checks
from scripts.validate import containers, kubernetes, schemas, security
from scripts.validate.check import Refused

Say = Callable[..., str]
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
SCALED = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "web"}}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The programs that the checks have called; git alone is the real one, and helm renders a Deployment."""
    calls: list[tuple[str, ...]] = []

    def note(program: str, *words: str, cwd: Path = ROOT, **more: object) -> str:
        calls.append((program, *words))
        if program == "git":
            return checks.output(program, *words, cwd=cwd)
        if program == "gitleaks":
            calls.append(tuple(sorted(str(each.relative_to(cwd)) for each in cwd.rglob("*") if each.is_file())))
        if program == "kubernetes-validate":
            calls.append(tuple(Path(word).read_text(encoding="utf-8") for word in words if word.endswith(".yaml")))
        return yaml.safe_dump(DEPLOYMENT) if program == "helm" else ""

    for module in (containers, kubernetes, security):
        monkeypatch.setattr(module, "output", note)
    return calls


def test_secrets_are_looked_for_in_what_git_does_not_ignore(tmp_path: Path, seen: list[tuple[str, ...]]) -> None:
    (tmp_path / ".gitignore").write_text(".env\n.venv/\n", encoding="utf-8")
    for name in (".env", ".venv/x.py", "a/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    security.secrets_in_files([tmp_path])
    assert seen[-1] == (".gitignore", "a/b.py")


def test_the_history_is_looked_through_where_there_is_one(tmp_path: Path, seen: list[tuple[str, ...]]) -> None:
    security.secrets_in_history([tmp_path])
    assert not seen
    made = security.leaked_once(tmp_path)
    assert made == {tmp_path: "aws-access-token"} and not (tmp_path / "settings.ini").exists()
    assert "AKIA" in checks.output("git", "log", "--patch", cwd=tmp_path)
    security.secrets_in_history([tmp_path])
    assert seen[-2][:2] == ("gitleaks", "git")


def test_a_document_of_several_files_is_checked_once(tmp_path: Path, seen: list[tuple[str, ...]]) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(yaml.safe_dump(DEPLOYMENT), encoding="utf-8")
    second.write_text(yaml.safe_dump_all([DEPLOYMENT, {**DEPLOYMENT, "kind": "Job"}]), encoding="utf-8")
    kubernetes.manifests([first, second])
    texts = "".join(seen[1])
    assert texts.count("kind: Deployment") == texts.count("kind: Job") == 1
    assert [call[3] for call in seen if call[0] == "kubernetes-validate"] == ["-k=1.30", "-k=1.37"]


def test_what_operators_bring_goes_by_their_types(
    tmp_path: Path, seen: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {
        "type": "object",
        "properties": {"apiVersion": {}, "kind": {}, "metadata": {}, "spec": {"type": "object"}},
    }
    monkeypatch.setattr(schemas, "_schema", lambda types, name: {**schema, "additionalProperties": False})
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(SCALED), encoding="utf-8")
    kubernetes.manifests([path])
    assert "ScaledObject" not in "".join(seen[1])
    path.write_text(yaml.safe_dump({**SCALED, "spec": 5}), encoding="utf-8")
    with pytest.raises(Refused, match=r"ScaledObject web: \$.spec: 5 is not of type 'object'"):
        kubernetes.manifests([path])
    board = tmp_path / "board.json"
    board.write_text(json.dumps({"panles": []}), encoding="utf-8")
    with pytest.raises(Refused, match="'panles' was unexpected"):
        schemas.dashboards([board])


def test_a_kind_that_nothing_knows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "output", lambda *words: "WARN x.yaml Couldn't find schema for kind Widget")
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(DEPLOYMENT), encoding="utf-8")
    with pytest.raises(Refused, match="Couldn't find schema for kind Widget"):
        kubernetes.manifests([path])


def test_the_chart_is_rendered_with_each_file_of_values(seen: list[tuple[str, ...]]) -> None:
    own = checks.FIXTURES / "kubernetes" / "chart" / "values.yaml"
    kubernetes.rendered_manifests([kubernetes.VALUES[0], own])
    charts = [call[3] for call in seen if call[0] == "helm"]
    assert charts == [str(kubernetes.CHART), str(own.parent)], "a chart of its own goes before the shipped one"
    kubernetes.lint([own])
    assert seen[-1] == ("helm", "lint", "--strict", "--quiet", f"--values={own}", str(own.parent))
    kubernetes.checkov([own, kubernetes.VALUES[0]])
    assert [word for word in seen[-1] if word.startswith("--file=")][0] == f"--file={own}"
    assert seen[-1][-1].endswith(f"rendered-{kubernetes.VALUES[0].stem}.yaml")


def test_compose_files_are_read_without_the_settings_of_this_machine(seen: list[tuple[str, ...]]) -> None:
    path = ROOT / "compose.yaml"
    containers.compose([path])
    assert "--env-file=/dev/null" in seen[-1]
    containers.compose_lint([path])
    assert seen[-1][0] == "compose-lint" and str(path) not in seen[-1]


def test_what_is_long_is_shortened_in_its_middle() -> None:
    said = checks._shortened("a" * 5000 + "z" * 5000)
    assert said.startswith("aaa") and said.endswith("zzz") and "7000 characters left out" in said
