"""`make coverage-gate` fails if everything, or one critical module, is covered too little."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
WHOLE = "value = 1\n"
HALF = "value = 1\nif value == 2:\n    value = 3\n    value = 4\n"


@pytest.fixture
def covered(tmp_path: Path) -> Path:
    """A folder with coverage data of a module that was run whole, and of a short one that was not."""
    (tmp_path / "whole.py").write_text(WHOLE * 40, encoding="utf-8")
    (tmp_path / "half.py").write_text(HALF, encoding="utf-8")
    (tmp_path / "main.py").write_text("import half, whole\n", encoding="utf-8")
    command = [str(BIN / "coverage"), "run", "--rcfile=/dev/null", "--branch", "main.py"]
    subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), check=True)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    """The environment, with the data file of this folder, and without what measures this test."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_", "MAKE"))}
    return {**ours, "COVERAGE_FILE": str(folder / "data")}


def gate(folder: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    """What the gate says of the data of this folder."""
    command = ["make", "--silent", "coverage-gate", f"BIN={BIN}", *variables]
    return subprocess.run(
        command, cwd=ROOT, env=environment(folder), capture_output=True, text=True, timeout=60, check=False
    )


def test_good_coverage_passes(covered: Path) -> None:
    done = gate(covered, f"CRITICAL_MODULES={covered / 'whole.py'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "at least 85" in done.stdout


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (["LEAST_COVERAGE=99", "CRITICAL_MODULES={0}/whole.py"], ""),
        (["CRITICAL_MODULES={0}/whole.py {0}/half.py"], "half.py is critical"),
        (["CRITICAL_MODULES={0}/half.py {0}/whole.py"], "half.py is critical"),
        (["CRITICAL_MODULES={0}/renamed.py"], "renamed.py is critical"),
    ],
    ids=["everything", "one module", "one module first", "a module that is not there"],
)
def test_bad_coverage_fails(covered: Path, variables: list[str], said: str) -> None:
    done = gate(covered, *(each.format(covered) for each in variables))
    assert done.returncode != 0
    assert said in done.stdout


def test_critical_modules_exist() -> None:
    shown = ["make", "--silent", "--eval", "show: ; @echo $(CRITICAL_MODULES)", "show"]
    modules = subprocess.run(shown, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert len(modules) > 10 and all((ROOT / module).is_file() for module in modules)
