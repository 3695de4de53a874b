"""Every requirement is pinned."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from scripts.requirements import requirements

ROOT = Path(__file__).resolve().parents[2]


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
