"""The coverage gate and the list of requirements."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts.coverage_gate import Limits, main, problems, read_limits
from scripts.requirements import requirements

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(85, 95, ("shared/contract/messages.py",))


def report(overall: float, critical: float, **totals: int) -> dict[str, Any]:
    """What `coverage json` writes, as far as the gate reads it."""
    file = {"summary": {"percent_covered": critical}, "missing_lines": [7]}
    summary = {"percent_covered": overall, "num_branches": 10, **totals}
    return {"totals": summary, "files": {"shared/contract/messages.py": file}}


def test_good_coverage_passes() -> None:
    assert not list(problems(report(85.0, 95.0), LIMITS))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (report(84.9, 100), "overall"),
        (report(99, 94.9), "missing lines: 7"),
        (report(99, 99, num_branches=0), "branches were not measured"),
        ({**report(99, 99), "files": {}}, "was not measured"),
    ],
)
def test_bad_coverage_fails(bad: dict[str, Any], said: str) -> None:
    assert said in " ".join(problems(bad, LIMITS))


def test_the_gate_fails_on_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "coverage.json"
    file.write_text(json.dumps(report(10, 10)), encoding="utf-8")
    assert main([str(file)]) == 1
    assert "overall coverage 10.0 %" in capsys.readouterr().err


def test_critical_modules_exist() -> None:
    limits = read_limits(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    assert limits.overall >= 85 and limits.critical >= 95
    assert all((ROOT / module).is_file() for module in limits.critical_modules)


def test_every_requirement_is_pinned_among_the_constraints() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = list(pyproject["project"]["optional-dependencies"])
    constraints = (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8").lower().splitlines()
    names = {line.partition("==")[0].replace("_", "-"): line.partition("==")[2] for line in constraints}
    for each in requirements(pyproject, extras):
        name, _, version = each.lower().partition("==")
        assert names[name.partition("[")[0].replace("_", "-")] == version


def test_an_unknown_extra_is_an_error() -> None:
    with pytest.raises(KeyError):
        requirements({"project": {"dependencies": [], "optional-dependencies": {}}}, ["nothing"])
